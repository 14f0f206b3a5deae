"""The rules that one kind of event is routed to, matched column by column."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from soc.detections.sigma.chosen import ChosenRows
from soc.detections.sigma.evaluate import Columns, Row
from soc.detections.sigma.keywords import Keywords
from soc.detections.sigma.lookup import Lookup
from soc.detections.sigma.memory import Bearing, Budget, Memory
from soc.detections.sigma.predicate import Predicate, predicate
from soc.detections.sigma.rule import Node, Test
from soc.detections.sigma.witness import witnesses

Broken = Callable[[int, int, Exception], None]
"""Told the row, the number of the condition and the error when a condition could not be asked."""
BREAKS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What the content of one event may cause. Not OSError and the like: those are about all events alike."""


def raised(_row: int, _number: int, error: Exception) -> None:
    """Stop all others, too."""
    raise error


class Condition:
    """A condition and what is read off it once, whatever buckets it is in."""

    __slots__ = ("node", "witnesses")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.witnesses = witnesses(node)


class Bucket:
    """`hits` gives what `compiled(node)` of each condition would, for a fraction of the work."""

    def __init__(self, conditions: Sequence[Condition], budget: Budget | None = None) -> None:
        self._conditions = conditions
        self._budget = budget or Budget()
        self._predicates: list[Predicate | None] = [None] * len(conditions)
        self._always = [n for n, condition in enumerate(conditions) if condition.witnesses is None]
        self._witnesses: dict[str | None, list[tuple[Test, int]]] = {}
        for n, condition in enumerate(conditions):
            for test in condition.witnesses or ():
                self._witnesses.setdefault(test.field, []).append((test, n))
        self._memories: dict[str, Memory] = {}
        self._keywords: Keywords | None = None

    def hits(self, columns: Columns, rows: Sequence[int], broken: Broken = raised) -> Iterator[tuple[int, int]]:
        """(row, number of the condition) of all that hold, by row, then by number; one that breaks stops no other.

        The rows are in order.
        """
        chosen = ChosenRows(columns, rows)
        found = self._found(chosen)
        always = self._always
        predicates = self._predicates
        for j in range(len(rows)) if always else sorted(found):
            row = Row(columns, rows[j])
            for n in sorted(found[j].union(always)) if j in found else always:
                try:
                    holds = predicates[n]
                    if holds is None:
                        holds = predicates[n] = self._predicate(n)
                    held = holds(chosen, j, row)
                except BREAKS as error:
                    broken(rows[j], n, error)
                    continue
                if held:
                    yield rows[j], n

    def _predicate(self, n: int) -> Predicate:
        return predicate(self._conditions[n].node)

    def _found(self, chosen: ChosenRows) -> dict[int, set[int]]:
        """Place of a row → numbers of the conditions that have to be looked at."""
        found: dict[int, set[int]] = {}
        for name in self._witnesses:
            for j, rules in self._bearing(name, chosen):
                known = found.get(j)
                if known is None:
                    found[j] = set(rules)
                else:
                    known.update(rules)
        return found

    def _bearing(self, name: str | None, chosen: ChosenRows) -> Bearing:
        if name is None:
            if self._keywords is None:
                self._keywords = Keywords(Lookup(self._witnesses[None]), self._budget)
            return self._keywords.bearing(chosen)
        if chosen.columns.of(name) is None:
            return ()
        memory = self._memories.get(name)
        if memory is None:
            memory = self._memories[name] = Memory(Lookup(self._witnesses[name]), self._budget)
        return memory.bearing(chosen[name])
