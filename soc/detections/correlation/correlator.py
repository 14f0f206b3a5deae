"""Runs the correlations over projected events; groups are kept apart by site, import and simulation too."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from soc.detections.correlation.condition import METRICS, SIGNS
from soc.detections.correlation.definition import Correlation
from soc.detections.correlation.window import Seen, Window, observed
from soc.model.finding import Finding, finding_id

MAX_GROUPS = 100_000
"""Groups kept per correlation; the one untouched for longest goes first, counted as `evicted_groups`."""
IDLE_SPANS = 4
"""A group untouched for so many spans (and an hour) is forgotten."""
HOUR_US = 3_600_000_000
MAX_IDS = 1_000
"""Event ids that a finding carries; its count is exact all the same."""
Group = tuple[str, ...]


class _Stage:
    """One correlation as one of its rules feeds it: which fields to read, and its windows."""

    __slots__ = ("correlation", "counted", "fields", "is_number", "windows")

    def __init__(self, correlation: Correlation, rule: str, windows: dict[Group, Window]) -> None:
        self.correlation = correlation
        self.fields = correlation.group_fields[rule]
        self.counted = correlation.counted.get(rule)
        self.is_number = correlation.type in METRICS
        self.windows = windows


class Correlations:
    """`feed` it documents of kind `event`; findings of a correlation are fed to those that refer to it."""

    def __init__(self, correlations: Sequence[Correlation]) -> None:
        self.correlations = {c.id: c for c in correlations}
        self.windows: dict[str, dict[Group, Window]] = {c.id: {} for c in correlations}
        self.counters: Counter[str] = Counter()
        self.fired: Counter[str] = Counter()
        self._stages = self._staged()
        referred = {rule for c in correlations for rule in c.rules}
        self.quiet = referred - {rule for c in correlations if c.generate for rule in c.rules}

    def _staged(self) -> dict[str, list[_Stage]]:
        stages: dict[str, list[_Stage]] = {}
        for correlation in self.correlations.values():
            for rule in dict.fromkeys(correlation.rules):
                stages.setdefault(rule, []).append(_Stage(correlation, rule, self.windows[correlation.id]))
        return stages

    def feed(self, document: Mapping[str, Any], now_us: int) -> list[Finding]:
        """Findings that this event completes, those that build on others after them."""
        findings: list[Finding] = []
        apart = _apart(document)
        for rule in document["rules"]:
            for stage in self._stages.get(rule, ()):
                found = self._offer(stage, rule, apart, document, now_us)
                if found:
                    findings.extend(found)
        return findings

    def _offer(
        self, stage: _Stage, rule: str, group: Group, document: Mapping[str, Any], now_us: int
    ) -> Sequence[Finding]:
        fields = document["fields"]
        for name in stage.fields:
            value = text(fields.get(name))
            if value is None:
                self.counters["ungrouped"] += 1
                return ()
            group += (value,)
        counted: str | float = ""
        if stage.counted is not None:
            value = text(fields.get(stage.counted))
            if value is None:
                self.counters["ungrouped"] += 1
                return ()
            counted = value
            if stage.is_number:
                measured = number(value)
                if measured is None:
                    self.counters["not_a_number"] += 1
                    return ()
                counted = measured
        correlation = stage.correlation
        window = self._window(stage.windows, group)
        window.touched_us = now_us
        seen = Seen(document["at_us"], document["position"], rule, document["event_id"], counted)
        fired = window.offer(correlation, seen, self.counters)
        if not fired:
            return ()
        self.fired[correlation.id] += 1
        finding = self._finding(correlation, group, fired, document)
        own = [] if correlation.id in self.quiet else [finding]
        return own + self.feed(_as_document(finding, correlation, document), now_us)

    def _window(self, windows: dict[Group, Window], group: Group) -> Window:
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
        condition = correlation.condition
        params: dict[str, Any] = {"count": count, "seconds": correlation.span_us // 1_000_000}
        if correlation.type in METRICS:
            found: float = observed(correlation, fired)
            params |= {"value": found, "sign": SIGNS[condition.op], "amount": condition.amount}
            params |= {"percentile": condition.percentile} if correlation.type == "value_percentile" else {}
        else:
            found = count
            params["at_least"] = correlation.at_least
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
            status=correlation.status,
            explain={
                "why": f"correlation.{correlation.type}",
                "observed": found,
                "expected": condition.amount if correlation.type in METRICS else correlation.at_least,
                "params": params,
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
                correlation = self.correlations[key]
                self.windows[key] = {tuple(group): Window.from_json(window, correlation) for group, window in groups}
            elif groups:
                self.counters["changed_definitions"] += 1
        self._stages = self._staged()


def _apart(document: Mapping[str, Any]) -> Group:
    """Private addresses repeat between sites; imported and simulated events never mix with live ones."""
    return (document["site"], str(document.get("import_id") or ""), "simulated" if document.get("simulated") else "")


def text(value: Any) -> str | None:
    """A grouping value as text; a list is joined in order; None when it is missing."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def number(value: str) -> float | None:
    """A finite number out of text; None when it is none."""
    try:
        made = float(value)
    except ValueError:
        return None
    return made if math.isfinite(made) else None


def _as_document(finding: Finding, correlation: Correlation, document: Mapping[str, Any]) -> dict[str, Any]:
    """A finding as an event for the correlations that refer to its rule: its group, and fields of what completed it."""
    position = f"{document['position']}#{correlation.id}"
    return {
        **document,
        "rules": [correlation.id],
        "fields": {**document["fields"], **finding.group},
        "position": position,
    }
