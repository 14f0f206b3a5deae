"""Packets of an interface through the kernel's mapped ring (packet_mmap, TPACKET_V3): no call for each packet."""

from __future__ import annotations

import ctypes
import errno
import logging
import mmap
import os
import select
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

from soc.errors import ConfigError, PermissionRefused, SocError

BLOCK = 1 << 20
"""Octets of one of the kernel's blocks; the longest frame must fit."""
BLOCKS = 64
"""Blocks of the kernel's ring: a burst of 64 MiB waits there."""
RETIRE_MS = 50
"""A block that is not full is handed over after so long."""
MAX_SNAP = 262_144
_SOL_PACKET, _ADD_MEMBERSHIP, _RX_RING, _STATISTICS, _VERSION = 263, 1, 5, 6, 10
_PROMISCUOUS = 1
_V3 = 2
_ETH_P_ALL = 3
_ATTACH_FILTER = 26
_OUTGOING = 4
_PACKET_TYPE = 58
"""Where a frame's header says whether it went out: sll_pkttype, behind tpacket3_hdr (48) and ten octets."""
_USER = 1
_VLAN_VALID, _TPID_VALID = 16, 64
_LINKS = {1: 1, 772: 1, 65534: 101, 768: 101, 776: 101, 778: 101}
"""ARPHRD to LINKTYPE: Ethernet and loopback; interfaces without a link layer (tun, IP tunnels) give raw IP."""
_LOOPBACK = 772
_BLOCK_HEADER = struct.Struct("=III").unpack_from
_FRAME = struct.Struct("=IIIIIIHHIIH").unpack_from
_log = logging.getLogger("soc.sense")
_NO_PACKET = ((0x06, 0, 0, 0),)
Code = tuple[tuple[int, int, int, int], ...]
"""A program of the classic BPF: (code, jt, jf, k)."""


@dataclass(frozen=True)
class Captured:
    """One packet: ns since the epoch, what was captured of it, its length on the wire."""

    ns: int
    data: bytes
    length: int


def compiled(expression: str, link: int, snap: int) -> Code:
    """A filter in the language of libpcap, compiled by tcpdump. Raises ConfigError."""
    program = shutil.which("tcpdump") or shutil.which("tcpdump", path="/usr/sbin:/usr/bin:/sbin")
    if program is None:
        raise ConfigError("filter: tcpdump compiles it, and there is none here", hint="install tcpdump, or no filter")
    kind = "EN10MB" if link == 1 else "RAW"
    command = [program, "-y", kind, "-s", str(snap), "-ddd", "--", expression]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except subprocess.TimeoutExpired as error:
        raise ConfigError(f"filter '{expression}' takes too long to compile", hint="make it shorter") from error
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ConfigError(f"filter '{expression}': {why}", hint="man pcap-filter shows the language")
    code = tuple(_step(line) for line in lines[1:])
    return code


def _step(line: str) -> tuple[int, int, int, int]:
    code, jt, jf, k = map(int, line.split())
    return code, jt, jf, k


def _snapped(snap: int) -> Code:
    return ((0x06, 0, 0, snap),)


class Capture:
    """An open capture. Raises ConfigError for an interface that is not there and for a right that is missing."""

    def __init__(
        self, interface: str, *, snap: int = MAX_SNAP, promiscuous: bool = False, expression: str = ""
    ) -> None:
        self.interface = interface
        try:
            self._index = socket.if_nametoindex(interface)
        except OSError:
            names = ", ".join(name for _, name in socket.if_nameindex())
            raise ConfigError(f"there is no interface '{interface}'", hint=f"one of {names}") from None
        try:
            # Protocol 0: nothing arrives before the filter is there and the interface is chosen.
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        except PermissionError:
            raise PermissionRefused(
                f"capturing on {interface} needs the right to raw sockets",
                hint="give the service CAP_NET_RAW (AmbientCapabilities= of its unit); nothing else is needed",
            ) from None
        try:
            self._open(snap, promiscuous, expression)
        except BaseException:
            self._socket.close()
            raise

    def _open(self, snap: int, promiscuous: bool, expression: str) -> None:
        sock = self._socket
        sock.setsockopt(_SOL_PACKET, _VERSION, _V3)
        try:
            request = struct.pack("=7I", BLOCK, BLOCKS, 2048, BLOCK * BLOCKS // 2048, RETIRE_MS, 0, 0)
            sock.setsockopt(_SOL_PACKET, _RX_RING, request)
            self._ring = mmap.mmap(sock.fileno(), BLOCK * BLOCKS, mmap.MAP_SHARED)
        except OSError as error:
            raise ConfigError(
                f"the kernel gives no capture ring on {self.interface}: {error.strerror}",
                hint=f"it wants {BLOCK * BLOCKS >> 20} MiB of memory",
            ) from error
        # The kind of hardware is known only when the socket is bound.
        probe = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        with probe:
            probe.bind((self.interface, 0))
            hardware = probe.getsockname()[3]
        if hardware not in _LINKS:
            raise ConfigError(f"{self.interface} is of a kind that is not read here (ARPHRD {hardware})")
        self.link = _LINKS[hardware]
        self._skips_outgoing = hardware == _LOOPBACK  # there every packet goes out and comes in
        snap = min(snap, MAX_SNAP)
        self._attach(compiled(expression, self.link, snap) if expression else _snapped(snap))
        if promiscuous:
            sock.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, struct.pack("=iHH8s", self._index, _PROMISCUOUS, 0, b""))
        sock.bind((self.interface, _ETH_P_ALL))
        self._poll = select.poll()
        self._poll.register(sock.fileno(), select.POLLIN | select.POLLERR)
        self._block = 0

    def _attach(self, code: Code) -> None:
        steps = b"".join(struct.pack("=HBBI", *step) for step in code)
        buffer = ctypes.create_string_buffer(steps)
        program = struct.pack("HP", len(code), ctypes.addressof(buffer))
        self._socket.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, program)

    def packets(self, wait_s: float) -> Iterator[list[Captured]]:
        """The blocks that are ready, after waiting for the first; each is a list in the order of arrival.

        Raises SocError when the interface went away.
        """
        if not self._is_ready():
            self._wait(wait_s)
        for _ in range(BLOCKS):
            if not self._is_ready():
                return
            yield self._taken()

    def _wait(self, wait_s: float) -> None:
        for _, events in self._poll.poll(wait_s * 1000):
            if events & select.POLLERR and not self._is_ready():
                self._said(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), wait_s)

    def _said(self, code: int, wait_s: float) -> None:
        """The kernel tells an error. An interface that is down may come up again, one that is gone does not."""
        if code in (0, errno.EINTR):
            return
        try:
            is_there = socket.if_nametoindex(self.interface) == self._index
        except OSError:
            is_there = False
        if code != errno.ENETDOWN or not is_there:
            raise SocError(f"capturing on {self.interface} ended: {os.strerror(code)}", hint="is the interface there?")
        _log.warning("%s is down; packets are followed again when it is up", self.interface)
        time.sleep(wait_s)

    def _is_ready(self) -> bool:
        (status,) = struct.unpack_from("=I", self._ring, self._block * BLOCK + 8)
        return bool(status & _USER)

    def _taken(self) -> list[Captured]:
        start = self._block * BLOCK
        count, at, size = _BLOCK_HEADER(self._ring, start + 12)
        block = self._ring[start : start + size]
        struct.pack_into("=I", self._ring, start + 8, 0)  # the kernel's again
        self._block = (self._block + 1) % BLOCKS
        found = []
        for _ in range(count):
            following, seconds, ns, kept, length, status, mac, _, _, tag, kind = _FRAME(block, at)
            if not (self._skips_outgoing and block[at + _PACKET_TYPE] == _OUTGOING):
                data = block[at + mac : at + mac + kept]
                if status & _VLAN_VALID:  # the card or the kernel took the tag off
                    ether = kind if status & _TPID_VALID else 0x8100
                    data = data[:12] + struct.pack(">HH", ether, tag & 0xFFFF) + data[12:]
                    length += 4
                found.append(Captured(seconds * 1_000_000_000 + ns, data, length))
            at += following
        return found

    def statistics(self) -> tuple[int, int]:
        """Packets that the kernel had for us since the last call, and how many of them it dropped for want of room."""
        data = self._socket.getsockopt(_SOL_PACKET, _STATISTICS, 12)
        packets, drops, _ = struct.unpack("=3I", data)
        return packets, drops

    def shut(self) -> None:
        """Let nothing more in; what the kernel has already can still be taken."""
        self._attach(_NO_PACKET)

    def close(self) -> None:
        """Give the ring back."""
        self._ring.close()
        self._socket.close()
