"""A plain, correct evaluator of lowered rules, one event at a time; the oracle of every quicker one.

Semantics (Sigma specification 2.1 and its modifiers appendix): text is compared in lower case unless `cased` or `re`;
numbers and truth values are compared as text; a list holds when any element does; `null` and `exists: false` mean a
missing field, `''` an empty text; a comparison with a missing field is false, so its negation is true; a keyword
holds when any value of the event contains it; a regular expression may match anywhere in the value.
"""

from __future__ import annotations

import datetime as dt
import functools
import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from soc.detections.sigma.regex import searches
from soc.detections.sigma.rule import STAR, All, AnyOf, Glob, Node, Not, Test
from soc.detections.sigma.values import address_of, fold, number_of, text_of
from soc.model.batch import EventBatch
from soc.model.fields import FieldType
from soc.model.said import DATA_OF_WINDOWS, REST

Check = Callable[[Any], bool]
Holds = Callable[["Row"], bool]
EVENT_DATA, USER_DATA = DATA_OF_WINDOWS


class Columns:
    """The columns of a batch as lists, each made once and only when a rule asks."""

    def __init__(self, batch: EventBatch) -> None:
        self.batch = batch
        self._lists: dict[str, list[Any] | None] = {}
        self._searched: list[str] | None = None

    def of(self, name: str) -> list[Any] | None:
        """The values of a field, None when no row has it."""
        if name not in self._lists:
            self._lists[name] = self._make(name)
        return self._lists[name]

    def _make(self, name: str) -> list[Any] | None:
        column = self.batch.columns.get(name)
        mine = None if column is None else column.to_list()
        if name == REST and mine is not None:  # its names are no values
            return [None if kept is None else tuple(map(text_of, _flat(kept.values()))) for kept in mine]
        if not name.startswith(DATA_OF_WINDOWS):
            return mine
        mine = self._with_left(name, mine)
        if name.startswith(USER_DATA):
            return mine
        # Events such as 1102 carry their data as UserData; Sigma names both alike.
        other = self.of(USER_DATA + name[len(EVENT_DATA) :])
        if other is None or mine is None:
            return mine if other is None else other
        return [a if a is not None else b for a, b in zip(mine, other, strict=True)]

    @functools.cached_property
    def _left(self) -> dict[str, dict[int, Any]]:
        """Of Windows data: name → row → what no column holds, or the list that a stored text was."""
        found: dict[str, dict[int, Any]] = {}
        for i, kept in self.batch.left().items():
            for name, value in kept.items():
                if name.startswith(DATA_OF_WINDOWS):
                    plain = tuple(value) if isinstance(value, list | tuple) else value
                    found.setdefault(name.replace(" ", ""), {})[i] = plain
        return found

    def _with_left(self, name: str, values: list[Any] | None) -> list[Any] | None:
        left = self._left.get(name)
        if left is None:
            return values
        whole = [None] * self.batch.n if values is None else list(values)
        for i, value in left.items():
            if whole[i] is None or isinstance(value, tuple):
                whole[i] = value
        return whole

    def searched(self) -> list[str]:
        """The names whose values keywords search."""
        if self._searched is None:
            skip = (FieldType.BINARY, FieldType.DATE)
            columns = [(name, self.batch.columns.get(name)) for name in self.batch.said()]
            self._searched = [name for name, column in columns if column is not None and column.type not in skip]
        return self._searched


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        yield from value if isinstance(value, list | tuple) else (value,)


class Row:
    """One event: the values of its fields, as they are and folded."""

    __slots__ = ("_folded", "columns", "i")

    def __init__(self, columns: Columns, i: int) -> None:
        self.columns = columns
        self.i = i
        self._folded: dict[str | None, tuple[str, ...]] = {}

    def values(self, name: str | None) -> tuple[Any, ...]:
        """The values of a field, `()` when it is missing; with None every value that keywords search."""
        if name is None:
            return tuple(v for n in self.columns.searched() for v in self.values(n))
        column = self.columns.of(name)
        value = None if column is None else column[self.i]
        if value is None:
            return ()
        return value if isinstance(value, tuple) else (value,)

    def folded(self, name: str | None) -> tuple[str, ...]:
        """The values as lower-case text."""
        known = self._folded.get(name)
        if known is None:
            known = self._folded[name] = tuple(fold(text_of(value)) for value in self.values(name))
        return known


def row_of(event: Mapping[str, Any]) -> Row:
    """An event given as a flat dict, for people and tests."""
    return Row(Columns(EventBatch.from_rows(str(event.get("event.dataset", "")), [event])), 0)


def glob_matches(glob: Glob, text: str) -> bool:
    """Whether the whole text is described; two marks at most go back, so the work is at most |glob| * |text|."""
    units = [unit for part in glob for unit in (part if isinstance(part, str) else (part,))]
    at, i, star, mark = 0, 0, -1, 0
    while i < len(text):
        if at < len(units) and units[at] == STAR:
            star, mark, at = at, i, at + 1
        elif at < len(units) and (units[at] == text[i] or isinstance(units[at], int)):
            at, i = at + 1, i + 1
        elif star >= 0:
            at, mark = star + 1, mark + 1
            i = mark
        else:
            return False
    return all(unit == STAR for unit in units[at:])


def text_check(test: Test) -> Callable[[str], bool]:
    """A comparison of one text, folded unless the test is cased."""
    wanted = test.value
    match test.op:
        case "equals":
            return lambda text: bool(text == wanted)
        case "prefix":
            return lambda text: text.startswith(wanted)
        case "suffix":
            return lambda text: text.endswith(wanted)
        case "contains":
            return lambda text: wanted in text
        case "any":
            return lambda text: True
        case "glob":
            # The longest literal is looked for first: `in` is far quicker than walking the glob.
            literal = max((part for part in wanted if isinstance(part, str)), key=len, default="")
            return lambda text: literal in text and glob_matches(wanted, text)
        case "re":
            return lambda text: searches(wanted, text)
    raise ValueError(f"'{test.op}' is no comparison of text")


TEXT_OPS = ("equals", "prefix", "suffix", "contains", "any", "glob", "re")


def _compare(op: str, wanted: int | float) -> Check:
    def check(value: Any) -> bool:
        number = number_of(value)
        if number is None:
            return False
        match op:
            case "lt":
                return number < wanted
            case "lte":
                return number <= wanted
            case "gt":
                return number > wanted
        return number >= wanted

    return check


def _cidr(text: str) -> Check:
    network = ipaddress.ip_network(text)

    def check(value: Any) -> bool:
        address = address_of(text_of(value))
        if address is None:
            return False
        if isinstance(address, ipaddress.IPv6Address) and network.version == 4:
            address = address.ipv4_mapped  # Windows writes ::ffff:10.0.0.1 for clients over IPv4
        return address is not None and address.version == network.version and address in network

    return check


def _moment(value: Any) -> dt.datetime | None:
    """A time field (µs UTC) or ISO 8601 text, read as UTC when it names no zone."""
    try:
        if isinstance(value, int):
            return dt.datetime.fromtimestamp(value // 1_000_000, dt.UTC)
        moment = dt.datetime.fromisoformat(str(value).strip())
    except (ValueError, OverflowError, OSError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def _time_part(part: str, wanted: int) -> Check:
    def check(value: Any) -> bool:
        moment = _moment(value)
        if moment is None:
            return False
        found = moment.isocalendar().week if part == "week" else getattr(moment, part)
        return bool(found == wanted)

    return check


def value_check(test: Test) -> Check:
    """The comparison of one raw value."""
    match test.op:
        case "cidr":
            return _cidr(test.value)
        case "lt" | "lte" | "gt" | "gte":
            return _compare(test.op, test.value)
        case "minute" | "hour" | "day" | "week" | "month" | "year":
            return _time_part(test.op, test.value)
    check = text_check(test)
    if test.cased:
        return lambda value: check(text_of(value))
    return lambda value: check(fold(text_of(value)))


def _refers(test: Test) -> Holds:
    how, other, name = test.value[0], test.value[1:], test.field
    checks: dict[str, Callable[[str, str], bool]] = {
        "=": str.__eq__,
        "^": str.startswith,
        "$": str.endswith,
        "~": str.__contains__,
    }
    check = checks[how]
    if test.cased:
        return lambda row: any(check(text_of(a), text_of(b)) for a in row.values(name) for b in row.values(other))
    return lambda row: any(check(a, b) for a in row.folded(name) for b in row.folded(other))


def holds_test(test: Test) -> Holds:
    """One comparison as a predicate over events."""
    name = test.field
    match test.op:
        case "null":
            return lambda row: not row.values(name)
        case "exists":
            return lambda row: bool(row.values(name)) is test.value
        case "fieldref":
            return _refers(test)
    if test.op in TEXT_OPS and not test.cased:
        check = text_check(test)
        return lambda row: any(map(check, row.folded(name)))
    raw = value_check(test)
    return lambda row: any(map(raw, row.values(name)))


def compiled(node: Node) -> Holds:
    """A condition as one predicate over events."""
    match node:
        case Test():
            return holds_test(node)
        case Not():
            part = compiled(node.part)
            return lambda row: not part(row)
        case All():
            parts = tuple(map(compiled, node.parts))
            return lambda row: all(part(row) for part in parts)
        case AnyOf():
            parts = tuple(map(compiled, node.parts))
            return lambda row: any(part(row) for part in parts)
