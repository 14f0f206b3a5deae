"""`AlertDesk`: takes findings in exactly once, and what people decide about alerts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from soc.alerts import told, withheld
from soc.alerts.grouping import dedup_key, joined, opened
from soc.alerts.ports import Systems
from soc.errors import Conflict, NotFound, UsageError, nearest
from soc.model.alert import VERDICTS, Alert, Note, uuid7
from soc.model.cases import CasesPort, Person
from soc.model.cases import CaseTx as Tx
from soc.model.clock import VIETNAM, Clock, utc
from soc.model.finding import Finding
from soc.model.rule_policy import EVERY_RULE, RulePolicy

AlertHook = Callable[[Any, Alert], None]
"""Called inside the transaction for a new alert, and for one whose level rose."""


class AlertDesk:
    """One desk per case database. Everything happens in the caller's transaction.

    `replayed` counts findings that were known already: a replay or a reload adds nothing. `policy` says which
    rules make alerts, and for whom; see `soc.alerts.withheld` for what becomes of the others' findings.
    """

    def __init__(
        self,
        cases: CasesPort,
        clock: Clock,
        registry: Systems,
        *,
        on_alert: AlertHook | None = None,
        policy: RulePolicy = EVERY_RULE,
        randomness: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._cases = cases
        self._clock = clock
        self._registry = registry
        self._on_alert = on_alert
        self._policy = policy
        self._randomness = randomness
        self.replayed = 0

    # Findings

    def take(self, findings: Iterable[Finding], actor: str = "engine") -> list[Alert]:
        """`ingest` in a transaction of its own."""
        with self._cases.begin(actor) as tx:
            return self.ingest(tx, findings)

    def ingest(self, tx: Tx, findings: Iterable[Finding]) -> list[Alert]:
        """The alerts that these findings opened or joined, each once, in order; repeated findings change nothing."""
        touched: dict[str, tuple[Alert, int | None, Alert | None]] = {}
        kept: dict[str, tuple[Finding, str]] = {}
        for finding in findings:
            if finding.id in kept or told.is_told(tx, finding):
                self.replayed += 1
                continue
            why = withheld.why_not(tx, finding, self._policy)
            if why:
                kept[finding.id] = (finding, why)
                continue
            key = dedup_key(finding)
            alert, version, before = touched.get(key) or self._open_alert(tx, key, finding)
            grown = alert if alert.count == 0 else joined(alert, finding, self._now_us())
            touched[key] = (replace(grown, count=max(grown.count, 1)), version, before)
            told.note(tx, finding, {"alert": alert.id})
        withheld.keep(tx, kept.values(), self._now_us(), lambda finding: self._new(finding, None))
        return [self._keep(tx, *entry) for entry in touched.values()]

    def _open_alert(self, tx: Tx, key: str, finding: Finding) -> tuple[Alert, int | None, Alert | None]:
        """The open alert of this key with its version, or a new one (count 0: it holds its first finding already)."""
        found = [(Alert.from_document(s.document), s.version) for _, s in tx.find("alert", keys={"dedup": key})]
        for alert, version in found:
            if alert.status != "closed":
                return alert, version, alert
        # A person closed the earlier one; what comes after that judgement is news again.
        previous = max((alert for alert, _ in found), key=lambda a: (a.created_us, a.id), default=None)
        return replace(self._new(finding, previous.id if previous else None), count=0), None, None

    def _new(self, finding: Finding, previous_id: str | None) -> Alert:
        now_ns = self._clock.now_ns()
        system = self._registry.get(finding.system_id) if finding.system_id else None
        level = system.level_on(utc(now_ns).astimezone(VIETNAM).date()) if system else None
        return opened(
            finding,
            id=uuid7(now_ns, self._randomness(10)),
            now_us=now_ns // 1000,
            system=system,
            system_level=level,
            previous_id=previous_id,
        )

    def _keep(self, tx: Tx, alert: Alert, version: int | None, before: Alert | None) -> Alert:
        tx.put("alert", alert.id, alert.to_document(), version, unit=alert.organization_id, keys=alert.keys())
        if before is None:
            after = {"rule": alert.rule_id, "level": alert.level, "entity": alert.entity, "count": alert.count}
            tx.ledger("alert.create", f"alert:{alert.id}", None, after)
        tx.change("alert", alert.id, "create" if before is None else "update")
        if self._on_alert is not None and (before is None or before.level != alert.level):
            self._on_alert(tx, alert)
        return alert

    # People

    def get(self, tx: Tx, id: str) -> tuple[Alert, int]:
        """The alert and its version. Raises NotFound."""
        stored = tx.get("alert", id)
        if stored is None:
            raise NotFound(f"no alert '{id}'")
        return Alert.from_document(stored.document), stored.version

    def acknowledge(self, tx: Tx, id: str, person: Person, *, version: int | None = None) -> Alert:
        """Take an alert. Raises Conflict when it is not new, or not at `version` any more."""
        alert, found = self._at(tx, id, version)
        if alert.status != "new":
            raise Conflict(f"alert '{id}' is {alert.status}" + (f" by {alert.owner}" if alert.owner else ""))
        changed = replace(alert, status="acknowledged", owner=person.name, acknowledged_us=self._now_us())
        return self._change(tx, alert, changed, found, "acknowledge")

    def escalate(self, tx: Tx, id: str, person: Person, ticket_id: str, *, version: int | None = None) -> Alert:
        """Note the ticket that was made of it."""
        alert, found = self._at(tx, id, version)
        if alert.status in ("escalated", "closed"):
            raise Conflict(f"alert '{id}' is {alert.status}", hint=f"see ticket {alert.ticket_id}")
        changed = replace(
            alert,
            status="escalated",
            owner=alert.owner or person.name,
            ticket_id=ticket_id,
            acknowledged_us=alert.acknowledged_us or self._now_us(),
        )
        return self._change(tx, alert, changed, found, "escalate")

    def close(self, tx: Tx, id: str, person: Person, verdict: str, reason: str, *, version: int | None = None) -> Alert:
        """Judge an alert: one of `VERDICTS`, with a reason. Raises UsageError, Conflict."""
        if verdict not in VERDICTS:
            raise UsageError(f"unknown verdict '{verdict}'; one of {', '.join(VERDICTS)}{nearest(verdict, VERDICTS)}")
        if not reason.strip():
            raise UsageError("an alert is closed with a reason")
        alert, found = self._at(tx, id, version)
        if alert.status == "closed":
            raise Conflict(f"alert '{id}' is closed already: {alert.verdict}")
        changed = replace(
            alert,
            status="closed",
            owner=alert.owner or person.name,
            verdict=verdict,
            reason=reason.strip(),
            closed_us=self._now_us(),
        )
        return self._change(tx, alert, changed, found, "close", reason=reason)

    def note(self, tx: Tx, id: str, person: Person, text: str, *, version: int | None = None) -> Alert:
        """Add a note. Raises UsageError for an empty one."""
        if not text.strip():
            raise UsageError("a note needs text")
        alert, found = self._at(tx, id, version)
        note = Note(self._now_us(), person.name, text.strip())
        return self._change(tx, alert, replace(alert, notes=(*alert.notes, note)), found, "note", reason=text)

    def _at(self, tx: Tx, id: str, version: int | None) -> tuple[Alert, int]:
        alert, found = self.get(tx, id)
        if version is not None and version != found:
            hint = "read it again and repeat the change"
            raise Conflict(f"alert '{id}' was changed by somebody else: version {found}, not {version}", hint=hint)
        return alert, found

    def _change(self, tx: Tx, before: Alert, after: Alert, version: int, verb: str, *, reason: str = "") -> Alert:
        after = replace(after, updated_us=self._now_us())
        tx.put("alert", after.id, after.to_document(), version, keys=after.keys())
        tx.ledger(
            f"alert.{verb}",
            f"alert:{after.id}",
            {"status": before.status, "owner": before.owner},
            {"status": after.status, "owner": after.owner, "verdict": after.verdict},
            reason,
        )
        tx.change("alert", after.id, verb)
        return after

    def _now_us(self) -> int:
        return self._clock.now_ns() // 1000
