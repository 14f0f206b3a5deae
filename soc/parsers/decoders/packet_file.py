"""Capture files to packets: pcap (draft-ietf-opsawg-pcap) and pcapng (draft-ietf-opsawg-pcapng), sizes bounded."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

MAX_PACKET = 262_144
"""Octets of one packet, as many as tcpdump captures at most; a longer one is damage."""
MAX_BLOCK = 16 << 20
"""A longer pcapng block is passed over unread."""
MAX_INTERFACES = 4096
"""Interfaces of one pcapng section; packets of later ones are damage."""
MAX_SHOWN = 4096
"""Octets that a `Damage` keeps of what could not be read."""
SECTION = b"\x0a\x0d\x0d\x0a"
_READ = 1 << 20
_CLASSIC = {
    b"\xd4\xc3\xb2\xa1": ("<", 1000), b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\x4d\x3c\xb2\xa1": ("<", 1), b"\xa1\xb2\x3c\x4d": (">", 1),
}  # fmt: skip
"""The first four octets of the files that are read here."""


class Stream(Protocol):
    """Where the octets come from; may give fewer than asked for, nothing at the end."""

    def read(self, size: int, /) -> bytes: ...


class Packet(NamedTuple):
    """One captured packet.

    `ns` since the epoch (0: the file does not say), `link` a LINKTYPE number, `data` what was captured of `length`
    octets, `offset` of its record in the file, `number` 1-based.
    """

    ns: int
    link: int
    data: bytes
    length: int
    offset: int
    number: int
    interface: str = ""
    comment: str = ""


class Damage(NamedTuple):
    """What could not be read, and from where; `data` are its first octets."""

    reason: str
    offset: int
    data: bytes


@dataclass
class _Interface:
    link: int
    name: str
    snap: int
    units: int = 1_000_000
    shift_s: int = 0

    def ns(self, stamp: int) -> int:
        """`units` of a second to ns since the epoch."""
        return self.shift_s * 1_000_000_000 + stamp * 1_000_000_000 // self.units


class _Buffer:
    """Octets on their way through; `at` is the place of the next one in the file."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.data = b""
        self.pos = self.at = 0

    def has(self, n: int) -> bool:
        """Read until n octets are there; False at the end of the file."""
        if len(self.data) - self.pos >= n:
            return True
        parts = [self.data[self.pos :]]
        have = len(parts[0])
        while have < n:
            more = self._stream.read(_READ)
            if not more:
                break
            parts.append(more)
            have += len(more)
        self.data, self.pos = b"".join(parts), 0
        return have >= n

    def take(self, n: int) -> bytes:
        """The next n octets, which `has` has seen."""
        start = self.pos
        self.pos += n
        self.at += n
        return self.data[start : self.pos]

    def rest(self) -> bytes:
        """What is left, at most `MAX_SHOWN` octets of it."""
        self.has(MAX_SHOWN)
        return self.data[self.pos : self.pos + MAX_SHOWN]

    def skip(self, n: int) -> bool:
        """Pass over n octets without holding them."""
        while n:
            step = min(n, _READ)
            if not self.has(step):
                return False
            self.take(step)
            n -= step
        return True


def read(stream: Stream) -> Iterator[Packet | Damage]:
    """Every packet in order. Damage that hides where the next record begins is the last thing that is told."""
    buffer = _Buffer(stream)
    if not buffer.has(4):
        if buffer.rest():
            yield Damage("shorter than the signature of a capture file", 0, buffer.rest())
        return
    magic = buffer.data[:4]
    if magic in _CLASSIC:
        yield from _classic(buffer, *_CLASSIC[magic])
    elif magic == SECTION:
        yield from _Sections(buffer).packets()
    else:
        yield Damage(f"no capture file that is read here: it begins with {magic.hex()}", 0, buffer.rest())


def _classic(buffer: _Buffer, order: str, to_ns: int) -> Iterator[Packet | Damage]:
    if not buffer.has(24):
        yield Damage("the file header is cut", 0, buffer.rest())
        return
    link = struct.unpack(order + "20xI", buffer.take(24))[0] & 0xFFFF
    unpack = struct.Struct(order + "IIII").unpack_from
    number = 0
    while buffer.has(16):
        seconds, fraction, kept, length = unpack(buffer.data, buffer.pos)
        offset = buffer.at
        if kept > MAX_PACKET:
            yield Damage(f"a packet of {kept} octets; what follows is not read", offset, buffer.rest())
            return
        if not buffer.has(16 + kept):
            yield Damage("the last packet is cut", offset, buffer.rest())
            return
        start = buffer.pos + 16
        buffer.pos = start + kept
        buffer.at = offset + 16 + kept
        number += 1
        ns = seconds * 1_000_000_000 + fraction * to_ns
        yield Packet(ns, link, buffer.data[start : buffer.pos], max(length, kept), offset, number)
    if buffer.rest():
        yield Damage("the last packet is cut", buffer.at, buffer.rest())


class _Sections:
    """The blocks of a pcapng file; each section has its byte order and its interfaces."""

    def __init__(self, buffer: _Buffer) -> None:
        self.buffer = buffer
        self.order = "<"
        self.interfaces: list[_Interface] = []
        self.number = 0

    def packets(self) -> Iterator[Packet | Damage]:
        buffer = self.buffer
        while buffer.has(8):
            offset = buffer.at
            if buffer.data[buffer.pos : buffer.pos + 4] == SECTION and not self._section():
                yield Damage("a section without its byte-order magic", offset, buffer.rest())
                return
            kind, size = struct.unpack_from(self.order + "II", buffer.data, buffer.pos)
            if size % 4 or size < 12:
                yield Damage(f"a block of {size} octets; what follows is not read", offset, buffer.rest())
                return
            if size > MAX_BLOCK:
                yield Damage(f"a block of {size} octets is passed over", offset, buffer.rest()[:64])
                if not buffer.skip(size):
                    yield Damage("the last block is cut", offset, b"")
                    return
                continue
            if not buffer.has(size):
                yield Damage("the last block is cut", offset, buffer.rest())
                return
            block = buffer.take(size)
            if block[4:8] != block[-4:]:
                yield Damage("the two lengths of a block differ; what follows is not read", offset, block[:MAX_SHOWN])
                return
            try:
                found = self._block(kind, block, offset)
            except struct.error:
                found = Damage("a block that is too short for its kind", offset, block[:MAX_SHOWN])
            if found is not None:
                yield found
        if buffer.rest():
            yield Damage("the last block is cut", buffer.at, buffer.rest())

    def _section(self) -> bool:
        if not self.buffer.has(12):
            return False
        magic = self.buffer.data[self.buffer.pos + 8 : self.buffer.pos + 12]
        if magic not in (b"\x4d\x3c\x2b\x1a", b"\x1a\x2b\x3c\x4d"):
            return False
        self.order = "<" if magic[0] == 0x4D else ">"
        self.interfaces = []
        return True

    def _block(self, kind: int, block: bytes, offset: int) -> Packet | Damage | None:
        if kind == 1:
            self._interface(block)
            return None
        if kind == 6:  # enhanced packet
            number, high, low, kept, length = struct.unpack_from(self.order + "5I", block, 8)
            return self._packet(block, offset, number, (high << 32) | low, kept, length, 28)
        if kind == 3:  # simple packet: of the first interface, without a time
            (length,) = struct.unpack_from(self.order + "I", block, 8)
            snap = self.interfaces[0].snap if self.interfaces else 0
            kept = min(length, snap or length, len(block) - 16)
            return self._packet(block, offset, 0, None, kept, length, 12)
        if kind == 2:  # packet, obsolete
            number, _, high, low, kept, length = struct.unpack_from(self.order + "HH4I", block, 8)
            return self._packet(block, offset, number, (high << 32) | low, kept, length, 28)
        return None  # names, statistics, secrets, what vendors add: no packets

    def _packet(
        self, block: bytes, offset: int, number: int, stamp: int | None, kept: int, length: int, start: int
    ) -> Packet | Damage:
        if number >= len(self.interfaces):
            return Damage(f"a packet of interface {number}, which nobody described", offset, block[:MAX_SHOWN])
        if kept > MAX_PACKET or start + kept > len(block) - 4:
            return Damage(f"a packet of {kept} octets in a block of {len(block)}", offset, block[:MAX_SHOWN])
        interface = self.interfaces[number]
        self.number += 1
        options = start + kept + (-kept % 4)
        comment = _text(self._options(block, options).get(1, b"")) if options < len(block) - 4 else ""
        ns = 0 if stamp is None else interface.ns(stamp)
        data = block[start : start + kept]
        return Packet(ns, interface.link, data, max(length, kept), offset, self.number, interface.name, comment)

    def _interface(self, block: bytes) -> None:
        if len(self.interfaces) >= MAX_INTERFACES:
            return
        link, _, snap = struct.unpack_from(self.order + "HHI", block, 8)
        options = self._options(block, 16)
        interface = _Interface(link, _text(options.get(2, b"")), snap)
        resolution = options.get(9, b"")
        if resolution:
            exponent = resolution[0] & 0x7F
            interface.units = 2**exponent if resolution[0] & 0x80 else 10 ** min(exponent, 38)
        if len(options.get(14, b"")) == 8:
            (interface.shift_s,) = struct.unpack(self.order + "q", options[14])
        self.interfaces.append(interface)

    def _options(self, block: bytes, at: int) -> dict[int, bytes]:
        """The first value of each option; an option that leaves the block ends the list."""
        found: dict[int, bytes] = {}
        while at + 4 <= len(block) - 4:
            code, size = struct.unpack_from(self.order + "HH", block, at)
            if code == 0 or at + 4 + size > len(block) - 4:
                break
            found.setdefault(code, block[at + 4 : at + 4 + size])
            at += 4 + size + (-size % 4)
        return found


def _text(data: bytes) -> str:
    return data[:1024].rstrip(b"\0").decode("utf-8", "backslashreplace")
