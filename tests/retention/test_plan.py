"""The plan: what may go, and why the rest may not."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc.errors import Conflict
from soc.model.system import LevelDecision
from soc.retention import ladder
from soc.retention.hold import Hold
from soc.retention.plan import Plan, Policy, make_plan
from tests.retention.fakes import segment, system, us

LADDER = ladder.load()
POLICY = Policy(LADDER)


def plan(segments, systems, now, holds=()):
    return make_plan(segments, {s.id: s for s in systems}, holds, POLICY, now_us=now, planner="an")


def hold(systems=(), first=None, last=None):
    return Hold("h1", frozenset(systems), first, last, "", "văn bản 12", "an", 0)


def test_ac2_a_segment_is_kept_on_its_last_day_and_goes_on_the_next():
    """AC2 through the plan: kept at 22/11 23:59, deleted from 23/11 00:00."""
    item = segment(us(2026, 8, 22, 8))
    before = plan([item], [system()], us(2026, 11, 22, 23, 59)).items[0]
    after = plan([item], [system()], us(2026, 11, 23)).items[0]
    assert (before.action, after.action) == ("keep", "delete")


def test_ac4_level_4_inside_six_months_is_kept_with_its_reason():
    """AC4: the reason names system, level, citation and date."""
    item = plan([segment(us(2026, 6, 1))], [system("a", ("2020-01-01", 4))], us(2026, 11, 25)).items[0]
    assert item.action == "keep"
    assert item.reasons[0].id == "retention.keep.owed"
    assert item.reasons[0].params["level"] == "4"
    assert item.reasons[0].params["due"] == "2026-12-02"


def test_a_file_waits_for_the_longest_owed_system_in_it():
    """One system of level 1 is due, the other of level 4 is not: the whole file stays."""
    systems = [system("a", ("2020-01-01", 1)), system("b", ("2020-01-01", 4))]
    item = plan([segment(us(2026, 6, 1), systems=("a", "b"))], systems, us(2026, 11, 25)).items[0]
    assert item.action == "keep"
    assert [reason.params["system"] for reason in item.reasons] == ["b"]


def test_a_raised_level_applies_to_data_already_held():
    """Written at level 1, raised to 4 since: six months are owed."""
    raised = system("a", ("2020-01-01", 1), ("2026-09-01", 4))
    assert plan([segment(us(2026, 7, 1))], [raised], us(2026, 11, 25)).items[0].action == "keep"


def test_a_lowered_level_never_shortens_what_is_owed():
    """Written at level 4, lowered to 1 since: six months stay owed."""
    lowered = system("a", ("2020-01-01", 4), ("2026-07-02", 1))
    assert plan([segment(us(2026, 7, 1))], [lowered], us(2026, 11, 25)).items[0].action == "keep"


def test_a_level_that_rose_and_fell_in_between_counts():
    """The highest level in force at any time since the data were written."""
    wave = system("a", ("2020-01-01", 1), ("2026-08-01", 4), ("2026-09-01", 1))
    assert plan([segment(us(2026, 7, 1))], [wave], us(2026, 11, 25)).items[0].action == "keep"


def test_unregistered_data_keep_twelve_months():
    """A system nobody registered, and rows of no system at all."""
    unknown = segment(us(2026, 1, 1), systems=("ghost",))
    nobody = segment(us(2026, 1, 1), level=0, systems=(), name="s2")
    assert [i.action for i in plan([unknown, nobody], [], us(2026, 12, 31)).items] == ["keep", "keep"]
    assert [i.action for i in plan([unknown, nobody], [], us(2027, 1, 2)).items] == ["delete", "delete"]


def test_a_late_receipt_counts_for_an_old_event():
    """A device that sends last year's log today: owed from today."""
    late = segment(us(2026, 11, 1))
    old = type(late)(**{**late.__dict__, "min_event_us": us(2025, 1, 1), "max_event_us": us(2025, 1, 1)})
    assert plan([old], [system()], us(2026, 11, 25)).items[0].action == "keep"


@pytest.mark.parametrize(
    ("held", "action"),
    [
        (hold(("a",)), "keep"),
        (hold(("b",)), "delete"),
        (hold((), us(2026, 1, 1), us(2026, 2, 1)), "keep"),
        (hold((), us(2026, 3, 1)), "delete"),
    ],
)
def test_ac4_a_hold_keeps_what_it_covers_and_nothing_else(held, action):
    """AC4: by system and by time range."""
    assert plan([segment(us(2026, 1, 10))], [system()], us(2026, 11, 25), [held]).items[0].action == action


def test_a_plan_survives_its_document_and_an_altered_one_is_refused():
    """The hash binds every item."""
    made = plan([segment(us(2026, 1, 10))], [system()], us(2026, 11, 25))
    document = made.to_document()
    assert Plan.from_document(document) == made
    document["items"][0]["segment_id"] = "another"
    with pytest.raises(Conflict):
        Plan.from_document(document)


LEVELS = st.lists(
    st.tuples(st.dates(dt.date(2024, 1, 1), dt.date(2027, 1, 1)), st.integers(1, 5)), min_size=1, max_size=4
)


@given(
    LEVELS,
    st.datetimes(dt.datetime(2025, 1, 1), dt.datetime(2026, 12, 1)),
    st.integers(0, 800),
    st.integers(-400, 0),
)
def test_nothing_younger_than_its_minimum_is_ever_deletable(history, received, age_days, event_days):
    """Whatever level history, event time and age: deleted means older than every level it had since it was written."""
    levels = tuple(LevelDecision(level, since) for since, level in sorted(dict(history).items()))
    base = system()
    owner = type(base)(**{**base.__dict__, "levels": levels})
    at = us(*received.timetuple()[:5])
    piece = segment(at)
    moved = at + event_days * ladder.DAY_US
    piece = type(piece)(**{**piece.__dict__, "min_event_us": moved, "max_event_us": moved})
    now = at + age_days * ladder.DAY_US
    item = plan([piece], [owner], now).items[0]
    days = (ladder.local_date(at) + dt.timedelta(days=n) for n in range(age_days + 1))
    months = LADDER.required_months(max(owner.level_on(day) for day in days))
    is_young = ladder.local_date(now) <= ladder.add_months(ladder.local_date(at), months) or age_days < 30
    assert not (is_young and item.action == "delete")
