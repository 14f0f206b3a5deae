"""Many files through the parsers: small ones are joined into large batches, which cost half as much an event."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from soc.collectors.archives import Member
from soc.errors import SocError, UsageError
from soc.model.batch import Column, EventBatch, LazyColumns, Left
from soc.model.clock import Clock
from soc.model.fields import FieldType
from soc.model.joined import Joined, Stretch
from soc.model.lazy import LazyMapping
from soc.model.record import RawBlock
from soc.parsers import ParserSet, ParserState
from soc.pipeline.files import BLOCK_BYTES, parsed, raw_blocks

TOGETHER_BYTES = 2 * BLOCK_BYTES
"""Blocks are joined up to so much; twice that would save a twentieth more, and take 50 MiB (measured)."""
WAIT_NS = 500_000_000
"""What was read waits so long for more, so that the first hits come soon."""
_ALONE_EACH = frozenset({"windows-json"})
"""Formats of which every record is read for itself: nothing goes on from one block to the next."""
_OF_ITS_FILE = ("log.file.path", "soc.source", "soc.record")
Array = np.ndarray[Any, Any]
Told = Callable[[Path | None, Sequence[Member], Exception | None], None]
"""Called behind each file: what became of its members, and what ended it early."""


def parse_files(
    parsers: ParserSet,
    paths: Iterable[Path | None],
    clock: Clock,
    told: Told,
    *,
    format: str = "auto",
    product: str | None = None,
) -> Iterator[Joined]:
    """The events of files (None: standard input), as `parse_file` gives them one by one; a file that cannot be read is
    told, behind the events of those before it, and stops no other. Raises UsageError."""
    held, numbers = _Held(parsers, clock), count(1)
    for path in paths:
        members: list[Member] = []
        state, error = ParserState(), None
        if path is None or not path.is_file():  # a pipe may let us wait
            yield from held.taken()
        try:
            for block in raw_blocks(parsers, path, clock, format=format, product=product, members=members):
                numbered = replace(block, seq=next(numbers))  # an identity of its own beside those of other files
                if product is None and block.format in _ALONE_EACH:
                    held.add(numbered)
                    if held.is_due():
                        yield from held.taken()
                    continue
                yield from held.taken()
                batches, state = parsed(parsers, numbered, state, clock, product)
                yield Joined.of(batches)
        except (SocError, OSError) as raised:
            yield from held.taken()
            if isinstance(raised, UsageError):
                raise
            error = raised
        told(path, members, error)
    yield from held.taken()


class _Held:
    """Blocks that wait for others to be parsed with."""

    def __init__(self, parsers: ParserSet, clock: Clock) -> None:
        self._parsers, self._clock = parsers, clock
        self._blocks: list[RawBlock] = []
        self._size = self._since_ns = 0

    def add(self, block: RawBlock) -> None:
        """One more."""
        if not self._blocks:
            self._since_ns = self._clock.monotonic_ns()
        self._blocks.append(block)
        self._size += len(block.data)

    def is_due(self) -> bool:
        """Whether they are enough, or have waited long enough."""
        return self._size >= TOGETHER_BYTES or self._clock.monotonic_ns() - self._since_ns >= WAIT_NS

    def taken(self) -> Iterator[Joined]:
        """Their events, if there are any, and nothing is held any more."""
        blocks, self._blocks, self._size = self._blocks, [], 0
        if len(blocks) > 1:
            yield _joined(self._parsers, blocks, self._clock.now_ns())
        elif blocks:
            yield Joined.of(self._parsers.parse(blocks[0], ParserState(), self._clock.now_ns())[0])


def _joined(parsers: ParserSet, blocks: Sequence[RawBlock], now_ns: int) -> Joined:
    whole = RawBlock.joined(blocks)
    whole = replace(whole, origin={**whole.origin, "first_record": "1"})
    origins = _Origins(blocks)
    batches, stretches = [], []
    for number, batch in enumerate(parsers.parse(whole, ParserState(), now_ns)[0]):
        rows = np.array(batch.values("soc.record"), np.int64) - 1
        batches.append(EventBatch(batch.dataset, batch.n, _Attributed(batch, rows, origins)))
        edges = np.searchsorted(rows, [0, *origins.stops])
        for block in np.flatnonzero(np.diff(edges)).tolist():
            start, stop = edges[block : block + 2].tolist()
            stretches.append((block, int(rows[start]), Stretch(number, start, stop)))
    return Joined(batches, [stretch for *_, stretch in sorted(stretches)])


class _Origins:
    """Where the records of joined blocks are from, by their row in the whole."""

    def __init__(self, blocks: Sequence[RawBlock]) -> None:
        self.stops = np.cumsum([block.n for block in blocks])
        firsts = np.array([int(block.origin["first_record"]) for block in blocks])
        self._shifts = firsts - (self.stops - [block.n for block in blocks])
        self._texts = {
            "log.file.path": [block.origin["log.file.path"] for block in blocks],
            "soc.source": [block.source for block in blocks],
        }

    def column(self, name: str, rows: Array) -> Column:
        """One of `_OF_ITS_FILE`."""
        blocks = np.searchsorted(self.stops, rows, side="right")
        if name == "soc.record":
            return Column.numpy(FieldType.LONG, rows + self._shifts[blocks])
        texts = self._texts[name]
        return Column.of(FieldType.KEYWORD, [texts[block] for block in blocks.tolist()])


class _Attributed(LazyColumns):
    """The columns of a batch of joined blocks, each event with its own file."""

    def __init__(self, batch: EventBatch, rows: Array, origins: _Origins) -> None:
        super().__init__()
        self._batch, self._rows, self._origins = batch, rows, origins

    def names(self) -> Iterable[str]:
        columns = self._batch.columns
        return columns.names() if isinstance(columns, LazyMapping) else columns

    def said(self) -> Iterable[str]:
        return self._batch.said()

    def left(self) -> Left:
        return self._batch.left()

    def pick(self, rows: Sequence[int]) -> LazyColumns:
        return _Attributed(self._batch.pick(rows), self._rows[np.array(rows, np.int64)], self._origins)

    def make(self, name: str) -> Column | None:
        return self._origins.column(name, self._rows) if name in _OF_ITS_FILE else self._batch.columns.get(name)
