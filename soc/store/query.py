"""The search language: text into the tree of `soc.model.query`, and that tree over a batch in memory.

    user.name:admin  source.ip:10.0.0.0/8  process.name:*shell*  event.outcome:(failure or unknown)
    source.port >= 1024  @timestamp >= "2026-11-20T00:00:00+07:00"  not user.name:*  "failed password"

Words side by side mean *and*. The grammar and its examples are in docs/search.md.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import re2

from soc.errors import QueryError, nearest
from soc.model.batch import Column, EventBatch
from soc.model.fields import Field, FieldDictionary, FieldType
from soc.model.query import And, Between, Equals, Exists, InNetwork, MatchAll, Not, Or, Query, Wildcard, Word
from soc.model.values import Unfit, one
from soc.store.events.patterns import fixed_text, lower, regex_of, word_regex, words_of
from soc.store.events.sql import WORD_FIELDS, in_network

MAX_DEPTH = 50
"""Parentheses and `not` may be nested so deep."""
MAX_LENGTH = 20_000
"""A search text may have so many characters."""
MAX_TERMS = 1000
"""A search text may have so many comparisons and words, those of the filters that it names among them."""
MAX_FILTERS = 10
"""Filters may name each other so deep."""
FILTER = "filter"
"""`filter:NAME` stands for the text of a saved filter; no field is called so."""

_BREAKS = set(' \t\r\n()":<>=')
_TEXTUAL = (FieldType.KEYWORD, FieldType.TEXT, FieldType.IP)
_NO_ORDER = (FieldType.BOOL, FieldType.IP, FieldType.BINARY, FieldType.OBJECT)
Mask = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class _Token:
    kind: str  # word | quoted | ( | ) | : | < | <= | > | >= | end
    text: str  # of a word, escapes are still in it; of a quoted text they are resolved
    column: int


def _tokens(text: str) -> list[_Token]:
    found, at = [], 0
    while at < len(text):
        character = text[at]
        if character.isspace():
            at += 1
        elif character == '"':
            token, at = _quoted(text, at)
            found.append(token)
        elif character in "():":
            found.append(_Token(character, character, at + 1))
            at += 1
        elif character in "<>":
            sign = text[at : at + 2] if text[at + 1 : at + 2] == "=" else character
            found.append(_Token(sign, sign, at + 1))
            at += len(sign)
        elif character == "=":
            raise QueryError("'=' is no comparison here; write field:value", column=at + 1)
        else:
            token, at = _bare(text, at)
            found.append(token)
    return [*found, _Token("end", "", len(text) + 1)]


def _quoted(text: str, start: int) -> tuple[_Token, int]:
    out: list[str] = []
    at = start + 1
    while at < len(text):
        if text[at] == "\\" and at + 1 < len(text):
            # Only quotes and backslashes are escaped in quotes, so that C:\Users needs no doubling.
            if text[at + 1] in '"\\':
                at += 1
        elif text[at] == '"':
            return _Token("quoted", "".join(out), start + 1), at + 1
        out.append(text[at])
        at += 1
    raise QueryError("this quotation mark is never closed", column=start + 1)


def _bare(text: str, start: int) -> tuple[_Token, int]:
    at = start
    while at < len(text) and text[at] not in _BREAKS:
        at += 2 if text[at] == "\\" else 1
    at = min(at, len(text))
    return _Token("word", text[start:at], start + 1), at


def _unescape(text: str) -> str:
    out: list[str] = []
    at = 0
    while at < len(text):
        if text[at] == "\\" and at + 1 < len(text):
            at += 1
        out.append(text[at])
        at += 1
    return "".join(out)


def _is_wild(text: str) -> bool:
    escaped = False
    for character in text:
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif character in "*?":
            return True
    return False


class _Parser:
    def __init__(
        self,
        text: str,
        fields: FieldDictionary,
        filters: Mapping[str, str],
        *,
        within: tuple[str, ...] = (),
        terms: int = 0,
    ) -> None:
        self._tokens, self._fields = _tokens(text), fields
        self._filters, self._within = filters, within
        self._at, self._depth, self._terms = 0, 0, terms

    @property
    def _now(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        token = self._now
        self._at += 1
        return token

    def _keyword(self) -> str:
        return self._now.text.lower() if self._now.kind == "word" else ""

    def whole(self) -> Query:
        if self._now.kind == "end":
            return MatchAll()
        query = self._any(self._item)
        if self._now.kind != "end":
            raise QueryError(f"'{self._now.text}' was not expected here", column=self._now.column)
        return query

    def _any(self, item: Callable[[], Query]) -> Query:
        items = [self._all(item)]
        while self._keyword() == "or":
            self._take()
            items.append(self._all(item))
        return items[0] if len(items) == 1 else Or(tuple(items))

    def _all(self, item: Callable[[], Query]) -> Query:
        items = [self._negated(item)]
        while self._keyword() != "or" and self._now.kind not in (")", "end"):
            if self._keyword() == "and":
                self._take()
            items.append(self._negated(item))
        return items[0] if len(items) == 1 else And(tuple(items))

    def _negated(self, item: Callable[[], Query]) -> Query:
        if self._keyword() != "not":
            return item()
        self._deeper()
        self._take()
        query = Not(self._negated(item))
        self._depth -= 1
        return query

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise QueryError(f"nested deeper than {MAX_DEPTH}", column=self._now.column)

    def _group(self, item: Callable[[], Query]) -> Query:
        opened = self._take()
        self._deeper()
        query = self._any(item)
        if self._now.kind != ")":
            raise QueryError("this parenthesis is never closed", column=opened.column)
        self._take()
        self._depth -= 1
        return query

    def _item(self) -> Query:
        if self._now.kind == "(":
            return self._group(self._item)
        token = self._term("a word or field:value")
        if token.kind == "word" and self._now.kind in (":", "<", "<=", ">", ">="):
            if token.text == FILTER and self._now.kind == ":":
                self._take()
                return self._filter()
            field = self._field(token)
            sign = self._take()
            return self._value_of(field) if sign.kind == ":" else self._range(field, sign.kind)
        return self._bare_word(token)

    def _term(self, expected: str) -> _Token:
        token = self._now
        if token.kind not in ("word", "quoted") or self._keyword() in ("and", "or", "not"):
            shown = "the end" if token.kind == "end" else f"'{token.text}'"
            raise QueryError(f"expected {expected}, found {shown}", column=token.column)
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise QueryError(f"more than {MAX_TERMS} terms", column=token.column)
        return self._take()

    def _field(self, token: _Token) -> Field:
        name = _unescape(token.text)
        field = self._fields.get(name)
        if field is None:
            close = nearest(name, self._fields.names())
            raise QueryError(f"unknown field '{name}'{close}", column=token.column, hint="soc fields lists them")
        return field

    def _filter(self) -> Query:
        token = self._term("the name of a filter")
        name = _unescape(token.text)
        text = self._filters.get(name)
        if text is None:
            close = nearest(name, self._filters)
            raise QueryError(f"there is no filter '{name}'{close}", column=token.column, hint="soc filter list")
        path = (*self._within, name)
        if name in self._within:
            raise QueryError(f"filter '{name}' names itself: {' → '.join(path)}", column=token.column)
        if len(path) > MAX_FILTERS:
            raise QueryError(f"filters name each other deeper than {MAX_FILTERS}", column=token.column)
        try:
            inner = _Parser(text, self._fields, self._filters, within=path, terms=self._terms)
            query = inner.whole()
        except QueryError as error:
            told = str(error) if self._within else f"in filter '{' → '.join(path)}': {error}"
            raise QueryError(told, column=token.column, hint=error.hint) from error
        self._terms = inner._terms
        return query

    def _bare_word(self, token: _Token) -> Query:
        if token.kind == "word" and token.text == "*":
            return MatchAll()
        if token.kind == "word" and _is_wild(token.text):
            return Or(tuple(Wildcard(name, f"*{token.text}*") for name in WORD_FIELDS))
        text = token.text if token.kind == "quoted" else _unescape(token.text)
        if not text.strip():
            raise QueryError("there is nothing to look for", column=token.column)
        return Word(text)

    def _value_of(self, field: Field) -> Query:
        if self._now.kind == "(":
            return self._group(lambda: self._value_of(field))
        token = self._value(field)
        if token.kind == "quoted":
            return self._exact(field, token, token.text)
        if token.text == "*":
            return Exists(field.name)
        if _is_wild(token.text):
            if field.type not in (*_TEXTUAL, FieldType.OBJECT):
                raise QueryError(f"'{field.name}' is {field.type.value}: wildcards are for text", column=token.column)
            pattern = f"*{token.text}*" if field.type is FieldType.OBJECT else token.text
            return Wildcard(field.name, pattern)
        return self._exact(field, token, _unescape(token.text))

    def _value(self, field: Field) -> _Token:
        """One value; `:` belongs to it where it can be nothing else (an IPv6 address, a time)."""
        first = (
            self._term(f"a value of '{field.name}'") if self._now.kind != ":" else _Token("word", "", self._now.column)
        )
        if first.kind == "quoted":
            return first
        text, end = first.text, first.column + len(first.text)
        while self._now.kind in (":", "word") and self._now.column == end:
            text += self._now.text
            end += len(self._now.text)
            self._take()
        return _Token("word", text, first.column)

    def _exact(self, field: Field, token: _Token, text: str) -> Query:
        if field.type is FieldType.IP and "/" in text:
            try:
                return InNetwork(field.name, str(ipaddress.ip_network(text.strip(), strict=False)))
            except ValueError as error:
                raise QueryError(f"'{text}' is no network", column=token.column) from error
        if field.type is FieldType.OBJECT:
            return Wildcard(field.name, "*" + _escape(text) + "*")
        return Equals(field.name, _fit(field, text, token.column))

    def _range(self, field: Field, sign: str) -> Query:
        if field.type in _NO_ORDER:
            raise QueryError(f"'{field.name}' is {field.type.value}: it has no order", column=self._now.column)
        token = self._value(field)
        text = token.text if token.kind == "quoted" else _unescape(token.text)
        value, strict = _fit(field, text, token.column), sign in "<>"
        if sign.startswith(">"):
            return Between(field.name, low=value, low_strict=strict)
        return Between(field.name, high=value, high_strict=strict)


def _escape(text: str) -> str:
    return "".join("\\" + c if c in "*?\\" else c for c in text)


def _fit(field: Field, text: str, column: int) -> Any:
    try:
        value = one(field.type, text)
    except Unfit as error:
        raise QueryError(f"'{field.name}' is {field.type.value}: {error}", column=column) from error
    if value is None:
        raise QueryError(f"'{text}' is no value of '{field.name}'", column=column)
    return value


def parse(text: str, fields: FieldDictionary, filters: Mapping[str, str] | None = None) -> Query:
    """The tree of a search text; an empty text matches all. `filters` are the saved texts behind `filter:NAME`.

    Raises QueryError with the 1-based column.
    """
    if len(text) > MAX_LENGTH:
        raise QueryError(f"a search text has at most {MAX_LENGTH} characters", column=MAX_LENGTH + 1)
    return _Parser(text, fields, filters or {}).whole()


# --- the tree over a batch in memory ---


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


_Test = Callable[[list[Any]], Mask]


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
    if column.type not in (*_TEXTUAL, FieldType.OBJECT):
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
