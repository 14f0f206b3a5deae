"""When the events of one window fulfil a correlation: counts, metrics of a field, expressions over rules."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

COUNTING = ("event_count", "value_count")
MEANS = ("value_avg", "value_median", "value_percentile")
"""Metrics that a further event may raise and lower alike."""
METRICS = ("value_sum", *MEANS)
TEMPORAL = ("temporal", "temporal_ordered")
TYPES = (*COUNTING, *METRICS, *TEMPORAL)
"""Sigma correlation rules specification 2.1, `type`."""
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le, "eq": operator.eq, "neq": operator.ne,
}  # fmt: skip

_LOWER = ("gt", "gte", "eq")
_UPPER = ("lt", "lte", "eq")
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
    """All `limits` (operator, amount) hold: of events, distinct values or rules, or a metric.

    With `expression`, which speaks of rules, there are none.
    """

    limits: tuple[tuple[str, float], ...] = (("gte", 1),)
    percentile: float = 50
    expression: Expression | None = None

    def holds(self, value: float) -> bool:
        """Whether the value is within every limit."""
        return all(OPERATORS[op](value, amount) for op, amount in self.limits)

    @property
    def at_least(self) -> int:
        """The smallest whole count that fulfils the lower limits; 1 when there is none."""
        lower = [math.floor(n) + 1 if op == "gt" else math.ceil(n) for op, n in self.limits if op in _LOWER]
        return max([1, *lower])

    @property
    def at_most(self) -> float:
        """The largest whole count that fulfils the upper limits; infinity when there is none."""
        upper = [math.ceil(n) - 1 if op == "lt" else math.floor(n) for op, n in self.limits if op in _UPPER]
        return min([math.inf, *upper])

    def is_lasting(self) -> bool:
        """Whether what fulfils it still does after further events: nothing has to stay below or away."""
        if self.expression is not None:
            return not _denies(self.expression)
        return all(op in ("gt", "gte") for op, _ in self.limits)

    def __str__(self) -> str:
        return ", ".join(f"{SIGNS[op]} {amount}" for op, amount in self.limits)


def _denies(expression: Expression) -> bool:
    match expression:
        case Is():
            return False
        case Not():
            return True
    return any(map(_denies, expression.parts))


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
