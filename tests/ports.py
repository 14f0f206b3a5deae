"""Ports for programs that must be told one: chosen now, bound by the program a while later."""

from __future__ import annotations

import itertools
import os
import socket

# Below the range that the kernel gives to connections (32768 and up on Linux): none takes it in between. Each is
# given once in a process, and processes begin at places of their own.
_ports = itertools.cycle(range(20_000, 30_000))
_skipped = next(itertools.islice(_ports, os.getpid() * 37 % 10_000, None))


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """One of 127.0.0.1 that nobody has."""
    for port in _ports:
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("unreachable: the ports go round")
