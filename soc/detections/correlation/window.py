"""The state of one group of one correlation: its recent events in order of event time, and when it last fired."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from soc.detections.correlation.definition import Correlation

LATE_SPANS = 2
"""An event may come this many spans behind the newest one and still counts exactly."""
MAX_EVENTS = 10_000
"""Events of one group that are kept; further ones are counted as dropped (a threshold is never near this)."""


@dataclass(frozen=True, order=True)
class Seen:
    """One event as a window keeps it; ordered by event time, then by place in the log."""

    at_us: int
    position: str
    rule: str
    event_id: str
    value: str = ""


@dataclass
class Window:
    """`offer` an event; it answers with the events of a window that fires, the completing one last."""

    events: list[Seen] = field(default_factory=list)
    newest_us: int = -(2**63)
    fired_us: int | None = None
    touched_us: int = 0

    def offer(self, correlation: Correlation, seen: Seen, counters: Counter[str]) -> list[Seen]:
        """Exact for events at most `LATE_SPANS` spans behind the newest; later ones are counted as `late`.

        A window is the half-open span (t - span, t] of some event at t. After a window ending at t fired, the next
        may end at t + span at the earliest: the fired window is left, so no event is in two findings.
        """
        span = correlation.span_us
        if seen.at_us <= self.newest_us - LATE_SPANS * span:
            counters["late"] += 1
            return []
        at = bisect.bisect_left(self.events, seen)
        if self._has(at, seen):
            counters["repeated"] += 1
            return []
        if len(self.events) >= MAX_EVENTS:
            counters["dropped_events"] += 1
            return []
        self.events.insert(at, seen)
        self.newest_us = max(self.newest_us, seen.at_us)
        fired = self._fire(correlation, at)
        self._forget(span)
        return fired

    def _has(self, at: int, seen: Seen) -> bool:
        """The same event for the same rule: one place in the log, whatever else a replay says."""
        same = self.events[at : at + 1]
        return bool(same) and (same[0].at_us, same[0].position, same[0].rule) == (seen.at_us, seen.position, seen.rule)

    def _fire(self, correlation: Correlation, at: int) -> list[Seen]:
        new = self.events[at]
        for end in range(at, len(self.events)):
            end_us = self.events[end].at_us
            if end_us >= new.at_us + correlation.span_us:
                break
            if self.fired_us is not None and end_us < self.fired_us + correlation.span_us:
                continue
            if end + 1 < len(self.events) and self.events[end + 1].at_us == end_us:
                continue  # a window ends after all events of its last moment
            start = bisect.bisect_right(self.events, end_us - correlation.span_us, key=lambda seen: seen.at_us)
            inside = self.events[start : end + 1]
            if satisfied(correlation, inside):
                self.fired_us = end_us
                return [*(seen for seen in inside if seen is not new), new]
        return []

    def _forget(self, span: int) -> None:
        edge = self.newest_us - (LATE_SPANS + 1) * span  # the window of the latest event still taken
        cut = bisect.bisect_right(self.events, edge, key=lambda seen: seen.at_us)
        del self.events[:cut]

    def to_json(self) -> list[Any]:
        """Plain lists, the same for the same state."""
        events = [[s.at_us, s.position, s.rule, s.event_id, s.value] for s in self.events]
        return [events, self.newest_us, self.fired_us, self.touched_us]

    @classmethod
    def from_json(cls, data: Sequence[Any]) -> Window:
        """The inverse of `to_json`."""
        return cls([Seen(*event) for event in data[0]], data[1], data[2], data[3])


def satisfied(correlation: Correlation, inside: Sequence[Seen]) -> bool:
    """Whether the events of one window, in order, fulfil the condition."""
    match correlation.type:
        case "event_count":
            return len(inside) >= correlation.at_least
        case "value_count":
            return len({seen.value for seen in inside}) >= correlation.at_least
        case "temporal":
            return len({seen.rule for seen in inside}) >= correlation.at_least
    steps = iter(inside)  # temporal_ordered: each rule's event after that of the rule before it
    return all(any(seen.rule == rule for seen in steps) for rule in correlation.rules)
