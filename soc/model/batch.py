"""`EventBatch`: many events of one dataset, held as columns; the currency of the whole engine.

The hot path works on columns and never builds a dict per event. `row`, `rows`, `where`, `concat`, `distinct` and
`from_rows` exist for people, tests and slow paths.
"""

from __future__ import annotations

import json
import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from soc.model.fields import FIELDS, Field, FieldDictionary, FieldType
from soc.model.lazy import LazyMapping
from soc.model.said import REST, said
from soc.model.values import Unfit, fit, json_text, to_json

_ARROW: dict[FieldType, pa.DataType] = {
    FieldType.KEYWORD: pa.string(),
    FieldType.TEXT: pa.string(),
    FieldType.LONG: pa.int64(),
    FieldType.ULONG: pa.uint64(),
    FieldType.DOUBLE: pa.float64(),
    FieldType.BOOL: pa.bool_(),
    FieldType.DATE: pa.timestamp("us", tz="UTC"),
    FieldType.IP: pa.string(),
    FieldType.BINARY: pa.binary(),
    FieldType.OBJECT: pa.string(),
}
FLAGS = "soc.flags"
_MANY = 128
"""Of so many rows the same list is repeated by its items."""
Left = Mapping[int, Mapping[str, Any]]
CLOSED_BY = "soc.closed_by"
"""Of an event that is made of several records: the position of the frame with which it was complete, if that is a later
one than that of its first record, where the event stands."""


def arrow_type(kind: FieldType, many: bool = False) -> pa.DataType:
    """The Arrow type of a column; `object` travels as JSON text, a `many` column as a list."""
    return pa.list_(_ARROW[kind]) if many else _ARROW[kind]


def _plain_objects(values: Iterable[Any]) -> list[Any]:
    return [None if v is None else json.loads(v) for v in values]


def _arrow_to_list(array: Any, kind: FieldType, many: bool) -> list[Any]:
    if kind is FieldType.DATE:
        array = array.cast(pa.list_(pa.int64()) if many else pa.int64())
    values: list[Any] = array.to_pylist()
    if many:
        values = [tuple(x for x in v if x is not None) or None if v is not None else None for v in values]
        if kind is FieldType.OBJECT:
            values = [None if v is None else tuple(_plain_objects(v)) for v in values]
        return values
    if kind is FieldType.OBJECT:
        return _plain_objects(values)
    if kind is FieldType.DOUBLE:
        return [None if v is not None and math.isnan(v) else v for v in values]  # NaN is missing
    return values


@dataclass(frozen=True, eq=False)
class Column:
    """The values of one field in a batch, in one of three forms: a constant, a Python list, a numpy or Arrow array.

    `None` is the only *missing*. With `many`, every value is a tuple of at least one item (or None).
    Two columns are equal when type, `many` and values are, whatever their form.
    """

    type: FieldType
    n: int
    values: Any = None  # the constant, the list, or the array
    form: str = "list"  # constant | list | numpy | arrow
    many: bool = False
    _cache: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def constant(cls, kind: FieldType, value: Any, n: int, *, many: bool = False) -> Column:
        """The same value for each of `n` rows."""
        return cls(kind, n, value, "constant", many)

    @classmethod
    def of(cls, kind: FieldType, values: list[Any], *, many: bool = False) -> Column:
        """A list in the field's own form already (see `soc.model.values.fit`); it is not copied."""
        return cls(kind, len(values), values, "list", many)

    @classmethod
    def numpy(cls, kind: FieldType, values: np.ndarray[Any, Any]) -> Column:
        """A numpy array without missing values (dates as int64 µs)."""
        return cls(kind, len(values), values, "numpy", False)

    @classmethod
    def json(cls, texts: list[str]) -> Column:
        """Objects, each as JSON text: for what is stored much more often than it is looked into."""
        return cls.arrow(FieldType.OBJECT, pa.array(texts, pa.string()))

    @classmethod
    def arrow(cls, kind: FieldType, values: Any, *, many: bool = False) -> Column:
        """An Arrow array or chunked array of `arrow_type(kind, many)`."""
        return cls(kind, len(values), values, "arrow", many)

    def __len__(self) -> int:
        return self.n

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Column):
            return NotImplemented
        return (self.type, self.many, self.to_list()) == (other.type, other.many, other.to_list())

    __hash__ = None  # type: ignore[assignment]

    def to_list(self) -> list[Any]:
        """The values as a Python list of length `n`; do not change it."""
        if self.form == "list":
            return self.values  # type: ignore[no-any-return]
        if "list" not in self._cache:
            self._cache["list"] = self._make_list()
        return self._cache["list"]  # type: ignore[no-any-return]

    def _make_list(self) -> list[Any]:
        if self.form == "constant":
            return [self.values] * self.n
        if self.form == "numpy":
            values = self.values.tolist()
            return [None if math.isnan(v) else v for v in values] if self.type is FieldType.DOUBLE else values
        return _arrow_to_list(self.values, self.type, self.many)

    def to_arrow(self) -> Any:
        """The values as one Arrow array of `arrow_type(self.type, self.many)` and length `n`."""
        if "arrow" not in self._cache:
            self._cache["arrow"] = self._make_arrow()
        return self._cache["arrow"]

    def _make_arrow(self) -> Any:
        target = arrow_type(self.type, self.many)
        if self.form == "arrow":
            array = self.values
            if isinstance(array, pa.ChunkedArray):
                array = array.combine_chunks()
                array = array if isinstance(array, pa.Array) else pa.concat_arrays(array.chunks)
            return array if array.type == target else array.cast(target)
        if self.form == "constant":
            value = self.values
            if value is None:
                return pa.nulls(self.n, target)
            if self.many and self.n >= _MANY:
                return _repeated(pa.array(_arrow_value(self.type, True, value), _ARROW[self.type]), self.n)
            return pa.repeat(pa.scalar(_arrow_value(self.type, self.many, value), target), self.n)
        if self.form == "numpy":
            return pa.array(self.values, _ARROW[self.type], from_pandas=self.type is FieldType.DOUBLE)
        if self.type is FieldType.OBJECT:
            return pa.array([_arrow_value(self.type, self.many, v) for v in self.values], target)
        return pa.array(self.values, target)

    def take(self, rows: np.ndarray[Any, Any]) -> Column:
        """The rows at these indices, in that order."""
        if self.form == "constant":
            return Column.constant(self.type, self.values, len(rows), many=self.many)
        if self.form == "numpy":
            return Column.numpy(self.type, self.values[rows])
        if self.form == "arrow":
            return Column.arrow(self.type, self.values.take(pa.array(rows)), many=self.many)
        return Column.of(self.type, [self.values[i] for i in rows], many=self.many)

    def slice(self, start: int, stop: int) -> Column:
        """Rows `start` to `stop`, like a Python slice with 0 <= start <= stop <= n."""
        if self.form == "constant":
            return Column.constant(self.type, self.values, stop - start, many=self.many)
        if self.form == "arrow":
            return Column.arrow(self.type, self.values.slice(start, stop - start), many=self.many)
        return Column(self.type, stop - start, self.values[start:stop], self.form, self.many)

    def is_missing(self) -> bool:
        """True when no row has a value."""
        if self.form == "constant":
            return self.n == 0 or self.values is None
        if self.form == "numpy":
            return self.n == 0
        if self.form == "arrow":
            return bool(self.values.null_count == len(self.values))
        return all(v is None for v in self.values)


def _repeated(items: Any, n: int) -> Any:
    """The same list n times (`pa.repeat` makes a list from each anew, and costs forty times as much)."""
    size = len(items)
    ends = np.arange(0, (n + 1) * size, size, dtype=np.int32) if size else np.zeros(n + 1, np.int32)
    return pa.ListArray.from_arrays(ends, items.take(np.tile(np.arange(size), n)))


def _arrow_value(kind: FieldType, many: bool, value: Any) -> Any:
    if value is None or kind is not FieldType.OBJECT:
        return list(value) if many and value is not None else value
    return [json_text(v) for v in value] if many else json_text(value)


def _as_many(column: Column) -> Column:
    if column.many:
        return column
    return Column.of(column.type, [None if v is None else (v,) for v in column.to_list()], many=True)


def _concat_columns(columns: Sequence[Column | None], sizes: Sequence[int]) -> Column:
    first = next(c for c in columns if c is not None)
    present = [c for c in columns if c is not None]
    for column in present:
        if column.type != first.type:
            raise ValueError(f"columns of types {first.type} and {column.type} under one name")
    if len({column.many for column in present}) > 1:  # of Windows data one event may hold a list, another none
        return _concat_columns([None if c is None else _as_many(c) for c in columns], sizes)
    total = sum(sizes)
    if len(present) == len(columns):
        if all(c.form == "constant" and c.values == first.values for c in present):
            return Column.constant(first.type, first.values, total, many=first.many)
        if all(c.form == "numpy" for c in present):
            return Column.numpy(first.type, np.concatenate([c.values for c in present]))
    if all(c.form in ("list", "constant") for c in present):  # an array for each of many small ones costs far more
        values: list[Any] = []
        for part, size in zip(columns, sizes, strict=True):
            values += [None] * size if part is None else part.to_list()
        return Column.of(first.type, values, many=first.many)
    parts: list[Any] = []
    nothing = arrow_type(first.type, first.many)
    for part, size in zip(columns, sizes, strict=True):
        parts.append(pa.nulls(size, nothing) if part is None else part.to_arrow())
    return Column.arrow(first.type, pa.concat_arrays(parts), many=first.many)


class LazyColumns(LazyMapping[Column]):
    """Columns that are made when they are asked for."""

    @abstractmethod
    def said(self) -> Iterable[str]:
        """`soc.model.said.said` of the columns. Makes none."""

    @abstractmethod
    def left(self) -> Left:
        """What the events say and no column holds. Makes none."""

    def pick(self, rows: Sequence[int]) -> Mapping[str, Column]:
        """The same columns of the events at these indices alone."""
        return Picked(self, rows)


class Picked(LazyColumns):
    """Some rows of other columns, each taken when it is asked for."""

    def __init__(self, columns: Mapping[str, Column], rows: Sequence[int]) -> None:
        super().__init__()
        self._columns, self._rows = columns, rows

    def names(self) -> Iterable[str]:
        return self._columns.names() if isinstance(self._columns, LazyMapping) else self._columns

    def said(self) -> Iterable[str]:
        return self._columns.said() if isinstance(self._columns, LazyColumns) else said(self.names())

    def left(self) -> Left:
        kept = _left(self._columns)
        return {n: kept[i] for n, i in enumerate(self._rows) if i in kept}

    def make(self, name: str) -> Column | None:
        column = self._columns.get(name)
        return None if column is None else column.take(np.array(self._rows, np.int64))


def _left(columns: Mapping[str, Column]) -> Left:
    if isinstance(columns, LazyColumns):
        return columns.left()
    column = columns.get(REST)
    kept = column.to_list() if column is not None else ()
    return {i: rest for i, rest in enumerate(kept) if rest}


@dataclass(frozen=True)
class EventBatch:
    """`n` events of one dataset. `columns` maps a dotted field name to its `Column` of length `n`; it may be
    `LazyColumns`, which are made when they are asked for."""

    dataset: str
    n: int
    columns: Mapping[str, Column]

    def __post_init__(self) -> None:
        if isinstance(self.columns, LazyColumns):  # to look would be to make them
            return
        for name, column in self.columns.items():
            if column.n != self.n:
                raise ValueError(f"column '{name}' has {column.n} values in a batch of {self.n}")

    def __len__(self) -> int:
        return self.n

    def __eq__(self, other: object) -> bool:
        """Same dataset, size and values; a column of nothing but missing equals no column at all."""
        if not isinstance(other, EventBatch):
            return NotImplemented
        mine = {k: c for k, c in self.columns.items() if not c.is_missing()}
        theirs = {k: c for k, c in other.columns.items() if not c.is_missing()}
        return (self.dataset, self.n) == (other.dataset, other.n) and mine == theirs

    __hash__ = None  # type: ignore[assignment]

    def said(self) -> Iterable[str]:
        """The names of the columns that hold what the events say themselves; perhaps of some that are not there."""
        return self.columns.said() if isinstance(self.columns, LazyColumns) else said(self.columns)

    def left(self) -> Left:
        """What no column holds, by row and name: `soc.rest`, of lazy columns but for what did not fit a type."""
        return _left(self.columns)

    def values(self, name: str) -> list[Any]:
        """The values of a field, all None when the batch does not have it."""
        column = self.columns.get(name)
        return [None] * self.n if column is None else column.to_list()

    def with_columns(self, columns: Mapping[str, Column]) -> EventBatch:
        """The same batch with these columns added or replaced."""
        return EventBatch(self.dataset, self.n, {**self.columns, **columns})

    def row(self, i: int) -> dict[str, Any]:
        """Event `i` as a flat dict of what it has; raises IndexError."""
        if not 0 <= i < self.n:
            raise IndexError(f"row {i} of a batch of {self.n}")
        one_row = self.slice(i, i + 1)
        return {k: v for k, c in one_row.columns.items() if (v := c.to_list()[0]) is not None}

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every event as a flat dict of what it has, in order."""
        names = list(self.columns)
        lists = [self.columns[name].to_list() for name in names]
        for values in zip(*lists, strict=True) if names else (() for _ in range(self.n)):
            yield {name: v for name, v in zip(names, values, strict=True) if v is not None}

    def json_rows(self) -> Iterator[dict[str, Any]]:
        """Every event as a flat dict ready for JSON: dates in ISO 8601 UTC, bytes in hex, `many` as lists."""
        kinds = {name: column.type for name, column in self.columns.items()}
        for row in self.rows():
            yield {name: to_json(kinds[name], value) for name, value in row.items()}

    def where(self, mask: Sequence[bool] | np.ndarray[Any, Any]) -> EventBatch:
        """The events whose mask is true; the mask has length `n`."""
        flags = np.asarray(mask, dtype=bool)
        if flags.shape != (self.n,):
            raise ValueError(f"a mask of {flags.shape} for a batch of {self.n}")
        return self.take(np.flatnonzero(flags))

    def take(self, rows: np.ndarray[Any, Any]) -> EventBatch:
        """The events at these indices, in that order."""
        return EventBatch(self.dataset, len(rows), {k: c.take(rows) for k, c in self.columns.items()})

    def pick(self, rows: Sequence[int]) -> EventBatch:
        """The same for few of many events: no column is made, or taken from, before somebody asks for it."""
        columns = self.columns
        few = columns.pick(rows) if isinstance(columns, LazyColumns) else Picked(columns, rows)
        return EventBatch(self.dataset, len(rows), few)

    def slice(self, start: int, stop: int) -> EventBatch:
        """Events `start` to `stop`, clamped like a Python slice of non-negative bounds."""
        start, stop = min(start, self.n), min(max(start, stop), self.n)
        return EventBatch(self.dataset, stop - start, {k: c.slice(start, stop) for k, c in self.columns.items()})

    def distinct(self, name: str) -> list[Any]:
        """Each value of a field once, in the order of first sight; items of a `many` field singly."""
        seen: dict[Any, None] = {}
        column = self.columns.get(name)
        if column is None:
            return []
        for value in column.to_list():
            for item in value if column.many and value is not None else (value,):
                if item is not None:
                    seen.setdefault(_hashable(item))
        return list(seen)

    def to_table(self) -> Any:
        """An Arrow table, one column a field, rows in order."""
        return pa.table({name: column.to_arrow() for name, column in self.columns.items()})

    @classmethod
    def from_table(cls, dataset: str, table: Any, fields: FieldDictionary = FIELDS) -> EventBatch:
        """The inverse of `to_table`; raises KeyError for a name that the dictionary does not have."""
        columns: dict[str, Column] = {}
        for name in table.column_names:
            known = fields.get(name)
            if known is None:
                raise KeyError(name)
            columns[name] = Column.arrow(known.type, table.column(name), many=known.many)
        return cls(dataset, table.num_rows, columns)

    @classmethod
    def concat(cls, batches: Sequence[EventBatch]) -> EventBatch:
        """One batch out of several of the same dataset, rows in order; raises ValueError otherwise."""
        if not batches:
            raise ValueError("nothing to concat")
        if len({b.dataset for b in batches}) > 1:
            raise ValueError(f"different datasets: {sorted({b.dataset for b in batches})}")
        if len(batches) == 1:
            return batches[0]
        parts = [b.columns.whole() if isinstance(b.columns, LazyMapping) else b.columns for b in batches]
        names = dict.fromkeys(name for part in parts for name in part)
        sizes = [b.n for b in batches]
        columns = {name: _concat_columns([part.get(name) for part in parts], sizes) for name in names}
        return cls(batches[0].dataset, sum(sizes), columns)

    @classmethod
    def from_rows(cls, dataset: str, rows: Sequence[Mapping[str, Any]], fields: FieldDictionary = FIELDS) -> EventBatch:
        """Columns out of dicts. What is unknown or does not convert goes into `soc.rest` as text, flagged."""
        known: dict[str, Field] = {}
        values: dict[str, list[Any]] = {}
        for i, row in enumerate(rows):
            rest: dict[str, Any] = dict(row.get(REST) or {})
            flags: list[str] = list(row.get(FLAGS) or ())
            for name, raw in row.items():
                if name in (REST, FLAGS):
                    continue
                entry = known.get(name) or fields.get(name)
                if entry is None:
                    rest[name] = _rest_text(raw)
                    _flag(flags, "unknown_field")
                    continue
                known[name] = entry
                try:
                    value = fit(entry, raw)
                except Unfit:
                    rest[name] = _rest_text(raw)
                    _flag(flags, "type_mismatch")
                    continue
                if value is not None:
                    values.setdefault(name, [None] * len(rows))[i] = value
            if rest:
                values.setdefault(REST, [None] * len(rows))[i] = rest
            if flags:
                values.setdefault(FLAGS, [None] * len(rows))[i] = tuple(flags)
        columns = {
            name: Column.of(known[name].type, v, many=known[name].many) for name, v in values.items() if name in known
        }
        if REST in values:
            columns[REST] = Column.of(FieldType.OBJECT, values[REST])
        if FLAGS in values:
            columns[FLAGS] = Column.of(FieldType.KEYWORD, values[FLAGS], many=True)
        return cls(dataset, len(rows), columns)


def _hashable(value: Any) -> Any:
    return value if value.__hash__ is not None else json.dumps(value, sort_keys=True)


def _rest_text(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return json.dumps(value, ensure_ascii=False, default=str)


def _flag(flags: list[str], name: str) -> None:
    if name not in flags:
        flags.append(name)
