"""Runs the correlations over projected events; groups are kept apart by site, import and simulation too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from soc.detections.correlation.definition import Correlation
from soc.detections.correlation.window import Seen, Window
from soc.model.finding import Finding, finding_id

MAX_GROUPS = 100_000
"""Groups kept per correlation; the one untouched for longest goes first, counted as `evicted_groups`."""
IDLE_SPANS = 4
"""A group untouched for so many spans (and an hour) is forgotten."""
HOUR_US = 3_600_000_000
MAX_IDS = 1_000
"""Event ids that a finding carries; its count is exact all the same."""
Group = tuple[str, ...]


class Correlations:
    """`feed` it documents of kind `event`; findings of a correlation are fed to those that refer to it."""

    def __init__(self, correlations: Sequence[Correlation]) -> None:
        self.correlations = {c.id: c for c in correlations}
        self.by_rule: dict[str, list[Correlation]] = {}
        for correlation in correlations:
            for rule in dict.fromkeys(correlation.rules):
                self.by_rule.setdefault(rule, []).append(correlation)
        self.windows: dict[str, dict[Group, Window]] = {c.id: {} for c in correlations}
        self.counters: Counter[str] = Counter()
        self.fired: Counter[str] = Counter()
        referred = {rule for c in correlations for rule in c.rules}
        self.quiet = referred - {rule for c in correlations if c.generate for rule in c.rules}

    def feed(self, document: Mapping[str, Any], now_us: int) -> list[Finding]:
        """Findings that this event completes, those that build on others after them."""
        findings: list[Finding] = []
        for rule in document["rules"]:
            for correlation in self.by_rule.get(rule, ()):
                findings.extend(self._offer(correlation, rule, document, now_us))
        return findings

    def _offer(self, correlation: Correlation, rule: str, document: Mapping[str, Any], now_us: int) -> list[Finding]:
        values = [text(document["fields"].get(name)) for name in correlation.group_fields[rule]]
        if None in values:
            self.counters["ungrouped"] += 1
            return []
        counted = text(document["fields"].get(correlation.counted[rule])) if correlation.counted else ""
        if counted is None:
            self.counters["ungrouped"] += 1
            return []
        group = (*_apart(document), *(v for v in values if v is not None))
        window = self._window(correlation, group)
        window.touched_us = now_us
        seen = Seen(document["at_us"], in_order(document["position"]), rule, document["event_id"], counted)
        fired = window.offer(correlation, seen, self.counters)
        if not fired:
            return []
        self.fired[correlation.id] += 1
        finding = self._finding(correlation, group, fired, document)
        own = [] if correlation.id in self.quiet else [finding]
        return own + self.feed(_as_document(finding, correlation, document), now_us)

    def _window(self, correlation: Correlation, group: Group) -> Window:
        windows = self.windows[correlation.id]
        window = windows.pop(group, None) or Window()
        windows[group] = window  # the newest touched stands last
        if len(windows) > MAX_GROUPS:
            del windows[next(iter(windows))]
            self.counters["evicted_groups"] += 1
        return window

    def _finding(
        self, correlation: Correlation, group: Group, fired: Sequence[Seen], document: Mapping[str, Any]
    ) -> Finding:
        completing = fired[-1]
        named = dict(zip(correlation.group_by, group[3:], strict=True))
        ids = dict.fromkeys(seen.event_id for seen in fired)
        count = len({seen.value for seen in fired}) if correlation.type == "value_count" else len(fired)
        return Finding(
            id=finding_id(correlation.id, *group, completing.event_id),
            rule_id=correlation.id,
            rule_version=correlation.version,
            title=correlation.title,
            level=correlation.level,
            kind="correlation",
            dataset=str(document.get("dataset") or ""),
            event_ids=tuple(ids)[-MAX_IDS:],
            first_us=min(seen.at_us for seen in fired),
            last_us=max(seen.at_us for seen in fired),
            site=document["site"],
            system_id=document.get("system_id"),
            organization_id=document.get("organization_id"),
            entity=" ".join(f"{name}={value}" for name, value in named.items()),
            count=count,
            group=named,
            tags=correlation.tags,
            explain={
                "why": f"correlation.{correlation.type}",
                "observed": count,
                "expected": correlation.at_least,
                "params": {
                    "count": count,
                    "at_least": correlation.at_least,
                    "seconds": correlation.span_us // 1_000_000,
                },
            },
            title_vi=correlation.title_vi,
            playbook=correlation.playbook,
            import_id=document.get("import_id"),
            simulated=bool(document.get("simulated")),
            position=document["position"],
        )

    def tick(self, now_us: int) -> None:
        """Forget the groups that nothing touched for long."""
        for correlation in self.correlations.values():
            edge = now_us - IDLE_SPANS * correlation.span_us - HOUR_US
            windows = self.windows[correlation.id]
            for group in [g for g, window in windows.items() if window.touched_us < edge]:
                del windows[group]

    def snapshot(self) -> dict[str, Any]:
        """The whole state as plain data; the groups in the order in which they would be evicted."""
        return {
            "windows": {
                key: [self.correlations[key].version, [[list(g), w.to_json()] for g, w in windows.items()]]
                for key, windows in self.windows.items()
            },
            "counters": dict(self.counters),
            "fired": dict(self.fired),
        }

    def restore(self, data: Mapping[str, Any]) -> None:
        """The inverse; the state of a correlation that was changed meanwhile is dropped and counted."""
        self.counters, self.fired = Counter(data["counters"]), Counter(data["fired"])
        self.windows = {key: {} for key in self.correlations}
        for key, (version, groups) in data["windows"].items():
            if key in self.correlations and self.correlations[key].version == version:
                self.windows[key] = {tuple(group): Window.from_json(window) for group, window in groups}
            elif groups:
                self.counters["changed_definitions"] += 1


def _apart(document: Mapping[str, Any]) -> Group:
    """Private addresses repeat between sites; imported and simulated events never mix with live ones."""
    return (document["site"], str(document.get("import_id") or ""), "simulated" if document.get("simulated") else "")


def in_order(position: str) -> str:
    """A position whose texts sort as its numbers do: syslog stamps often agree to the second, the log decides then."""
    place, mark, rest = position.partition("#")
    parts = (part.zfill(20) if part.isdecimal() else part for part in place.split(":"))
    return ":".join(parts) + mark + rest


def text(value: Any) -> str | None:
    """A grouping value as text; a list is joined in order; None when it is missing."""
    if value is None:
        return None
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)


def _as_document(finding: Finding, correlation: Correlation, document: Mapping[str, Any]) -> dict[str, Any]:
    """A finding as an event for the correlations that refer to its rule."""
    position = f"{document['position']}#{correlation.id}"
    return {**document, "rules": [correlation.id], "fields": dict(finding.group), "position": position}
