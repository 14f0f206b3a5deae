"""`TicketDesk`: makes tickets of alerts and keeps what people do with them."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from soc.errors import Conflict, NotFound, UsageError
from soc.model.alert import Alert, Note, Observable, uuid7
from soc.model.cases import Person
from soc.model.clock import VIETNAM, Clock, utc
from soc.model.run import Playbook, Step
from soc.model.ticket import Merged, Move, Task, Ticket
from soc.tickets import lifecycle
from soc.tickets.clocks import LegalClock, deadlines
from soc.tickets.ports import Tx

MINUTE_US = 60_000_000
TicketHook = Callable[[Any, Alert, Ticket, Person], None]
"""Called inside the transaction that made the ticket, so that the alert becomes escalated with it."""


class TicketDesk:
    """One desk per case database; everything happens in the caller's transaction. `profile` is the legal profile."""

    def __init__(
        self,
        clock: Clock,
        clocks: Sequence[LegalClock] = (),
        *,
        profile: str = "2026",
        on_created: TicketHook | None = None,
        randomness: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._clock = clock
        self._clocks = clocks
        self._profile = profile
        self._on_created = on_created
        self._randomness = randomness

    # Making

    def create_from_alert(self, tx: Tx, alert: Alert, person: Person, playbook: Playbook | None = None) -> Ticket:
        """A ticket with everything the alert knows and the playbook's steps as tasks.

        Raises Conflict when the alert has a ticket already.
        """
        if alert.ticket_id is not None:
            raise Conflict(f"alert '{alert.id}' has a ticket already: {alert.ticket_id}")
        now_us = self._now_us()
        ticket = Ticket(
            id=uuid7(self._clock.now_ns(), self._randomness(10)), number=self._next_number(tx),
            title=alert.title, title_vi=alert.title_vi, description=_describe(alert), level=alert.level, state="new",
            created_us=now_us, detected_us=alert.created_us, created_by=person.name, alert_ids=(alert.id,),
            entity=alert.entity, observables=alert.observables, site=alert.site,
            system_id=alert.system_id, system_name=alert.system_name, system_level=alert.system_level,
            organization_id=alert.organization_id, organization_name=alert.organization_name, tags=alert.tags,
            risk=alert.risk, playbook=playbook.id if playbook else "",
            tasks=tuple(_task(step, now_us) for step in playbook.steps) if playbook else (),
            simulated=alert.simulated,
        )  # fmt: skip
        tx.put("ticket", ticket.id, ticket.to_document(), None, unit=ticket.organization_id, keys=ticket.keys())
        after = {"number": ticket.number, "alert": alert.id, "playbook": ticket.playbook}
        tx.ledger("ticket.create", f"ticket:{ticket.id}", None, after)
        tx.change("ticket", ticket.id, "create")
        if self._on_created is not None:
            self._on_created(tx, alert, ticket, person)
        return ticket

    def _next_number(self, tx: Tx) -> str:
        """`KT-2026-000123`: counted per local year in the same transaction, so that none is given twice."""
        year = utc(self._clock.now_ns()).astimezone(VIETNAM).year
        name = f"ticket.number.{year}"
        number = int((tx.cursor(name) or {"last": 0})["last"]) + 1
        tx.set_cursor(name, {"last": number})
        return f"KT-{year}-{number:06d}"

    # Reading

    def get(self, tx: Tx, id: str) -> tuple[Ticket, int]:
        """The ticket and its version, by id or by number. Raises NotFound."""
        stored = tx.get("ticket", id)
        if stored is None:
            found = tx.find("ticket", keys={"number": id}, limit=1)
            stored = found[0][1] if found else None
        if stored is None:
            raise NotFound(f"no ticket '{id}'")
        return Ticket.from_document(stored.document), stored.version

    # Moving

    def move(
        self,
        tx: Tx,
        id: str,
        to: str,
        person: Person,
        *,
        reason: str = "",
        assignee: str = "",
        tier: int | None = None,
        resolution: str = "",
        duplicate_of: str = "",
        version: int | None = None,
    ) -> Ticket:
        """Take the next step of the lifecycle. Raises Conflict with the reason when it may not be taken."""
        ticket, found = self._at(tx, id, version)
        if to == "merged":
            raise UsageError("merging names both tickets", hint="use merge")
        who = assignee or ticket.assignee
        lifecycle.check(ticket.state, to, assignee=who, resolution=resolution, reason=reason, target=duplicate_of)
        changed = replace(
            self._moved(ticket, to, person, reason or duplicate_of),
            assignee=who,
            tier=tier or ticket.tier,
            resolution=resolution if to == "closed" else "" if to == "reopened" else ticket.resolution,
            merged_into=self.get(tx, duplicate_of)[0].id if to == "duplicate" else None,
        )
        return self._keep(tx, ticket, changed, found, "move", reason=reason)

    def step_done(
        self, tx: Tx, id: str, task_id: str, person: Person, result: str = "", *, version: int | None = None
    ) -> Ticket:
        """Record a task as done, with what came of it. Raises NotFound, Conflict."""
        ticket, found = self._at(tx, id, version)
        task = ticket.task(task_id)
        if task is None:
            names = ", ".join(t.id for t in ticket.tasks) or "none"
            raise NotFound(f"ticket {ticket.number} has no step '{task_id}'; it has {names}")
        if task.done_us is not None:
            raise Conflict(f"step '{task_id}' was done already by {task.done_by}")
        done = replace(task, done_us=self._now_us(), done_by=person.name, result=result)
        changed = replace(ticket, tasks=tuple(done if t.id == task_id else t for t in ticket.tasks))
        return self._keep(tx, ticket, changed, found, "step", reason=f"{task_id}: {result}".rstrip(": "))

    def note(self, tx: Tx, id: str, person: Person, text: str, *, version: int | None = None) -> Ticket:
        """Add a note. Raises UsageError for an empty one."""
        if not text.strip():
            raise UsageError("a note needs text")
        ticket, found = self._at(tx, id, version)
        note = Note(self._now_us(), person.name, text.strip())
        return self._keep(tx, ticket, replace(ticket, notes=(*ticket.notes, note)), found, "note", reason=text)

    # The law

    def classify(
        self,
        tx: Tx,
        id: str,
        person: Person,
        *,
        serious: bool,
        flags: Collection[str] = (),
        reason: str,
        version: int | None = None,
    ) -> Ticket:
        """Record the judgement on severity, and start the legal clocks it calls for; met ones stay met."""
        if not reason.strip():
            raise UsageError("the judgement on severity is recorded with its reason")
        ticket, found = self._at(tx, id, version)
        met = {deadline.id: deadline for deadline in ticket.deadlines if deadline.met_us is not None}
        due = deadlines(self._clocks, self._profile, ticket.detected_us, serious=serious, flags=flags)
        kept = tuple(met.pop(d.id, d) for d in due) + tuple(met.values())
        changed = replace(
            ticket,
            serious=serious,
            flags=tuple(sorted(flags)),
            classified_by=person.name,
            classified_reason=reason.strip(),
            deadlines=kept,
        )
        return self._keep(tx, ticket, changed, found, "classify", reason=reason)

    def deadline_met(self, tx: Tx, id: str, deadline_id: str, person: Person, proof: str) -> Ticket:
        """Record that a duty was done, with the proof of sending. Raises NotFound, Conflict."""
        ticket, found = self._at(tx, id, None)
        deadline = next((d for d in ticket.deadlines if d.id == deadline_id), None)
        if deadline is None:
            raise NotFound(f"ticket {ticket.number} has no deadline '{deadline_id}'")
        if deadline.met_us is not None:
            raise Conflict(f"deadline '{deadline_id}' was met already by {deadline.met_by}")
        met = replace(deadline, met_us=self._now_us(), met_by=person.name)
        changed = replace(ticket, deadlines=tuple(met if d.id == deadline_id else d for d in ticket.deadlines))
        return self._keep(tx, ticket, changed, found, "deadline", reason=f"{deadline_id}: {proof}")

    # Merging

    def merge(self, tx: Tx, id: str, into: str, person: Person) -> Ticket:
        """Put a ticket into another one, which keeps both descriptions; gives the other one. `unmerge` undoes it."""
        source, source_version = self.get(tx, id)
        target, target_version = self.get(tx, into)
        if source.id == target.id:
            raise UsageError("a ticket cannot be merged into itself")
        if target.state not in lifecycle.OPEN:
            raise Conflict(f"ticket {target.number} is {target.state}; merge into an open one")
        if source.merged:
            raise Conflict(f"ticket {source.number} holds other tickets; merge those into {target.number} one by one")
        lifecycle.check(source.state, "merged", target=target.id)
        left = replace(
            self._moved(source, "merged", person, f"into {target.number}"),
            merged_into=target.id,
            state_before_merge=source.state,
        )
        part = Merged(source.id, source.number, source.title, source.description, source.observables, source.alert_ids)
        grown = replace(target, merged=(*target.merged, part))
        self._keep(tx, source, left, source_version, "merge", reason=f"into {target.number}")
        return self._keep(tx, target, grown, target_version, "merge", reason=f"from {source.number}")

    def unmerge(self, tx: Tx, id: str, person: Person, reason: str) -> Ticket:
        """Take a merged ticket out again: both are as if it had not happened, but for the record. Gives it back."""
        source, source_version = self.get(tx, id)
        if source.state != "merged" or source.merged_into is None:
            raise Conflict(f"ticket {source.number} is {source.state}, not merged")
        target, target_version = self.get(tx, source.merged_into)
        shrunk = replace(target, merged=tuple(part for part in target.merged if part.ticket_id != source.id))
        back = replace(
            self._moved(source, source.state_before_merge, person, reason), merged_into=None, state_before_merge=""
        )
        self._keep(tx, target, shrunk, target_version, "unmerge", reason=reason)
        return self._keep(tx, source, back, source_version, "unmerge", reason=reason)

    # Keeping

    def _moved(self, ticket: Ticket, to: str, person: Person, reason: str) -> Ticket:
        move = Move(self._now_us(), person.name, ticket.state, to, reason)
        return replace(ticket, state=to, moves=(*ticket.moves, move))

    def _at(self, tx: Tx, id: str, version: int | None) -> tuple[Ticket, int]:
        ticket, found = self.get(tx, id)
        if version is not None and version != found:
            raise Conflict(
                f"ticket {ticket.number} was changed by somebody else: version {found}, not {version}",
                hint="read it again and repeat the change",
            )
        return ticket, found

    def _keep(self, tx: Tx, before: Ticket, after: Ticket, version: int, verb: str, *, reason: str) -> Ticket:
        tx.put("ticket", after.id, after.to_document(), version, keys=after.keys())
        tx.ledger(f"ticket.{verb}", f"ticket:{after.id}", _shown(before), _shown(after), reason)
        tx.change("ticket", after.id, verb)
        return after

    def _now_us(self) -> int:
        return self._clock.now_ns() // 1000


def all_observables(ticket: Ticket) -> tuple[Observable, ...]:
    """The ticket's own and those of the tickets merged into it, each once."""
    parts = (observable for part in ticket.merged for observable in part.observables)
    return tuple(dict.fromkeys((*ticket.observables, *parts)))


def _shown(ticket: Ticket) -> dict[str, Any]:
    return {"state": ticket.state, "assignee": ticket.assignee, "serious": ticket.serious, "tier": ticket.tier}


def _describe(alert: Alert) -> str:
    why = "; ".join(f"{m.selection}: {m.field} = {m.value}" for m in alert.why[:5])
    return f"{alert.title} ({alert.level}): {alert.entity or alert.site}. {why}".rstrip()


def _task(step: Step, now_us: int) -> Task:
    due = None if step.deadline_minutes is None else now_us + step.deadline_minutes * MINUTE_US
    return Task(
        step.id, step.tier, step.kind, step.title, step.title_vi, step.guidance, step.guidance_vi, due, step.action
    )
