"""The service makes up for gaps by itself: bounded, one job at a time, and what comes of it is what was owed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from soc.alerts import told as told_findings
from soc.detections.sigma import bucket
from soc.pipeline import Services
from soc.pipeline.coverage.counting import WINDOW_US
from soc.pipeline.lookback.automatic import LONGEST_US, RETRY_US
from soc.pipeline.lookback.jobs import Jobs
from soc.pipeline.lookback.run import Run
from soc.pipeline.lookback.runner import Runner
from tests.pipeline.coverage.test_report import Coverage, at, known, ruleset
from tests.pipeline.coverage.test_worker import Killed, correlated, dying, receiving, told, worked
from tests.pipeline.world import World, failures

HOUR_S = 3600


@contextmanager
def breaking(monkeypatch: pytest.MonkeyPatch, on: Callable[[int], bool]) -> Iterator[None]:
    """A rule of ours breaks on the events whose source port it is told."""
    made = bucket.predicate

    def broken(node: Any) -> Any:
        holds = made(node)
        if "ssh_login" not in repr(node) or "failure" not in repr(node):
            return holds

        def asked(chosen: Any, j: int, row: Any) -> bool:
            if on(row.values("source.port")[0]):
                raise ValueError("broken")
            return holds(chosen, j, row)

        return asked

    with monkeypatch.context() as patch:
        patch.setattr(bucket, "predicate", broken)
        yield


@contextmanager
def serving(world: World) -> Iterator[Services]:
    """`soc serve` over this home, as far as coverage is concerned."""
    services = Services.open(world.settings, world.clock)
    try:
        yield services
    finally:
        services.close()


def made_up(world: World, chance: random.Random | None = None) -> int:
    """The service looks, and what it hands in is worked off, by processes that may die; how many jobs there were."""
    with serving(world) as services:
        for _ in range(200):
            services.look_at_coverage()
            if not any(services.lookbacks.is_open(id) for id in services.lookbacks.ids()):
                return len(services.lookbacks.ids())
            looked_back(world, chance)
    raise AssertionError("it never came to an end")


def looked_back(world: World, chance: random.Random | None) -> None:
    runner = Runner(world.settings, world.clock)
    if chance is not None:
        dying(runner, chance, (runner, "_tell"), (runner._jobs, "add_hits"), (runner._jobs, "save"))
    try:
        while runner.step():
            pass
    except Killed:
        runner._runs.clear()  # a killed process saves nothing more
    finally:
        runner.close()


def who(world: World) -> list[tuple[Any, ...]]:
    """Which rule spoke of whom, and how often."""
    return sorted((alert["rule_id"], alert["entity"], alert["count"]) for alert in world.alerts())


def torn(world: World, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attack, worked off by workers that die, while a rule breaks on every third event or so."""
    chance = random.Random(seed)
    with breaking(monkeypatch, lambda port: hash((seed, port)) % 3 == 0):
        for _ in receiving(world, seed):
            worked(world, chance)
        worked(world, chance)
    correlated(world)


def broke(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few logins, an hour ago, on each of which a rule broke."""
    world.receive(failures(3))
    with breaking(monkeypatch, lambda _: True):
        world.work()
    correlated(world)
    world.clock.advance(HOUR_S)


@pytest.mark.parametrize("seed", range(2))
def test_killed_delayed_and_broken_at_random_the_alerts_are_those_of_an_unbroken_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Nobody asks for anything: who is told of what, and how often, is the same, and no gap is left."""
    quiet, broken = World.make(tmp_path / "quiet"), World.make(tmp_path / "torn")
    for _ in receiving(quiet, seed):
        pass
    quiet.work()
    correlated(quiet)
    torn(broken, seed, monkeypatch)
    assert who(broken) != who(quiet) != []
    broken.clock.advance(HOUR_S)
    assert made_up(broken, random.Random(seed)) >= 1
    assert who(broken) == who(quiet)
    report = told(broken)[2]
    assert (report["gaps"], report["totals"]["backfilled"] > 0) == (0, True)


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[World, World]:
    """One that nothing disturbed, and one that was torn apart, with all its time behind it."""
    quiet, broken = World.make(tmp_path / "quiet"), World.make(tmp_path / "torn")
    for _ in receiving(quiet, 0):
        pass
    quiet.work()
    correlated(quiet)
    torn(broken, 0, monkeypatch)
    broken.clock.advance(HOUR_S)
    return quiet, broken


def test_without_the_care_for_what_was_told_alerts_would_be_doubled(
    pair: tuple[World, World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutant of the test above: only ids are compared, and what was told by other events is told again."""
    quiet, broken = pair
    monkeypatch.setattr(told_findings, "_alike", lambda *_: [])
    made_up(broken)
    assert who(broken) != who(quiet)


def test_a_gap_noted_before_its_findings_are_durable_would_lose_them(
    pair: tuple[World, World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other mutant: the ledger says that it was made up for, and a kill takes what was found."""
    quiet, broken = pair
    save = Run.save

    def hasty(self: Run, state: str) -> None:
        self._note_backfill()
        self._sink = lambda _: None
        save(self, state)

    monkeypatch.setattr(Run, "save", hasty)
    made_up(broken)
    assert who(broken) != who(quiet)


def test_it_is_off_when_the_site_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`[lookback] backfill_days = 0`: the gap is told, and nothing handed in."""
    world = World.make(tmp_path, backfill_days=0)
    broke(world, monkeypatch)
    assert made_up(world) == 0
    assert told(world)[2]["gaps"] > 0


def test_a_rule_that_breaks_again_is_tried_later_and_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a rest, three times in all; then the gap stays, with what is to do about it."""
    world = World.make(tmp_path)
    broke(world, monkeypatch)
    with breaking(monkeypatch, lambda _: True):
        for n in (1, 1, 2, 2, 3, 3, 3):
            assert made_up(world) == n
            world.clock.advance(RETRY_US / 2 / 1_000_000 + 1)
    ranges = told(world)[2]["ranges"]
    assert {row["why"] for row in ranges if row["status"] == "failed"} == {"given_up"}


def test_a_job_that_a_person_ended_is_not_handed_in_again_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who ends it has a reason; the service waits, and says until when."""
    world = World.make(tmp_path)
    broke(world, monkeypatch)
    with serving(world) as services:
        services.look_at_coverage()
        [id] = services.lookbacks.ids()
        services.lookbacks.cancel(id)
        looked_back(world, None)
        services.look_at_coverage()
        told = services.backfills.told()
        assert (told["state"], told["rests_until_us"]) == ("cancelled", world.clock.now_ns() // 1000 + RETRY_US)
        assert services.lookbacks.ids() == [id]


def test_a_long_gap_is_made_up_for_day_by_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded: a job reads a day of receipt at most, and as far back as the site wants."""
    world = World.make(tmp_path, backfill_days=3)
    with breaking(monkeypatch, lambda _: True):
        for _ in range(5):
            world.receive(failures(1, at_ns=world.clock.now_ns()))
            world.work()
            world.clock.advance(24 * HOUR_S)
    correlated(world)
    assert made_up(world) == 3
    jobs = Jobs(world.settings.path("lookback"), world.clock)
    spans = [(job.since_us, job.until_us) for job in map(jobs.get, jobs.ids())]
    assert all(0 < until_us - since_us <= LONGEST_US for since_us, until_us in spans)
    assert told(world)[2]["totals"]["failed"] > 0


def test_what_a_correlation_joins_with_the_gap_is_waited_for() -> None:
    """A rule is made up for at once; a correlation when what lies behind the gap is there as well."""
    sets = {"s": {**ruleset("one", "two", "both"), "reach_us": {"both": 2 * WINDOW_US}}}
    counts = {(at(n), f"s {what}"): 1 for n in (1, 2) for what in ("events", "failed one")}
    coverage = Coverage(known(counts, rulesets=sets))
    assert coverage.owed_unasked(at(4)) == (["both", "one"], at(1), at(3))
    assert coverage.owed_unasked(at(3)) == (["one"], at(1), at(3))
    assert coverage.owed_unasked(at(3) - 1) == (["one"], at(1), at(2))
    assert coverage.owed_unasked(at(5)) == (["both", "one"], at(1), at(3))
    assert Coverage(known({}, rulesets=sets)).owed_unasked(at(5)) is None
