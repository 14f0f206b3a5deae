"""A correlation that is found by looking back is not told beside what it was told as live."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from soc.alerts.desk import AlertDesk
from soc.model.alert import BUCKET_US, Alert
from soc.model.clock import FixedClock
from soc.model.finding import Finding, finding_id
from tests.fakes import FakeCases, FakeSystems

NOW_US = 1_795_600_800_000_000
SECOND = 1_000_000


def fired(first_s: int, last_s: int, *, late: bool = False, **changes: Any) -> Finding:
    """A correlation's finding over events of these seconds, which its id is of."""
    ids = tuple(f"{second:032x}" for second in range(first_s, last_s + 1))
    group = changes.get("group", {"source.ip": "203.0.113.9"})
    made = Finding(
        id=finding_id("r", str(group), ids[0], ids[-1]), rule_id="r", rule_version="1", title="t", level="high",
        kind="correlation", dataset="d", event_ids=ids, first_us=NOW_US + first_s * SECOND,
        last_us=NOW_US + last_s * SECOND, group=group, entity=str(group), count=len(ids), lookback="l" if late else "",
        explain={"params": {"seconds": 60}},
    )  # fmt: skip
    return replace(made, **changes)


def told(*findings: Finding) -> list[Alert]:
    """The alerts after these, each taken in alone."""
    cases = FakeCases()
    desk = AlertDesk(cases, FixedClock(NOW_US * 1000), FakeSystems([]))
    for finding in findings:
        desk.take([finding])
    with cases.begin("test") as tx:
        found = [Alert.from_document(each.document) for _, each in tx.find("alert")]
    return sorted(found, key=lambda alert: -alert.count)


def counts(*findings: Finding) -> list[int]:
    """How many findings each alert has."""
    return [alert.count for alert in told(*findings)]


def test_what_was_told_by_other_events_is_not_told_again() -> None:
    """Live it fired two events later, for one came late; whichever is taken in first."""
    assert counts(fired(2, 7), fired(0, 5, late=True)) == counts(fired(0, 5, late=True), fired(2, 7)) == [1]


def test_what_was_not_told_is_and_says_so() -> None:
    """Another time, another group, another import: news, marked."""
    other = fired(0, 5, late=True, group={"source.ip": "203.0.113.10"})
    imported = fired(0, 5, late=True, import_id="i", entity="imported", id="1")
    alerts = told(fired(0, 5), fired(20, 25, late=True), other, imported)
    assert [(alert.count, alert.found_late) for alert in alerts] == [(2, True), (1, True), (1, True)]


def test_each_that_was_told_answers_for_one() -> None:
    """Two windows lie where one was told: the second is news. Told again it is nothing new."""
    late = [fired(0, 4, late=True), fired(6, 11, late=True)]
    assert counts(fired(3, 8), *late, *late) == [2]
    assert counts(fired(3, 8), fired(10, 14), *late) == [2]


def test_two_windows_of_one_side_are_two() -> None:
    """Findings of a chained correlation name events under it, so they may share time; that is no reason to drop one."""
    assert counts(fired(0, 8), fired(4, 12)) == counts(fired(0, 8, late=True), fired(4, 12, late=True)) == [2]


def test_across_the_hour() -> None:
    """Findings are kept by the hour of their last event."""
    edge = (BUCKET_US - NOW_US % BUCKET_US) // SECOND
    assert counts(fired(edge - 3, edge + 3), fired(edge - 6, edge - 1, late=True)) == [1]


def test_what_is_withheld_answers_too() -> None:
    """A finding that an exception takes was told where it belongs."""
    taken = fired(2, 7, exception="x")
    assert counts(taken, fired(0, 5, late=True)) == []


def test_single_events_are_known_by_their_ids() -> None:
    """Two events of one moment are two."""
    first, second = (fired(n, n, kind="sigma") for n in (0, 0))
    second = replace(second, id=finding_id("r", "other"), lookback="l")
    assert counts(first, second) == [2]


@pytest.mark.parametrize("late", [False, True])
def test_a_replay_adds_nothing(late: bool) -> None:
    """The same finding from the log and from looking back has one id."""
    assert counts(fired(0, 5, late=late), fired(0, 5), fired(0, 5, late=True)) == [1]
