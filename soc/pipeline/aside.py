"""Frames that are kept aside in the dead log because they could not become events; a worker tries them at each start.

Such a frame names its raw frame and how often it was tried. A crash may leave one twice, or one whose raw frame comes
again; `Standing` tells those that still stand for records nobody has stored. What becomes events then has its place in
the dead log, whose cursor travels in the store's own frame like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from soc.model.position import Partition, Position
from soc.model.record import RawBlock
from soc.pipeline import records

WHY, TRIED = "why", "tried"
"""In the origin of a frame that is kept aside: what went wrong, and how often it was tried before."""
MAX_WHY = 500


def buried(block: RawBlock, why: str, piece: int = 0) -> RawBlock:
    """The frame as the dead log keeps it, or a piece of it under a number of its own."""
    tried = int(block.origin.get(TRIED, -1)) + 1
    name = {records.INPUT: block.origin[records.INPUT]} if tried else records.naming(block, piece)
    return replace(block, origin={**block.origin, **name, TRIED: str(tried), WHY: why[:MAX_WHY]})


def emptied(block: RawBlock) -> RawBlock:
    """The frame without its records: it is passed, and nothing comes of it."""
    return replace(block, receipt_ns=block.receipt_ns[:0], end=block.end[:0], data=b"", flags=b"")


class Standing:
    """Meets the frames of the dead log in order, those that the cursors have passed too."""

    def __init__(self, cursors: Mapping[Partition, Position]) -> None:
        self._cursors = cursors
        self._done: set[str] = set()
        self._met: set[str] = set()

    def is_passed(self, block: RawBlock) -> bool:
        """Whether an earlier start has dealt with it."""
        cursor = self._cursors.get(block.partition)
        return cursor is not None and block.seq <= cursor.seq

    def stands(self, block: RawBlock) -> bool:
        """Whether its records are neither stored nor waiting anywhere else."""
        name, is_first = block.origin[records.INPUT], block.origin.get(TRIED, "0") == "0"
        if self.is_passed(block):
            if is_first:
                self._done.add(name)
            return False
        raw = records.source_of(block)
        cursor = self._cursors.get(Partition(raw.node, raw.log, block.partition.number))
        if (is_first and name in self._done) or name in self._met or cursor is None or raw.seq > cursor.seq:
            return False
        self._met.add(name)
        return True
