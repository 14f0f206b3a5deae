"""Pure: which rules make work without worth, from alerts and what people decided about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from soc.model.clock import VIETNAM, utc

FALSE = ("false_positive_logic", "false_positive_data")
TRUE = ("true_positive", "benign_true_positive")
ENOUGH = 5
"""Verdicts from which on a share says something."""
NOISY = 0.8
"""A rule with this share of false positives is worth an exception, when one entity has half of them."""
TOP = 3


def noise(alerts: Iterable[Mapping[str, Any]], days: int) -> list[dict[str, Any]]:
    """One row a rule, the noisiest first: alerts by day (Vietnam), verdicts, top entities, advice.

    `share` is of false positives among the alerts that were judged, None while there are none. `advice` is the entity
    from which an exception would take most, None when the verdicts do not say so.
    """
    by_rule: dict[str, list[Mapping[str, Any]]] = {}
    for alert in alerts:
        by_rule.setdefault(alert["rule_id"], []).append(alert)
    rows = [_row(some, days) for some in by_rule.values()]
    return sorted(rows, key=lambda row: (-row["alerts"], row["rule"]))


def _row(alerts: list[Mapping[str, Any]], days: int) -> dict[str, Any]:
    first = alerts[0]
    verdicts = Counter(alert["verdict"] for alert in alerts if alert["verdict"])
    false, true = (sum(verdicts[name] for name in names) for names in (FALSE, TRUE))
    entities = Counter(alert["entity"] for alert in alerts)
    judged = false + true
    share = false / judged if judged else None
    return {
        "rule": first["rule_id"], "title": first["title"], "title_vi": first["title_vi"], "level": first["level"],
        "alerts": len(alerts), "findings": sum(alert["count"] for alert in alerts), "per_day": len(alerts) / days,
        "by_day": dict(sorted(Counter(_day(alert["last_us"]) for alert in alerts).items())),
        "verdicts": dict(verdicts), "judged": judged, "share": share, "entities": dict(entities.most_common(TOP)),
        "advice": _advice(alerts) if judged >= ENOUGH and share is not None and share >= NOISY else None,
    }  # fmt: skip


def _advice(alerts: list[Mapping[str, Any]]) -> str | None:
    """The entity with at least half of the false positives and none of the true ones."""
    false = Counter(alert["entity"] for alert in alerts if alert["verdict"] in FALSE)
    true = {alert["entity"] for alert in alerts if alert["verdict"] in TRUE}
    entity, count = false.most_common(1)[0]
    return str(entity) if entity and entity not in true and count * 2 >= false.total() else None


def _day(us: int) -> str:
    return utc(us * 1000).astimezone(VIETNAM).date().isoformat()
