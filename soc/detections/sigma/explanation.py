"""Why a condition holds, for people: the comparisons that do, outside of any negation."""

from __future__ import annotations

import re
from collections.abc import Callable

from soc.detections.sigma.evaluate import TEXT_OPS, Row, compiled, holds_test, text_check, value_check
from soc.detections.sigma.rule import All, AnyOf, Node, Not, Test
from soc.detections.sigma.values import text_of
from soc.model.finding import Matched

SHOWN = 2048
"""Longer values are cut, with an ellipsis; the event keeps the whole."""
Explanation = Callable[[Row], list[Matched]]


def explanation(node: Node) -> Explanation:
    """What explains a condition in the events for which it holds."""
    match node:
        case Test():
            return _of_test(node)
        case Not():
            return lambda row: []
        case All():
            parts = tuple(map(explanation, node.parts))
            return lambda row: [m for part in parts for m in part(row)]
        case AnyOf():
            return _of_any(node)


def _of_any(node: AnyOf) -> Explanation:
    # What several comparisons together say is told only when it holds; one alone says nothing when it does not.
    parts = [(None if isinstance(part, Test) else compiled(part), explanation(part)) for part in node.parts]
    return lambda row: [m for holds, explain in parts if holds is None or holds(row) for m in explain(row)]


def _of_test(test: Test) -> Explanation:
    name, told = test.field, _teller(test)
    if test.op in ("null", "exists", "fieldref"):
        holds = holds_test(test)
        return lambda row: [told(name or "", "".join(map(text_of, row.values(name)[:1])))] if holds(row) else []
    if name is None:
        return _of_keyword(test)
    if test.op in TEXT_OPS and not test.cased:
        check = text_check(test)

        def by_text(row: Row) -> list[Matched]:
            for k, text in enumerate(row.folded(name)):
                if check(text):
                    return [told(name, text_of(row.values(name)[k]))]
            return []

        return by_text
    raw = value_check(test)
    return lambda row: [told(name, text_of(value)) for value in row.values(name) if raw(value)][:1]


def _of_keyword(test: Test) -> Explanation:
    check, told = value_check(test), _teller(test)

    def by_keyword(row: Row) -> list[Matched]:
        for name in row.columns.searched():
            for value in row.values(name):
                if check(value):
                    return [told(name, text_of(value))]
        return []

    return by_keyword


def _teller(test: Test) -> Callable[[str, str], Matched]:
    """Of the name of a field and its value."""
    pattern = re.sub(r"[\r\n]+", " ", test.pattern)

    def told(name: str, value: str) -> Matched:
        return Matched(test.selection, name, value if len(value) <= SHOWN else value[:SHOWN] + "…", pattern)

    return told
