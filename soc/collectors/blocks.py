"""Records of a file, one by one or in runs, to raw blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from soc.errors import SocError
from soc.model.clock import Clock
from soc.model.record import OVERSIZE, RawBlock

MAX_BLOCK_BYTES = 2 << 20
"""A block is closed when it holds this much, so that it fits a frame."""
_NOTHING: Mapping[str, str] = {}


class Record(NamedTuple):
    """One record, its 1-based number in the file (for text: the line), whether it is a piece of a longer one, and the
    header it stands under; of a datagram also who sent it and when it came (ns since the epoch)."""

    data: bytes
    number: int
    is_cut: bool = False
    origin: Mapping[str, str] = _NOTHING
    peer: str = ""
    receipt_ns: int = 0


class Run(NamedTuple):
    """Whole records whose numbers follow each other from `number` on: what most records of most files are."""

    records: list[bytes]
    number: int


class Packer:
    """Collects records into blocks whose numbers run without a gap."""

    def __init__(
        self,
        name: str,
        site: str,
        listener: str,
        clock: Clock,
        origin: Mapping[str, str],
        most: int,
        most_bytes: int = MAX_BLOCK_BYTES,
    ) -> None:
        self.form = "lines"
        self._name, self._site, self._listener = name, site, listener
        self._clock, self._origin, self._most, self._most_bytes = clock, origin, most, most_bytes
        self._held: list[bytes] = []
        self._cut: list[int] = []
        self._receipts: list[int] = []
        self._size = 0
        self._first = self._last = Record(b"", 0)
        self._seq = 0

    def blocks(self, records: Iterator[Record | Run]) -> Iterator[RawBlock]:
        """Blocks of these records. A block ends where a number is skipped, so that `first_record` tells them all."""
        try:
            for each in records:
                if isinstance(each, Run):
                    yield from self._run(each)
                    continue
                if self._held and not (self._goes_on(each) and self._fits(each.data)):
                    yield self._block()
                self._hold(each)
        except SocError:
            if self._held:  # what came before the damage is not lost
                yield self._block()
            raise
        if self._held:
            yield self._block()

    def _run(self, run: Run) -> Iterator[RawBlock]:
        begin, whole = Record(b"", run.number), sum(map(len, run.records))
        if self._held and not self._goes_on(begin):
            yield self._block()
        if self._held and len(self._held) + len(run.records) <= self._most and self._size + whole <= self._most_bytes:
            self._held += run.records
            self._size += whole
            self._last = Record(b"", run.number + len(run.records) - 1)
            return
        for number, data in enumerate(run.records, run.number):
            if self._held and not self._fits(data):
                yield self._block()
            self._hold(Record(data, number))

    def _goes_on(self, record: Record) -> bool:
        last = self._last
        return record.number == last.number + 1 and record.origin is last.origin and record.peer == last.peer

    def _fits(self, data: bytes) -> bool:
        return len(self._held) < self._most and self._size + len(data) <= self._most_bytes

    def _hold(self, record: Record) -> None:
        if not self._held:
            self._first = record
        if record.is_cut:
            self._cut.append(len(self._held))
        if record.peer:
            self._receipts.append(record.receipt_ns)
        self._held.append(record.data)
        self._size += len(record.data)
        self._last = record

    def _block(self) -> RawBlock:
        held, cut, receipts = self._held, self._cut, self._receipts
        self._held, self._cut, self._receipts, self._size = [], [], [], 0
        self._seq += 1
        first, now_ns, flags = self._first, self._clock.now_ns(), bytearray(len(held) if cut else 0)
        for i in cut:
            flags[i] = OVERSIZE
        return RawBlock.of(
            held, receipt_ns=[ns or now_ns for ns in receipts] or now_ns,
            site=self._site, listener=self._listener, peer=first.peer or self._name, format=self.form,
            origin={**self._origin, **first.origin, "log.file.path": self._name, "first_record": str(first.number)},
            flags=bytes(flags), node="file", seq=self._seq,
        )  # fmt: skip
