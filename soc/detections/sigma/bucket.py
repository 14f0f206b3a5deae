"""The rules that one kind of event is routed to, matched column by column."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from soc.detections.sigma.evaluate import Columns, Row
from soc.detections.sigma.facts import NOTHING, Entry, Facts, Field, union
from soc.detections.sigma.predicate import Predicate, is_fact, predicate
from soc.detections.sigma.rule import Node, Test, tests_of
from soc.detections.sigma.witness import witnesses

Broken = Callable[[int, int, Exception], None]
"""Told the row, the number of the condition and the error when a condition could not be asked."""
BREAKS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What the content of one event may cause. Not OSError and the like: those are about all events alike."""


def _raised(_row: int, _number: int, error: Exception) -> None:
    raise error


class Condition:
    """A condition and what is read off it once, whatever buckets it is in."""

    __slots__ = ("facts", "node", "witnesses")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.witnesses = witnesses(node)
        self.facts = [test for test in tests_of(node) if is_fact(test)]


class Bucket:
    """`hits` gives what `compiled(node)` of each condition would, for a fraction of the work."""

    def __init__(self, conditions: Sequence[Condition]) -> None:
        self._conditions = conditions
        self._numbers: dict[str | None, int] = {}
        self._fields: list[Field] = []
        self._names: list[str | None] = []
        self._predicates: list[Predicate | None] = [None] * len(conditions)
        self._always: list[int] = []
        for number, condition in enumerate(conditions):
            if condition.witnesses is None:
                self._always.append(number)
            for test in condition.witnesses or ():
                self._field(test.field)[1].witness(test, number)
            for test in condition.facts:  # all before the first value: an automaton is built once
                self._place(test)
        self._witnessed = [n for n, field in enumerate(self._fields) if field.has_witnesses]

    def _field(self, name: str | None) -> tuple[int, Field]:
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = len(self._fields)
            self._fields.append(Field())
            self._names.append(name)
        return number, self._fields[number]

    def _place(self, test: Test) -> tuple[int, int]:
        number, field = self._field(test.field)
        return number, 0 if test.op in ("null", "exists") else field.number(test)

    def hits(self, columns: Columns, rows: Sequence[int], broken: Broken = _raised) -> Iterator[tuple[int, int]]:
        """(row, number of the condition) of all that hold, by row, then by number; one that breaks stops no other."""
        facts = _FactColumns(self, columns, rows)
        found: dict[int, set[int]] = {}
        for n in self._witnessed:
            if not facts.has(n):
                continue
            for j, (_, numbers) in enumerate(facts.entries(n)):
                if numbers:
                    known = found.get(j)
                    if known is None:
                        found[j] = set(numbers)
                    else:
                        known.update(numbers)
        always = self._always
        order = range(len(rows)) if always else sorted(found)
        predicates = self._predicates
        for j in order:
            row = Row(columns, rows[j])
            for number in sorted({*found.get(j, ()), *always}):
                try:
                    holds = predicates[number]
                    if holds is None:
                        holds = predicates[number] = predicate(self._conditions[number].node, self._place)
                    held = holds(facts, j, row)
                except BREAKS as error:
                    broken(rows[j], number, error)
                    continue
                if held:
                    yield rows[j], number

    def entries(self, n: int, columns: Columns, rows: Sequence[int]) -> list[Entry]:
        """What holds of the values of field number `n` in these rows."""
        name, field = self._names[n], self._fields[n]
        if name is not None:
            values = columns.of(name)
            return [NOTHING] * len(rows) if values is None else field.entries([values[i] for i in rows])
        searched = [values for each in columns.searched() if (values := columns.of(each)) is not None]
        return union((field.entries([values[i] for i in rows]) for values in searched), len(rows))

    def is_there(self, n: int, columns: Columns) -> bool:
        """Whether any row can have a value of field number `n`."""
        name = self._names[n]
        return name is None or columns.of(name) is not None


class _FactColumns(dict[int, list[Facts]]):
    """Facts of each field for some rows, worked out when something asks."""

    def __init__(self, bucket: Bucket, columns: Columns, rows: Sequence[int]) -> None:
        super().__init__()
        self._bucket, self._columns, self._rows = bucket, columns, rows
        self._entries: dict[int, list[Entry]] = {}

    def has(self, n: int) -> bool:
        return self._bucket.is_there(n, self._columns)

    def entries(self, n: int) -> list[Entry]:
        found = self._entries.get(n)
        if found is None:
            found = self._entries[n] = self._bucket.entries(n, self._columns, self._rows)
        return found

    def __missing__(self, n: int) -> list[Facts]:
        made = self[n] = [facts for facts, _ in self.entries(n)]
        return made
