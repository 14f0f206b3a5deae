"""What comes too late for a correlation: the alert that it would have made in time arises once, and says so."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from soc.alerts import told as told_findings
from soc.detections.correlation.late import WAIT_US, Late
from soc.model.lookback import OPEN
from soc.pipeline import Correlating
from soc.pipeline.coverage import late
from soc.pipeline.lookback.jobs import Jobs
from tests.pipeline.coverage.test_worker import START_NS, correlated, told
from tests.pipeline.lookback.test_automatic import made_up, who
from tests.pipeline.world import World, failures

SECOND_NS = 1_000_000_000
HOUR_S = 3600
Login = tuple[int, str]
"""When it failed, in seconds after the beginning, and from where."""


def received(world: World, logins: Sequence[Login], after_s: int) -> None:
    """These arrive so long after the beginning, and everything is worked off and correlated."""
    world.clock.set(START_NS + after_s * SECOND_NS)
    for at_s, source in logins:
        world.receive(failures(1, source=source, at_ns=START_NS + at_s * SECOND_NS))
    world.work()
    correlated(world)


def settled(world: World, after_s: int) -> None:
    """`soc correlate` goes on while nothing comes, until what was late has been handed over."""
    world.clock.set(START_NS + after_s * SECOND_NS)
    correlating = Correlating(world.settings, world.clock)
    world.clock.advance(WAIT_US / 1_000_000 + 10)
    correlating.step()
    correlating.close()


def guessing(source: str = "203.0.113.9", at_s: int = 0, n: int = 12, every_s: int = 5) -> list[Login]:
    return [(at_s + every_s * i, source) for i in range(n)]


def in_time(home: Path, logins: Sequence[Login]) -> World:
    """The same logins as they would have come."""
    world = World.make(home)
    for at_s in sorted({at_s for at_s, _ in logins}):
        world.clock.set(START_NS + at_s * SECOND_NS)
        for _, source in (login for login in logins if login[0] == at_s):
            world.receive(failures(1, source=source, at_ns=START_NS + at_s * SECOND_NS))
    world.work()
    correlated(world)
    return world


def found_late(world: World) -> list[bool]:
    return [alert["found_late"] for alert in world.alerts()]


def late_rows(world: World) -> list[tuple[str, str]]:
    return sorted({(row["status"], row["why"]) for row in told(world)[2]["ranges"]})


def test_a_unit_that_was_away_for_hours(tmp_path: Path) -> None:
    """Its records come behind newer ones of the same address: nothing live, then the alert, once, and marked."""
    world, old, new = World.make(tmp_path / "late"), guessing(), [(4 * HOUR_S, "203.0.113.9")]
    received(world, new, 4 * HOUR_S)
    received(world, old, 5 * HOUR_S)
    assert who(world) == []
    settled(world, 5 * HOUR_S)
    assert late_rows(world) == [("late", "behind")]
    world.clock.advance(HOUR_S)
    assert made_up(world) == 1
    assert late_rows(world) == [("backfilled", "behind")]
    assert list(late.waiting(world.settings)) == []
    [done] = late.notes(world.settings, 0)
    assert (done.rules, late.notes(world.settings, done.at_us + 1_000)) == ((), [])
    expected = who(in_time(tmp_path / "in time", old + new))
    assert who(world) == expected != []
    assert found_late(world) == [True] * len(expected)
    assert made_up(world) == 1  # nothing is owed any more


def test_what_was_told_is_not_told_again(tmp_path: Path) -> None:
    """The attack was seen as it came; an hour later two more of its events arrive."""
    world, attack = World.make(tmp_path), guessing(n=14)
    received(world, attack[:5] + attack[7:], 90)
    received(world, [(HOUR_S, "203.0.113.9")], HOUR_S)
    before = world.alerts()
    received(world, attack[5:7], HOUR_S + 60)
    settled(world, HOUR_S + 60)
    world.clock.advance(HOUR_S)
    assert made_up(world) == 1
    assert world.alerts() == before != []


def test_a_group_that_was_forgotten(tmp_path: Path) -> None:
    """Half of it came in time, and was let go before the other half came: nothing is late live, yet it is found."""
    world, attack = World.make(tmp_path), guessing()
    received(world, attack[::2], 60)
    received(world, [(9 * HOUR_S, "203.0.113.77")], 9 * HOUR_S)
    received(world, attack[1::2], 9 * HOUR_S + 10)
    assert who(world) == []
    settled(world, 9 * HOUR_S + 10)
    world.clock.advance(HOUR_S)
    made_up(world)
    assert who(world) == who(in_time(tmp_path / "in time", attack)) != []


def scattered(home: Path, seed: int) -> tuple[World, list[Login]]:
    """Attacks over two hours, some of whose events come much later; everything received, what was late handed over."""
    chance, world = random.Random(seed), World.make(home)
    sources = [f"203.0.113.{n}" for n in range(1, 5)]
    logins = [
        login
        for source in sources
        for at_s in chance.sample(range(0, 2 * HOUR_S, 1200), 3)
        for login in guessing(source, at_s + chance.randrange(300), chance.randint(6, 16), chance.randint(2, 12))
    ]
    away = {source: chance.choice([0, 0, HOUR_S, 2 * HOUR_S]) for source in sources}
    arriving = sorted((at_s + (away[source] if chance.random() < 0.6 else 0), at_s, source) for at_s, source in logins)
    for after_s, at_s, source in arriving:
        world.clock.set(START_NS + after_s * SECOND_NS)
        world.receive(failures(1, source=source, at_ns=START_NS + at_s * SECOND_NS))
    world.work()
    correlated(world)
    settled(world, 5 * HOUR_S)
    return world, logins


@pytest.mark.parametrize("seed", range(2))
def test_whatever_comes_late_who_is_told_of_what_is_as_in_time(tmp_path: Path, seed: int) -> None:
    """Which rule spoke of whom, and how often."""
    world, logins = scattered(tmp_path / "late", seed)
    before = who(world)
    world.clock.advance(HOUR_S)
    made_up(world)
    expected = who(in_time(tmp_path / "in time", logins))
    assert who(world) == expected
    assert before != expected
    assert told(world)[2]["gaps"] == 0


def test_without_looking_again_or_without_care_it_would_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two mutants of the tests above: late events are noted nowhere; what was told by other events is told again."""
    with monkeypatch.context() as patch:
        patch.setattr(Late, "add", lambda *_: None)
        world, logins = scattered(tmp_path / "blind", 0)
        world.clock.advance(HOUR_S)
        assert made_up(world) == 0
    expected = who(in_time(tmp_path / "in time", logins))
    assert who(world) != expected
    monkeypatch.setattr(told_findings, "_alike", lambda *_: [])
    careless, _ = scattered(tmp_path / "careless", 0)
    careless.clock.advance(HOUR_S)
    made_up(careless)
    assert who(careless) != expected


def test_a_note_is_handed_in_a_few_times_only(tmp_path: Path) -> None:
    """Whatever keeps it from being looked at: three jobs, then it stays a gap that says so."""
    world = World.make(tmp_path)
    received(world, [(4 * HOUR_S, "203.0.113.9")], 4 * HOUR_S)
    received(world, guessing(), 5 * HOUR_S)
    settled(world, 5 * HOUR_S)
    [found] = late.waiting(world.settings)
    for _ in range(3):
        late.tried(world.settings, found)
        [found] = late.waiting(world.settings)
    world.clock.advance(HOUR_S)
    assert made_up(world) == 0
    assert late_rows(world) == [("late", "given_up")]
    late.prune(world.settings, found.at_us + late.KEPT_US + 1)
    assert late.notes(world.settings, 0) == []


def test_a_kill_between_note_and_state_doubles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Handed over twice, looked at twice, told once."""
    world = World.make(tmp_path / "late")
    received(world, [(4 * HOUR_S, "203.0.113.9")], 4 * HOUR_S)
    received(world, guessing(), 5 * HOUR_S)
    with monkeypatch.context() as patch:
        patch.setattr(Correlating, "save", lambda self: None)
        settled(world, 5 * HOUR_S)
    settled(world, 5 * HOUR_S)
    assert len(list(late.waiting(world.settings))) == 2
    world.clock.advance(HOUR_S)
    assert made_up(world) == 2
    jobs: Any = Jobs(world.settings.path("lookback"), world.clock)
    assert all(jobs.state(id)["state"] not in OPEN for id in jobs.ids())
    assert [alert["count"] for alert in world.alerts()] == [1] * len(world.alerts()) != []
