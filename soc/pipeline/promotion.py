"""Which rules in shadow have earned their place: the promotion rule of the rules' life (features C11)."""

from __future__ import annotations

from collections import Counter
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
_ALERTS = 1000


def ready(rules: Rules, tx: Tx) -> list[dict[str, Any]]:
    """Every rule in shadow with `days`, `withheld`, `true`, `false` and `is_ready`, those that are ready in front.

    A person promotes it all the same: `soc rule promote`.
    """
    decisions, now_us = rules.decisions(tx), rules.clock.now_ns() // 1000
    withheld = {stored.document["of"]: stored.document["count"]
                for _, stored in tx.find(TOTAL, keys={"why": SHADOW}, limit=MOST)}  # fmt: skip
    found = []
    for rule in rules.all():
        if rules.state(rule, decisions) != rule_policy.SHADOW:
            continue
        since_us = _since(tx, rule, decisions.get(rule.id), now_us)
        days, kept = (now_us - since_us) / DAY_US, withheld.get(rule.id, 0)
        judged = Counter(stored.document.get("verdict") for _, stored in tx.find("alert", keys={"rule": rule.id},
                                                                                 limit=_ALERTS))  # fmt: skip
        true = judged["true_positive"] + judged["benign_true_positive"]
        false = sum(n for verdict, n in judged.items() if str(verdict).startswith("false_positive"))
        is_ready = not false and (true >= VERDICTS or (days >= DAYS and not kept))
        found.append({
            "id": rule.id, "title": rule.title, "title_vi": rule.title_vi, "level": rule.level, "days": round(days, 1),
            "withheld": kept, "true": true, "false": false, "is_ready": is_ready,
        })  # fmt: skip
    return sorted(found, key=lambda row: (not row["is_ready"], row["title"]))


def _since(tx: Tx, rule: AnyRule, decision: dict[str, Any] | None, now_us: int) -> int:
    """When it came into shadow: by whose decision, else when its version was first seen; µs UTC."""
    if decision is not None and decision["state"] == rule_policy.SHADOW:
        return int(decision["at_us"])
    stored = tx.get(VERSION, f"{rule.id}@{rule.version}")
    return int(stored.document["first_us"]) if stored is not None else now_us
