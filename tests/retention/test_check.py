"""The check: what each system holds against what it owes."""

from __future__ import annotations

import datetime as dt

import pytest

from soc.retention import ladder
from soc.retention.check import Silence, check, is_compliant, window_start
from soc.retention.plan import Policy
from tests.retention.fakes import FakeTombstone, segment, system, us

POLICY = Policy(ladder.load())
NOW = us(2026, 11, 25, 12)


def daily(first: str, last: str, without=()):
    day, end = dt.date.fromisoformat(first), dt.date.fromisoformat(last)
    days = [day + dt.timedelta(days=n) for n in range((end - day).days + 1)]
    return [segment(us(d.year, d.month, d.day, 12), name=f"s{d}") for d in days if d.isoformat() not in without]


def standing(segments, owner, **more):
    return check([owner], segments, POLICY, NOW, **more)[0]


def test_a_full_window_is_compliant():
    """Level 3, four months held, registered long ago."""
    found = standing(daily("2026-07-25", "2026-11-24"), system())
    assert (found.verdict, found.required_months, found.oldest_day, found.gaps) == ("compliant", 3, "2026-07-25", ())


def test_a_young_system_is_on_course():
    """Registered ten days ago and held since."""
    found = standing(daily("2026-11-16", "2026-11-24"), system(registered="2026-11-15"))
    assert (found.verdict, found.gaps) == ("on_course", ())


def test_an_unexplained_gap_is_a_breach_and_named():
    """Two days missing in the middle."""
    found = standing(daily("2026-07-25", "2026-11-24", {"2026-10-01", "2026-10-02"}), system())
    assert found.verdict == "breach"
    assert [(g.first, g.last, g.days, g.cause) for g in found.gaps] == [("2026-10-01", "2026-10-02", 2, "missing")]


def test_a_silent_source_is_shown_and_no_breach():
    """Nothing was sent, so nothing could be kept."""
    quiet = [Silence("a", us(2026, 10, 1, 7), us(2026, 10, 2, 12))]
    found = standing(daily("2026-07-25", "2026-11-24", {"2026-10-01", "2026-10-02"}), system(), silences=quiet)
    assert (found.verdict, found.gaps[0].cause) == ("compliant", "silent")


def test_a_day_deleted_too_early_is_a_breach_even_of_a_silent_source():
    """The tombstone tells on it."""
    stone = FakeTombstone("x", "2026-10-01", 3, frozenset({"a"}), 1, 1, "", 0, "")
    quiet = [Silence("a", us(2026, 10, 1, 7), us(2026, 10, 1, 12))]
    days = daily("2026-07-25", "2026-11-24", {"2026-10-01"})
    found = standing(days, system(), tombstones=[stone], silences=quiet)
    assert (found.verdict, found.gaps[0].cause) == ("breach", "deleted")


def test_a_system_that_never_sent_is_in_breach():
    """Registered long ago, nothing held."""
    found = standing([], system())
    assert (found.verdict, found.oldest_day, found.covered_days) == ("breach", None, 0)
    assert not is_compliant([found])


def test_a_system_registered_today_accuses_nobody():
    """No whole day has passed."""
    assert standing([], system(registered="2026-11-25")).verdict == "on_course"


def test_days_in_hot_files_count_as_held():
    """Rows not sealed yet."""
    found = standing(daily("2026-07-25", "2026-11-23"), system(), held_now={"a": ["2026-11-24"]})
    assert found.verdict == "compliant"


@pytest.mark.parametrize(("level", "months"), [(1, 1), (3, 3), (5, 12)])
def test_the_advice_stands_beside_the_duty(level, months):
    """Twelve months are advised at every level; the duty stays the level's."""
    found = standing([], system("a", ("2020-01-01", level)))
    assert (found.required_months, found.advice_months) == (months, 12)


def test_a_lowered_level_is_owed_until_its_data_are_due():
    """Lowered last month: six months are still owed for what was written before."""
    assert standing([], system("a", ("2020-01-01", 4), ("2026-10-25", 1))).level == 4
    assert standing([], system("a", ("2020-01-01", 4), ("2026-02-25", 1))).level == 1


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5])
def test_the_window_starts_with_the_oldest_day_still_owed(level):
    """The day before it is due already, it itself is not."""
    rules = POLICY.ladder.rules(level)
    start = window_start(rules, NOW)
    noon = us(start.year, start.month, start.day, 7)
    assert ladder.latest_due_us(noon, rules)[0] > NOW
    assert ladder.latest_due_us(noon - ladder.DAY_US, rules)[0] <= NOW
