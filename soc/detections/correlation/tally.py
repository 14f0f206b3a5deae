"""What is counted or measured of a window, kept up to date while events enter and leave it."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence
from typing import Protocol

from soc.detections.correlation.condition import TEMPORAL, earliest, holds, percentile_of
from soc.detections.correlation.definition import Correlation
from soc.detections.correlation.seen import RULE, VALUE, Seen


class Tally(Protocol):
    """The events of one window in one number."""

    def add(self, seen: Seen) -> None:
        """An event enters."""
        ...

    def take(self, seen: Seen) -> None:
        """An event leaves that was added before."""
        ...

    def value(self) -> float:
        """The number; never asked of an empty window."""
        ...


class Events:
    """How many events."""

    def __init__(self) -> None:
        self._n = 0

    def add(self, seen: Seen) -> None:
        self._n += 1

    def take(self, seen: Seen) -> None:
        self._n -= 1

    def value(self) -> int:
        return self._n


class Different:
    """How many different values, or rules."""

    def __init__(self, place: int) -> None:
        self._place = place
        self.of: dict[str | float, int] = {}

    def add(self, seen: Seen) -> None:
        key = seen[self._place]
        self.of[key] = self.of.get(key, 0) + 1

    def take(self, seen: Seen) -> None:
        key = seen[self._place]
        left = self.of[key] - 1
        if left:
            self.of[key] = left
        else:
            del self.of[key]

    def value(self) -> int:
        return len(self.of)


class Sum:
    """The sum, exact to the last bit whatever came and went (Shewchuk 1997, grow-expansion), or the average of it."""

    def __init__(self, *, average: bool) -> None:
        self._parts: list[float] = []
        self._average = average
        self._n = 0

    def add(self, seen: Seen) -> None:
        self._n += 1
        self._grow(seen[VALUE])

    def take(self, seen: Seen) -> None:
        self._n -= 1
        self._grow(-seen[VALUE])

    def _grow(self, number: float) -> None:
        parts = []
        for part in self._parts:
            large, small = (number, part) if abs(number) >= abs(part) else (part, number)
            number = large + small
            lost = small - (number - large)
            if lost:
                parts.append(lost)
        self._parts = [*parts, number] if number or not parts else parts

    def value(self) -> float:
        total = math.fsum(self._parts)
        return total / self._n if self._average else total


class Ranks:
    """A percentile, or the median."""

    def __init__(self, percentile: float) -> None:
        self._percentile = percentile
        self._ordered: list[float] = []

    def add(self, seen: Seen) -> None:
        bisect.insort(self._ordered, seen[VALUE])

    def take(self, seen: Seen) -> None:
        del self._ordered[bisect.bisect_left(self._ordered, seen[VALUE])]

    def value(self) -> float:
        return percentile_of(self._ordered, self._percentile)


def tally_of(correlation: Correlation) -> Tally:
    """An empty one of what the correlation counts or measures; of a temporal one the different rules."""
    match correlation.type:
        case "event_count":
            return Events()
        case "value_count":
            return Different(VALUE)
        case kind if kind in TEMPORAL:
            return Different(RULE)
        case "value_sum" | "value_avg" as kind:
            return Sum(average=kind == "value_avg")
        case "value_median":
            return Ranks(50)
    return Ranks(correlation.condition.percentile)


def fulfilled(correlation: Correlation, tally: Tally, inside: Callable[[], Sequence[Seen]]) -> bool:
    """Whether a window that is never empty fulfils the condition: by its tally, by its events where order matters."""
    expression = correlation.expression
    if correlation.type == "temporal_ordered":
        # What speaks of rules that are not there cannot be told before it is looked at; most windows end here.
        if expression is None and tally.value() < correlation.at_least:
            return False
        rules = [seen[RULE] for seen in inside()]
        if expression is not None:
            return earliest(expression, rules) is not None
        return correlation.condition.holds(longest_chain(correlation.rules, rules))
    if expression is not None:
        assert isinstance(tally, Different)
        return holds(expression, tally.of.__contains__)
    return correlation.condition.holds(tally.value())


def observed(correlation: Correlation, inside: Sequence[Seen]) -> float:
    """What is compared: events, distinct values, distinct rules (in the order of the list), or the metric."""
    if correlation.type == "temporal_ordered":
        return longest_chain(correlation.rules, [seen[RULE] for seen in inside])
    tally = tally_of(correlation)
    for seen in inside:
        tally.add(seen)
    return tally.value()


def longest_chain(order: Sequence[str], rules: Sequence[str]) -> int:
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
