"""Flow exports to events: NetFlow v5, v9 and IPFIX share a port and are told apart by their version; sFlow has its own.

Counts in ECS names (`network.bytes`, `source.packets`, …) are estimates where the exporter sampled: multiplied, flagged
`sampled`, with the factor in `flow.sampling_interval`. What it counted stands unchanged in `netflow.*` and `sflow.*`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from soc.model.batch import Column, EventBatch
from soc.model.fields import FieldDictionary, FieldType, parse_type
from soc.model.flow_elements import FIELD_TYPES
from soc.parsers import times, wire
from soc.parsers.decoders import ipfix, netflow_v9, sflow
from soc.parsers.decoders.flow_derive import Derived, derive
from soc.parsers.decoders.flow_lists import read as read_list
from soc.parsers.decoders.flow_sets import Chunk, Dialect, Note, Walker, originals
from soc.parsers.decoders.flow_state import MEMORY, Memory
from soc.parsers.decoders.flow_templates import LISTS, Slot, columns_of
from soc.parsers.decoders.flow_values import Values
from soc.parsers.definition import Definition
from soc.parsers.mapping import Mapped
from soc.parsers.state import ParserState
from soc.parsers.work import UNPARSED, Flags, Work, make_batch

FORMATS = ("netflow", "netflow-v9", "ipfix", "sflow")
"""What `recognise: {format: …}` of a flow definition says."""
_DIALECTS: Mapping[int, tuple[Dialect, str]] = {
    netflow_v9.VERSION: (netflow_v9.DIALECT, "netflow-v9"),
    ipfix.VERSION: (ipfix.DIALECT, "ipfix"),
}
_TYPES = {kind: parse_type(text)[0] for kind, text in FIELD_TYPES.items()}
Definitions = Mapping[str, Definition]


def netflow(
    work: Work, records: Sequence[bytes], definitions: Definitions, state: ParserState
) -> tuple[list[EventBatch], ParserState]:
    """Every datagram of a NetFlow listener, whatever its version; what no decoder reads stays unparsed."""
    by_version: dict[int, list[int]] = {}
    for i, data in enumerate(records):
        by_version.setdefault(int.from_bytes(data[:2], "big") if len(data) > 1 else 0, []).append(i)
    mine = by_version.keys() & _DIALECTS.keys()
    result: list[EventBatch] = []
    if by_version.keys() - mine:
        theirs = frozenset(i for version in mine for i in by_version[version])
        result.extend(wire.netflow(work, records, definitions.get("netflow"), theirs))
    if not mine:
        return result, state
    memory = Memory(state.memory.get(MEMORY, {}))
    for version in sorted(mine):
        dialect, form = _DIALECTS[version]
        result.extend(_sets(work, records, by_version[version], dialect, definitions.get(form), memory))
    return result, _kept(state, memory)


def _kept(state: ParserState, memory: Memory) -> ParserState:
    documents = memory.documents()
    return state if documents is None else replace(state, memory={**state.memory, MEMORY: documents})


def _sets(
    work: Work,
    records: Sequence[bytes],
    rows: Sequence[int],
    dialect: Dialect,
    definition: Definition | None,
    memory: Memory,
) -> list[EventBatch]:
    if definition is None:
        return wire.refused(work, records, dict.fromkeys(rows, f"no definition reads version {dialect.version}"))
    block = work.envelope.block
    walker = Walker(dialect, memory, block.source, block.node, block.seq)
    receipts = work.envelope.receipt_ns
    for row in rows:
        walker.take(row, records[row], receipts[row])
    groups: dict[tuple[int, int, bool], list[Chunk]] = {}
    for chunk in walker.read.chunks:
        groups.setdefault((id(chunk.context), id(chunk.layout), chunk.template.is_options), []).append(chunk)
    result = [_flows(work, definition, chunks) for chunks in groups.values()]
    return result + _notes(work, definition, walker.read.notes)


class _Group:
    """Chunks of one template and one context, as columns."""

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self.chunks = chunks
        self.counts = [chunk.cut.n for chunk in chunks]
        self.n = sum(self.counts)
        self.values, self.unfit = chunks[0].layout.values([chunk.cut for chunk in chunks])
        self.at_us = self.each([chunk.head.at_us for chunk in chunks])
        self.rows: list[int] = self.each([chunk.datagram.row for chunk in chunks]).tolist()
        self.parts = [part for chunk in chunks for part in range(chunk.part, chunk.part + chunk.cut.n)]

    def each(self, values: Sequence[int]) -> Any:
        """One number a chunk, repeated for each of its records."""
        return np.repeat(np.array(values, np.int64), self.counts)

    def flags(self, derived: Derived | None) -> Flags:
        """By place in the group."""
        result: Flags = {}
        at = 0
        for chunk, n in zip(self.chunks, self.counts, strict=True):
            marks = (*dict.fromkeys(chunk.datagram.marks), *(("replayed",) if chunk.is_replayed else ()))
            if chunk.template.number in chunk.context.contested:
                marks = (*marks, "template_contested")
            if marks:
                result |= dict.fromkeys(range(at, at + n), marks)
            at += n
        if derived is not None:
            for name, places in (("sampled", derived.sampled), ("sampler_unknown", derived.unknown)):
                for k in places:
                    result[k] = (*result.get(k, ()), name)
        return result


def _flows(work: Work, definition: Definition, chunks: Sequence[Chunk]) -> EventBatch:
    group = _Group(chunks)
    head, is_options = chunks[0].head, chunks[0].template.is_options
    uptime = group.each([chunk.head.uptime_ms for chunk in chunks]) if head.version == netflow_v9.VERSION else None
    derived = None if is_options else derive(group.values, chunks[0].context, group.at_us, uptime)
    extra: dict[str, Any] = {
        "@peer": [work.envelope.block.peer] * group.n,
        "@version": group.each([head.version] * len(chunks)),
        "@domain": group.each([head.domain] * len(chunks)),
        "@sequence": group.each([chunk.head.sequence for chunk in chunks]),
        "@template": group.each([chunk.template.number for chunk in chunks]),
    }
    if uptime is not None:
        extra["@uptime_ms"] = uptime
    if is_options:
        extra |= {"@action": ["netflow_options"] * group.n, "@types": [("info",)] * group.n}
    else:
        assert derived is not None
        extra |= derived.values
    values = {**group.values, **extra}
    mapped = Mapped(group.n, work.zone)
    mapped.constants(definition.constants)
    mapped.fields(definition.maps, values.get, definition.missing)
    layers = (_raw(group), _lost(group.parts, [c.datagram for c in chunks for _ in range(c.cut.n)]))
    at = group.at_us.tolist()
    stamps: list[times.Stamp | None] = [(us, times.DEVICE) if us > 0 else None for us in at]
    return make_batch(
        work, group.rows, definition.id, definition.dataset, stamps=stamps, layers=layers, mapped=mapped,
        parts=group.parts, flags=group.flags(derived),
    )  # fmt: skip


def _raw(group: _Group) -> dict[str, Column]:
    """The elements under their own names, and the octets of header and record."""
    result = {"soc.original_bytes": Column.of(FieldType.BINARY, [o for c in group.chunks for o in originals(c)])}
    for slot, values in columns_of(group.chunks[0].layout, group.values):
        result[slot.field] = _column(slot, values, group)
    for name, texts in group.unfit.items():
        place = f"netflow.other.{name.removeprefix('netflow.').removeprefix('other.')}"
        result[place] = Column.of(FieldType.KEYWORD, texts)
    return result


def _column(slot: Slot, values: Values, group: _Group) -> Column:
    kind = _TYPES.get(slot.kind, FieldType.KEYWORD)
    if isinstance(values, np.ndarray):
        return Column.numpy(kind, values)
    if slot.kind in LISTS:
        lookup = group.chunks[0].context.templates.get
        values = [read_list(slot.kind, data, lookup) for data in values]
    return Column.of(kind, values)


def _lost(parts: Sequence[int], datagrams: Sequence[Any]) -> dict[str, Column]:
    """How much the exporter sent that never came: on the first event of the datagram that shows it."""
    if not any(datagram.lost for datagram in datagrams):
        return {}
    shown = [d if part == 0 and d.lost else None for part, d in zip(parts, datagrams, strict=True)]
    return {
        "flow.sequence_lost": Column.of(FieldType.LONG, [None if d is None else d.lost for d in shown]),
        "flow.exporter.lost": Column.of(FieldType.LONG, [None if d is None else d.lost_total for d in shown]),
    }


def _notes(work: Work, definition: Definition, notes: Sequence[Note]) -> list[EventBatch]:
    told = [note for note in notes if not note.error]
    unread = [note for note in notes if note.error]
    return [
        *([_template_events(work, definition, told)] if told else []),
        *([_unread(work, unread)] if unread else []),
    ]


def _template_events(work: Work, definition: Definition, notes: Sequence[Note]) -> EventBatch:
    n = len(notes)
    heads = [note.datagram.head for note in notes]
    values: dict[str, list[Any]] = {
        "@peer": [work.envelope.block.peer] * n,
        "@version": [head.version for head in heads],
        "@domain": [head.domain for head in heads],
        "@sequence": [head.sequence for head in heads],
        "@action": ["netflow_templates" if note.templates else "netflow_empty" for note in notes],
        "@types": [("info",)] * n,
        "@template_ids": [note.templates or None for note in notes],
    }
    mapped = Mapped(n, work.zone)
    mapped.constants(definition.constants)
    mapped.fields(definition.maps, values.get, definition.missing)
    rows, parts, layers, flags = _of_notes(notes)
    stamps: list[times.Stamp | None] = [(h.at_us, times.DEVICE) if h.at_us > 0 else None for h in heads]
    return make_batch(
        work, rows, definition.id, definition.dataset, stamps=stamps, layers=layers, mapped=mapped, parts=parts,
        flags=flags,
    )  # fmt: skip


def _unread(work: Work, notes: Sequence[Note]) -> EventBatch:
    rows, parts, layers, flags = _of_notes(notes)
    marks = {k: (UNPARSED, *flags.get(k, ())) for k in range(len(notes))}
    layers[0]["error.message"] = Column.of(FieldType.KEYWORD, [note.error for note in notes])
    stamps: list[times.Stamp | None] = [None] * len(notes)
    return make_batch(
        work, rows, "", UNPARSED, stamps=stamps, layers=layers, parts=parts, flags=marks, kind="pipeline_error"
    )


def _of_notes(notes: Sequence[Note]) -> tuple[list[int], list[int], list[dict[str, Column]], Flags]:
    rows, parts = [note.datagram.row for note in notes], [note.part for note in notes]
    flags: Flags = {}
    for k, note in enumerate(notes):
        marks = tuple(dict.fromkeys((*note.marks, *note.datagram.marks)))
        if marks:
            flags[k] = marks
    layer = {"soc.original_bytes": Column.of(FieldType.BINARY, [note.original for note in notes])}
    return rows, parts, [layer | _lost(parts, [note.datagram for note in notes])], flags


def sampled(
    work: Work, records: Sequence[bytes], definitions: Definitions, state: ParserState
) -> tuple[list[EventBatch], ParserState]:
    """Every datagram of an sFlow listener: an event for each sample, and for what cannot be read."""
    definition = definitions.get("sflow")
    if definition is None:
        return wire.refused(work, records, dict.fromkeys(range(len(records)), "no definition reads sFlow")), state
    memory = Memory(state.memory.get(MEMORY, {}))
    block = work.envelope.block
    reader = sflow.Reader(memory, block.source, block.node, block.seq)
    for row, data in enumerate(records):
        reader.take(row, data, work.envelope.receipt_ns[row])
    result = [_samples(work, definition, reader.samples)] if reader.samples else []
    if reader.notes:
        result.append(_unread_samples(work, reader.notes))
    return result, _kept(state, memory)


def _samples(work: Work, definition: Definition, samples: Sequence[sflow.Sample]) -> EventBatch:
    n = len(samples)
    names = dict.fromkeys(name for sample in samples for name in sample.values)
    values: dict[str, list[Any]] = {name: [sample.values.get(name) for sample in samples] for name in names}
    values["@peer"] = [work.envelope.block.peer] * n
    mapped = Mapped(n, work.zone)
    mapped.constants(definition.constants)
    mapped.fields(definition.maps, values.get, definition.missing)
    layer = {"soc.original_bytes": Column.of(FieldType.BINARY, [sample.original for sample in samples])}
    layer |= _own_fields(work.fields, values)
    flags = {k: sample.marks for k, sample in enumerate(samples) if sample.marks}
    stamps: list[times.Stamp | None] = [None] * n
    return make_batch(
        work, [s.row for s in samples], definition.id, definition.dataset, stamps=stamps, layers=(layer,),
        mapped=mapped, parts=[s.part for s in samples], flags=flags,
    )  # fmt: skip


def _own_fields(fields: FieldDictionary, values: Mapping[str, list[Any]]) -> Iterable[tuple[str, Column]]:
    for name, column in values.items():
        field = fields.get(name) if name.startswith("sflow.") else None
        if field is not None:
            yield name, Column.of(field.type, column, many=field.many)


def _unread_samples(work: Work, notes: Sequence[sflow.Note]) -> EventBatch:
    layer = {
        "soc.original_bytes": Column.of(FieldType.BINARY, [note.original for note in notes]),
        "error.message": Column.of(FieldType.KEYWORD, [note.error for note in notes]),
    }
    marks: Flags = {k: (UNPARSED, *note.marks) for k, note in enumerate(notes)}
    stamps: list[times.Stamp | None] = [None] * len(notes)
    return make_batch(
        work, [note.row for note in notes], "", UNPARSED, stamps=stamps, layers=(layer,),
        parts=[note.part for note in notes], flags=marks, kind="pipeline_error",
    )  # fmt: skip
