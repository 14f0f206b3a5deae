"""A source that stopped talking: silence beyond `factor` × the learned cadence, never less than a floor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from soc.detections.anomaly.model import Definition
from soc.model.finding import Finding, finding_id

KEPT = 64
"""Gaps remembered per source; its cadence is their 95th percentile, so that a regular pause is no alarm. As many
readings of its clock; the greatest is its drift, for whatever delays a message makes the others smaller."""
MAX_SOURCES = 100_000


class _Source:
    """The last gaps of one source in µs (oldest first), by how much its clock was ahead of ours (µs) in its last
    messages, when it last spoke, and whether its silence was told."""

    def __init__(self, document: Mapping[str, Any], last_us: int) -> None:
        self.gaps: list[int] = []
        self.drifts: list[int] = []
        self.last_us = last_us
        self.told = False
        self.of = {name: document.get(name) for name in ("source", "site", "system_id", "organization_id", "simulated")}

    def cadence_us(self) -> int:
        ordered = sorted(self.gaps)
        return ordered[min(len(ordered) - 1, (len(ordered) * 95 + 99) // 100 - 1)]

    def note_clock(self, document: Mapping[str, Any]) -> None:
        """Remember what this message tells of the device's clock."""
        if "drift_us" in document:
            self.drifts = [*self.drifts[-(KEPT - 1) :], document["drift_us"]]


class SourceSilent:
    """Works on receipt times, since a device may claim any event time. Imported sources are passed over.

    A worker that lags looks like silence: call `tick` with the smaller of now and the oldest receipt still unread.
    """

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.sources: dict[tuple[str, str], _Source] = {}
        self.counters: Counter[str] = Counter()
        self.awake_us = 0
        self._touched: set[tuple[str, str]] = set()  # since the last `changes`

    def wake(self, at_us: int) -> None:
        """Nobody listened before this moment: what was missed then is our silence and not the source's."""
        self.awake_us = at_us

    def feed(self, document: Mapping[str, Any], now_us: int) -> list[Finding]:
        if document["kind"] != "sources" or document.get("import_id"):
            return []
        key = (str(document["site"]), str(document["source"]))
        at_us = document["receipt_us"]
        source = self.sources.get(key)
        if source is None:
            if len(self.sources) >= MAX_SOURCES:
                self.counters["unwatched_sources"] += 1
                return []
            source = self.sources[key] = _Source(document, at_us)
            self._touched.add(key)
            source.note_clock(document)
            return []
        gap = at_us - source.last_us
        if gap <= 0:
            return []  # a replay, or a batch of the same moment
        self._touched.add(key)
        limit = self._limit_us(source)
        if limit is None or gap <= limit:
            source.gaps = [*source.gaps[-(KEPT - 1) :], gap]  # an outage must not teach that outages are normal
        source.note_clock(document)
        source.last_us, source.told = at_us, False
        source.of = _Source(document, at_us).of
        return []

    def _limit_us(self, source: _Source) -> int | None:
        policy = self.definition.policy
        if len(source.gaps) < min(policy.gaps, KEPT):
            return None
        return max(policy.floor_us, int(policy.factor * source.cadence_us()))

    def tick(self, now_us: int) -> list[Finding]:
        findings: list[Finding] = []
        for key, source in self.sources.items():
            limit = None if source.told else self._limit_us(source)
            if limit is not None and now_us - max(source.last_us, self.awake_us) > limit:
                source.told = True
                self._touched.add(key)
                findings.append(self._finding(source, limit, now_us))
        return findings

    def _finding(self, source: _Source, limit_us: int, now_us: int) -> Finding:
        definition, of = self.definition, source.of
        observed, expected = (now_us - source.last_us) // 1_000_000, round(source.cadence_us() / 1_000_000, 3)
        name = str(of["source"])
        return Finding(
            id=finding_id(definition.id, str(of["site"]), name, str(source.last_us)),
            rule_id=definition.id,
            rule_version=definition.version,
            title=definition.title,
            level=definition.level,
            kind="anomaly",
            dataset="",
            event_ids=(),
            first_us=source.last_us,
            last_us=now_us,
            site=str(of["site"]),
            system_id=of["system_id"],
            organization_id=of["organization_id"],
            entity=f"soc.source={name}",
            count=0,
            group={"soc.source": name},
            tags=definition.tags,
            status=definition.status,
            explain={
                "why": "anomaly.source_silent",
                "observed": observed,
                "expected": expected,
                "params": {"source": name, "seconds": observed, "cadence": expected, "limit": limit_us // 1_000_000},
            },
            title_vi=definition.title_vi,
            playbook=definition.playbook,
            simulated=bool(of["simulated"]),
        )

    def known(self, most: int) -> list[dict[str, Any]]:
        """What is known of the sources heard last, at most so many: site, source, last_us, cadence_us and limit_us
        (None while it is learned), silent, drift_us (ahead of our clock; None when its messages do not tell)."""
        recent = sorted(self.sources.items(), key=lambda item: (-item[1].last_us, item[0]))[:most]
        return [
            {
                "site": site, "source": name, "last_us": s.last_us, "limit_us": limit,
                "cadence_us": None if limit is None else s.cadence_us(),
                "silent": s.told, "drift_us": max(s.drifts, default=None),
            }
            for (site, name), s in recent
            for limit in [self._limit_us(s)]
        ]  # fmt: skip

    def snapshot(self) -> Any:
        self._touched.clear()
        return self._plain(self.sources)

    def _plain(self, keys: Iterable[tuple[str, str]]) -> dict[str, Any]:
        some = ((key, self.sources[key]) for key in sorted(keys))
        told = [[list(k), s.gaps, s.last_us, s.told, s.of, s.drifts] for k, s in some]
        return {"sources": told, "counters": dict(self.counters)}

    def restore(self, data: Any) -> None:
        self.sources = {}
        self.apply(data)

    def changes(self) -> Any:
        touched, self._touched = self._touched, set()
        return self._plain(touched)

    def apply(self, changes: Any) -> None:
        self.counters = Counter(changes["counters"])
        for key, gaps, last_us, told, of, *drifts in changes["sources"]:  # snapshots of before have no drifts
            source = _Source(of, last_us)
            source.gaps, source.told = list(gaps), told
            source.drifts = list(*drifts)
            self.sources[key[0], key[1]] = source
