"""A search text's tree as a condition of rules: the same events, by the same comparisons."""

from __future__ import annotations

from typing import Any

from soc.detections.sigma.rule import ONE, STAR, All, AnyOf, Node, Not, Test, simplest
from soc.detections.sigma.values import fold, text_of
from soc.model.fields import FieldDictionary, FieldType
from soc.model.query import And, Between, Equals, Exists, InNetwork, MatchAll, Or, Query, Wildcard, Word
from soc.model.query import Not as NotQuery
from soc.store.events.patterns import pieces_of, word_regex, words_of
from soc.store.events.sql import WORD_FIELDS

_ORDERED = (FieldType.LONG, FieldType.ULONG, FieldType.DOUBLE, FieldType.DATE)


class Untellable(ValueError):
    """A comparison that rules have not; the text says which."""


def lowered(query: Query, fields: FieldDictionary, selection: str) -> Node:
    """The condition; `selection` is what a hit is explained by. Raises Untellable."""
    made = _Lowering(fields, selection)
    return made.of(query)


class _Lowering:
    def __init__(self, fields: FieldDictionary, selection: str) -> None:
        self._fields, self._selection = fields, selection

    def _test(self, name: str, op: str, value: Any, pattern: str, cased: bool = True) -> Test:
        return Test(self._selection, name, op, value, pattern, cased)

    def of(self, query: Query) -> Node:
        match query:
            case MatchAll():
                return All(())
            case NotQuery(item):
                return Not(self.of(item))
            case And(items):
                return All(tuple(map(self.of, items)))
            case Or(items):
                return AnyOf(tuple(map(self.of, items)))
            case Exists(name):
                return self._test(name, "exists", True, "*", False)
            case InNetwork(name, network):
                return self._test(name, "cidr", network, network, False)
            case Equals(name, value):
                return self._equals(name, value)
            case Wildcard(name, pattern):
                return self._wildcard(name, pattern)
            case Between():
                return self._between(query)
            case Word(text):
                return AnyOf(tuple(self._word(name, text) for name in WORD_FIELDS))
        raise Untellable(f"rules have no {type(query).__name__}")

    def _type(self, name: str) -> FieldType:
        field = self._fields.get(name)
        if field is None or field.type in (FieldType.OBJECT, FieldType.BINARY):
            raise Untellable(f"'{name}' cannot be compared by rules")
        return field.type

    def _equals(self, name: str, value: Any) -> Test:
        text = text_of(value)
        folds = self._type(name) is FieldType.TEXT
        return self._test(name, "equals", fold(text) if folds else text, text, not folds)

    def _wildcard(self, name: str, pattern: str) -> Test:
        folds = self._type(name) is FieldType.TEXT
        glob: list[str | int] = []
        for text, is_wild in pieces_of(fold(pattern) if folds else pattern):
            piece: str | int = (STAR if text == "*" else ONE) if is_wild else text
            if isinstance(piece, str) and glob and isinstance(glob[-1], str):
                glob[-1] += piece
            elif piece != STAR or glob[-1:] != [STAR]:
                glob.append(piece)
        op, operand = simplest(tuple(glob))
        return self._test(name, op, operand, pattern, not folds)

    def _between(self, query: Between) -> Node:
        if self._type(query.field) not in _ORDERED:
            raise Untellable(f"'{query.field}' is text: rules order numbers and times only")
        low = ("gt" if query.low_strict else "gte", query.low)
        high = ("lt" if query.high_strict else "lte", query.high)
        parts = [self._test(query.field, op, n, f"{op} {n}", False) for op, n in (low, high) if n is not None]
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _word(self, name: str, text: str) -> Test:
        if words_of(text):
            return self._test(name, "re", f"(?si){word_regex(text)}", text)
        return self._test(name, "contains", fold(text), text, False)
