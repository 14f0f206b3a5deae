"""What the kernel does for the sockets of a UDP listener: it counts drops, tells how full a buffer is, and hands each
datagram to the socket that a small program names by the sender's address (see `floods`)."""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import socket
import struct
from collections.abc import Iterable, Mapping

SO_ATTACH_FILTER, SO_ATTACH_REUSEPORT_CBPF = 26, 51
_SO_RXQ_OVFL, _SO_MEMINFO = 40, 55
_IP_PKTINFO, _IP_MULTICAST_ALL, _IPV6_MULTICAST_ALL = 8, 49, 29
_MEMINFO = struct.Struct("=9I")
_PKTINFO = struct.Struct("=i4s4s")

# Classic BPF (linux/filter.h): opcodes, and where the network header begins for it.
_LD_W, _LD_B, _AND, _JEQ, _JA, _RET = 0x20, 0x30, 0x54, 0x15, 0x05, 0x06
_NETWORK = 0x100000000 - 0x100000
_Instruction = tuple[int, int, int, int]
NOTHING: list[_Instruction] = [(_RET, 0, 0, 0)]
"""A filter that lets nothing in."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


class KernelDrops:
    """Datagrams that found the socket's buffer full, as the kernel counts them.

    `SO_RXQ_OVFL` (Linux 2.6.33) brings the count only along with a later datagram, so that the end of a burst stays
    unknown, and for each datagram; `SO_MEMINFO` (Linux 4.12) tells the same counter at any time and is asked where it
    exists.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._seen: int = 0
        self._ancillary: int = 0
        self.is_noted = not memory_of(sock)
        """Whether the count must be read with `note`."""
        if self.is_noted:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)

    def note(self, ancillary: Iterable[tuple[int, int, bytes]]) -> None:
        """Read what `recvmsg` brought along."""
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == _SO_RXQ_OVFL:
                self._ancillary = struct.unpack("=I", data[:4])[0]

    def new(self) -> int:
        """How many since the last call (the counter has 32 bits)."""
        memory = memory_of(self._sock)
        total = memory[8] if memory else self._ancillary
        fresh = (total - self._seen) % (1 << 32)
        self._seen = total
        return fresh


def memory_of(sock: socket.socket) -> tuple[int, ...]:
    """Of the receive buffer: bytes used (0), bytes there are (1), datagrams dropped (8); empty on old kernels."""
    try:
        return _MEMINFO.unpack(sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))
    except (OSError, struct.error):
        return ()


def refuse_groups(sock: socket.socket, first: socket.socket) -> None:
    """Multicast of groups that others joined comes to the first socket only; of broadcasts see `is_copy`."""
    sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    sock.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
    if sock.family == socket.AF_INET6:
        only = first.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
        with contextlib.suppress(OSError):  # Linux 4.20
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)


def is_copy(ancillary: Iterable[tuple[int, int, bytes]]) -> bool:
    """A broadcast, which the kernel hands to every socket: its destination is not the address it came in by."""
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
            _, local, destination = _PKTINFO.unpack(data[: _PKTINFO.size])
            return bool(local != destination)
    return False


def attach(sock: socket.socket, option: int, steps: list[_Instruction]) -> None:
    """Give the kernel a program for this socket. Raises OSError."""
    code = b"".join(struct.pack("=HBBI", *step) for step in steps)
    buffer = ctypes.create_string_buffer(code, len(code))
    sock.setsockopt(socket.SOL_SOCKET, option, bytes(_Program(len(steps), ctypes.addressof(buffer))))


def program(lanes: Mapping[str, int]) -> list[_Instruction]:
    """Number of the socket by the sender's address: 0 for those that are not named."""
    four: list[_Instruction] = [(_LD_W, 0, 0, _NETWORK + 12)]
    six: list[_Instruction] = []
    for peer, number in lanes.items():
        address = ipaddress.ip_address(peer.partition("%")[0])
        if address.version == 4:
            four += [(_JEQ, 0, 1, int(address)), (_RET, 0, 0, number)]
            continue
        for k, word in enumerate(struct.unpack(">4I", address.packed)):
            # Past the words behind this one, two steps each, and the answer.
            six += [(_LD_W, 0, 0, _NETWORK + 8 + 4 * k), (_JEQ, 0, 2 * (3 - k) + 1, word)]
        six.append((_RET, 0, 0, number))
    four.append((_RET, 0, 0, 0))
    six.append((_RET, 0, 0, 0))
    # A jump upon a comparison has eight bits for its way, one without has more.
    return [(_LD_B, 0, 0, _NETWORK), (_AND, 0, 0, 0xF0), (_JEQ, 1, 0, 0x60), (_JA, 0, 0, len(six)), *six, *four]
