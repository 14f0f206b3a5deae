"""The query tree as parameterised SQL for DuckDB. Values are only ever bound; names are checked against the dictionary.

Missing values make a comparison NULL, which counts as false; under `Not` that is written out.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Collection, Iterable
from typing import Any

from soc.errors import QueryError
from soc.model.fields import Field, FieldDictionary, FieldType
from soc.model.query import And, Between, Equals, Exists, InNetwork, MatchAll, Not, Or, Query, Wildcard, Word
from soc.store.events.patterns import fixed_text, regex_of, word_regex, words_of
from soc.store.events.segment import physical

FALSE = "false"
WORD_FIELDS = ("event.original", "message")
_INLINE = 200  # longer lists of addresses become a semi-join

Distinct = Callable[[Field], Iterable[str]]


def quote(name: str) -> str:
    """A column name as an SQL identifier."""
    return '"' + physical(name).replace('"', '""') + '"'


def in_network(addresses: Iterable[str], network: str) -> list[str]:
    """Those of the canonical addresses that lie in the network; what is no address does not."""
    net = ipaddress.ip_network(network, strict=False)
    found = []
    for address in addresses:
        try:
            if ipaddress.ip_address(address) in net:
                found.append(address)
        except ValueError:
            continue
    return found


def possible(query: Query, columns: Collection[str]) -> bool:
    """Whether events with only these columns can match; False lets a whole file be skipped."""
    match query:
        case And(items):
            return all(possible(item, columns) for item in items)
        case Or(items):
            return any(possible(item, columns) for item in items)
        case Word(_):
            return any(name in columns for name in WORD_FIELDS)
        case Equals(name) | Wildcard(name) | InNetwork(name) | Between(name) | Exists(name):
            return name in columns
        case _:
            return True


def time_bounds(query: Query, name: str = "@timestamp") -> tuple[int | None, int | None]:
    """Inclusive bounds of a date (µs) that every match obeys."""
    if isinstance(query, Between) and query.field == name:
        return query.low, query.high
    if isinstance(query, And):
        bounds = [time_bounds(item, name) for item in query.items]
        lows = [low for low, _ in bounds if low is not None]
        highs = [high for _, high in bounds if high is not None]
        return max(lows, default=None), min(highs, default=None)
    return None, None


class Compiler:
    """Builds one WHERE clause; `values` are its parameters by name.

    `columns` are the fields present in what is read. `distinct` answers the distinct addresses of a field.
    Raises QueryError for a field that the dictionary does not have or a comparison its type does not allow.
    """

    def __init__(self, fields: FieldDictionary, columns: Collection[str], distinct: Distinct) -> None:
        self._fields, self._columns, self._distinct = fields, columns, distinct
        self.values: dict[str, Any] = {}

    def bind(self, value: Any) -> str:
        """A parameter placeholder for this value."""
        name = f"v{len(self.values)}"
        self.values[name] = value
        return f"${name}"

    def where(self, query: Query) -> str:
        """The condition."""
        match query:
            case MatchAll():
                return "true"
            case And(items):
                return "(" + " AND ".join(["true", *(self.where(item) for item in items)]) + ")"
            case Or(items):
                return "(" + " OR ".join([FALSE, *(self.where(item) for item in items)]) + ")"
            case Not(item):
                return f"(NOT coalesce({self.where(item)}, false))"
            case Word(text):
                return self._word(text)
            case Equals(name, value):
                return self._leaf(name, lambda f, x: self._equals(f, x, value))
            case Wildcard(name, pattern):
                return self._leaf(name, lambda f, x: self._wildcard(f, x, pattern))
            case Between():
                return self._leaf(query.field, lambda f, x: self._between(f, x, query))
            case InNetwork(name, network):
                return self._network(name, network)
            case Exists(name):
                field = self._field(name)
                return f"({quote(name)} IS NOT NULL)" if field and name in self._columns else FALSE
        raise TypeError(type(query).__name__)

    def _field(self, name: str) -> Field:
        field = self._fields.get(name)
        if field is None:
            raise QueryError(f"unknown field '{name}'")
        return field

    def _leaf(self, name: str, condition: Callable[[Field, str], str]) -> str:
        field = self._field(name)
        if name not in self._columns:
            return FALSE
        if not field.many:
            return condition(field, quote(name))
        return f"(len(list_filter({quote(name)}, lambda item: {condition(field, 'item')})) > 0)"

    def _constant(self, field: Field, value: Any) -> str:
        if field.type is FieldType.DATE:
            return f"make_timestamptz({self.bind(value)}::BIGINT)"
        if field.type is FieldType.OBJECT:
            return self.bind(json.dumps(value, ensure_ascii=False))  # as `Column.to_arrow` writes it
        return self.bind(value)

    def _equals(self, field: Field, column: str, value: Any) -> str:
        if field.type is FieldType.TEXT:
            return f"(lower({column}) = lower({self.bind(value)}))"
        return f"({column} = {self._constant(field, value)})"

    def _wildcard(self, field: Field, column: str, pattern: str) -> str:
        if field.type not in (FieldType.KEYWORD, FieldType.TEXT, FieldType.IP, FieldType.OBJECT):
            raise QueryError(f"'{field.name}' is {field.type.value}: wildcards are for text")
        if field.type is FieldType.TEXT:
            column = f"lower({column})"
        simple = fixed_text(pattern)
        if simple is None:
            regex = regex_of(pattern, fold=field.type is FieldType.TEXT)
            return f"regexp_full_match({column}, {self.bind(regex)}, 's')"
        function, text = simple
        value = self.bind(text)
        return f"{function}({column}, {f'lower({value})' if field.type is FieldType.TEXT else value})"

    def _between(self, field: Field, column: str, query: Between) -> str:
        parts = ["true"]
        if query.low is not None:
            parts.append(f"{column} {'>' if query.low_strict else '>='} {self._constant(field, query.low)}")
        if query.high is not None:
            parts.append(f"{column} {'<' if query.high_strict else '<='} {self._constant(field, query.high)}")
        if len(parts) == 1:
            return f"({column} IS NOT NULL)"
        return "(" + " AND ".join(parts) + ")"

    def _network(self, name: str, network: str) -> str:
        field = self._field(name)
        if name not in self._columns:
            return FALSE
        found = in_network(self._distinct(field), network)
        if not found:
            return FALSE
        if field.many:
            return f"list_has_any({quote(name)}, {self.bind(found)})"
        if len(found) <= _INLINE:
            return f"({quote(name)} IN ({', '.join(self.bind(address) for address in found)}))"
        return f"({quote(name)} IN (SELECT unnest({self.bind(found)})))"

    def _word(self, text: str) -> str:
        present = [name for name in WORD_FIELDS if name in self._columns]
        return "(" + " OR ".join([FALSE, *(self._word_in(f"lower({quote(n)})", text) for n in present)]) + ")"

    def _word_in(self, column: str, text: str) -> str:
        words = words_of(text)
        longest = max(words, key=len, default=text.lower())
        # The plain search is many times quicker than the expression and refuses most rows.
        plain = f"contains({column}, {self.bind(longest)})"
        return f"({plain} AND regexp_matches({column}, {self.bind(word_regex(text))}, 's'))" if words else plain


def field_of(name: str, arrow: Any, fields: FieldDictionary) -> Field:
    """The dictionary's entry, or one made of the stored type when another version of the dictionary wrote it."""
    known = fields.get(name)
    if known is not None:
        return known
    text = str(arrow)
    many = text.startswith("list")
    inner = text.partition(": ")[2].rstrip(">") if many else text
    kinds = {"int64": FieldType.LONG, "uint64": FieldType.ULONG, "double": FieldType.DOUBLE, "bool": FieldType.BOOL}
    kind = FieldType.DATE if inner.startswith("timestamp") else FieldType.BINARY if "binary" in inner else None
    return Field(name, kind or kinds.get(inner, FieldType.KEYWORD), many)
