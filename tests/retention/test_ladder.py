"""The ladder: calendar months in Vietnam's zone, floors and overlays."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc.content import loads
from soc.errors import ConfigError, ContentError
from soc.retention import ladder
from tests.retention.fakes import us

LADDER = ladder.load()
DATES = st.dates(dt.date(2015, 1, 1), dt.date(2090, 12, 31))


def due(level: int | None, newest: int, **facts: str) -> int:
    known = {name.replace("_", ".", 1): frozenset({value}) for name, value in facts.items()}
    return ladder.latest_due_us(newest, LADDER.rules(level, known))[0]


def test_ac2_level_3_is_owed_for_three_calendar_months_and_the_whole_last_day():
    """AC2: an L3 event of 22/08/2026 is deletable from 23/11/2026 00:00 +07, not earlier."""
    assert due(3, us(2026, 8, 22, 15, 30)) == us(2026, 11, 23)


def test_ac3_the_thirty_day_floor_beats_a_short_february():
    """AC3: an L1 event of 31/01/2027 12:00 is deletable from 02/03/2027 12:00."""
    assert due(1, us(2027, 1, 31, 12)) == us(2027, 3, 2, 12)


def test_the_local_date_counts_not_the_utc_one():
    """23:30 UTC on the 21st is the 22nd in Vietnam, and months run from there."""
    at = int(dt.datetime(2026, 8, 21, 23, 30, tzinfo=dt.UTC).timestamp()) * 1_000_000
    assert due(3, at) == us(2026, 11, 23)


def test_ac4_an_archive_system_of_level_1_keeps_twelve_months():
    """AC4: the overlay for electronic archives beats level 1."""
    assert due(1, us(2026, 1, 10), system_kind="luu_tru_dien_tu") == us(2027, 1, 11)


def test_ac4_a_composite_system_has_the_highest_level_of_its_parts():
    """AC4: L2 + L4 keeps six months."""
    assert LADDER.required_months(ladder.highest([2, 4])) == 6


def test_unregistered_sources_keep_twelve_months():
    """Nobody knows their level yet."""
    assert due(None, us(2026, 1, 10)) == us(2027, 1, 11)


def test_the_ladder_of_the_requirement():
    """R75–R79: 1, 1, 3, 6 and 12 months, in both profiles."""
    expected = [1, 1, 3, 6, 12]
    for profile in ladder.load_all().values():
        assert [profile.required_months(level) for level in range(1, 6)] == expected


def test_online_service_overlay_binds_when_the_kinds_of_logs_are_unknown():
    """A provider's file may hold account logs unless something says it does not."""
    provider = {"tenant.online_service_provider": frozenset({"true"})}
    assert LADDER.required_months(1, provider) == 12
    assert LADDER.required_months(1, {**provider, "log.kind": frozenset({"alert"})}) == 1


def test_advice_never_becomes_a_duty():
    """Twelve months in all is advice; level 1 still owes one month."""
    assert (LADDER.default_total_months, LADDER.required_months(1)) == (12, 1)


@given(DATES, st.integers(0, 1439), st.sampled_from([1, 2, 3, 4, 5, None]), st.integers(0, 24))
def test_nothing_is_due_before_its_floor_and_its_months(day, minute, level, policy):
    """Whatever the date: never under 30 × 24 h, never before the same day so many months on has ended."""
    newest = us(day.year, day.month, day.day, minute // 60, minute % 60)
    rules = LADDER.rules(level, {}, policy)
    found, _rule = ladder.latest_due_us(newest, rules)
    months = max(rule.months for rule in rules)
    assert found >= newest + 30 * ladder.DAY_US
    assert ladder.local_date(found) > ladder.add_months(day, months)


@given(DATES, st.integers(-30, 30))
def test_months_are_clamped_never_carried(day, months):
    """The month is the one counted to, whatever its length."""
    moved = ladder.add_months(day, months)
    assert (moved.year * 12 + moved.month) - (day.year * 12 + day.month) == months
    assert moved.day <= day.day


@given(DATES, DATES, st.sampled_from([1, 2, 3, 4, 5, None]))
def test_later_data_are_never_due_earlier(one, other, level):
    """Due moments keep the order of the data."""
    early, late = sorted([us(one.year, one.month, one.day), us(other.year, other.month, other.day)])
    assert due(level, early) <= due(level, late)


def test_an_unknown_profile_names_the_known_ones():
    """The error says what there is."""
    with pytest.raises(ConfigError, match="legacy-2017"):
        ladder.load(profile="legacy")


def test_all_faults_of_a_ladder_come_at_once():
    """A floor under 30 days and a missing level are both told, with their lines."""
    text = (
        "id: x\nprofile: p\nladder:\n  1: {months: 1, cite: c, evidence: S}\nfloor: {days: 7, cite: c, evidence: F}\n"
    )
    with pytest.raises(ContentError) as caught:
        ladder.read(loads(text, "x.yml")[0])
    said = str(caught.value)
    assert "x.yml:5: the floor" in said
    assert "levels 1 to 5" in said
    assert "'unregistered' is missing" in said


def test_every_message_has_both_languages():
    """Vietnamese and English, never one alone."""
    words = ladder.texts()
    assert words
    assert all(set(word) == {"vi", "en"} and all(word.values()) for word in words.values())
