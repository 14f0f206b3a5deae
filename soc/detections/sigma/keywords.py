"""Keywords: looked for in every value of an event, whatever its field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from soc.detections.sigma.chosen import ChosenRows
from soc.detections.sigma.lookup import Lookup, Rules
from soc.detections.sigma.memory import Budget, Memory
from soc.detections.sigma.values import text_of
from soc.model.fields import FieldType

_PLAIN = frozenset((str, type(None)))


class Keywords:
    """Values are compared as texts, so that fields of all types share a memory; long texts have one of their own."""

    def __init__(self, lookup: Lookup, budget: Budget) -> None:
        self._short, self._long = Memory(lookup, budget), Memory(lookup, budget)

    def bearing(self, chosen: ChosenRows) -> Iterator[tuple[int, Rules]]:
        """Places in the rows, and the rules of which a value there may be a witness."""
        short: list[Sequence[Any]] = []
        for name in chosen.columns.searched():
            column = chosen.columns.batch.columns[name]
            values = chosen[name]
            if column.type is FieldType.TEXT and not column.many:
                yield from self._long.bearing(values)
            else:
                short.append(values)
        distinct = list(map(_distinct, short))
        found = self._short.among(set().union(*distinct), len(chosen.rows) * len(short))
        if found:
            for values, some in zip(short, distinct, strict=True):
                if not some.isdisjoint(found):
                    yield from ((j, found[text]) for j, v in enumerate(values) for text in _texts(v) if text in found)


def _distinct(values: Sequence[Any]) -> set[Any]:
    """The texts of the values, each once; None may be among them."""
    met = set(values)
    return met if _PLAIN.issuperset(map(type, met)) else {text for value in met for text in _texts(value)}


def _texts(value: Any) -> tuple[str, ...]:
    if type(value) is str:
        return (value,)
    if value is None:
        return ()
    return tuple(map(text_of, value)) if isinstance(value, tuple) else (text_of(value),)
