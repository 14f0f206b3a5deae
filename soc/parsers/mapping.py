"""Named values to typed columns, as a definition's `fields:` and `set:` say; one pass a field, no dict an event."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from soc.model.batch import Column
from soc.model.fields import Field, FieldType
from soc.model.lazy import LazyMapping
from soc.model.values import Unfit, canonical_ip, fit
from soc.parsers import times
from soc.parsers.decoders.flow_text import FEW, coded, is_small, is_whole, plain
from soc.parsers.definition import Definition, FieldMap, Shape

Values = Callable[[str], Sequence[Any] | Column | None]
"""Gives the values of a source name, one an event, or None when nothing of that name exists: a list, a numpy or an
Arrow array. A dictionary array is converted once for each of its words.

A constant column stands for the same value in each event; any other column is taken as it is, and must fit its field.
"""
Rest = dict[int, dict[str, Any]]
"""By event: what did not convert, as text."""


def over(before: Column, after: Column) -> Column:
    """`after`, and `before` where it has no value."""
    if after.form == "constant" and after.values is not None:
        return after
    is_full = after.form == "numpy" or (after.form == "arrow" and after.values.null_count == 0)
    if is_full and after.type is not FieldType.DOUBLE:  # there NaN is missing
        return after
    later = after.to_list()
    if None not in later:
        return after
    merged = [b if b is not None else a for a, b in zip(before.to_list(), later, strict=True)]
    return Column.of(after.type, merged, many=after.many)


class Mapped:
    """The columns of a group of events, the stamps that override the header's, and what did not fit."""

    def __init__(self, n: int, zone: dt.tzinfo) -> None:
        self.n = n
        self.zone = zone
        self.columns: dict[str, Column] = {}
        self.stamps: list[times.Stamp | None] | None = None
        self.misfits: Rest = {}

    def constants(self, pairs: Iterable[tuple[Field, Any]]) -> None:
        """Add `set:` values."""
        for field, value in pairs:
            self.columns[field.name] = Column.constant(field.type, value, self.n, many=field.many)

    def fields(self, maps: Iterable[FieldMap], values: Values, missing: frozenset[str]) -> None:
        """Add `fields:`; a later mapping of the same name wins where it has a value."""
        for spec in maps:
            raw = _first(spec.sources, values, missing)
            if raw is None:
                continue
            if isinstance(raw, Column):
                column = self._whole(spec, raw)
            elif spec.field.name == "@timestamp":
                self._times(spec, raw)
                continue
            else:
                column = self._column(spec, raw)
            before = self.columns.get(spec.field.name)
            self.columns[spec.field.name] = column if before is None else over(before, column)

    def _whole(self, spec: FieldMap, raw: Column) -> Column:
        """A column that came as one; a constant is mapped once."""
        if raw.form != "constant":
            return raw
        misfits = self.misfits
        self.misfits = {}
        (value,) = self._column(spec, [raw.values]).to_list()
        for i in range(self.n if self.misfits else 0):
            misfits.setdefault(i, {}).update(self.misfits[0])
        self.misfits = misfits
        return Column.constant(spec.field.type, value, self.n, many=spec.field.many)

    def _times(self, spec: FieldMap, raw: Sequence[Any]) -> None:
        cache: dict[Any, times.Stamp] = {}
        stamps: list[times.Stamp | None] = []
        for value in plain(raw):
            if value is None:
                stamps.append(None)
            elif spec.time == "":  # µs already
                stamps.append((int(value), times.DEVICE))
            else:
                key = value if isinstance(value, str) else repr(value)  # who sends JSON may send a list
                if key not in cache:
                    cache[key] = times.written(value, spec.time, self.zone)
                stamps.append(cache[key])
        self.stamps = stamps

    def _column(self, spec: FieldMap, raw: Sequence[Any]) -> Column:
        field = spec.field
        if isinstance(raw, pa.Array):
            return self._arrow(spec, raw)
        if isinstance(raw, np.ndarray):
            if spec.table is not None and len(raw) >= FEW and is_small(raw):
                return self._arrow(spec, coded(raw, lambda number: number))
            if field.type in (FieldType.LONG, FieldType.DATE) and spec.table is None and not field.many:
                return Column.numpy(field.type, raw)
            raw = raw.tolist()
        if spec.take or spec.part:
            raw = [None if v is None else _take(str(v), spec) for v in raw]
        if spec.split:
            raw = [None if v is None else [p.strip() for p in v.split(spec.split) if p.strip()] for v in raw]
        if spec.table is not None:
            table, other = spec.table, spec.otherwise
            return Column.of(
                field.type, [None if v is None else table.get(str(v), other) for v in raw], many=field.many
            )
        if spec.scale:
            raw = [None if v is None else _scaled(v, spec.scale) for v in raw]
        if spec.time:
            raw = [None if v is None else times.written(v, spec.time, self.zone)[0] for v in raw]
        return Column.of(field.type, self._typed(field, raw), many=field.many)

    def _arrow(self, spec: FieldMap, raw: pa.Array) -> Column:
        field = spec.field
        is_plain = spec.table is None and not (spec.take or spec.part or spec.split or spec.scale or spec.time)
        if isinstance(raw, pa.DictionaryArray):
            words = Mapped(len(raw.dictionary), self.zone)
            column = words._column(spec, raw.dictionary.to_pylist())
            if not words.misfits:
                if raw.null_count == 0 and len(raw.dictionary) == 1:
                    return Column.constant(field.type, column.to_list()[0], len(raw), many=field.many)
                return Column.arrow(field.type, column.to_arrow().take(raw.indices), many=field.many)
        elif is_plain and not field.many and raw.type == _ARROW_OF.get(field.type):
            return Column.arrow(field.type, raw)
        return self._column(spec, raw.to_pylist())

    def _typed(self, field: Field, raw: Sequence[Any]) -> list[Any]:
        quick = None if field.many else _QUICK.get(field.type)
        if quick is not None:
            try:
                return quick(raw)
            except (ValueError, TypeError, OverflowError):
                pass  # some value does not fit: go one by one
        result: list[Any] = []
        for i, value in enumerate(raw):
            try:
                result.append(fit(field, value))
            except Unfit:
                result.append(None)
                self.misfits.setdefault(i, {})[field.name] = str(value)
        return result


class LazilyMapped(LazyMapping[Column]):
    """What a definition and a shape say of a group of events, each field worked out when it is asked for."""

    def __init__(
        self, n: int, zone: dt.tzinfo, parts: Iterable[Definition | Shape], values: Values, missing: frozenset[str]
    ) -> None:
        super().__init__()
        self._n, self._zone, self._values, self._missing = n, zone, values, missing
        self._steps: dict[str, list[FieldMap | tuple[Field, Any]]] = {}
        for part in parts:
            for constant in part.constants:
                self._steps.setdefault(constant[0].name, []).append(constant)
            for spec in part.maps:
                self._steps.setdefault(spec.field.name, []).append(spec)
        self._misfits: dict[str, Rest] = {}
        self._stamps: list[times.Stamp | None] | None = None

    def names(self) -> Iterable[str]:
        return self._steps

    def make(self, name: str) -> Column | None:
        steps = self._steps.get(name)
        if steps is None:
            return None
        mapped = Mapped(self._n, self._zone)
        for step in steps:
            if isinstance(step, FieldMap):
                mapped.fields((step,), self._values, self._missing)
            else:
                mapped.constants((step,))
        if mapped.misfits:
            self._misfits[name] = mapped.misfits
        if mapped.stamps is not None:
            self._stamps = mapped.stamps
        return mapped.columns.get(name)

    def pick(self, places: Sequence[int]) -> LazilyMapped:
        """The same of the events at these places alone."""

        def values(name: str) -> Sequence[Any] | Column | None:
            found = self._values(name)
            if isinstance(found, Column):
                return found.take(np.array(places))
            return None if found is None else [found[k] for k in places]

        picked = LazilyMapped(len(places), self._zone, (), values, self._missing)
        picked._steps = self._steps
        return picked

    def stamps(self) -> list[times.Stamp | None] | None:
        """The stamps that override the header's."""
        self.get("@timestamp")
        return self._stamps

    def misfits(self) -> Rest:
        """What did not fit, which makes all columns."""
        self.whole()
        found: Rest = {}
        for name in self._steps:
            for i, values in self._misfits.get(name, {}).items():
                found.setdefault(i, {}).update(values)
        return found


_TEXTS, _LONGS, _NO_LONGS = {str, type(None)}, {int, type(None)}, {bool, float}


def _strings(raw: Sequence[Any]) -> list[Any]:
    if set(map(type, raw)) <= _TEXTS:
        return list(raw)
    raise TypeError


def _longs(raw: Sequence[Any]) -> list[Any]:
    kinds = set(map(type, raw))
    if kinds & _NO_LONGS:
        raise OverflowError
    result = list(raw) if kinds <= _LONGS else [None if v is None else int(v) for v in raw]
    numbers: list[int] = [v for v in result if v is not None]
    if numbers and not -(2**63) <= min(numbers) <= max(numbers) < 2**63:
        raise OverflowError
    return result


_ARROW_OF = {
    FieldType.KEYWORD: pa.string(), FieldType.IP: pa.string(), FieldType.LONG: pa.int64(),
}  # fmt: skip
"""Arrow types that are these fields' own; addresses come in their canonical form."""
_QUICK: dict[FieldType, Callable[[Sequence[Any]], list[Any]]] = {
    FieldType.KEYWORD: _strings,
    FieldType.TEXT: _strings,
    FieldType.LONG: _longs,
    FieldType.IP: lambda raw: [None if v is None else canonical_ip(v) for v in raw],
}


def _first(sources: tuple[str, ...], values: Values, missing: frozenset[str]) -> Sequence[Any] | Column | None:
    result: Sequence[Any] | None = None
    for source in sources:
        raw = values(source)
        if raw is None:
            continue
        if isinstance(raw, Column):
            if len(sources) == 1:
                return None if raw.is_missing() or (raw.form == "constant" and raw.values in missing) else raw
            raw = raw.to_list()
        if missing and not isinstance(raw, np.ndarray):
            raw = [None if v.__class__ is str and v in missing else v for v in plain(raw)]
        if result is None:
            result = raw
        elif not is_whole(result):
            result = [a if a is not None else b for a, b in zip(plain(result), plain(raw), strict=True)]
    return result


def _take(value: str, spec: FieldMap) -> str | None:
    if spec.part:  # `SHA1=..,MD5=..`, as Sysmon writes hashes
        for piece in value.split(","):
            name, _, rest = piece.partition("=")
            if name.strip().upper() == spec.part.upper() and rest:
                return rest.strip().lower()
        return None
    match spec.take:
        case "basename":
            return value.replace("/", "\\").rpartition("\\")[2] or None
        case "strip":
            return value.strip() or None
        case "ip":
            return _address(value)
        case "unmap":  # ::ffff:10.0.0.1 is how domain controllers write 10.0.0.1
            return value.removeprefix("::ffff:")
        case "lower":
            return value.lower()
        case "class":  # 404 → 4: the class of an HTTP or SMTP reply
            return value[:1]
        case "clock":
            return _clock_seconds(value)
        case "first":
            return value.split(",", maxsplit=1)[0].strip() or None
        case "hex":
            return str(int(value, 16)) if value.lower().startswith("0x") and _is_hex(value[2:]) else value
        case "without_domain":
            return value.rpartition("\\")[2] or None
        case "domain":
            return value.rpartition("\\")[0] or None
    return value


def _address(value: str) -> str | None:
    """The address of `1.2.3.4`, `1.2.3.4:80`, `2001:db8::1` or `[2001:db8::1]:80`; a name has none."""
    bare = value.strip()
    if bare[:1] == "[":
        bare = bare[1:].partition("]")[0]
    elif bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        return canonical_ip(bare)
    except Unfit:
        return None


def _clock_seconds(value: str) -> str:
    """Seconds of `hh:mm:ss`; anything else as it is, so that it ends as a misfit."""
    parts = value.split(":")
    if len(parts) == 3 and all(p.isascii() and p.isdigit() and len(p) < 9 for p in parts):
        return str(int(parts[0]) * 3600 + int(parts[1]) * 60 + int(parts[2]))
    return value


_NUMBER = re.compile(r"(-?)([0-9]{1,40})(?:\.([0-9]{1,9}))?")


def _scaled(value: Any, scale: int) -> Any:
    """A number in the field's unit, however large: what does not fit 64 bits then ends as a misfit. What is no number
    stays as it is, and ends so too."""
    found = _NUMBER.fullmatch(str(value))
    if found is None:
        return value
    size = int(found[2]) * scale + int((found[3] or "").ljust(9, "0")) * scale // 10**9
    return -size if found[1] else size


def _is_hex(text: str) -> bool:
    return 0 < len(text) <= 16 and all(c in "0123456789abcdefABCDEF" for c in text)
