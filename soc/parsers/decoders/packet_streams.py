"""TCP segments to octets in order (RFC 9293 section 3.4), within bounds; what was not captured is told as a gap."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple, Protocol

MAX_HELD = 256 << 10
"""Octets of one direction that wait for an earlier segment."""
MAX_SEGMENTS = 256
"""Segments of one direction that wait."""
MAX_TOTAL = 64 << 20
"""Octets that wait in all directions together."""
_MASK = 0xFFFFFFFF


class At(NamedTuple):
    """The packet that something began in: when, its number in the capture, the file that has it and where in it."""

    ns: int
    number: int
    offset: int
    file: str


class Listener(Protocol):
    """What takes the octets of one connection; `reply` tells the responder's from the initiator's."""

    def data(self, reply: bool, data: bytes, at: At) -> None: ...
    def gap(self, reply: bool, octets: int) -> None: ...


class Budget:
    """What all streams of a sensor hold together, and how often a bound was met."""

    def __init__(self) -> None:
        self.held = 0
        self.counts: Counter[str] = Counter()


class Stream:
    """One direction of a connection."""

    __slots__ = ("_budget", "_held", "_listener", "_next", "_reply", "_size")

    def __init__(self, listener: Listener, reply: bool, budget: Budget) -> None:
        self._listener, self._reply, self._budget = listener, reply, budget
        self._next: int | None = None
        self._held: dict[int, tuple[bytes, int, At]] = {}
        self._size = 0

    def begin(self, sequence: int) -> None:
        """A SYN with this number was seen."""
        self._next = (sequence + 1) & _MASK

    def segment(self, sequence: int, data: bytes, missing: int, at: At) -> None:
        """A segment: what was captured of it, and how many octets behind that were not."""
        if self._next is None:
            self._next = sequence  # the beginning was not seen
        ahead = (sequence - self._next) & _MASK
        if ahead == 0:
            self._deliver(data, missing, at)
        elif ahead > _MASK >> 1:
            self._late(_MASK + 1 - ahead, data, missing, at)
        else:
            self._hold(sequence, data, missing, at)
            return
        if self._held:
            self._drain()

    def _deliver(self, data: bytes, missing: int, at: At) -> None:
        assert self._next is not None
        self._next = (self._next + len(data) + missing) & _MASK
        if data:
            self._listener.data(self._reply, data, at)
        if missing:
            self._listener.gap(self._reply, missing)

    def _late(self, behind: int, data: bytes, missing: int, at: At) -> None:
        """The first that came counts; only what is new of this one is taken."""
        if len(data) > behind:
            self._deliver(data[behind:], missing, at)
        elif len(data) + missing > behind:
            self._deliver(b"", len(data) + missing - behind, at)

    def _hold(self, sequence: int, data: bytes, missing: int, at: At) -> None:
        known = self._held.get(sequence)
        if known is not None and len(known[0]) + known[1] >= len(data) + missing:
            return
        self._drop(sequence)
        self._held[sequence] = (data, missing, at)
        self._size += len(data)
        self._budget.held += len(data)
        bound = (
            "stream_octets" if self._size > MAX_HELD
            else "stream_segments" if len(self._held) > MAX_SEGMENTS
            else "streams_total" if self._budget.held > MAX_TOTAL
            else ""
        )  # fmt: skip
        if bound:
            self._budget.counts[bound] += 1
            self._give_up()

    def _drop(self, sequence: int) -> tuple[bytes, int, At] | None:
        found = self._held.pop(sequence, None)
        if found is not None:
            self._size -= len(found[0])
            self._budget.held -= len(found[0])
        return found

    def _drain(self) -> None:
        while self._held:
            first = min(self._held, key=self._distance)
            distance = self._distance(first)
            if distance > 0:
                return
            found = self._drop(first)
            assert found is not None
            self._late(-distance, *found) if distance else self._deliver(*found)

    def _distance(self, sequence: int) -> int:
        assert self._next is not None
        ahead = (sequence - self._next) & _MASK
        return ahead if ahead <= _MASK >> 1 else ahead - _MASK - 1

    def _give_up(self) -> None:
        """The segment that is missing will not come: go on behind it."""
        distance = self._distance(min(self._held, key=self._distance))
        if distance > 0:
            assert self._next is not None
            self._next = (self._next + distance) & _MASK
            self._listener.gap(self._reply, distance)
        self._drain()

    def finish(self) -> None:
        """No more segments come: give out what waits, with the gaps in it."""
        while self._held:
            self._give_up()

    def close(self) -> None:
        """Let go of what waits; nobody listens any more."""
        for sequence in list(self._held):
            self._drop(sequence)
