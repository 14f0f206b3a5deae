"""What one call of `parse` shares between its steps, and how a group of events becomes a batch."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from soc.model.batch import Column, EventBatch
from soc.model.fields import FieldDictionary, FieldType
from soc.parsers import times
from soc.parsers.decoders.snmp_traps import Reader
from soc.parsers.envelope import Envelope
from soc.parsers.mapping import Mapped, Rest, over
from soc.parsers.recognise import Index

UNPARSED = "unparsed"
Flags = dict[int, tuple[str, ...]]


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
    for layer in (*layers, mapped.columns if mapped is not None else {}):
        for name, column in layer.items():
            before = columns.get(name)
            columns[name] = column if before is None else over(before, column)
    if rest:
        columns["soc.rest"] = Column.of(FieldType.OBJECT, [rest.get(k) for k in range(len(rows))])
    return EventBatch(dataset, len(rows), columns)
