"""The tree of a query over a batch in memory; the stores must agree with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import re2

from soc.errors import QueryError
from soc.model.batch import Column, EventBatch
from soc.model.fields import FieldType
from soc.model.query import And, Between, Equals, Exists, InNetwork, MatchAll, Not, Or, Query, Wildcard, Word
from soc.store.events.patterns import fixed_text, lower, regex_of, word_regex, words_of
from soc.store.events.sql import WORD_FIELDS, in_network

Mask = np.ndarray[Any, np.dtype[np.bool_]]
_Test = Callable[[list[Any]], Mask]
TEXTUAL = (FieldType.KEYWORD, FieldType.TEXT, FieldType.IP)


def matches(query: Query, batch: EventBatch) -> Mask:
    """Which rows of the batch match; a bool array of length `n`. The stores must agree with it."""
    match query:
        case MatchAll():
            return np.ones(batch.n, bool)
        case Not(item):
            return np.logical_not(matches(item, batch))
        case And(items):
            return _fold(np.logical_and, items, batch, True)
        case Or(items):
            return _fold(np.logical_or, items, batch, False)
        case Word(text):
            masks = (_test(batch.columns.get(name), _word_test(text)) for name in WORD_FIELDS if name in batch.columns)
            mask = np.zeros(batch.n, bool)
            for other in masks:
                mask |= other
            return mask
        case Exists(name):
            return _test_or_none(batch, name, lambda _: lambda values: np.array([v is not None for v in values], bool))
        case Equals(name, value):
            return _test_or_none(batch, name, lambda column: _equals_test(column, value))
        case Wildcard(name, pattern):
            return _test_or_none(batch, name, lambda column: _wildcard_test(name, column, pattern))
        case Between():
            return _test_or_none(batch, query.field, lambda _: _each(lambda v: _is_between(v, query)))
        case InNetwork(name, network):
            return _test_or_none(batch, name, lambda _: _network_test(network))
    raise TypeError(type(query).__name__)


def _fold(join: Any, items: Sequence[Query], batch: EventBatch, empty: bool) -> Mask:
    mask = np.full(batch.n, empty)
    for item in items:
        mask = join(mask, matches(item, batch))
    return mask


def _test_or_none(batch: EventBatch, name: str, make: Callable[[Column], _Test]) -> Mask:
    column = batch.columns.get(name)
    return np.zeros(batch.n, bool) if column is None else _test(column, make(column))


def _test(column: Column | None, test: _Test) -> Mask:
    assert column is not None
    if column.form == "constant" and not column.many:
        return np.repeat(test([column.values]), column.n)
    values = column.to_list()
    if not column.many:
        return test(values)
    sizes = np.array([len(v) if v else 0 for v in values], dtype=np.int64)
    items = test([item for v in values if v for item in v])
    owners = np.repeat(np.arange(column.n), sizes)
    return np.bincount(owners[items], minlength=column.n).astype(bool)


def _each(claim: Callable[[Any], bool]) -> _Test:
    return lambda values: np.array([v is not None and claim(v) for v in values], bool)


def _equals_test(column: Column, value: Any) -> _Test:
    if column.type is FieldType.TEXT:
        return lambda values: _mask(pc.equal(_lowered(values), lower(value)))
    if column.type is FieldType.OBJECT:
        wanted = json.dumps(value, ensure_ascii=False)
        return _each(lambda v: json.dumps(v, ensure_ascii=False) == wanted)
    return _each(lambda v: bool(v == value))


def _is_between(value: Any, query: Between) -> bool:
    if query.low is not None and (value < query.low or (query.low_strict and value == query.low)):
        return False
    return not (query.high is not None and (value > query.high or (query.high_strict and value == query.high)))


def _lowered(values: list[Any]) -> Any:
    return pc.utf8_lower(pa.array(values, pa.string()))


def _mask(array: Any) -> Mask:
    return np.asarray(pc.fill_null(array, False).to_numpy(zero_copy_only=False), dtype=bool)


def _wildcard_test(name: str, column: Column, pattern: str) -> _Test:
    if column.type not in (*TEXTUAL, FieldType.OBJECT):
        raise QueryError(f"'{name}' is {column.type.value}: wildcards are for text")
    fold = column.type is FieldType.TEXT

    def test(values: list[Any]) -> Mask:
        if column.type is FieldType.OBJECT:
            values = [None if v is None else json.dumps(v, ensure_ascii=False) for v in values]
        return _text_test(_lowered(values).to_pylist() if fold else values, pattern, fold)

    return test


def _text_test(values: list[Any], pattern: str, fold: bool) -> Mask:
    simple = fixed_text(pattern)
    if simple is None:
        expression = re2.compile("(?s)" + regex_of(pattern, fold=fold))
        return _each(lambda v: expression.fullmatch(v) is not None)(values)
    text = lower(simple[1]) if fold else simple[1]
    claims: dict[str, Callable[[str], bool]] = {
        "contains": lambda v: text in v,
        "starts_with": lambda v: v.startswith(text),
        "ends_with": lambda v: v.endswith(text),
    }
    return _each(claims[simple[0]])(values)


def _word_test(text: str) -> _Test:
    expression = re2.compile("(?s)" + word_regex(text)) if words_of(text) else None
    plain = lower(text)

    def claim(value: str) -> bool:
        return expression.search(value) is not None if expression is not None else plain in value

    return lambda values: _each(claim)(_lowered(values).to_pylist())


def _network_test(network: str) -> _Test:
    def test(values: list[Any]) -> Mask:
        inside = set(in_network({v for v in values if v is not None}, network))
        return np.array([v in inside for v in values], bool)

    return test
