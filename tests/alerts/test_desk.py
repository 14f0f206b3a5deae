"""The alert desk: exactly once, gathered by the hour, judged by people."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc.alerts import AlertDesk
from soc.errors import Conflict, NotFound, UsageError
from soc.model.alert import EVENT_IDS_KEPT, Alert, Observable, uuid7
from soc.model.clock import FixedClock
from soc.model.finding import Matched
from soc.model.system import InformationSystem, LevelDecision
from tests.fakes import HOUR_US, T0_US, FakeCases, FakePerson, FakeSystems, a_finding

LAN, MINH = FakePerson("lan"), FakePerson("minh")
SYSTEM = InformationSystem(
    "sys-1", "Cổng dịch vụ công", "H40.1", "so-tttt", "Sở TT&TT", "hq",
    (LevelDecision(3, dt.date(2024, 1, 1)),), dt.date(2024, 1, 1),
)  # fmt: skip


class Desk:
    """A desk over a fake store, five seconds after the events."""

    def __init__(self, **options: Any) -> None:
        self.cases = FakeCases()
        self.clock = FixedClock((T0_US + 5_000_000) * 1000)
        self.desk = AlertDesk(self.cases, self.clock, FakeSystems([SYSTEM]), **options)

    def take(self, *findings: Any) -> list[Alert]:
        return self.desk.take(findings)

    def alerts(self) -> list[Alert]:
        with self.cases.begin("test") as tx:
            return [Alert.from_document(s.document) for _, s in tx.find("alert", order="asc")]


def test_a_finding_becomes_an_alert_that_knows_its_system() -> None:
    """Name, level, unit, risk and lag are there from the start."""
    (alert,) = Desk().take(a_finding())
    assert (alert.system_name, alert.system_level, alert.organization_name) == ("Cổng dịch vụ công", 3, "Sở TT&TT")
    assert (alert.risk, alert.lag_us, alert.count, alert.status) == (45, 5_000_000, 1, "new")
    assert alert.observables == (Observable("source.ip", "203.0.113.9"), Observable("user.name", "root"))
    assert uuid.UUID(alert.id).version == 7


def test_what_is_stored_is_what_was_given() -> None:
    """An alert survives the store."""
    desk = Desk()
    assert desk.take(a_finding()) == desk.alerts()


def test_findings_of_one_hour_gather_in_one_alert() -> None:
    """The same rule, entity, site and unit within an hour of event time are one thing to look at."""
    desk = Desk()
    desk.take(a_finding("f1"), a_finding("f2"))
    desk.take(a_finding("f3", last_us=T0_US + HOUR_US - 1))
    (alert,) = desk.alerts()
    assert (alert.count, alert.events_total, alert.last_us) == (3, 3, T0_US + HOUR_US - 1)
    assert alert.event_ids == ("f1-event", "f2-event", "f3-event")


@pytest.mark.parametrize(
    "change",
    [
        {"last_us": T0_US + HOUR_US},
        {"entity": "source.ip=203.0.113.10"},
        {"site": "other"},
        {"organization_id": "so-yt"},
        {"rule_id": "rule-other"},
    ],
)
def test_what_differs_is_another_alert(change: dict[str, Any]) -> None:
    """Unit, site, rule, entity and hour tell alerts apart."""
    desk = Desk()
    desk.take(a_finding("f1"), a_finding("f2", **change))
    assert len(desk.alerts()) == 2


def test_a_replay_adds_nothing() -> None:
    """Findings that are known change no alert, write no ledger, and are counted."""
    desk = Desk()
    desk.take(a_finding("f1"), a_finding("f2"))
    before, entries = desk.alerts(), list(desk.cases.acts)
    assert desk.take(a_finding("f1"), a_finding("f2")) == []
    assert (desk.alerts(), desk.cases.acts, desk.desk.replayed) == (before, entries, 2)


@given(st.lists(st.sampled_from(["f1", "f2", "f3", "f4"]), max_size=12), st.integers(1, 4))
def test_any_repetition_in_any_split_counts_each_finding_once(ids: list[str], size: int) -> None:
    """At-least-once delivery comes out as exactly once."""
    desk = Desk()
    for start in range(0, len(ids), size):
        desk.take(*(a_finding(id) for id in ids[start : start + size]))
    assert sum(alert.count for alert in desk.alerts()) == len(set(ids))


def test_event_ids_stop_at_the_cap_and_the_counter_goes_on() -> None:
    """What is no longer named is still counted."""
    desk = Desk()
    desk.take(a_finding("f1", event_ids=tuple(f"e{n}" for n in range(EVENT_IDS_KEPT - 1))))
    desk.take(a_finding("f2", event_ids=("x", "y", "z")))
    (alert,) = desk.alerts()
    assert (len(alert.event_ids), alert.events_total) == (EVENT_IDS_KEPT, EVENT_IDS_KEPT + 2)


def test_an_unregistered_source_still_makes_an_alert() -> None:
    """What nobody registered weighs like level 3."""
    (alert,) = Desk().take(a_finding(system_id=None, organization_id=None))
    assert (alert.system_level, alert.risk) == (None, 45)


def test_the_hook_hears_of_new_alerts_and_of_raised_levels_only() -> None:
    """Who decides on national messages is told once, and again when it got worse."""
    heard: list[tuple[str, int]] = []
    desk = Desk(on_alert=lambda _tx, alert: heard.append((alert.level, alert.count)))
    for id, level in (("f1", "medium"), ("f2", "low"), ("f3", "critical")):
        desk.take(a_finding(id, level=level))
    assert heard == [("medium", 1), ("critical", 3)]


def test_a_failing_hook_takes_the_alert_back() -> None:
    """Alert and message commit together or not at all."""

    def refuse(_tx: Any, _alert: Alert) -> None:
        raise Conflict("no")

    desk = Desk(on_alert=refuse)
    with pytest.raises(Conflict):
        desk.take(a_finding())
    assert desk.alerts() == []


def test_acknowledge_names_the_owner_and_is_in_the_ledger() -> None:
    """Who took it, when, and by whose hand."""
    desk = Desk()
    (alert,) = desk.take(a_finding())
    with desk.cases.begin("lan") as tx:
        taken = desk.desk.acknowledge(tx, alert.id, LAN, version=1)
    assert (taken.status, taken.owner, taken.acknowledged_us) == ("acknowledged", "lan", T0_US + 5_000_000)
    assert desk.cases.acts == ["alert.create", "alert.acknowledge"]
    assert desk.cases.state.changes[-1] == ("alert", alert.id, "acknowledge")


def test_the_second_to_acknowledge_is_told_who_was_first() -> None:
    """Two people at one queue do not take the same alert."""
    desk = Desk()
    (alert,) = desk.take(a_finding())
    with desk.cases.begin("lan") as tx:
        desk.desk.acknowledge(tx, alert.id, LAN)
    with desk.cases.begin("minh") as tx, pytest.raises(Conflict, match="lan"):
        desk.desk.acknowledge(tx, alert.id, MINH)


def test_an_old_version_is_refused() -> None:
    """A decision on what somebody no longer sees does not count."""
    desk = Desk()
    (alert,) = desk.take(a_finding())
    desk.take(a_finding("f2"))
    with desk.cases.begin("lan") as tx, pytest.raises(Conflict, match="somebody else"):
        desk.desk.note(tx, alert.id, LAN, "text", version=1)


def test_close_needs_a_known_verdict_and_a_reason() -> None:
    """Tuning and figures depend on it."""
    desk = Desk()
    (alert,) = desk.take(a_finding())
    with desk.cases.begin("lan") as tx:
        with pytest.raises(UsageError, match="did you mean 'duplicate'"):
            desk.desk.close(tx, alert.id, LAN, "duplicat", "x")
        with pytest.raises(UsageError, match="reason"):
            desk.desk.close(tx, alert.id, LAN, "test", " ")
        assert desk.desk.close(tx, alert.id, LAN, "test", "drill").status == "closed"


def test_what_comes_after_a_closed_alert_is_a_new_one() -> None:
    """A judgement covers what was there to be judged; the new one names the old."""
    desk = Desk()
    (alert,) = desk.take(a_finding())
    with desk.cases.begin("lan") as tx:
        desk.desk.close(tx, alert.id, LAN, "false_positive_logic", "backup job")
    (second,) = desk.take(a_finding("f2"))
    assert (second.previous_id, second.count, second.id != alert.id) == (alert.id, 1, True)


def test_an_escalated_alert_still_takes_findings() -> None:
    """What goes on is seen in the same place."""
    desk = Desk()
    (alert,) = desk.take(a_finding())
    with desk.cases.begin("lan") as tx:
        desk.desk.escalate(tx, alert.id, LAN, "ticket-1")
    (same,) = desk.take(a_finding("f2"))
    assert (same.id, same.status, same.ticket_id, same.count) == (alert.id, "escalated", "ticket-1", 2)


def test_a_value_that_is_no_address_is_no_observable() -> None:
    """Only what can be acted on is offered for action."""
    (alert,) = Desk().take(a_finding(entity="", matched=(Matched("s", "source.ip", "not-an-ip", "*"),)))
    assert alert.observables == ()


def test_an_unknown_alert_is_not_found() -> None:
    """The error names it."""
    desk = Desk()
    with desk.cases.begin("lan") as tx, pytest.raises(NotFound, match="nope"):
        desk.desk.get(tx, "nope")


def test_ids_are_ordered_by_time() -> None:
    """A later alert sorts behind an earlier one, whatever the random bits are."""
    assert uuid7(1_000_000_000_000, b"\xff" * 10) < uuid7(1_000_001_000_000, b"\x00" * 10)
