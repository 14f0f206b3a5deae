"""`LogReader`: what consumers read of a log, across nodes and segments, and how far they are behind; `trim`."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from soc.errors import NewerStore
from soc.model.position import Partition, Position
from soc.model.record import RawBlock
from soc.store.queue.frame import Damage, FrameRef, decode, newer
from soc.store.queue.log import MARK_NAME
from soc.store.queue.segment import Mark, MarkFile, nodes, segment_name, segments, walk

KEPT_SEGMENTS = 2
"""`trim` leaves a node's newest segments: the one being written, and one for the collector's recount after a crash."""


class Lag(TypedDict):
    """What a consumer has not passed yet; `oldest_receipt_ns` is None when there is nothing."""

    frames: int
    records: int
    oldest_receipt_ns: int | None


Cursors = Mapping[Partition, Position]


class LogReader:
    """Reads one log of all nodes; keeps its place between calls. For one thread.

    A cursor stands for a whole frame: a frame is passed when the cursor of its partition has its sequence number or a
    higher one. Cursors only ever move forward; when one moved back the reader starts again at the beginning.
    `damaged` counts the places it had to skip.
    """

    def __init__(self, root: Path, log: str) -> None:
        self.root = root
        self.log = log
        self._tails: dict[str, _Tail] = {}
        self._partitions: frozenset[int] | None = None
        self._first_node = 0

    @property
    def damaged(self) -> int:
        """Places with bytes that are no frame, met so far."""
        return sum(tail.damaged for tail in self._tails.values())

    def read(
        self, after: Cursors, partitions: Iterable[int] | None, max_frames: int, max_bytes: int = 1 << 62
    ) -> list[RawBlock]:
        """The next durable frames past the cursors, at most so many, in order for each node; empty when there are none.

        A node is asked for no more once its frames have reached its part of `max_bytes`. `partitions` None means all.
        Nodes get equal shares. Raises NewerStore and StoreError.
        """
        wanted = None if partitions is None else frozenset(partitions)
        if wanted != self._partitions:
            self._partitions = wanted
            for tail in self._tails.values():
                tail.rewind()
        tails = self._refresh()
        found: list[RawBlock] = []
        for i, tail in enumerate(tails):
            room = _Room(-(-(max_frames - len(found)) // (len(tails) - i)), -(-max_bytes // len(tails)))
            try:
                found.extend(tail.read(after, wanted, room))
            except NewerStore as error:
                raise newer(tail.folder, error) from error
        return found

    def _refresh(self) -> list[_Tail]:
        for node in nodes(self.root, self.log):
            if node not in self._tails:
                self._tails[node] = _Tail(self.root / self.log / node, self.log, node)
        tails = list(self._tails.values())
        self._first_node = (self._first_node + 1) % len(tails) if tails else 0
        return tails[self._first_node :] + tails[: self._first_node]

    def lag(self, after: Cursors) -> Lag:
        """What lies past the cursors, of all nodes and partitions."""
        total = Lag(frames=0, records=0, oldest_receipt_ns=None)
        for tail in self._refresh():
            for part in tail.pending(after):
                total["frames"] += part.frames
                total["records"] += part.records
                oldest = total["oldest_receipt_ns"]
                total["oldest_receipt_ns"] = part.oldest_ns if oldest is None else min(oldest, part.oldest_ns)
        return total

    def close(self) -> None:
        """Close the files."""
        for tail in self._tails.values():
            tail.close()
        self._tails.clear()


def trim(root: Path, log: str, upto: Cursors) -> int:
    """Delete the segment files in which every frame is passed by `upto`, the cursors that all consumers have reached.

    A partition that is not in `upto` was passed by nobody. Returns how many files were deleted.
    """
    deleted = 0
    for node in nodes(root, log):
        folder = root / log / node
        for first in segments(folder)[:-KEPT_SEGMENTS]:
            summary = _Summary(folder, first)
            summary.extend(None)
            if not summary.passed(node, log, upto):
                break
            (folder / segment_name(first)).unlink(missing_ok=True)
            deleted += 1
    return deleted


@dataclass
class _Part:
    """Frames of one partition in one segment."""

    frames: int = 0
    records: int = 0
    first_seq: int = -1
    last_seq: int = -1
    oldest_ns: int = 0

    def add(self, ref: FrameRef) -> None:
        self.oldest_ns = min(self.oldest_ns, ref.first_receipt_ns) if self.frames else ref.first_receipt_ns
        self.first_seq = ref.seq if not self.frames else self.first_seq
        self.last_seq = ref.seq
        self.frames += 1
        self.records += ref.records


@dataclass
class _Summary:
    """What a segment holds, by partition, read up to `offset`."""

    folder: Path
    first_seq: int
    offset: int = 0
    last_seq: int = -1
    parts: dict[int, _Part] = field(default_factory=dict)

    def extend(self, limit: int | None) -> None:
        """Read on, up to `limit` bytes (None: all of it)."""
        for ref in _refs(self.folder / segment_name(self.first_seq), self.offset, limit, self.last_seq):
            self.offset = ref.offset + ref.size
            self.last_seq = ref.seq
            self.parts.setdefault(ref.partition, _Part()).add(ref)

    def passed(self, node: str, log: str, after: Cursors) -> bool:
        return all(part.last_seq <= _seq(after, node, log, number) for number, part in self.parts.items())

    def pending(self, node: str, log: str, after: Cursors) -> dict[int, _Part]:
        """What lies past the cursors; only a segment that a cursor stands inside of is read again."""
        left: dict[int, _Part] = {}
        inside: dict[int, int] = {}
        for number, part in self.parts.items():
            seq = _seq(after, node, log, number)
            if seq < part.first_seq:
                left[number] = part
            elif seq < part.last_seq:
                inside[number] = seq
        if inside:
            for ref in _refs(self.folder / segment_name(self.first_seq), 0, self.offset, -1):
                if ref.seq > inside.get(ref.partition, ref.seq):
                    left.setdefault(ref.partition, _Part()).add(ref)
        return left


def _refs(path: Path, offset: int, limit: int | None, last_seq: int) -> Iterator[FrameRef]:
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return  # trimmed: everything in it was passed
    try:
        stop = os.fstat(fd).st_size if limit is None else limit
        for item in walk(fd, offset, stop, last_seq=last_seq, final=limit is not None):
            if isinstance(item, FrameRef):
                yield item
    finally:
        os.close(fd)


def _seq(after: Cursors, node: str, log: str, partition: int) -> int:
    position = after.get(Partition(node, log, partition))
    return -1 if position is None else position.seq


@dataclass
class _Room:
    """What may still be read in this call."""

    frames: int
    bytes: int

    @property
    def is_left(self) -> bool:
        return self.frames > 0 and self.bytes > 0

    def take(self, size: int) -> None:
        self.frames -= 1
        self.bytes -= size


class _Tail:
    """One node's log as one reader sees it: the frames it met and that are not passed yet, and where to read on."""

    def __init__(self, folder: Path, log: str, node: str) -> None:
        self.folder = folder
        self.log = log
        self.node = node
        self.damaged = 0
        self._mark_file: MarkFile | None = None
        self._mark: Mark | None = None
        self._summaries: dict[int, _Summary] = {}
        self._fd = -1
        self._seen: dict[int, int] = {}
        self._damage_met: set[tuple[int, int]] = set()
        self.rewind()

    def rewind(self) -> None:
        """Forget the place."""
        self._segment = -1
        self._offset = 0
        self._last_seq = -1
        self._met: deque[tuple[int, FrameRef]] = deque()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def close(self) -> None:
        self.rewind()
        if self._mark_file:
            self._mark_file.close()

    # how far --------------------------------------------------------------------------------------------------------

    def _limit(self, segment: int) -> int | None:
        """Durable bytes of a segment; None: the writer left no mark, so as far as there are whole frames."""
        if self._mark_file is None:
            try:
                self._mark_file = MarkFile(self.folder / MARK_NAME, writable=False)
            except (FileNotFoundError, ValueError):
                return None  # copied without its mark, or the writer is just creating it
        self._mark = self._mark_file.get() or self._mark
        if self._mark is None or segment < self._mark.first_seq:
            return None
        return self._mark.length if segment == self._mark.first_seq else 0

    # reading --------------------------------------------------------------------------------------------------------

    def read(self, after: Cursors, wanted: frozenset[int] | None, room: _Room) -> list[RawBlock]:
        self._notice_cursors(after)
        self._drop_passed(after)
        found: list[RawBlock] = []
        for segment, ref in self._met:
            if not room.is_left:
                return found
            if ref.seq > _seq(after, self.node, self.log, ref.partition):
                found.extend(self._load(segment, ref, room))
        while room.is_left and self._advance(after, wanted, found, room):
            pass
        return found

    def _notice_cursors(self, after: Cursors) -> None:
        mine = {p.number: at.seq for p, at in after.items() if p.node == self.node and p.log == self.log}
        if any(mine.get(number, -1) < seq for number, seq in self._seen.items()):
            self.rewind()
        self._seen = mine

    def _drop_passed(self, after: Cursors) -> None:
        while self._met and self._met[0][1].seq <= _seq(after, self.node, self.log, self._met[0][1].partition):
            self._met.popleft()

    def _advance(self, after: Cursors, wanted: frozenset[int] | None, found: list[RawBlock], room: _Room) -> bool:
        """Read on in the current segment; whether there may be more behind it."""
        if self._fd < 0 and not self._open_next():
            return False
        known = segments(self.folder)
        is_last = not known or known[-1] <= self._segment
        limit = self._limit(self._segment)
        stop = os.fstat(self._fd).st_size if limit is None else limit
        final = limit is not None or not is_last
        for item in walk(self._fd, self._offset, stop, last_seq=self._last_seq, final=final):
            self._offset = item.offset + item.size
            if isinstance(item, Damage):
                self._note_damage(item)
                continue
            self._last_seq = item.seq
            if wanted is not None and item.partition not in wanted:
                continue
            if item.seq <= _seq(after, self.node, self.log, item.partition):
                continue
            self._met.append((self._segment, item))
            found.extend(self._load(self._segment, item, room))
            if not room.is_left:
                return True
        # The listing was taken before the limit: a later segment exists only after this one was complete.
        return not is_last and self._open_next()

    def _note_damage(self, item: Damage) -> None:
        place = (self._segment, item.offset)
        if place not in self._damage_met:
            self._damage_met.add(place)
            self.damaged += 1

    def _open_next(self) -> bool:
        for first in segments(self.folder):
            if first <= self._segment:
                continue
            try:
                fd = os.open(self.folder / segment_name(first), os.O_RDONLY)
            except FileNotFoundError:
                continue  # trimmed meanwhile: everything in it was passed
            if self._fd >= 0:
                os.close(self._fd)
            self._fd, self._segment, self._offset = fd, first, 0
            return True
        return False

    def _load(self, segment: int, ref: FrameRef, room: _Room) -> list[RawBlock]:
        fd = self._fd
        if segment != self._segment:
            try:
                fd = os.open(self.folder / segment_name(segment), os.O_RDONLY)
            except FileNotFoundError:
                return []  # trimmed by the cursors of all consumers
        try:
            room.take(ref.size)
            return [decode(os.pread(fd, ref.size, ref.offset), node=self.node, log=self.log)]
        finally:
            if fd != self._fd:
                os.close(fd)

    # how far behind -------------------------------------------------------------------------------------------------

    def pending(self, after: Cursors) -> Iterator[_Part]:
        known = segments(self.folder)
        for gone in self._summaries.keys() - set(known):
            del self._summaries[gone]
        for first in known:
            summary = self._summaries.setdefault(first, _Summary(self.folder, first))
            summary.extend(self._limit(first))
            yield from summary.pending(self.node, self.log, after).values()
