"""When the events of one window fulfil a correlation: counts, metrics of a field, expressions over rules."""

from __future__ import annotations

import math
import operator
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

COUNTING = ("event_count", "value_count")
METRICS = ("value_sum", "value_avg", "value_median", "value_percentile")
TEMPORAL = ("temporal", "temporal_ordered")
TYPES = (*COUNTING, *METRICS, *TEMPORAL)
"""Sigma correlation rules specification 2.1, `type`."""
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le, "eq": operator.eq, "neq": operator.ne,
}  # fmt: skip

SIGNS = {"gt": ">", "gte": "≥", "lt": "<", "lte": "≤", "eq": "=", "neq": "≠"}


@dataclass(frozen=True)
class Is:
    """A rule's events are in the window."""

    rule: str


@dataclass(frozen=True)
class Not:
    """The part does not hold of the window."""

    part: Expression


@dataclass(frozen=True)
class All:
    """Every part holds; in `temporal_ordered` one after the other."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True)
class AnyOf:
    """At least one part holds."""

    parts: tuple[Expression, ...]


Expression = Is | Not | All | AnyOf


@dataclass(frozen=True)
class Condition:
    """`op` against `amount`: of events, distinct values or rules, or a metric. With `expression` neither is used."""

    op: str = "gte"
    amount: float = 1
    percentile: float = 50
    expression: Expression | None = None

    @property
    def at_least(self) -> int:
        """The smallest count that fulfils `gt` and `gte`."""
        return math.floor(self.amount) + 1 if self.op == "gt" else math.ceil(self.amount)


def metric(kind: str, numbers: Sequence[float], percentile: float) -> float:
    """The metric of one window, never empty. Sums are exact to the last bit whatever the order (`math.fsum`)."""
    match kind:
        case "value_sum":
            return math.fsum(numbers)
        case "value_avg":
            return math.fsum(numbers) / len(numbers)
        case "value_median":
            return statistics.median(numbers)
    return percentile_of(sorted(numbers), percentile)


def percentile_of(ordered: Sequence[float], percentile: float) -> float:
    """Linear between the two closest ranks (as numpy and Elasticsearch's exact case do); 0 the least, 100 the most."""
    place = (len(ordered) - 1) * percentile / 100
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def holds(expression: Expression, present: Callable[[str], bool]) -> bool:
    """Whether it holds of a window in which these rules are present, in any order."""
    match expression:
        case Is():
            return present(expression.rule)
        case Not():
            return not holds(expression.part, present)
        case All():
            return all(holds(part, present) for part in expression.parts)
    return any(holds(part, present) for part in expression.parts)


def earliest(expression: Expression, rules: Sequence[str], start: int = 0) -> int | None:
    """Where it is fulfilled first in a sequence of rules, read from `start` on: the index behind; None if nowhere.

    The parts of an `and` follow each other; a `not` speaks of the whole window.
    """
    match expression:
        case Is():
            try:
                return rules.index(expression.rule, start) + 1
            except ValueError:
                return None
        case Not():
            return None if holds(expression.part, rules.__contains__) else start
        case All():
            behind = start
            for part in expression.parts:
                reached = earliest(part, rules, behind)
                if reached is None:
                    return None
                behind = reached
            return behind
    found = [reached for part in expression.parts if (reached := earliest(part, rules, start)) is not None]
    return min(found, default=None)
