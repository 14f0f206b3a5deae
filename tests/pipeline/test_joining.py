"""Frames that a worker parses as one, of one source or of many: each record is stored once, at its own place, whatever
breaks."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from soc.errors import UnfitEvents
from soc.model.multiline import PATTERN
from soc.model.position import partition_of
from soc.model.record import RawBlock
from soc.parsers.envelope import Envelope
from soc.pipeline import Worker, joining, places
from soc.pipeline.joining import together
from tests.pipeline.test_robust import POISON, frames, poison_matching, poison_store
from tests.pipeline.world import World, failures

ONE = "127.1.2.3"
OTHER = next(peer for n in itertools.count() if partition_of("default", "syslog-udp", peer := f"127.1.3.{n}")
             == partition_of("default", "syslog-udp", ONE))  # fmt: skip
"""Two sources whose frames lie in one partition, so that one cursor moves over both."""
THIRD = "127.1.4.1"


def received(world: World, poisoned: int = -1) -> None:
    """Seven frames of two logins each, of three sources in turns; one frame may hold POISON."""
    for n in range(7):
        source = POISON if n == poisoned else "203.0.113.9"
        world.receive(failures(2, source=source), peer=(ONE, OTHER, THIRD)[n % 3])


def stored(world: World) -> list[str]:
    """The positions of all events."""
    return sorted(event["soc.position"] for event in world.events())


def breaking(poison: str) -> Any:
    """`Envelope.texts` with a bug that shows in blocks that hold the poison."""
    texts = Envelope.texts

    def breaks(self: Envelope) -> list[str]:
        if poison.encode() in self.block.data:
            raise ValueError("a bug")
        return texts(self)

    return breaks


def wanted(world: World, *without: int) -> list[str]:
    """The positions of all records of the raw log, but for these frames."""
    kept = [block for n, block in enumerate(frames(world, places.RAW)) if n not in without]
    return sorted(f"{block.node}:raw:{block.seq}:{ordinal}:0" for block in kept for ordinal in range(block.n))


def ran(world: World, worker: Worker) -> Worker:
    """It handled everything, and is closed."""
    while worker.step():
        pass
    worker.close()
    return worker


def block(seq: int, peer: str = ONE, n: int = 2, **changes: Any) -> RawBlock:
    """A frame."""
    return replace(RawBlock.of([b"x"] * n, receipt_ns=1, peer=peer, seq=seq), **changes)


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        ([block(1), block(2), block(3)], [[1, 2, 3]]),
        ([block(1), block(2, OTHER), block(3), block(4, OTHER)], [[1, 2, 3, 4]]),
        ([block(1), block(2, format="json"), block(3)], [[1], [2], [3]]),  # in the order they came
        ([block(1), block(2, format="json"), block(3, OTHER)], [[1, 3], [2]]),
        ([block(1), block(2, OTHER, format="json"), block(3), block(4, OTHER)], [[1, 3], [2], [4]]),
        ([block(1), block(2, origin={"zone": "UTC"}), block(3, OTHER, origin={"zone": "UTC"})], [[1], [2, 3]]),
        ([block(1), block(2, node="relay"), block(3)], [[1, 3], [2]]),
        ([block(1, format="netflow"), block(2, OTHER, format="netflow")], [[1, 2]]),
        ([block(1, format="sflow"), block(2, format="sflow")], [[1], [2]]),
        ([block(1, format="packet"), block(2, OTHER, format="packet"), block(3, format="packet")], [[1, 3], [2]]),
        ([block(1, log="dead"), block(2, log="dead")], [[1], [2]]),
        (
            [block(1, origin={PATTERN: "stack"}), block(2, origin={PATTERN: "stack"})],
            [[1], [2]],
        ),
        ([block(1, origin={"first_record": "1"}), block(2, origin={"first_record": "1"})], [[1], [2]]),
        ([block(1, n=1999), block(2, n=1), block(3, n=1)], [[1, 2], [3]]),
        ([block(1, n=5000), block(2, n=1)], [[1], [2]]),
        ([], []),
    ],
)
def test_which_frames_go_together(blocks: list[RawBlock], expected: list[list[int]]) -> None:
    """Those that are alike, of each source in their order; what is remembered by the frame, or numbered in it, not."""
    assert [[each.seq for each in group] for group in together(blocks)] == expected


def test_what_is_stored_and_told_is_the_same_joined_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events, matched documents and findings with the frames that they name."""
    told = []
    for home, most in (("joined", joining.MAX_RECORDS), ("apart", 0)):
        world = World.make(tmp_path / home)
        monkeypatch.setattr(joining, "MAX_RECORDS", most)
        received(world)
        worker = world.work()
        assert worker.counts["records"] == worker.counts["events"] == 14
        assert worker.counts["frames"] == 7
        derived = [
            (one.origin["input"], sorted(one.records()))
            for log in (places.MATCHED, places.FINDINGS) for one in frames(world, log)
        ]  # fmt: skip
        told.append((sorted(world.events(), key=lambda event: str(event["soc.position"])), derived))
    assert len(told[0][0]) == 14
    assert len(told[0][1]) == 7
    assert told[0] == told[1]


def test_a_frame_whose_parsing_breaks_goes_aside_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its neighbours in the joined frame become events."""
    world, poisoned = World.make(tmp_path), 5
    received(world, poisoned)
    with monkeypatch.context() as patch:
        patch.setattr(Envelope, "texts", breaking(POISON))
        world.work()
    assert [one.n for one in frames(world, places.DEAD)] == [2]
    assert stored(world) == wanted(world, poisoned)
    assert world.work().counts["records"] == 2  # the next start tries it again
    assert len(world.events()) == 14


def test_a_frame_that_the_store_refuses_goes_aside_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sources of one partition in turns: stored source by source, the cursor would pass frames nobody stored."""
    world, poisoned = World.make(tmp_path), 2
    received(world, poisoned)
    worker = Worker(world.settings, world.clock)
    poison_store(worker, monkeypatch, UnfitEvents("fields not in the dictionary: x"))
    ran(world, worker)
    assert [one.n for one in frames(world, places.DEAD)] == [2]
    assert stored(world) == wanted(world, poisoned)
    assert world.work().counts["records"] == 2
    assert len(world.events()) == 14


def test_only_the_frame_that_breaks_a_rule_is_not_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are stored; the others are matched."""
    world = World.make(tmp_path)
    received(world, 3)
    worker = Worker(world.settings, world.clock)
    poison_matching(worker, monkeypatch)
    ran(world, worker)
    assert worker.counts["unmatched"] == 2
    assert stored(world) == wanted(world)
    assert sorted(int(one.origin["input"].split(":")[2]) for one in frames(world, places.MATCHED)) == [
        one.seq for n, one in enumerate(frames(world, places.RAW)) if n != 3
    ]


@pytest.mark.parametrize("moment", ["before the state", "before the store", "after the store"])
def test_a_worker_killed_over_joined_frames_stores_each_record_once(tmp_path: Path, moment: str) -> None:
    """SIGKILL at each step; what the next one joins is other frames."""
    world = World.make(tmp_path)
    received(world)
    world.killed(moment)
    received(world)
    world.work()
    assert stored(world) == wanted(world)
    world.correlate()
    assert [alert["count"] for alert in world.alerts()] == [1]
