"""What makes no alert is gathered, counted and found."""

from __future__ import annotations

from typing import Any

from soc.alerts import AlertDesk
from soc.model.clock import FixedClock
from soc.model.rule_policy import Choice, RulePolicy, Selector
from tests.fakes import HOUR_US, T0_US, FakeCases, FakeSystems, a_finding


class Desk:
    """A desk over a fake store; `withheld` and `totals` are what it kept."""

    def __init__(self, **options: Any) -> None:
        self.cases = FakeCases()
        self.desk = AlertDesk(self.cases, FixedClock((T0_US + 5_000_000) * 1000), FakeSystems([]), **options)

    def found(self, kind: str, **keys: str) -> list[dict[str, Any]]:
        with self.cases.begin("test") as tx:
            return [dict(stored.document) for _, stored in tx.find(kind, keys=keys, order="asc")]


def excepted(n: int, at_us: int = T0_US) -> Any:
    """Finding `n` of one entity, taken by an exception."""
    return a_finding(id=f"f{n}", event_ids=(f"{n:032x}",), exception="scanner", last_us=at_us)


def test_an_excepted_finding_makes_no_alert_and_is_found_by_its_exception() -> None:
    """Three of one hour and one of the next are two documents with their events, and four in the counter."""
    desk = Desk()
    assert desk.desk.take([excepted(1), excepted(2)]) == []
    assert desk.desk.take([excepted(3), excepted(4, T0_US + HOUR_US)]) == []
    assert desk.found("alert") == []
    kept = sorted(desk.found("withheld", exception="scanner"), key=lambda document: -document["count"])
    assert [(d["count"], len(d["event_ids"]), d["withheld"], d["status"]) for d in kept] == [
        (3, 3, "exception", "withheld"), (1, 1, "exception", "withheld"),
    ]  # fmt: skip
    assert [(d["of"], d["count"]) for d in desk.found("withheld_total")] == [("scanner", 4)]


def test_a_replay_counts_nothing_twice() -> None:
    """The same finding in one step and in the next, as after a crash of the worker."""
    desk = Desk()
    desk.desk.take([excepted(1), excepted(1)])
    desk.desk.take([excepted(1)])
    assert [d["count"] for d in desk.found("withheld_total")] == [1]
    assert desk.desk.replayed == 2


def test_others_of_the_same_entity_still_make_an_alert() -> None:
    """An exception takes its hits and no more."""
    desk = Desk()
    alerts = desk.desk.take([excepted(1), a_finding(id="f9"), excepted(2)])
    assert [(alert.count, alert.status) for alert in alerts] == [(1, "new")]


def test_a_rule_in_shadow_makes_no_alert() -> None:
    """By its status; what a person decided about it wins, and one unit's choice is only about that unit's events."""
    units = {"xa-1": Choice.parse(["level=high"], [])}
    policy = RulePolicy(shadow=(Selector.parse("status=experimental"),), units=units)
    desk = Desk(policy=policy)
    assert desk.desk.take([a_finding(id="a", status="experimental")]) == []
    assert len(desk.desk.take([a_finding(id="b", status="stable")])) == 1
    assert desk.desk.take([a_finding(id="c", organization_id="xa-1")]) == []
    with desk.cases.begin("lan") as tx:
        tx.put("rule_decision", "rule-ssh", {"state": "live"}, None)
    assert len(desk.desk.take([a_finding(id="d", status="experimental")])) == 1
    assert desk.desk.take([a_finding(id="e", organization_id="xa-1")]) == []
    assert [d["of"] for d in desk.found("withheld_total", why="shadow")] == ["rule-ssh"]
    assert [d["count"] for d in desk.found("withheld_total", why="disabled")] == [2]
