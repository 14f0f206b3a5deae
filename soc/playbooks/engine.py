"""`Engine`: plan → approve → apply → verify → revert, with the state durable before and after every side effect.

A run that was interrupted between "applying" and "applied" may or may not have had its effect. `recover` therefore
asks the world before it does anything: what is there is taken as done, what is not there is done now.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from soc.errors import Conflict, NotFound, PermissionRefused, SocError, UsageError
from soc.model.alert import Observable, uuid7
from soc.model.cases import CasesPort, Person
from soc.model.cases import CaseTx as Tx
from soc.model.clock import Clock
from soc.model.run import ACTIVE, ActionPlan, ActionSpec, Capability, Progress, Run
from soc.model.ticket import Ticket
from soc.playbooks.guard import Guard, single_address
from soc.playbooks.ports import Actuator

APPROVAL_US = 3600 * 1_000_000
"""An approval holds for an hour: after that the world may look different."""
PLAN_US = 24 * APPROVAL_US
"""A plan that nobody approved within a day is dropped."""
OPEN = ("approved", *ACTIVE)
"""States in which a run holds its target; a mere plan does not."""
PAGE = 200
Require = Callable[[Any, str], object]
"""Raises PermissionRefused when the person lacks the permission."""


@dataclass(frozen=True)
class _At:
    run: Run
    version: int


class Engine:
    """One engine per case database. `require(person, permission)` refuses who may not; `guard` what may not be done."""

    def __init__(
        self,
        cases: CasesPort,
        actuators: Mapping[str, Actuator],
        clock: Clock,
        *,
        require: Require,
        guard: Guard | None = None,
        randomness: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._cases = cases
        self._actuators = actuators
        self._clock = clock
        self._require = require
        self._guard = guard or Guard()
        self._randomness = randomness
        self._busy: set[str] = set()
        self._lock = threading.Lock()

    # People

    def plan(self, ticket: Ticket, step: str, params: Mapping[str, Any], person: Person) -> Run:
        """What the action step of a ticket would do; changes nothing but the record.

        `params` overrides what the observables of the ticket give (`address`, `ttl_s`). Where the actuator cannot
        work here the run is `manual`, with the exact command and the reason. Raises UsageError, PermissionRefused,
        Conflict, NotFound.
        """
        self._require(person, "playbook.plan")
        spec = self._action(ticket, step)
        wanted = resolve(spec, ticket.observables, params)
        now_us = self._now_us()
        with self._cases.begin(person.name) as tx:
            plan, capability = self._planned(spec, wanted)
            self._allowed(tx, plan, ticket.simulated)
            self._alone(tx, plan.target)
            run_id = uuid7(self._clock.now_ns(), self._randomness(10))
            run = Run(
                id=run_id, ticket_id=ticket.id, ticket_number=ticket.number, step_id=step, actuator=spec.actuator,
                verb=spec.verb, plan=plan, state="planned", requested_by=person.name, created_us=now_us,
                key=f"{run_id}:apply", organization_id=ticket.organization_id, system_id=ticket.system_id,
                simulated=ticket.simulated,
            )  # fmt: skip
            state = "planned" if capability.available else "manual"
            run = replace(run, plan_hash=run.computed_hash(), error=capability.why)
            run = _on(run, now_us, person.name, state, capability.why)
            self._put(tx, run, None, None, "plan")
        return run

    def approve(self, run_id: str, plan_hash: str, person: Person) -> Run:
        """Agree to exactly the plan of this hash. Raises Conflict when it is another one, PermissionRefused for the
        requester's own."""
        self._require(person, "playbook.approve")
        with self._cases.begin(person.name) as tx:
            at = self._get(tx, run_id)
            run = at.run
            if run.requested_by == person.name:
                raise PermissionRefused("who asked for an action cannot approve it; somebody else has to")
            self._in_state(run, "planned", verb="approved")
            if plan_hash != run.plan_hash or run.computed_hash() != run.plan_hash:
                raise Conflict("the plan is not the one that was shown", hint="look at it again and approve its hash")
            self._alone(tx, run.plan.target)
            now_us = self._now_us()
            approved = replace(
                run, approved_by=person.name, approved_us=now_us, approval_expires_us=now_us + APPROVAL_US
            )
            return self._step(tx, at, approved, "approved", person.name, verb="approve")

    def run(self, run_id: str, person: Person) -> Run:
        """`advance` on a person's word."""
        self._require(person, "playbook.run")
        return self.advance(run_id, person.name)

    def revert(self, run_id: str, person: Person) -> Run:
        """Undo what was done, verified. Raises Conflict when nothing of it is in effect, PermissionRefused."""
        self._require(person, "playbook.revert")
        with self._alone_with(run_id):
            at = self._begin_revert(run_id, person.name)
            return self._finish_revert(at, person.name)

    def done_by_hand(self, run_id: str, person: Person, note: str) -> Run:
        """Record that a manual run was carried out by a person."""
        self._require(person, "playbook.run")
        if not note.strip():
            raise UsageError("say what was done and where")
        with self._cases.begin(person.name) as tx:
            at = self._get(tx, run_id)
            self._in_state(at.run, "manual", verb="recorded as done by hand")
            if at.run.done_by:
                raise Conflict(f"{at.run.done_by} recorded it as done already")
            done = replace(at.run, done_by=person.name, ended_us=self._now_us())
            return self._step(tx, at, done, "manual", person.name, note=note, verb="done")

    def get(self, run_id: str) -> Run:
        """The run as it stands. Raises NotFound."""
        with self._cases.begin("engine") as tx:
            return self._get(tx, run_id).run

    # The engine itself

    def advance(self, run_id: str, actor: str = "engine") -> Run:
        """Carry an approved run out and verify it; one that is further already is left where it is.

        Raises Conflict when it was not approved, or another thread is at it.
        """
        with self._alone_with(run_id):
            with self._cases.begin(actor) as tx:
                at = self._get(tx, run_id)
            if at.run.state in ("applying", "applied"):
                return self._resume(at, actor)
            if at.run.state in ("verified", "manual"):
                return at.run
            self._in_state(at.run, "approved", verb="run")
            return self._carry_out(at, actor)

    def recover(self) -> list[Run]:
        """After a start: bring every interrupted run to where the world says it is. Gives the runs that moved."""
        moved = []
        for run_id in self._ids(("applying", "applied", "reverting")):
            with self._alone_with(run_id):
                with self._cases.begin("engine") as tx:
                    at = self._get(tx, run_id)
                if at.run.state == "reverting":
                    moved.append(self._finish_revert(at, "engine"))
                else:
                    moved.append(self._resume(at, "engine"))
        return moved + self._reconcile()

    def expire(self, now_us: int) -> list[Run]:
        """End what is over at `now_us` (µs UTC): blocks past their TTL, re-read and lifted if they still stand, and
        approvals and plans nobody used."""
        ended = []
        for run_id in self._ids(("verified", "unknown", "planned", "approved")):
            with self._alone_with(run_id):
                with self._cases.begin("engine") as tx:
                    at = self._get(tx, run_id)
                if at.run.state in ("planned", "approved"):
                    ended += self._unused(at, now_us)
                elif 0 < at.run.plan.expires_us <= now_us:
                    ended.append(self._end(at))
        return ended

    def _unused(self, at: _At, now_us: int) -> list[Run]:
        if at.run.state == "approved" and (at.run.approval_expires_us or 0) <= now_us:
            return [self._keep(at, "expired", "engine", "the approval was not used in time")]
        if at.run.state == "planned" and at.run.created_us + PLAN_US <= now_us:
            return [self._keep(at, "expired", "engine", "nobody approved the plan in time")]
        return []

    # Carrying out

    def _carry_out(self, at: _At, actor: str) -> Run:
        run = at.run
        now_us = self._now_us()
        if (run.approval_expires_us or 0) <= now_us:
            return self._keep(at, "expired", actor, "the approval was not used in time")
        if run.computed_hash() != run.plan_hash:
            return self._keep(at, "failed", actor, "the plan is not the one that was approved")
        capability = self.capability(run.actuator)
        if not capability.available:
            return self._keep(at, "manual", actor, capability.why)
        plan = replace(run.plan, expires_us=now_us + run.plan.ttl_s * 1_000_000)
        with self._cases.begin(actor) as tx:
            self._allowed(tx, plan, run.simulated)
            applying = replace(run, plan=plan, applying_us=now_us)
            written = self._step(tx, at, applying, "applying", actor, verb="apply")
        return self._apply(_At(written, at.version + 1), actor)

    def _apply(self, at: _At, actor: str) -> Run:
        """The side effect. "applying" is durable already; "applied" becomes so right after."""
        try:
            self._actuators[at.run.actuator].apply(at.run.plan, at.run.key)
        except SocError as error:
            return self._after_failure(at, actor, str(error))
        return self._applied(at, actor, "")

    def _after_failure(self, at: _At, actor: str, why: str) -> Run:
        """A command that failed may have had its effect all the same: ask the world."""
        seen = self._seen(at.run)
        if seen == "verified":
            return self._applied(at, actor, f"reported a failure, but is in effect: {why}")
        return self._keep(at, "failed" if seen == "absent" else "unknown", actor, why)

    def _resume(self, at: _At, actor: str) -> Run:
        """Go on with a run that was interrupted, without repeating what it did."""
        if at.run.state == "applied":
            return self._verify(at, actor)
        seen = self._seen(at.run)
        if seen == "verified":
            return self._applied(at, actor, "was in effect already when the engine came back")
        if seen == "unknown":
            return self._keep(at, "unknown", actor, "interrupted while applying, and the world cannot be read")
        if at.run.plan.expires_us <= self._now_us():
            return self._keep(at, "expired", actor, "interrupted while applying; its time is over")
        return self._apply(at, actor)

    def _applied(self, at: _At, actor: str, note: str) -> Run:
        with self._cases.begin(actor) as tx:
            applied = replace(at.run, applied_us=self._now_us())
            written = self._step(tx, at, applied, "applied", actor, note=note, verb="applied")
        return self._verify(_At(written, at.version + 1), actor)

    def _verify(self, at: _At, actor: str) -> Run:
        seen = self._seen(at.run)
        if seen == "verified":
            now_us = self._now_us()
            return self._keep(_At(replace(at.run, verified_us=now_us, error=""), at.version), "verified", actor, "")
        if seen == "absent":
            return self._keep(at, "failed", actor, "applied, but the world does not show it")
        return self._keep(at, "unknown", actor, "applied, but the world cannot be read")

    def _begin_revert(self, run_id: str, actor: str) -> _At:
        with self._cases.begin(actor) as tx:
            at = self._get(tx, run_id)
            if at.run.state not in ACTIVE:
                raise Conflict(f"the run is {at.run.state}: nothing of it is in effect")
            if at.run.state == "reverting":
                return at
            return _At(self._step(tx, at, at.run, "reverting", actor, verb="revert"), at.version + 1)

    def _finish_revert(self, at: _At, actor: str) -> Run:
        """Undoing what is undone already changes nothing, so it may be repeated."""
        why = self._lift(at.run)
        seen = self._seen(at.run)
        if seen == "absent":
            return self._keep(at, "reverted", actor, "")
        return self._keep(at, "unknown", actor, why or "reverted, but the world still shows it or cannot be read")

    def _end(self, at: _At) -> Run:
        """The end of a TTL, verified: what still stands is lifted."""
        seen = self._seen(at.run)
        note = ""
        if seen == "verified":
            note = self._lift(at.run) or "still stood after its time and was lifted"
            seen = self._seen(at.run)
        if seen == "absent":
            return self._keep(at, "expired", "engine", note)
        if at.run.state == "unknown":
            return at.run
        return self._keep(at, "unknown", "engine", note or "its time is over, and the world cannot be read")

    def _reconcile(self) -> list[Run]:
        """A run is called verified only as long as the world agrees; what was unknown may be known by now."""
        moved = []
        for run_id in self._ids(("verified", "unknown")):
            with self._alone_with(run_id):
                with self._cases.begin("engine") as tx:
                    at = self._get(tx, run_id)
                if at.run.plan.expires_us > self._now_us():
                    moved += self._compared(at)
        return moved

    def _compared(self, at: _At) -> list[Run]:
        seen = self._seen(at.run)
        if seen == at.run.state:
            return []
        if seen == "verified":
            return [self._verify(at, "engine")]
        if seen == "absent":
            return [self._keep(at, "failed", "engine", "not in effect: the world does not show it before its time")]
        return [self._keep(at, "unknown", "engine", "the world cannot be read")]

    def _seen(self, run: Run) -> str:
        actuator = self._actuators.get(run.actuator)
        if actuator is None:
            return "unknown"
        try:
            return actuator.verify(run.plan)
        except SocError:
            return "unknown"

    def _lift(self, run: Run) -> str:
        """Why it could not be lifted; empty when it was."""
        actuator = self._actuators.get(run.actuator)
        if actuator is None:
            return f"no actuator '{run.actuator}' here"
        try:
            actuator.revert(run.plan)
        except SocError as error:
            return str(error)
        return ""

    # Judging

    def _action(self, ticket: Ticket, step: str) -> ActionSpec:
        task = ticket.task(step)
        if task is None:
            raise NotFound(f"ticket {ticket.number} has no step '{step}'")
        if task.action is None:
            raise UsageError(f"step '{step}' is done by people; there is nothing to run", hint="record it as done")
        return task.action

    def _planned(self, spec: ActionSpec, params: Mapping[str, Any]) -> tuple[ActionPlan, Capability]:
        actuator = self._actuators.get(spec.actuator)
        if actuator is None:
            target, ttl_s = str(single_address(str(params.get("address", "")))), int(params["ttl_s"])
            plan = ActionPlan((), target, 0, (), f"{spec.verb} {target} for {ttl_s} s on {spec.actuator}", ttl_s)
            return plan, self.capability(spec.actuator)
        return actuator.plan(params), actuator.check()

    def capability(self, name: str) -> Capability:
        """Whether that actuator can work here, and why not."""
        actuator = self._actuators.get(name)
        return actuator.check() if actuator else Capability(False, f"no actuator '{name}' is configured here")

    def _allowed(self, tx: Tx, plan: ActionPlan, simulated: bool) -> None:
        active = tx.find("run", keys={"state": ACTIVE}, limit=self._guard.max_concurrent)
        self._guard.check(plan.target, plan.ttl_s, simulated=simulated, active=len(active))

    def _alone(self, tx: Tx, target: str) -> None:
        # Two runs on one target would share one effect, and reverting the first would lift the second.
        for run_id, stored in tx.find("run", keys={"target": target, "state": OPEN}, limit=1):
            raise Conflict(f"run {run_id} ({stored.document['state']}) is about {target} already")

    def _in_state(self, run: Run, *states: str, verb: str) -> None:
        if run.state not in states:
            raise Conflict(f"the run is {run.state}; it can be {verb} only when it is {' or '.join(states)}")

    # Keeping

    @contextmanager
    def _alone_with(self, run_id: str) -> Iterator[None]:
        """One thread a run; another one is told instead of waiting behind a slow device."""
        with self._lock:
            if run_id in self._busy:
                raise Conflict(f"run {run_id} is being worked on", hint="look at its state in a moment")
            self._busy.add(run_id)
        try:
            yield
        finally:
            with self._lock:
                self._busy.discard(run_id)

    def _ids(self, states: tuple[str, ...]) -> list[str]:
        """All runs in these states, oldest first, but those another thread is at."""
        found: list[str] = []
        with self._cases.begin("engine") as tx:
            before = None
            while page := tx.find("run", keys={"state": states}, limit=PAGE, before=before):
                found.extend(run_id for run_id, _ in page)
                before = page[-1][0]
        with self._lock:
            return [run_id for run_id in reversed(found) if run_id not in self._busy]

    def _get(self, tx: Tx, run_id: str) -> _At:
        stored = tx.get("run", run_id)
        if stored is None:
            raise NotFound(f"no run '{run_id}'")
        return _At(Run.from_document(stored.document), stored.version)

    def _keep(self, at: _At, state: str, actor: str, note: str) -> Run:
        run = replace(at.run, error=note) if note else at.run
        if state in ("reverted", "expired", "failed"):
            run = replace(run, ended_us=self._now_us())
        with self._cases.begin(actor) as tx:
            return self._step(tx, at, run, state, actor, note=note, verb=state)

    def _step(self, tx: Tx, at: _At, run: Run, state: str, actor: str, *, note: str = "", verb: str) -> Run:
        changed = _on(run, self._now_us(), actor, state, note)
        self._put(tx, changed, at.run, at.version, verb)
        return changed

    def _put(self, tx: Tx, run: Run, before: Run | None, version: int | None, verb: str) -> None:
        tx.put("run", run.id, run.to_document(), version, unit=run.organization_id, keys=run.keys())
        after = {"state": run.state, "plan": run.plan_hash, "target": run.plan.target, "ticket": run.ticket_id}
        tx.ledger(
            f"playbook.{verb}", f"run:{run.id}", None if before is None else {"state": before.state}, after, run.error
        )
        tx.change("run", run.id, verb)

    def _now_us(self) -> int:
        return self._clock.now_ns() // 1000


def _on(run: Run, at_us: int, actor: str, state: str, note: str) -> Run:
    return replace(run, state=state, history=(*run.history, Progress(at_us, actor, state, note)))


def resolve(spec: ActionSpec, observables: tuple[Observable, ...], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of an action: what the caller says, else the first observable of the field the playbook names.

    Raises UsageError when neither gives one, or a parameter is unknown.
    """
    known = {*spec.params, "ttl_s"}
    for name in overrides:
        if name not in known:
            raise UsageError(f"'{spec.verb}' has no parameter '{name}'; it has {', '.join(sorted(known))}")
    result: dict[str, Any] = {"ttl_s": int(overrides.get("ttl_s", spec.ttl_s))}
    for name, field in spec.params.items():
        value = overrides.get(name) or next((o.value for o in observables if o.field == field), None)
        if value is None:
            raise UsageError(f"the ticket names no {field}", hint=f"say which: {name}=…")
        result[name] = value
    return result
