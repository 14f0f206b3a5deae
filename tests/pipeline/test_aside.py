"""Which frames of the dead log still stand for records that nobody stored."""

from __future__ import annotations

from dataclasses import replace

import pytest

from soc.model.position import Partition, Position
from soc.model.record import RawBlock
from soc.pipeline import aside

RAW = RawBlock.of([b"a", b"b"], receipt_ns=1, node="collect", seq=5)
NUMBER = RAW.partition.number


def at(block: RawBlock, seq: int) -> RawBlock:
    """As the dead log gives it back."""
    return replace(block, node="work0", log="dead", seq=seq)


FIRST = at(aside.buried(RAW, "a bug"), 10)
TWICE = at(aside.buried(RAW, "a bug"), 11)
AGAIN = at(aside.buried(FIRST, "another bug"), 12)


def standing(*frames: RawBlock, raw: int = 5, dead: int = -1) -> list[int]:
    """The numbers of those that stand, when the cursors of raw and dead log are there."""
    cursors = {Partition("collect", "raw", NUMBER): Position("collect", "raw", raw)}
    if dead >= 0:
        cursors[Partition("work0", "dead", NUMBER)] = Position("work0", "dead", dead)
    told = aside.Standing(cursors)
    return [frame.seq for frame in frames if told.stands(frame)]


@pytest.mark.parametrize(
    ("frames", "cursors", "expected"),
    [
        ((FIRST,), {}, [10]),
        ((FIRST,), {"raw": 4}, []),  # a crash before the store: the raw frame comes again
        ((FIRST, TWICE), {}, [10]),  # a crash between the burial and the store, and the raw frame came again
        ((FIRST, TWICE), {"dead": 10}, []),
        ((FIRST, AGAIN), {}, [10]),  # a crash within a second try: the first decides anew
        ((FIRST, AGAIN), {"dead": 10}, [12]),
        ((FIRST, TWICE, AGAIN), {"dead": 11}, [12]),
        ((FIRST, AGAIN), {"dead": 12}, []),
        ((FIRST, AGAIN, at(AGAIN, 13)), {"dead": 12}, [13]),  # the one that a crash left was passed empty
    ],
)
def test_each_record_stands_once(frames: tuple[RawBlock, ...], cursors: dict[str, int], expected: list[int]) -> None:
    """Nothing that waits or is stored is told a second time, and nothing that is neither is left out."""
    assert standing(*frames, **cursors) == expected


def test_a_burial_names_the_raw_frame_however_often_it_was_tried() -> None:
    """With the last reason, cut; an emptied frame has no records and keeps its place."""
    last = aside.buried(AGAIN, "x" * 600)
    assert (last.origin["input"], last.origin[aside.TRIED], len(last.origin[aside.WHY])) == (
        "collect:raw:5:0",
        "2",
        500,
    )
    empty = aside.emptied(AGAIN)
    assert (empty.n, list(empty.records()), empty.partition, empty.seq) == (0, [], AGAIN.partition, 12)
