"""The ticket desk: what a ticket inherits, how it moves, and that merging can be undone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from soc.alerts import AlertDesk
from soc.content import shipped
from soc.errors import Conflict, NotFound, UsageError
from soc.model.alert import Alert, Observable
from soc.model.clock import FixedClock
from soc.model.run import ActionSpec, Playbook, Step
from soc.model.ticket import Ticket
from soc.tickets import TicketDesk, all_observables, load_clocks
from tests.fakes import T0_US, FakeCases, FakePerson, FakeSystems, a_finding

LAN = FakePerson("lan")
BLOCK = ActionSpec("nftables", "block_address", {"address": "source.ip"})
PLAYBOOK = Playbook(
    "ssh-brute-force", "SSH", "SSH", "d", "d", (),
    (
        Step("confirm", 1, "manual", "Look", "Xem", deadline_minutes=15),
        Step("block", 3, "action", "Block", "Chặn", action=BLOCK),
    ),
)  # fmt: skip


class Desk:
    """Both desks over one fake store."""

    def __init__(self) -> None:
        self.cases = FakeCases()
        self.clock = FixedClock(T0_US * 1000)
        self.alerts = AlertDesk(self.cases, self.clock, FakeSystems())
        self.desk = TicketDesk(
            self.clock,
            load_clocks([shipped("playbooks")]),
            on_created=lambda tx, alert, ticket, person: self.alerts.escalate(tx, alert.id, person, ticket.id),
        )

    def alert(self, **changes: Any) -> Alert:
        return self.alerts.take([a_finding(**changes)])[0]

    def ticket(self, playbook: Playbook | None = PLAYBOOK, **changes: Any) -> Ticket:
        alert = self.alert(**changes)
        with self.cases.begin("lan") as tx:
            return self.desk.create_from_alert(tx, alert, LAN, playbook)

    def act(self, verb: str, *arguments: Any, **options: Any) -> Ticket:
        with self.cases.begin("lan") as tx:
            result: Ticket = getattr(self.desk, verb)(tx, *arguments, **options)
            return result

    def get(self, id: str) -> Ticket:
        with self.cases.begin("lan") as tx:
            return self.desk.get(tx, id)[0]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_ticket_inherits_what_the_alert_knows() -> None:
    """Entity, observables, system, unit and T0 go with it."""
    desk = Desk()
    alert = desk.alert()
    with desk.cases.begin("lan") as tx:
        ticket = desk.desk.create_from_alert(tx, alert, LAN, PLAYBOOK)
    assert (ticket.entity, ticket.observables, ticket.system_id) == (alert.entity, alert.observables, "sys-1")
    assert (ticket.organization_id, ticket.detected_us, ticket.alert_ids) == ("so-tttt", alert.created_us, (alert.id,))
    assert desk.get(ticket.id) == ticket


def test_the_steps_of_the_playbook_become_tasks_with_a_deadline(desk: Desk) -> None:
    """A later change of the playbook does not change what was agreed."""
    confirm, block = desk.ticket().tasks
    assert (confirm.id, confirm.due_us, confirm.title_vi) == ("confirm", T0_US + 15 * 60_000_000, "Xem")
    assert (block.action, block.due_us) == (BLOCK, None)


def test_numbers_are_for_people_and_count_per_year(desk: Desk) -> None:
    """KT-2026-000001, and from one again in the new year of Vietnam."""
    first, second = desk.ticket(), desk.ticket(id="f2", entity="source.ip=198.51.100.1")
    desk.clock.set(1_767_200_400_000_000_000)  # 2026-01-01 00:00 +07
    third = desk.ticket(id="f3", entity="source.ip=198.51.100.2")
    assert [t.number for t in (first, second, third)] == ["KT-2025-000001", "KT-2025-000002", "KT-2026-000001"]
    assert desk.get("KT-2025-000002") == second


def test_the_alert_is_escalated_with_the_ticket(desk: Desk) -> None:
    """Both are one transaction, and a second ticket is refused."""
    ticket = desk.ticket()
    with desk.cases.begin("lan") as tx:
        alert, _ = desk.alerts.get(tx, ticket.alert_ids[0])
        assert (alert.status, alert.ticket_id) == ("escalated", ticket.id)
        with pytest.raises(Conflict, match="has a ticket"):
            desk.desk.create_from_alert(tx, alert, LAN, None)


def test_a_whole_life_is_in_moves_and_ledger(desk: Desk) -> None:
    """From new to closed, each step with who and when."""
    ticket = desk.ticket()
    for to, options in [
        ("triage", {}), ("assigned", {"assignee": "minh", "tier": 2}), ("contained", {}), ("eradicated", {}),
        ("recovered", {}), ("closed", {"resolution": "resolved", "reason": "done"}),
    ]:  # fmt: skip
        ticket = desk.act("move", ticket.id, to, LAN, **options)
    assert [m.after for m in ticket.moves] == ["triage", "assigned", "contained", "eradicated", "recovered", "closed"]
    assert (ticket.assignee, ticket.tier, ticket.resolution) == ("minh", 2, "resolved")
    assert desk.cases.acts.count("ticket.move") == 6


def test_an_illegal_move_changes_nothing(desk: Desk) -> None:
    """The reason is told, the ticket stays."""
    ticket = desk.ticket()
    with pytest.raises(Conflict, match="triage it first"):
        desk.act("move", ticket.id, "closed", LAN, resolution="resolved", reason="x")
    assert desk.get(ticket.id) == ticket


def test_a_step_is_done_once(desk: Desk) -> None:
    """With what came of it; the second time says who was first."""
    ticket = desk.act("step_done", desk.ticket().id, "confirm", LAN, "no login")
    assert ticket.task("confirm") == replace(ticket.tasks[0], done_us=T0_US, done_by="lan", result="no login")
    with pytest.raises(Conflict, match="lan"):
        desk.act("step_done", ticket.id, "confirm", LAN)
    with pytest.raises(NotFound, match="confirm, block"):
        desk.act("step_done", ticket.id, "nope", LAN)


def test_classifying_starts_the_legal_clocks(desk: Desk) -> None:
    """The judgement is kept with person and reason; the clocks run from T0, not from the judgement."""
    ticket = desk.ticket()
    desk.clock.advance(7200)
    ticket = desk.act("classify", ticket.id, LAN, serious=True, reason="level 3, data lost")
    assert [(d.id, (d.due_us - T0_US) // 3_600_000_000) for d in ticket.deadlines] == [("NW2", 24), ("NW3", 72)]
    assert (ticket.classified_by, ticket.classified_reason) == ("lan", "level 3, data lost")


def test_a_met_deadline_stays_met_when_the_judgement_changes(desk: Desk) -> None:
    """What was sent was sent."""
    ticket = desk.act("classify", desk.ticket().id, LAN, serious=True, reason="x")
    desk.act("deadline_met", ticket.id, "NW2", LAN, "receipt 12")
    ticket = desk.act("classify", ticket.id, LAN, serious=False, reason="y")
    assert [(d.id, d.met_by) for d in ticket.deadlines] == [("NW2", "lan")]


def test_unmerge_is_the_inverse_of_merge(desk: Desk) -> None:
    """Both tickets are as before, but for the record of what was done."""
    one = desk.act("move", desk.ticket().id, "triage", LAN)
    two = desk.ticket(id="f2", entity="source.ip=198.51.100.1")
    merged = desk.act("merge", one.id, two.id, LAN)
    assert Observable("source.ip", "203.0.113.9") in all_observables(merged)
    assert merged.merged[0].description == one.description
    assert desk.get(one.id).state == "merged"
    back = desk.act("unmerge", one.id, LAN, "not the same")
    assert replace(back, moves=one.moves) == one
    assert desk.get(two.id) == two


def test_nothing_is_merged_into_itself_or_into_what_is_closed(desk: Desk) -> None:
    """A merge never hides an open ticket."""
    one = desk.act("move", desk.ticket().id, "triage", LAN)
    two = desk.ticket(id="f2", entity="source.ip=198.51.100.1")
    desk.act("move", one.id, "closed", LAN, resolution="test", reason="drill")
    with pytest.raises(UsageError):
        desk.act("merge", two.id, two.id, LAN)
    with pytest.raises(Conflict, match="closed"):
        desk.act("merge", two.id, one.id, LAN)
