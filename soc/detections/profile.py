"""Where the time of matching goes: by route, by the field that is looked through, and by the rule that is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter_ns

from soc.detections.sigma.bucket import Broken, Bucket, Condition, raised
from soc.detections.sigma.chosen import ChosenRows
from soc.detections.sigma.evaluate import Columns, Row
from soc.detections.sigma.memory import Bearing, Budget
from soc.detections.sigma.predicate import Predicate, Values

KEYWORDS = "(keywords)"
"""Stands for the name of a field where rules search all of them."""
Stack = tuple[str, ...]


@dataclass
class Cost:
    """Wall time in ns; how often it was spent, on how many things, and how many of them held or bore something."""

    ns: int = 0
    times: int = 0
    asked: int = 0
    held: int = 0

    def add(self, ns: int, asked: int, held: int) -> None:
        """Once more."""
        self.ns += ns
        self.times += 1
        self.asked += asked
        self.held += held

    def __iadd__(self, other: Cost) -> Cost:
        self.ns += other.ns
        self.times += other.times
        self.asked += other.asked
        self.held += other.held
        return self


@dataclass
class RouteCost:
    """One set of rules that events are routed to: the whole, and what is known of its parts."""

    name: str
    rules: int
    whole: Cost = field(default_factory=Cost)
    by_field: dict[str, Cost] = field(default_factory=dict)
    by_rule: dict[str, Cost] = field(default_factory=dict)


class Profile:
    """Costs of everything a detector did. Measuring itself costs some tenths of a microsecond a rule and event."""

    def __init__(self) -> None:
        self.routes: list[RouteCost] = []

    def bucket(self, name: str, rules: Sequence[str], conditions: Sequence[Condition], budget: Budget) -> Bucket:
        """A bucket that is measured; `rules` are the ids of its conditions."""
        route = RouteCost(name, len(conditions))
        self.routes.append(route)
        return _Measured(route, rules, conditions, budget)

    def fields(self) -> dict[str, Cost]:
        """By field over all routes, the dearest first. `asked` counts values, `held` those that a rule may be about."""
        return _summed(route.by_field for route in self.routes)

    def rules(self) -> dict[str, Cost]:
        """By id of a rule over all routes, the dearest first. Rules that no witness ever called cost nothing."""
        return _summed(route.by_rule for route in self.routes)

    def stacks(self) -> Iterator[tuple[Stack, int]]:
        """Every cost under what it is part of, with what the part alone took (ns)."""
        for route in self.routes:
            parts = 0
            for word, costs in (("field", route.by_field), ("rule", route.by_rule)):
                for name, cost in costs.items():
                    yield (route.name, word, name), cost.ns
                    parts += cost.ns
            yield (route.name,), max(route.whole.ns - parts, 0)


def _summed(parts: Iterator[dict[str, Cost]] | Sequence[dict[str, Cost]]) -> dict[str, Cost]:
    whole: dict[str, Cost] = {}
    for costs in parts:
        for name, cost in costs.items():
            whole.setdefault(name, Cost()).__iadd__(cost)
    return dict(sorted(whole.items(), key=lambda item: -item[1].ns))


class _Measured(Bucket):
    def __init__(self, route: RouteCost, rules: Sequence[str], conditions: Sequence[Condition], budget: Budget) -> None:
        super().__init__(conditions, budget)
        self._route = route
        self._ids = rules

    def hits(self, columns: Columns, rows: Sequence[int], broken: Broken = raised) -> Iterator[tuple[int, int]]:
        begun = perf_counter_ns()
        found = list(super().hits(columns, rows, broken))
        self._route.whole.add(perf_counter_ns() - begun, len(rows), len(found))
        return iter(found)

    def _bearing(self, name: str | None, chosen: ChosenRows) -> Bearing:
        begun = perf_counter_ns()
        found = list(super()._bearing(name, chosen))
        cost = self._route.by_field.setdefault(name or KEYWORDS, Cost())
        cost.add(perf_counter_ns() - begun, len(chosen.rows), len(found))
        return found

    def _predicate(self, n: int) -> Predicate:
        begun = perf_counter_ns()
        made = super()._predicate(n)
        cost = self._route.by_rule.setdefault(self._ids[n], Cost())
        cost.ns += perf_counter_ns() - begun

        def measured(values: Values, i: int, row: Row) -> bool:
            begun = perf_counter_ns()
            holds = made(values, i, row)
            cost.add(perf_counter_ns() - begun, 1, int(holds))
            return holds

        return measured
