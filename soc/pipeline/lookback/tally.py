"""What a lookback found, as figures: per rule and day, by entity, by what people had judged, new against old."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from soc.alerts import dedup_key
from soc.model.alert import BUCKET_US
from soc.model.finding import Finding
from soc.model.lookback import BOTH, NEW, OLD
from soc.model.values import iso

ENTITIES = 5_000
"""Entities counted by name, for each rule; hits of further ones are counted together."""
SHOWN = 20
"""Entities of the report, those with most hits."""
KEYS = 20_000
"""Alerts of the hours at hand that are told apart, by rule and side; with further ones the count is a lower bound."""
TRUE = ("true_positive", "benign_true_positive")
FALSE = ("false_positive_logic", "false_positive_data")


class Tally:
    """The figures of one rule; `to_state` and `from_state` are inverse."""

    def __init__(self, title: str, title_vi: str, level: str) -> None:
        self.head = {"title": title, "title_vi": title_vi, "level": level}
        self.hits: Counter[str] = Counter()
        self.days: dict[str, Counter[str]] = defaultdict(Counter)
        self.entities: Counter[str] = Counter()
        self.excepted: Counter[str] = Counter()
        self.unnamed = 0
        self.uncounted = 0
        self.judged: dict[str, Counter[str]] = defaultdict(Counter)
        self._keys: dict[str, dict[str, int]] = {NEW: {}, OLD: {}}

    def add(self, finding: Finding, side: str, verdict: str | None) -> None:
        """Count one hit of a side (`new`, `old` or `both`); `verdict` is what people said of its events."""
        if finding.exception:
            self.excepted[side] += 1
            return
        self.hits[side] += 1
        day = self.days[iso(finding.last_us)[:10]]
        day[side] += 1
        for each in (NEW, OLD) if side == BOTH else (side,):
            if self._is_new_alert(each, finding):
                day[f"alerts.{each}"] += 1
        if finding.entity in self.entities or len(self.entities) < ENTITIES:
            self.entities[finding.entity] += 1
        else:
            self.unnamed += 1
        if verdict:
            self.judged[side][verdict] += 1

    def _is_new_alert(self, side: str, finding: Finding) -> bool:
        """Findings come in the order of time, so that only the keys of the hours at hand are kept."""
        keys, bucket = self._keys[side], finding.last_us // BUCKET_US
        key = dedup_key(finding)
        if key in keys or len(keys) >= KEYS:
            self.uncounted += key not in keys
            return False
        if keys and max(keys.values()) < bucket:
            self._keys[side] = keys = {k: b for k, b in keys.items() if b >= bucket - 1}
        keys[key] = bucket
        return True

    def report(self) -> dict[str, Any]:
        """Plain data for people: `precision` is of judged hits, None without any."""
        sides = {side: self._side(side) for side in (NEW, OLD)}
        days = [{"day": day, **counts} for day, counts in sorted(self.days.items())]
        most = self.entities.most_common(SHOWN)
        top = [{"entity": name, "hits": n} for name, n in most]
        judged = {side: dict(counts) for side, counts in self.judged.items()}
        others = sum(self.entities.values()) - sum(n for _, n in most) + self.unnamed
        return {
            **self.head, **sides, "diff": {side: self.hits[side] for side in (NEW, OLD, BOTH)}, "days": days,
            "entities": top, "entities_total": len(self.entities), "hits_of_other_entities": others, "judged": judged,
            "excepted": dict(self.excepted), "alerts_at_least": self.uncounted > 0,
        }  # fmt: skip

    def _side(self, side: str) -> dict[str, Any]:
        judged: Counter[str] = self.judged[side] + self.judged[BOTH]
        good, bad = sum(judged[v] for v in TRUE), sum(judged[v] for v in FALSE)
        return {
            "hits": self.hits[side] + self.hits[BOTH],
            "alerts": sum(day[f"alerts.{side}"] for day in self.days.values()),
            "judged": good + bad,
            "precision": round(good / (good + bad), 4) if good + bad else None,
        }

    def to_state(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {
            "head": self.head, "hits": self.hits, "days": self.days, "entities": self.entities,
            "unnamed": self.unnamed, "uncounted": self.uncounted, "excepted": self.excepted,
            "judged": self.judged, "keys": self._keys,
        }  # fmt: skip

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Tally:
        """The inverse of `to_state`."""
        made = cls(**state["head"])
        made.hits, made.entities = Counter(state["hits"]), Counter(state["entities"])
        made.excepted = Counter(state["excepted"])
        made.unnamed, made.uncounted = state["unnamed"], state["uncounted"]
        made.days.update({day: Counter(counts) for day, counts in state["days"].items()})
        made.judged.update({side: Counter(counts) for side, counts in state["judged"].items()})
        made._keys = {side: dict(keys) for side, keys in state["keys"].items()}
        return made


def sided(new: Sequence[Finding], old: Sequence[Finding] | None) -> list[tuple[Finding, str]]:
    """Each finding once with the side that made it, by time; without `old` all are new."""
    if old is None:
        return [(each, NEW) for each in new]
    theirs = {each.id for each in old}
    ours = {each.id for each in new}
    found = [(each, BOTH if each.id in theirs else NEW) for each in new]
    found += [(each, OLD) for each in old if each.id not in ours]
    return sorted(found, key=lambda pair: (pair[0].last_us, pair[0].id))
