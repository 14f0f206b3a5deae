"""The ledger through the real flow: killed and delayed at random it neither lies nor forgets; alerts are the same."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from soc.detections.sigma import bucket
from soc.pipeline import Correlating, Worker, places
from soc.pipeline.coverage import ledger
from soc.pipeline.coverage.counting import EVENTS, WINDOW_US
from soc.store.events import EventStore
from tests.pipeline.world import NOW_NS, World, failures

START_NS = NOW_NS // (WINDOW_US * 1000) * WINDOW_US * 1000
LATER = 6 * 300


class Killed(BaseException):
    """What kill -9 is to a process: nothing catches it."""


def receiving(world: World, seed: int) -> Iterator[None]:
    """An attack over three windows, from three sources, frames of several sizes; stops behind each of them."""
    chance = random.Random(seed)
    for n in range(9):
        world.clock.set(START_NS + n * 110 * 1_000_000_000)
        source = f"203.0.113.{9 + n % 3}"
        lines = failures(chance.randint(5, 14), source=source, at_ns=world.clock.now_ns())
        world.receive(lines, peer=f"127.1.2.{n % 3 + 1}")
        yield
    world.clock.set(START_NS + LATER * 1_000_000_000)


def received(world: World, seed: int) -> None:
    """All of it."""
    for _ in receiving(world, seed):
        pass


def judged(world: World) -> list[tuple[Any, ...]]:
    """What people see, without ids and times of our own making."""
    names = ("rule_id", "entity", "count", "events_total", "first_us", "last_us")
    return sorted((*(a[name] for name in names), tuple(sorted(a["event_ids"]))) for a in world.alerts())


def told(world: World) -> tuple[dict[int, int], dict[int, int], dict[str, Any]]:
    """Events of each window by the ledger and by the store, and the report."""
    store = EventStore(places.events(world.settings), world.clock, places.load_parsers(world.settings).fields)
    counted: Counter[int] = Counter()
    for (at_us, name), n in store.counts(0, 2**62).items():
        counted[at_us] += n if f" {EVENTS}" in name else 0
    now_us = world.clock.now_ns() // 1000
    found, _ = ledger.coverage(world.settings, store, START_NS // 1000, now_us)
    in_store = ledger.in_store(store, START_NS // 1000, now_us)
    store.close()
    return dict(counted), in_store, found.report()


def correlated(world: World) -> None:
    """Everything correlated, saved and told."""
    correlating = Correlating(world.settings, world.clock)
    while correlating.step():
        pass
    correlating.save()
    correlating._tell()
    correlating.close()


def dying(worker: Any, chance: random.Random, *places_: tuple[Any, str]) -> None:
    """Each of these may be the last thing that happens, before or after it did its work."""
    for owner, name in places_:
        does: Callable[..., Any] = getattr(owner, name)

        def may_die(*given: Any, does: Callable[..., Any] = does) -> Any:
            when = chance.choice(["before", "after", *[""] * 6])
            if when == "before":
                raise Killed
            done = does(*given)
            if when == "after":
                raise Killed
            return done

        setattr(owner, name, may_die)


def torn_apart(world: World, seed: int) -> int:
    """Received and worked off by workers that die, whatever waits at that time; how many it took."""
    chance, workers = random.Random(seed), 0
    for _ in receiving(world, seed):
        if chance.random() < 0.6:
            workers += worked(world, chance)
    return workers + worked(world, chance)


def worked(world: World, chance: random.Random) -> int:
    """Worked off by workers that die; how many it took."""
    for n in range(1, 200):
        worker = Worker(world.settings, world.clock)
        dying(
            worker, chance, (worker._matched, "append"), (worker._findings, "append"), (worker.states, "keep"),
            (worker.store, "append"),
        )  # fmt: skip
        world.clock.advance(chance.choice([0, 0, 1, 20]))
        try:
            while worker.step():
                pass
            return n
        except Killed:
            continue
        finally:
            worker.states.keep = lambda *_: None  # type: ignore[method-assign]  # a killed process writes nothing more
            worker.close()
    raise AssertionError("it never came to an end")


@pytest.mark.parametrize("seed", range(2))
def test_killed_and_delayed_at_random_nothing_is_missing_and_nothing_is_claimed(tmp_path: Path, seed: int) -> None:
    """The alerts are those of an uninterrupted run, every event is in the ledger once, and no gap is left."""
    quiet, torn = World.make(tmp_path / "quiet"), World.make(tmp_path / "torn")
    received(quiet, seed)
    quiet.work()
    assert torn_apart(torn, seed) > 6
    for world in (quiet, torn):
        correlated(world)
    counted, in_store, report = told(torn)
    assert counted == in_store == told(quiet)[0]
    assert (len(counted), report["gaps"]) == (3, 0)
    assert judged(torn) == judged(quiet) != []


def test_a_ledger_that_counts_before_the_rows_are_durable_would_be_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutant of the test above: with the counts in a frame of their own, before the rows, a kill makes it lie."""
    append = EventStore.append
    marks = iter(range(1, 10_000))

    def hasty(self: EventStore, batches: Any, upto: Any, counted: Any = None) -> int:
        if counted:
            where, at = next(iter(upto.items()))
            made_up = {type(where)("x", "x", where.number): type(at)("x", "x", next(marks))}
            append(self, [], made_up, counted)
            if next(chances):
                raise Killed
        return append(self, batches, upto)

    chances = iter([False, True, False, True] * 1000)
    monkeypatch.setattr(EventStore, "append", hasty)
    world = World.make(tmp_path)
    torn_apart(world, 0)
    counted, in_store, _ = told(world)
    assert counted != in_store


def test_a_rule_that_breaks_has_failed_in_its_windows_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its events are counted, the other rules are evaluated, and the correlation that builds on it has failed too."""
    made = bucket.predicate
    world = World.make(tmp_path)
    received(world, 0)
    worker = Worker(world.settings, world.clock)
    broken = next(
        r for r in worker.detections.rules if "failure" in repr(r.variants[0]) and "sshd" in repr(r.variants[0])
    )
    referred = next(c for c in worker.detections.correlations if broken.id in c.rules)
    node = broken.variants[0].node
    monkeypatch.setattr(bucket, "predicate", lambda n: (lambda *_: 1 / 0) if n is node else made(n))
    while worker.step():
        pass
    worker.close()
    correlated(world)
    _, in_store, report = told(world)
    rows = [row for row in report["ranges"] if row["status"] == "failed"]
    ids = {each["rule"] for row in rows for each in row["rules"]}
    assert {broken.id, referred.id} <= ids
    assert report["totals"]["failed"] == len(ids) * len(in_store)
    assert report["totals"]["evaluated"] == (report["rules"] - len(ids)) * report["windows"] + len(ids) * (
        report["windows"] - len(in_store)
    )


def test_what_waits_is_late_until_it_is_done(tmp_path: Path) -> None:
    """Nobody works: every window from the oldest record on. The worker done, what is correlated is late still."""
    world = World.make(tmp_path)
    world.receive(failures(1, at_ns=START_NS))
    world.work()
    received(world, 0)
    assert set(_statuses(world)) == {"late"}
    world.work()
    assert set(_statuses(world)) == {"late", "evaluated"}
    correlated(world)
    assert set(_statuses(world)) == {"evaluated"}


def _statuses(world: World) -> dict[str, int]:
    return {status: n for status, n in told(world)[2]["totals"].items() if n}
