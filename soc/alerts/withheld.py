"""Findings that make no alert: taken by an exception, of a rule in shadow, or of one that is off for the unit.

None is gone: they are gathered like alerts, counted, and found by rule, exception and reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from soc.alerts import told
from soc.alerts.grouping import dedup_key, joined
from soc.model import rule_policy
from soc.model.alert import Alert
from soc.model.canonical import digest
from soc.model.cases import CaseTx as Tx
from soc.model.finding import Finding
from soc.model.rule_policy import OFF, RulePolicy

EXCEPTION, SHADOW, DISABLED = "exception", "shadow", "disabled"
KIND, TOTAL = "withheld", "withheld_total"
"""Kinds of documents: the gathered findings, and how many a rule or exception withheld in all."""
STATUS = "withheld"
_OURS = ("withheld", "exception")
DECISION = "rule_decision"
"""What a person decided about a rule: `state` of `rule_policy.STATES`, with who, when and why; by the rule's id."""


@dataclass(frozen=True)
class _Rule:
    """The rule of a finding, for a choice."""

    id: str
    level: str
    status: str
    tags: tuple[str, ...]


def why_not(tx: Tx, finding: Finding, policy: RulePolicy) -> str:
    """Why a finding makes no alert (one of the three words); "" when it makes one."""
    if finding.exception:
        return EXCEPTION
    decided = tx.get(DECISION, finding.rule_id)
    rule = _Rule(finding.rule_id, finding.level, finding.status, finding.tags)
    state = policy.state(rule, finding.organization_id, decided.document["state"] if decided else "")
    return {OFF: DISABLED, rule_policy.SHADOW: SHADOW}.get(state, "")


def keep(tx: Tx, found: Iterable[tuple[Finding, str]], now_us: int, opened: Callable[[Finding], Alert]) -> None:
    """Gather findings with their reasons, by entity and hour like alerts; `opened` makes one of a first finding."""
    groups: dict[str, list[tuple[Finding, str]]] = {}
    for finding, why in found:
        key = digest([dedup_key(finding), why, finding.exception])
        groups.setdefault(key, []).append((finding, why))
    for key, several in groups.items():
        id = _gathered(tx, key, several, now_us, opened)
        for finding, why in several:
            told.note(tx, finding, {"withheld": id, "why": why})
        _count(tx, several)


def gathered(document: Mapping[str, Any]) -> Alert:
    """What was withheld, in the shape of the alert that it did not become."""
    return Alert.from_document({name: value for name, value in document.items() if name not in _OURS})


def _gathered(
    tx: Tx, key: str, several: list[tuple[Finding, str]], now_us: int, opened: Callable[[Finding], Alert]
) -> str:
    (first, why), version = several[0], None
    stored = next(iter(tx.find(KIND, keys={"dedup": key}, limit=1)), None)
    if stored is None:
        alert = replace(opened(first), status=STATUS)
        rest = several[1:]
    else:
        version, alert = stored[1].version, gathered(stored[1].document)
        rest = several
    for finding, _ in rest:
        alert = joined(alert, finding, now_us)
    keys = {"dedup": key, "why": why, "rule": first.rule_id}
    keys |= {"exception": first.exception} if first.exception else {}
    document = {**alert.to_document(), "withheld": why, "exception": first.exception}
    tx.put(KIND, alert.id, document, version, unit=alert.organization_id, keys=keys)
    return alert.id


def _count(tx: Tx, several: list[tuple[Finding, str]]) -> None:
    first, why = several[0]
    of = first.exception or first.rule_id
    stored = tx.get(TOTAL, f"{why}:{of}")
    before: dict[str, Any] = dict(stored.document) if stored else {"why": why, "of": of, "count": 0, "last_us": 0}
    last_us = max(before["last_us"], *(finding.last_us for finding, _ in several))
    total = {**before, "count": before["count"] + len(several), "last_us": last_us}
    tx.put(TOTAL, f"{why}:{of}", total, stored.version if stored else None, keys={"why": why})
