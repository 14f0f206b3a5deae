"""How many log events a collector receives and makes durable for each second of CPU; next to rsyslogd where it is."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.entries import Cost, Entry, child_seconds, cpu, entry

TOP = Path(__file__).resolve().parents[1]
EVENTS_UDP = 200_000
EVENTS_TCP = 400_000
LINE = b"<38>Nov 20 10:00:00 web1 sshd[4711]: Failed password for invalid user admin from 203.0.113.9 port %05d ssh2"
HOST = "127.7.1.1"


def run(quick: bool = False) -> list[Entry]:
    """Both receivers, each with its reference measured in the same run. The rate is of CPU: the sender is paced."""
    share = 10 if quick else 1
    name, reference = _rsyslogd(EVENTS_TCP // share) if shutil.which("rsyslogd") else _socket_loop(EVENTS_TCP // share)
    rows = []
    for case, protocol, send, events in (
        ("receive.syslog_udp", "syslog-udp", _send_udp, EVENTS_UDP // share),
        ("receive.syslog_tcp_lf", "syslog-tcp", _send_tcp, EVENTS_TCP // share),
    ):
        own = _collector(protocol, send, events)
        rows.append(entry(case, own.rate, "durable events/CPU-second", name, reference.rate))
        rows.append(cpu(case, own, name, reference))
    return rows


def _of_cpu(events: int, seconds: float) -> Cost:
    return Cost(events, seconds, seconds)


def _lines(start: int, n: int) -> list[bytes]:
    return [LINE % (i % 65536) for i in range(start, start + n)]


def _send_udp(port: int, events: int) -> None:
    """At a pace the receiver keeps up with: the question is its CPU, not the kernel's drops."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((HOST, port))
        for start in range(0, events, 250):
            for line in _lines(start, 250):
                sock.send(line)
            time.sleep(0.003)


def _send_tcp(port: int, events: int) -> None:
    with socket.create_connection((HOST, port)) as sock:
        for start in range(0, events, 1000):
            sock.sendall(b"\n".join(_lines(start, 1000)) + b"\n")


def _collector(protocol: str, send: Any, events: int) -> Cost:
    with tempfile.TemporaryDirectory() as root:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.collectors.collect_program", root, protocol, HOST],
            stdout=subprocess.PIPE, text=True, cwd=TOP,
        )  # fmt: skip
        assert process.stdout is not None
        send(int(process.stdout.readline()), events)
        time.sleep(0.3)
        process.terminate()
        queued, dropped, seconds = process.stdout.read().split()
        process.wait()
    if int(queued) + int(dropped) != events:
        raise RuntimeError(f"{protocol}: {events} sent, {queued} queued, {dropped} dropped")
    return _of_cpu(int(queued), float(seconds))


def _rsyslogd(events: int) -> tuple[str, Cost]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with socket.create_server((HOST, 0)) as probe:
            port = probe.getsockname()[1]
        config = root / "rsyslog.conf"
        config.write_text(
            f'global(workDirectory="{root}")\nmodule(load="imtcp")\n'
            f'input(type="imtcp" port="{port}" address="{HOST}")\n'
            f'action(type="omfile" file="{root}/out.log")\n'
        )
        command = ["rsyslogd", "-n", "-f", str(config), "-i", str(root / "pid")]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            _wait_for_port(port)
            _send_tcp(port, events)
            _wait_for_lines(root / "out.log", events)
        finally:
            process.terminate()
            _, _, usage = os.wait4(process.pid, 0)
            process.returncode = 0
    return "rsyslogd imtcp to omfile, no sync", _of_cpu(events, child_seconds(usage))


def _wait_for_port(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection((HOST, port)).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.02)
    raise RuntimeError("rsyslogd does not listen")


def _wait_for_lines(path: Path, n: int) -> None:
    for _ in range(600):
        if path.exists() and path.read_bytes().count(b"\n") >= n:
            return
        time.sleep(0.1)
    raise RuntimeError("rsyslogd did not write every line")


_LOOP = """
import os, socket, sys, time
server = socket.create_server((sys.argv[1], 0))
print(server.getsockname()[1], flush=True)
peer, _ = server.accept()
with open(sys.argv[2], "wb") as file:
    while data := peer.recv(65536):
        for line in data.split(b"\\n"):
            file.write(line + b"\\n")
    file.flush()
    os.fdatasync(file.fileno())
print(time.process_time())
"""


def _socket_loop(events: int) -> tuple[str, Cost]:
    with tempfile.TemporaryDirectory() as root:
        command = [sys.executable, "-c", _LOOP, HOST, f"{root}/out"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        _send_tcp(int(process.stdout.readline()), events)
        seconds = float(process.stdout.read())
        process.wait()
    return "plain Python socket loop to a file", _of_cpu(events, seconds)


if __name__ == "__main__":
    for result in run():
        print(result)
