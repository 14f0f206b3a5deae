"""A search text to the tree of `soc.model.query`; every fault with its column."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from typing import Any

from soc.errors import QueryError, nearest
from soc.model.fields import Field, FieldDictionary, FieldType
from soc.model.query import And, Between, Equals, Exists, InNetwork, MatchAll, Not, Or, Query, Wildcard, Word
from soc.model.values import Unfit, one
from soc.store.events.sql import WORD_FIELDS
from soc.store.query.matching import TEXTUAL
from soc.store.query.tokens import Token, is_wild, tokens, unescape

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
_NO_ORDER = (FieldType.BOOL, FieldType.IP, FieldType.BINARY, FieldType.OBJECT)


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
        self._tokens, self._fields = tokens(text), fields
        self._filters, self._within = filters, within
        self._at, self._depth, self._terms = 0, 0, terms

    @property
    def _now(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
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

    def _term(self, expected: str) -> Token:
        token = self._now
        if token.kind not in ("word", "quoted") or self._keyword() in ("and", "or", "not"):
            shown = "the end" if token.kind == "end" else f"'{token.text}'"
            raise QueryError(f"expected {expected}, found {shown}", column=token.column)
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise QueryError(f"more than {MAX_TERMS} terms", column=token.column)
        return self._take()

    def _field(self, token: Token) -> Field:
        name = unescape(token.text)
        field = self._fields.get(name)
        if field is None:
            close = nearest(name, self._fields.names())
            raise QueryError(f"unknown field '{name}'{close}", column=token.column, hint="soc fields lists them")
        return field

    def _filter(self) -> Query:
        token = self._term("the name of a filter")
        name = unescape(token.text)
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

    def _bare_word(self, token: Token) -> Query:
        if token.kind == "word" and token.text == "*":
            return MatchAll()
        if token.kind == "word" and is_wild(token.text):
            return Or(tuple(Wildcard(name, f"*{token.text}*") for name in WORD_FIELDS))
        text = token.text if token.kind == "quoted" else unescape(token.text)
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
        if is_wild(token.text):
            if field.type not in (*TEXTUAL, FieldType.OBJECT):
                raise QueryError(f"'{field.name}' is {field.type.value}: wildcards are for text", column=token.column)
            pattern = f"*{token.text}*" if field.type is FieldType.OBJECT else token.text
            return Wildcard(field.name, pattern)
        return self._exact(field, token, unescape(token.text))

    def _value(self, field: Field) -> Token:
        """One value; `:` belongs to it where it can be nothing else (an IPv6 address, a time)."""
        first = (
            self._term(f"a value of '{field.name}'") if self._now.kind != ":" else Token("word", "", self._now.column)
        )
        if first.kind == "quoted":
            return first
        text, end = first.text, first.column + len(first.text)
        while self._now.kind in (":", "word") and self._now.column == end:
            text += self._now.text
            end += len(self._now.text)
            self._take()
        return Token("word", text, first.column)

    def _exact(self, field: Field, token: Token, text: str) -> Query:
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
        text = token.text if token.kind == "quoted" else unescape(token.text)
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
