"""What one call of `parse` shares between its steps, and how a group of events becomes a batch."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from soc.model.batch import Column, EventBatch
from soc.model.fields import FieldDictionary, FieldType
from soc.parsers import times
from soc.parsers.decoders.snmp_traps import Reader
from soc.parsers.envelope import Envelope
from soc.parsers.mapping import Mapped, Rest, over
from soc.parsers.recognise import Index

UNPARSED = "unparsed"
Flags = dict[int, tuple[str, ...]]
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Work:
    """The block's envelope, the definitions and the settings; `traps` knows the names of SNMP notifications."""

    envelope: Envelope
    index: Index
    fields: FieldDictionary
    zone: dt.tzinfo
    traps: Reader


def make_batch(
    work: Work,
    rows: Sequence[int],
    product: str,
    dataset: str,
    *,
    stamps: Sequence[times.Stamp | None],
    layers: Sequence[Mapping[str, Column]],
    mapped: Mapped | None = None,
    rest: Rest | None = None,
    flags: Flags | None = None,
    parts: Sequence[int] | None = None,
    kind: str = "event",
    shape: str | None = None,
) -> EventBatch:
    """Envelope, then each layer over it, then what a definition mapped. `flags` and `rest` go by place in `rows`."""
    flags = dict(flags or {})
    rest = dict(rest or {})
    if mapped is not None:
        for i, values in mapped.misfits.items():
            rest[i] = rest.get(i, {}) | values
            flags[i] = (*flags.get(i, ()), "type_mismatch")
        if mapped.stamps is not None:
            stamps = [own or header for own, header in zip(mapped.stamps, stamps, strict=True)]
    columns = work.envelope.columns(
        rows, product, dataset, stamps, flags, parts=parts, kind=kind, shape=shape
    )  # fmt: skip
    return _layered(dataset, columns, [*layers, mapped.columns if mapped is not None else {}], rest, len(rows))


def make_batch_of_parts(
    work: Work,
    rows: Array,
    parts: Array,
    product: str,
    dataset: str,
    *,
    at_us: Array,
    layers: Sequence[Mapping[str, Column]],
    mapped: Mapped,
    flags: Column | None,
) -> EventBatch:
    """The same for records of many events each, whole columns at a time; `at_us` is the device's time of each."""
    if mapped.misfits:
        known = flags.to_list() if flags is not None else [None] * len(rows)
        marks = [(*(own or ()), *(("type_mismatch",) if k in mapped.misfits else ())) or None for k, own in
                 enumerate(known)]  # fmt: skip
        flags = Column.of(FieldType.KEYWORD, marks, many=True)
    columns = work.envelope.columns_of_parts(rows, parts, product, dataset, at_us, flags)
    return _layered(dataset, columns, [*layers, mapped.columns], mapped.misfits, len(rows))


def _layered(
    dataset: str, columns: dict[str, Column], layers: Sequence[Mapping[str, Column]], rest: Rest, n: int
) -> EventBatch:
    for layer in layers:
        for name, column in layer.items():
            before = columns.get(name)
            columns[name] = column if before is None else over(before, column)
    if rest:
        columns["soc.rest"] = Column.of(FieldType.OBJECT, [rest.get(k) for k in range(n)])
    return EventBatch(dataset, n, columns)
