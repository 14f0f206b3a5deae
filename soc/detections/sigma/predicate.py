"""A condition as one generated expression over facts: `(4 in c[0][i] and not c[2][i].isdisjoint(k1))`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from soc.detections.sigma.evaluate import Row, compiled
from soc.detections.sigma.facts import MISSING, Facts
from soc.detections.sigma.rule import All, AnyOf, Node, Not, Test
from soc.detections.sigma.witness import FACT_OPS

Columns = Sequence[Sequence[Facts]]
Predicate = Callable[[Columns, int, Row], bool]
Place = Callable[[Test], tuple[int, int]]
"""Of a test that is a fact: the number of its field, and its own."""
_DEPTH = 60
"""Deeper conditions are evaluated without a generated expression: Python's parser has a bound of its own."""


def is_fact(test: Test) -> bool:
    """Whether the value of one field decides it, so that it is known before the rule is looked at."""
    return test.op in FACT_OPS or (test.op in ("null", "exists") and test.field is not None)


def predicate(node: Node, place: Place) -> Predicate:
    """The condition of facts at row `i`; what is no fact is asked of the row."""
    if _depth(node) > _DEPTH:
        whole = compiled(node)
        return lambda _columns, _i, row: whole(row)
    names: dict[str, Any] = {"__builtins__": {}}
    text = _expression(node, place, names)
    # Only numbers and names made here are in the text; what a rule says is in the constants.
    made: Predicate = eval(f"lambda c, i, row: {text}", names)  # noqa: S307
    return made


def _expression(node: Node, place: Place, names: dict[str, Any]) -> str:
    match node:
        case Test():
            return _test(node, place, names)
        case Not():
            return f"(not {_expression(node.part, place, names)})"
        case All():
            return _joined(node.parts, " and ", place, names)
    return _joined(node.parts, " or ", place, names)


def _test(test: Test, place: Place, names: dict[str, Any]) -> str:
    if not is_fact(test):
        return f"{_constant(compiled(test), names)}(row)"
    field, number = place(test)
    if test.op in ("null", "exists"):
        is_missing = test.op == "null" or not test.value
        return f"({MISSING} {'in' if is_missing else 'not in'} c[{field}][i])"
    return f"({number} in c[{field}][i])"


def _joined(parts: Sequence[Node], word: str, place: Place, names: dict[str, Any]) -> str:
    """Tests on one field in one set operation, these first, what has to be asked of the row last."""
    by_field: dict[int, set[int]] = {}
    inner: list[str] = []
    asked: list[str] = []
    for part in parts:
        if isinstance(part, Test) and part.op in FACT_OPS:
            field, number = place(part)
            by_field.setdefault(field, set()).add(number)
        elif isinstance(part, Test) and not is_fact(part):
            asked.append(_test(part, place, names))
        else:
            inner.append(_expression(part, place, names))
    sets = []
    for field, numbers in by_field.items():
        if len(numbers) == 1:
            sets.append(f"({min(numbers)} in c[{field}][i])")
        elif word == " or ":
            sets.append(f"(not c[{field}][i].isdisjoint({_constant(frozenset(numbers), names)}))")
        else:
            sets.append(f"({_constant(frozenset(numbers), names)} <= c[{field}][i])")
    terms = [*sets, *inner, *asked]
    return f"({word.join(terms)})" if terms else ("True" if word == " and " else "False")


def _constant(value: Any, names: dict[str, Any]) -> str:
    name = f"k{len(names)}"
    names[name] = value
    return name


def _depth(node: Node) -> int:
    match node:
        case Test():
            return 1
        case Not():
            return 1 + _depth(node.part)
        case All() | AnyOf():
            return 1 + max(map(_depth, node.parts), default=0)
