"""A value that an entity never showed before: `first_seen` of a metric, after a learning period per entity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import islice
from typing import Any

from soc.detections.anomaly.model import Definition
from soc.detections.correlation.stage import text
from soc.model.finding import Finding, Matched, finding_id

MAX_ENTITIES = 100_000
SLACK = 2_000
"""So many more may be there before the oldest go together: finding them in a dict costs a search."""
MAX_VALUES = 1_000
"""Values kept per entity; the one unseen for longest goes first."""


class _Known:
    """What one entity has shown: since when, and each value with the last event time."""

    def __init__(self, since_us: int, values: dict[str, int]) -> None:
        self.since_us = since_us
        self.values = values


class FirstSeen:
    """State: entity → values seen. Imported and simulated events keep their own entities."""

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.known: dict[tuple[str, ...], _Known] = {}
        self.counters: Counter[str] = Counter()
        self._touched: dict[tuple[str, ...], None] = {}  # since the last `changes`, the last one at the end

    def feed(self, document: Mapping[str, Any], now_us: int) -> list[Finding]:
        if document["kind"] != "event" or self.definition.id not in document["rules"]:
            return []
        fields = document["fields"]
        entity = [text(fields.get(name)) for name in self.definition.entity]
        value = text(fields.get(self.definition.metric))
        if value is None or None in entity:
            self.counters["incomplete"] += 1
            return []
        apart = (document["site"], str(document.get("import_id") or ""), str(bool(document.get("simulated"))))
        key = (*apart, *(part for part in entity if part is not None))
        return self._judge(key, value, document)

    def _judge(self, key: tuple[str, ...], value: str, document: Mapping[str, Any]) -> list[Finding]:
        at_us = document["at_us"]
        known = self.known.pop(key, None) or _Known(at_us, {})
        self.known[key] = known
        self._touched.pop(key, None)
        self._touched[key] = None
        if len(self.known) > MAX_ENTITIES + SLACK:
            self.counters["evicted_entities"] += self._evict(MAX_ENTITIES)
        last = known.values.pop(value, None)
        fresh = last is None or at_us - last > self.definition.policy.forget_us
        others = list(known.values)
        known.values[value] = at_us if last is None else max(at_us, last)
        if len(known.values) > MAX_VALUES:
            del known.values[next(iter(known.values))]
            self.counters["evicted_values"] += 1
        learned = at_us - known.since_us >= self.definition.policy.learning_us
        return [self._finding(key, value, others, document)] if fresh and learned else []

    def _finding(self, key: tuple[str, ...], value: str, others: list[str], document: Mapping[str, Any]) -> Finding:
        definition = self.definition
        named = dict(zip(definition.entity, key[3:], strict=True))
        entity = " ".join(f"{name}={part}" for name, part in named.items())
        return Finding(
            id=finding_id(definition.id, document["event_id"]),
            rule_id=definition.id,
            rule_version=definition.version,
            title=definition.title,
            level=definition.level,
            kind="anomaly",
            dataset=str(document.get("dataset") or ""),
            event_ids=(document["event_id"],),
            first_us=document["at_us"],
            last_us=document["at_us"],
            site=document["site"],
            system_id=document.get("system_id"),
            organization_id=document.get("organization_id"),
            entity=entity,
            matched=(Matched("first_seen", definition.metric, value, "never seen before"),),
            group=named,
            tags=definition.tags,
            status=definition.status,
            explain={
                "why": "anomaly.first_seen",
                "observed": value,
                "expected": others[-5:],
                "params": {"entity": entity, "field": definition.metric, "value": value, "known": len(others)},
            },
            title_vi=definition.title_vi,
            playbook=definition.playbook,
            import_id=document.get("import_id"),
            simulated=bool(document.get("simulated")),
            position=document["position"],
        )

    def wake(self, at_us: int) -> None:
        """Time alone tells this model nothing."""

    def tick(self, now_us: int) -> list[Finding]:
        return []

    def snapshot(self) -> Any:
        self._touched.clear()
        return {"known": _plain(self.known), "kept": len(self.known), "counters": dict(self.counters)}

    def restore(self, data: Any) -> None:
        self.known = {}
        self.apply(data)

    def changes(self) -> Any:
        known = {key: self.known[key] for key in self._touched if key in self.known}
        self._touched.clear()
        return {"known": _plain(known), "kept": len(self.known), "counters": dict(self.counters)}

    def apply(self, changes: Any) -> None:
        self.counters = Counter(changes["counters"])
        for key, since_us, values in changes["known"]:
            entity = tuple(key)
            self.known.pop(entity, None)
            self.known[entity] = _Known(since_us, dict(values))
        self._evict(changes.get("kept", MAX_ENTITIES))  # states of before do not say how many there were

    def _evict(self, kept: int) -> int:
        """Let the entities go that were unseen for longest, down to so many; how many went."""
        gone = list(islice(self.known, max(len(self.known) - kept, 0)))
        for key in gone:
            del self.known[key]
        return len(gone)


def _plain(known: Mapping[tuple[str, ...], _Known]) -> list[list[Any]]:
    """The one unseen for longest first."""
    return [[key, one.since_us, list(one.values.items())] for key, one in known.items()]
