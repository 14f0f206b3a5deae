"""IP packets out of their fragments (RFC 791, RFC 8200 section 4.5), within bounds of time and memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from soc.parsers.decoders.packet_file import Packet
from soc.parsers.decoders.packet_layers import Datagram, Frame, extensions

TIMEOUT_NS = 30_000_000_000
"""Fragments that wait longer for the rest are given out as they are."""
MAX_PACKETS = 1024
"""Packets that wait for fragments; the oldest gives way."""
MAX_PIECES = 256
"""Fragments of one packet: 65,535 octets in pieces of 256."""
MAX_HELD = 16 << 20
"""Octets of all fragments that wait."""
Key = tuple[str, bytes, bytes, int, int]
"""Interface, source, destination, protocol, identification."""


class Whole(NamedTuple):
    """A packet put together: `payload` behind the IP header, what it took, and what is to be said of it.

    Without all of its fragments (`fragments_incomplete`) the payload ends before the first gap. `first` is
    the packet that came first of its fragments, at `last_ns` came the last.
    """

    key: Key
    first: Packet
    last_ns: int
    frame: Frame
    payload: bytes
    length: int
    packets: int
    size: int
    marks: tuple[str, ...]

    @property
    def datagram(self) -> Datagram:
        """Its header: places are those in `payload`, behind the extension headers that came in the fragments."""
        _, source, target, protocol, _ = self.key
        at = 0
        if len(source) == 16:
            protocol, at, _ = extensions(self.payload, 0, self.length, protocol)
        return Datagram(source, target, protocol, at, self.length, self.size)


@dataclass
class _Waiting:
    first: Packet
    frame: Frame
    last_ns: int = 0
    pieces: dict[int, bytes] = field(default_factory=dict)
    lengths: dict[int, int] = field(default_factory=dict)
    packets: int = 0
    size: int = 0
    end: int = -1
    marks: dict[str, None] = field(default_factory=dict)

    @property
    def held(self) -> int:
        return sum(map(len, self.pieces.values()))

    def whole(self, key: Key) -> Whole:
        parts, at = [], 0
        for start in sorted(self.pieces):
            piece = self.pieces[start]
            if start > at:
                break
            if start < at:
                self.marks["fragments_overlap"] = None
            parts.append(piece[at - start :])
            at = max(at, start + self.lengths[start])
            if len(piece) < self.lengths[start]:
                break  # not all of it was captured
        payload = b"".join(parts)
        if self.end < 0 or at < self.end:
            self.marks["fragments_incomplete"] = None
        length = self.end if self.end >= 0 else max(s + n for s, n in self.lengths.items())
        return Whole(
            key,
            self.first,
            self.last_ns,
            self.frame,
            payload[:length],
            length,
            self.packets,
            self.size,
            tuple(self.marks),
        )

    def is_complete(self) -> bool:
        at = 0
        for start in sorted(self.lengths):
            if start > at:
                return False
            at = max(at, start + self.lengths[start])
        return 0 <= self.end <= at


class Fragments:
    """Fragments that wait for the others of their packet."""

    def __init__(self) -> None:
        self._waiting: dict[Key, _Waiting] = {}
        self._held = 0
        self.counts: Counter[str] = Counter()
        """Packets given out before they were whole, by the bound that was met."""

    def add(self, packet: Packet, frame: Frame, datagram: Datagram) -> list[Whole]:
        """Packets that are done now: this one, which is a fragment, when it is whole; others that had to give way."""
        assert datagram.fragment is not None
        number, start, more = datagram.fragment
        key = (packet.interface, datagram.source, datagram.target, datagram.protocol, number)
        done = self._room()
        waiting = self._waiting.setdefault(key, _Waiting(packet, frame))
        payload, length, size = (
            packet.data[datagram.at : datagram.end],
            max(datagram.end - datagram.at, 0),
            datagram.size,
        )
        waiting.last_ns = packet.ns
        waiting.packets += 1
        waiting.size += size
        if start in waiting.pieces:
            waiting.marks["fragments_overlap"] = None  # the first counts
        else:
            waiting.pieces[start] = payload
            waiting.lengths[start] = length
            self._held += len(payload)
        if not more:
            waiting.end = start + length
        if waiting.is_complete():
            done.append(self._give(key))
        elif len(waiting.pieces) >= MAX_PIECES:
            self.counts["fragments_pieces"] += 1
            done.append(self._give(key))
        return done

    def _room(self) -> list[Whole]:
        done = []
        while self._waiting and (len(self._waiting) >= MAX_PACKETS or self._held > MAX_HELD):
            self.counts["fragments_full"] += 1
            done.append(self._give(next(iter(self._waiting))))
        return done

    def _give(self, key: Key) -> Whole:
        waiting = self._waiting.pop(key)
        self._held -= waiting.held
        return waiting.whole(key)

    def expired(self, ns: int) -> list[Whole]:
        """Packets whose time is over."""
        late = [key for key, waiting in self._waiting.items() if ns - waiting.first.ns > TIMEOUT_NS]
        self.counts["fragments_late"] += len(late)
        return [self._give(key) for key in late]

    def rest(self) -> list[Whole]:
        """All that still waits, at the end."""
        return [self._give(key) for key in list(self._waiting)]
