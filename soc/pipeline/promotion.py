"""Which rules in shadow have earned their place: the promotion rule of the rules' life (features C11)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from soc.alerts.withheld import SHADOW, TOTAL
from soc.model import rule_policy
from soc.model.cases import CaseTx as Tx
from soc.model.clock import DAY_US
from soc.pipeline.rules import MOST, VERSION, AnyRule, Rules

DAYS = 90
"""In shadow for so long without a finding: nothing it said was false."""
VERDICTS = 5
"""Or so many alerts of it judged true positives. One that was judged false ends either."""


def ready(rules: Rules, tx: Tx) -> list[dict[str, Any]]:
    """Every rule in shadow with `days`, `withheld`, `true`, `false` and `is_ready`, those that are ready in front.

    A person promotes it all the same: `soc rule promote`.
    """
    decisions, now_us = rules.decisions(tx), rules.clock.now_ns() // 1000
    withheld = {stored.document["of"]: stored.document["count"]
                for _, stored in tx.find(TOTAL, keys={"why": SHADOW}, limit=MOST)}  # fmt: skip
    shadow = [rule for rule in rules.all() if rules.state(rule, decisions) == rule_policy.SHADOW]
    since, verdicts = _since(tx, shadow, decisions, now_us), _verdicts(tx, shadow)
    found = []
    for rule in shadow:
        days, kept, judged = (now_us - since[rule.id]) / DAY_US, withheld.get(rule.id, 0), verdicts[rule.id]
        true = judged["true_positive"] + judged["benign_true_positive"]
        false = sum(n for verdict, n in judged.items() if verdict.startswith("false_positive"))
        is_ready = not false and (true >= VERDICTS or (days >= DAYS and not kept))
        found.append({
            "id": rule.id, "title": rule.title, "title_vi": rule.title_vi, "level": rule.level, "days": round(days, 1),
            "withheld": kept, "true": true, "false": false, "is_ready": is_ready,
        })  # fmt: skip
    return sorted(found, key=lambda row: (not row["is_ready"], row["title"]))


def _since(
    tx: Tx, shadow: Sequence[AnyRule], decisions: Mapping[str, Mapping[str, Any]], now_us: int
) -> dict[str, int]:
    """When each came into shadow: by whose decision, else when its version was first seen; µs UTC, by rule id."""
    versions = tx.several(VERSION, [_version(rule) for rule in shadow])
    since = {}
    for rule in shadow:
        decision, seen = decisions.get(rule.id), versions.get(_version(rule))
        if decision is not None and decision["state"] == rule_policy.SHADOW:
            since[rule.id] = int(decision["at_us"])
        else:
            since[rule.id] = int(seen.document["first_us"]) if seen is not None else now_us
    return since


def _version(rule: AnyRule) -> str:
    return f"{rule.id}@{rule.version}"


def _verdicts(tx: Tx, shadow: Sequence[AnyRule]) -> dict[str, Counter[str]]:
    """How people judged the alerts of each, by rule id."""
    judged: dict[str, Counter[str]] = {rule.id: Counter() for rule in shadow}
    for _, stored in tx.find("alert", keys={"rule": list(judged), "status": "closed"}, limit=MOST):
        judged[stored.document["rule_id"]][str(stored.document["verdict"])] += 1
    return judged
