"""The state of one group of one correlation: its recent events in order of event time, and when it last fired."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from soc.detections.correlation.condition import METRICS, OPERATORS, earliest, holds, metric
from soc.detections.correlation.definition import Correlation

LATE_SPANS = 2
"""An event may come this many spans behind the newest one and still counts exactly."""
MAX_EVENTS = 10_000
"""Events of one group that are kept; the oldest goes for a further one, counted as `dropped_events`."""
MAX_ENDS = 256
"""Windows that one late event is looked for in; further ones are counted as `unchecked_windows`."""


class Seen(NamedTuple):
    """One event as a window keeps it. `value` is what is counted: a text, or a number for the metrics."""

    at_us: int
    position: str
    rule: str
    event_id: str
    value: str | float = ""


class Window:
    """`offer` an event; it answers with the events of a window that fires, the completing one last.

    A window is the half-open span (t - span, t] of some event at t. After a window ending at t fired, the next may end
    at t + span at the earliest: the fired window is left, so no event is in two findings.
    """

    __slots__ = ("_low", "_tally", "events", "fired_us", "newest_us", "touched_us")

    def __init__(self) -> None:
        self.events: list[Seen] = []
        self.newest_us = -(2**63)
        self.fired_us: int | None = None
        self.touched_us = 0
        # Of the newest window: where it begins in `events`, and how often each counted value (or rule) is in it.
        self._low = 0
        self._tally: dict[str | float, int] | None = None

    def offer(self, correlation: Correlation, seen: Seen, counters: Counter[str]) -> list[Seen]:
        """Exact for events at most `LATE_SPANS` spans behind the newest; later ones are counted as `late`."""
        span, events = correlation.span_us, self.events
        if seen.at_us > self.newest_us:
            self.newest_us = seen.at_us
            at = len(events)
            events.append(seen)
        else:
            if seen.at_us <= self.newest_us - LATE_SPANS * span:
                counters["late"] += 1
                return []
            at = bisect.bisect_left(events, _order(seen), key=_order)
            if at < len(events) and _is_same(events[at], seen):
                counters["repeated"] += 1
                return []
            events.insert(at, seen)
        if correlation.tallied:
            self._count(seen, at, span, correlation.type)
        at -= self._forget(span, correlation)
        if len(events) > MAX_EVENTS:
            counters["dropped_events"] += 1
            if self._tally is not None and self._low == 0:
                self._take(events[0], correlation.type)
            self._low -= self._low > 0
            del events[0]
            at -= 1
            if at < 0:
                return []
        if correlation.type == "event_count" and len(events) < correlation.at_least:
            return []
        return self._fire(correlation, at, counters)

    def _count(self, seen: Seen, at: int, span: int, kind: str) -> None:
        """Let the tally follow: the new event, and those that left the newest window because of it."""
        if self._tally is None:
            self._tally = {}
        edge = self.newest_us - span
        if seen.at_us <= edge:
            self._low += 1  # it lies before the newest window
            return
        key = _counted(seen, kind)
        self._tally[key] = self._tally.get(key, 0) + 1
        events = self.events
        while events[self._low].at_us <= edge:
            self._take(events[self._low], kind)
            self._low += 1

    def _take(self, seen: Seen, kind: str) -> None:
        assert self._tally is not None
        key = _counted(seen, kind)
        left = self._tally[key] - 1
        if left:
            self._tally[key] = left
        else:
            del self._tally[key]

    def _forget(self, span: int, correlation: Correlation) -> int:
        """Drop what no window can reach any more; how many."""
        edge = self.newest_us - (LATE_SPANS + 1) * span  # the window of the latest event still taken
        if self.events[0].at_us > edge:
            return 0
        cut = bisect.bisect_right(self.events, edge, key=_at_us)
        del self.events[:cut]
        if correlation.tallied:
            self._low -= cut
        return cut

    def _fire(self, correlation: Correlation, at: int, counters: Counter[str]) -> list[Seen]:
        span, events, last = correlation.span_us, self.events, len(self.events) - 1
        new = events[at]
        looked = 0
        for end in range(at, last + 1):
            end_us = events[end].at_us
            if end_us >= new.at_us + span:
                break
            if self.fired_us is not None and end_us < self.fired_us + span:
                continue
            if end < last and events[end + 1].at_us == end_us:
                continue  # a window ends after all events of its last moment
            looked += 1
            if looked > MAX_ENDS:
                counters["unchecked_windows"] += 1
                break
            if self._is_satisfied(correlation, end, is_newest=end == last):
                self.fired_us = end_us
                start = bisect.bisect_right(events, end_us - span, key=_at_us)
                return [*(seen for seen in events[start : end + 1] if seen is not new), new]
        return []

    def _is_satisfied(self, correlation: Correlation, end: int, *, is_newest: bool) -> bool:
        events, edge = self.events, self.events[end].at_us - correlation.span_us
        least = correlation.at_least
        if correlation.type == "event_count":
            return end + 1 >= least and events[end + 1 - least].at_us > edge
        if is_newest and self._tally is not None:
            if correlation.type in ("value_count", "temporal") and correlation.expression is None:
                return len(self._tally) >= least
            if correlation.type == "temporal_ordered" and correlation.expression is None and len(self._tally) < least:
                return False  # most windows end here
        start = bisect.bisect_right(events, edge, key=_at_us)
        return satisfied(correlation, events[start : end + 1])

    def to_json(self) -> list[Any]:
        """Plain lists, the same for the same state."""
        return [[tuple(seen) for seen in self.events], self.newest_us, self.fired_us, self.touched_us]

    @classmethod
    def from_json(cls, data: Sequence[Any], correlation: Correlation) -> Window:
        """The inverse of `to_json`."""
        made = cls()
        made.events = [Seen(*event) for event in data[0]]
        made.newest_us, made.fired_us, made.touched_us = data[1:4]
        if correlation.tallied:
            made._low = bisect.bisect_right(made.events, made.newest_us - correlation.span_us, key=_at_us)
            made._tally = dict(Counter(_counted(seen, correlation.type) for seen in made.events[made._low :]))
        return made


def satisfied(correlation: Correlation, inside: Sequence[Seen]) -> bool:
    """Whether the events of one window, in order, fulfil the condition."""
    condition = correlation.condition
    if correlation.type in METRICS:
        value = observed(correlation, inside)
        return OPERATORS[condition.op](value, condition.amount)
    if condition.expression is not None and correlation.type == "temporal_ordered":
        return earliest(condition.expression, [seen.rule for seen in inside]) is not None
    if condition.expression is not None:
        return holds(condition.expression, {seen.rule for seen in inside}.__contains__)
    return observed(correlation, inside) >= correlation.at_least


def observed(correlation: Correlation, inside: Sequence[Seen]) -> float:
    """What is compared: events, distinct values, distinct rules (in the order of the list), or the metric."""
    match correlation.type:
        case "event_count":
            return len(inside)
        case "value_count":
            return len({seen.value for seen in inside})
        case "temporal":
            return len({seen.rule for seen in inside})
        case "temporal_ordered":
            return _longest_chain(correlation.rules, [seen.rule for seen in inside])
    numbers = [float(seen.value) for seen in inside]
    return metric(correlation.type, numbers, correlation.condition.percentile)


def in_order(position: str) -> str:
    """A position whose texts sort as its numbers do: syslog stamps often agree to the second, the log decides then."""
    place, mark, rest = position.partition("#")
    parts = (part.zfill(20) if part.isdecimal() else part for part in place.split(":"))
    return ":".join(parts) + mark + rest


def _order(seen: Seen) -> tuple[int, str, str]:
    return (seen.at_us, in_order(seen.position), seen.rule)


def _at_us(seen: Seen) -> int:
    return seen.at_us


def _counted(seen: Seen, kind: str) -> str | float:
    return seen.value if kind == "value_count" else seen.rule


def _is_same(one: Seen, other: Seen) -> bool:
    """The same event for the same rule: one place in the log, whatever else a replay says."""
    return (one.at_us, one.position, one.rule) == (other.at_us, other.position, other.rule)


def _longest_chain(order: Sequence[str], rules: Sequence[str]) -> int:
    """How many different rules follow each other in the order of the list, other events between them or not."""
    best = dict.fromkeys(order, 0)
    for rule in rules:
        before = 0
        for earlier in order:
            if earlier == rule:
                break
            before = max(before, best[earlier])
        best[rule] = max(best[rule], before + 1)
    return max(best.values())
