"""Full disks, broken content and workers of an earlier start: nothing is lost, doubled or blocked by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from soc.errors import DiskFull, StoreError, TryAgain, UnfitEvents
from soc.model.batch import EventBatch
from soc.model.record import RawBlock
from soc.pipeline import Correlating, Worker, places
from soc.store.queue import DiskLog, LogReader
from tests.pipeline.world import World, failures

POISON = "203.0.113.66"


def poison_matching(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Matching breaks on an event of POISON."""
    match = worker._detector.match

    def breaks(batch: EventBatch) -> Any:
        if POISON in batch.values("source.ip"):
            raise TypeError("a bug")
        return match(batch)

    monkeypatch.setattr(worker._detector, "match", breaks)


def poison_store(worker: Worker, monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
    """The store raises `fault` for an event of POISON."""
    append = worker.store.append

    def breaks(batches: Sequence[EventBatch], *rest: Any) -> int:
        if any(POISON in batch.values("source.ip") for batch in batches):
            raise fault
        return append(batches, *rest)

    monkeypatch.setattr(worker.store, "append", breaks)


def frames(world: World, log: str) -> list[RawBlock]:
    """Every frame of a log."""
    return LogReader(places.queue(world.settings), log).read({}, None, 1000)


def refuse(*_: object) -> Any:
    raise DiskFull("no space left")


def test_workers_of_another_number_wait_for_those_of_before(tmp_path: Path) -> None:
    """An old worker still has a partition: the new one may not read its cursor, or both would store the same."""
    world = World.make(tmp_path)
    for peer in range(10):
        world.receive(failures(2), peer=f"127.1.2.{peer}")
    more = replace(world.settings, workers=2)
    old = Worker(world.settings, world.clock)
    with pytest.raises(TryAgain, match="another worker still has partition"):
        Worker(more, world.clock, 1)
    old.step()
    old.close()
    for index in range(2):
        worker = Worker(more, world.clock, index)
        worker.step()
        worker.close()
    assert len(world.events()) == 20


def test_a_full_store_repeats_no_derived_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked again and again, the worker goes on at the store: the matched log does not grow, nothing comes twice."""
    world = World.make(tmp_path)
    world.receive(failures(4))
    worker = Worker(world.settings, world.clock)
    with monkeypatch.context() as patch:
        patch.setattr(worker.store, "append", refuse)
        for _ in range(5):
            with pytest.raises(DiskFull):
                worker.step()
    world.receive(failures(2))
    while worker.step():
        pass
    worker.close()
    assert len(frames(world, places.MATCHED)) == 2
    assert len(world.events()) == 6
    assert (worker.counts["records"], worker.counts["events"]) == (6, 6)


def test_findings_that_a_full_disk_refused_come_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cursor is past the frames that completed them, so the correlator has to keep them."""
    world = World.make(tmp_path)
    world.receive(failures(30))
    world.work()
    correlating = Correlating(world.settings, world.clock)
    with monkeypatch.context() as patch:
        patch.setattr(DiskLog, "append", refuse)
        for attempt in (correlating.step, correlating.step, correlating.save):
            with pytest.raises(DiskFull):
                attempt()
    assert not (tmp_path / "run" / "correlate.state").exists()
    correlating.step()
    correlating.close()
    assert sum(block.n for block in frames(world, places.FINDINGS) if block.node == "correlate") == 1


def test_events_that_break_a_rule_are_stored_and_their_neighbours_are_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug in matching costs the finding of that one frame; nobody sends a record that stops the worker."""
    world = World.make(tmp_path)
    world.receive(failures(2, source=POISON), peer="127.9.9.9")
    world.receive(failures(4))
    worker = Worker(world.settings, world.clock)
    poison_matching(worker, monkeypatch)
    while worker.step():
        pass
    worker.close()
    assert worker.counts["unmatched"] == 2
    assert len(world.events()) == 6
    assert [block.peer for block in frames(world, places.MATCHED)] == ["127.1.2.3"]


@pytest.mark.parametrize("fault", [UnfitEvents("fields not in the dictionary: x"), OverflowError("too large")])
def test_what_the_store_cannot_take_is_kept_aside_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    """Its neighbours of the same step are stored; the next worker tries it once more, now without the fault."""
    world = World.make(tmp_path)
    world.receive(failures(2, source=POISON), peer="127.9.9.9")
    world.receive(failures(4))
    worker = Worker(world.settings, world.clock)
    poison_store(worker, monkeypatch, fault)
    while worker.step():
        pass
    worker.close()
    assert [(block.peer, block.n) for block in frames(world, places.DEAD)] == [("127.9.9.9", 2)]
    assert len(world.events()) == 4
    assert Worker(world.settings, world.clock).step() == 1
    assert len(world.events()) == 6


def test_a_store_that_cannot_be_written_buries_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An I/O error is about everything: the worker ends, and the next one does it all."""
    world = World.make(tmp_path)
    world.receive(failures(4))
    worker = Worker(world.settings, world.clock)

    def breaks(*_: object) -> int:
        raise StoreError("writing work0.00000001.hot: Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(worker.store, "append", breaks)
        with pytest.raises(StoreError):
            worker.step()
    worker.close()
    world.work()
    assert frames(world, places.DEAD) == []
    assert len(world.events()) == 4


def test_a_registry_file_that_vanishes_between_two_looks_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service writes beside and renames; a worker may see the name that is gone a moment later."""
    world = World.make(tmp_path)
    worker = Worker(world.settings, world.clock)
    folder = tmp_path / places.REGISTRY
    folder.mkdir()
    passing = folder / "x.yml.new"
    passing.write_text("{}")
    is_file = Path.is_file

    def gone(self: Path) -> bool:
        found = is_file(self)
        self.unlink(missing_ok=True) if self == passing else None
        return found

    monkeypatch.setattr(Path, "is_file", gone)
    world.clock.advance(10)
    assert worker.step() == 0
    worker.close()


def test_a_broken_registry_file_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A worker looks every two seconds; its log must not fill while a person is at lunch."""
    world = World.make(tmp_path)
    worker = Worker(world.settings, world.clock)
    (tmp_path / places.REGISTRY).mkdir()
    (tmp_path / places.REGISTRY / "x.yml").write_text("kind: nonsense\n")
    for _ in range(5):
        world.clock.advance(10)
        worker.step()
    worker.close()
    assert len([r for r in caplog.records if "stays in use" in r.message]) == 1


def test_a_step_takes_no_more_than_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large frames wait: as Python objects a step's events are many times their size."""
    world = World.make(tmp_path)
    for _ in range(8):
        world.receive([b"<13>" + b"x" * 9_000] * 10)
    monkeypatch.setattr("soc.pipeline.intake.MAX_BYTES", 200_000)
    worker = Worker(world.settings, world.clock)
    assert [worker.step() for _ in range(4)] == [3, 3, 2, 0]
    worker.close()
    assert worker.counts["records"] == 80
