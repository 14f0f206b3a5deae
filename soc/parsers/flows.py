"""Flow exports to events: NetFlow v5, v9 and IPFIX share a port and are told apart by their version; sFlow has its own.

Counts in ECS names (`network.bytes`, `source.packets`, …) are estimates where the exporter sampled: multiplied, flagged
`sampled`, with the factor in `flow.sampling_interval`. What it counted stands unchanged in `netflow.*` and `sflow.*`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from soc.model.batch import Column, EventBatch
from soc.model.fields import FieldDictionary, FieldType, parse_type
from soc.model.flow_elements import FIELD_TYPES
from soc.parsers import times, wire
from soc.parsers.decoders import ipfix, netflow_v5, netflow_v9, sflow
from soc.parsers.decoders.flow_derive import Clock, Derived, derive
from soc.parsers.decoders.flow_lists import read as read_list
from soc.parsers.decoders.flow_sets import Chunk, Dialect, Note, Run, Walker, originals
from soc.parsers.decoders.flow_state import MEMORY, Memory, without_counts
from soc.parsers.decoders.flow_templates import LISTS, Cut, Slot, columns_of
from soc.parsers.decoders.flow_text import constant, fixed_binary
from soc.parsers.decoders.flow_values import Array, Values
from soc.parsers.decoders.sflow_columns import columns
from soc.parsers.definition import Definition
from soc.parsers.mapping import Mapped
from soc.parsers.state import ParserState
from soc.parsers.work import Flags, Work, make_batch, make_batch_of_parts

FORMATS = ("netflow", "netflow-v9", "ipfix", "sflow")
"""What `recognise: {format: …}` of a flow definition says."""
_DIALECTS: Mapping[int, tuple[Dialect, str]] = {
    netflow_v5.VERSION: (netflow_v5.DIALECT, "netflow"),
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
    reasons = {
        i: f"NetFlow version {version} is not read" if len(records[i]) > 1 else "shorter than a version number"
        for version in by_version.keys() - mine
        for i in by_version[version]
    }
    result.extend(wire.refused(work, records, reasons))
    if not mine:
        return result, state
    memory = Memory(state.memory.get(MEMORY, {}))
    for version in sorted(mine):
        dialect, form = _DIALECTS[version]
        result.extend(_sets(work, records, by_version[version], dialect, definitions.get(form), memory))
    return result, _kept(state, memory)


def _kept(state: ParserState, memory: Memory) -> ParserState:
    exporters = memory.exporters()
    if exporters is None:
        return state
    return replace(state, memory={**state.memory, MEMORY: exporters}, revision=state.revision + memory.has_news)


def resumed(state: ParserState) -> ParserState:
    """A state that was saved before frames which nobody counted: templates hold, sequence numbers begin anew."""
    if MEMORY not in state.memory:
        return state
    return replace(state, memory={**state.memory, MEMORY: without_counts(state.memory[MEMORY])})


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
    walker.take_all(rows, records, work.envelope.receipt_ns)
    groups: dict[tuple[int, int, bool], list[Chunk | Run]] = {}
    pieces: list[Chunk | Run] = [*walker.read.chunks, *walker.read.runs]
    for piece in pieces:
        groups.setdefault((id(piece.context), id(piece.layout), piece.template.is_options), []).append(piece)
    result = [_flows(work, definition, _Group(several)) for several in groups.values()]
    return result + _notes(work, definition, walker.read.notes)


class _Group:
    """Chunks and runs of one template and one context, as columns. Lists have an item a set, arrays one a record."""

    def __init__(self, pieces: Sequence[Chunk | Run]) -> None:
        first = pieces[0]
        self.context, self.layout, self.is_options = first.context, first.layout, first.template.is_options
        self.chunks = [piece for piece in pieces if isinstance(piece, Chunk)]
        self.runs = [piece for piece in pieces if isinstance(piece, Run)]
        heads: list[Any] = [*(c.head for c in self.chunks), *(head for run in self.runs for head in run.heads)]
        several = [chunk.cut.n for chunk in self.chunks]
        self.counts = np.array([*several, *(n for run in self.runs for n in run.counts)])
        self.n = int(self.counts.sum())
        cuts = [chunk.cut for chunk in self.chunks]
        cuts += [Cut(sum(run.counts), b"".join(run.fixed), (), [], 0) for run in self.runs]
        self.fixed = b"".join(cut.fixed for cut in cuts)
        self.values, self.unfit = self.layout.values(cuts)
        self.octets = self.layout.addresses(cuts)
        self.version, self.domain = self._version_and_domain()
        self.at_us = self.each([head.at_us for head in heads])
        self.uptime_ms = self.each([head.uptime_ms for head in heads]) if self.version != ipfix.VERSION else None
        self.sequence = self.each([head.sequence for head in heads])
        rates = [head.rate for head in heads]
        self.rate = self.each(rates) if max(rates) > 1 else None
        self.rows = self.each([*(c.datagram.row for c in self.chunks), *(row for run in self.runs for row in run.rows)])
        begins = np.cumsum(self.counts) - self.counts
        parts = self.each([*(chunk.part for chunk in self.chunks), *([0] * (len(heads) - len(several)))])
        self.parts = np.arange(self.n) + parts - np.repeat(begins, self.counts)

    def _version_and_domain(self) -> tuple[int, int]:
        if self.chunks:
            return self.chunks[0].head.version, self.chunks[0].head.domain
        return self.runs[0].version, self.runs[0].domain

    def templates(self) -> Any:
        """The template's number of each record; templates of the same fields go together."""
        numbers = [chunk.template.number for chunk in self.chunks]
        numbers += [run.template.number for run in self.runs for _ in run.rows]
        return constant(numbers[0], self.n) if len(set(numbers)) == 1 else self.each(numbers)

    def prefixes(self) -> list[bytes]:
        """Message and set header of each set."""
        return [*(chunk.prefix for chunk in self.chunks), *(prefix for run in self.runs for prefix in run.prefixes)]

    def each(self, values: Sequence[int]) -> Array:
        """One number a chunk, repeated for each of its records."""
        return np.repeat(np.array(values, np.int64), self.counts)

    def flags(self, derived: Derived | None) -> Column | None:
        """Of each flow; few sets of flags occur, so each is made once."""
        known: dict[tuple[str, ...], int] = {(): 0}
        marked = [known.setdefault(_marks(chunk), len(known)) for chunk in self.chunks]
        codes = self.each(marked + [0] * (len(self.counts) - len(marked)))
        masks: list[tuple[str, Array | None]] = []
        if derived is not None:
            masks += [("sampled", derived.sampled), ("sampler_unknown", derived.unknown)]
            masks.append(("biflow_keyless", np.ones(self.n, bool) if self.layout.is_keyless else None))
        return _flags(known, codes, masks)


def _flags(known: dict[tuple[str, ...], int], codes: Array, masks: Sequence[tuple[str, Array | None]]) -> Column | None:
    """`codes` say which of the `known` sets of flags each event has; `masks` which one more."""
    for name, mask in masks:
        if mask is not None and mask.any():
            more = {code: known.setdefault((*marks, name), len(known)) for marks, code in list(known.items())}
            table = np.array([more.get(code, code) for code in range(len(known))])
            codes = np.where(mask, table[codes], codes)
    if not codes.any():
        return None
    words = pa.array([list(marks) or None for marks in known], pa.list_(pa.string()))
    return Column.arrow(FieldType.KEYWORD, words.take(pa.array(codes)), many=True)


def _marks(chunk: Chunk) -> tuple[str, ...]:
    marks = (*dict.fromkeys(chunk.datagram.marks), *(("replayed",) if chunk.is_replayed else ()))
    return (*marks, "template_contested") if chunk.template.number in chunk.context.contested else marks


def _flows(work: Work, definition: Definition, group: _Group) -> EventBatch:
    n, is_options = group.n, group.is_options
    clock = Clock(group.at_us, group.uptime_ms, group.rate)
    derived = None if is_options else derive(group.values, group.octets, group.context, clock)
    extra: dict[str, Any] = {
        "@peer": constant(work.envelope.block.peer, n),
        "@version": constant(group.version, n),
        "@domain": constant(group.domain, n),
        "@engine_type": constant(group.domain >> 8, n),
        "@engine_id": constant(group.domain & 0xFF, n),
        "@sequence": group.sequence,
        "@template": group.templates(),
    }
    if group.uptime_ms is not None:
        extra["@uptime_ms"] = group.uptime_ms
    if is_options:
        extra |= {"@action": constant("netflow_options", n), "@types": [("info",)] * n}
    else:
        assert derived is not None
        extra |= derived.values
    values = {**group.values, **extra}
    mapped = Mapped(n, work.zone)
    mapped.constants(definition.constants)
    mapped.fields(definition.maps, values.get, definition.missing)
    return make_batch_of_parts(
        work, group.rows, group.parts, definition.id, definition.dataset, at_us=group.at_us,
        layers=(_raw(group), _lost_of(group)), mapped=mapped, flags=group.flags(derived),
    )  # fmt: skip


def _lost_of(group: _Group) -> dict[str, Column]:
    """`_lost` of a group, whose chunks share their datagrams' losses."""
    if not any(chunk.datagram.lost for chunk in group.chunks):
        return {}
    datagrams: list[Any] = [chunk.datagram for chunk in group.chunks for _ in range(chunk.cut.n)]
    return _lost(group.parts.tolist(), datagrams + [None] * (group.n - len(datagrams)))


def _originals(group: _Group) -> Column:
    """Message header, set header and record of each record, as they were sent."""
    if group.layout.variable:
        return Column.of(FieldType.BINARY, [octets for chunk in group.chunks for octets in originals(chunk)])
    prefixes, length = group.prefixes(), group.layout.fixed_length
    size = len(prefixes[0])
    rows = np.empty((group.n, size + length), np.uint8)
    heads = np.frombuffer(b"".join(prefixes), np.uint8).reshape(-1, size)
    rows[:, :size] = np.repeat(heads, group.counts, axis=0)
    rows[:, size:] = np.frombuffer(group.fixed, np.uint8).reshape(-1, length)
    return Column.arrow(FieldType.BINARY, fixed_binary(rows))


def _raw(group: _Group) -> dict[str, Column]:
    """The elements under their own names, and the octets of header and record."""
    result = {"soc.original_bytes": _originals(group)}
    for slot, values in columns_of(group.layout, group.values):
        result[slot.field] = _column(slot, values, group)
    for name, texts in group.unfit.items():
        place = f"netflow.other.{name.removeprefix('netflow.').removeprefix('other.')}"
        result[place] = Column.of(FieldType.KEYWORD, texts)
    return result


def _column(slot: Slot, values: Values, group: _Group) -> Column:
    kind = _TYPES.get(slot.kind, FieldType.KEYWORD)
    if isinstance(values, np.ndarray):
        return Column.numpy(kind, values)
    if isinstance(values, pa.Array):
        return Column.arrow(kind, values)
    if slot.kind in LISTS:
        lookup = group.context.templates.get
        values = [read_list(slot.kind, data, lookup) for data in values]
    return Column.of(kind, values)


def _lost(parts: Sequence[int], datagrams: Sequence[Any]) -> dict[str, Column]:
    """How much the exporter sent that never came: on the first event of the datagram that shows it."""
    if not any(datagram is not None and datagram.lost for datagram in datagrams):
        return {}
    shown = [d if part == 0 and d is not None and d.lost else None for part, d in zip(parts, datagrams, strict=True)]
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


def _unread(work: Work, notes: Sequence[Note]) -> EventBatch:
    rows, parts, originals = _places(notes)
    lost = _lost(parts, [note.datagram for note in notes])
    reasons, marks = [note.error for note in notes], [_note_marks(note) for note in notes]
    return wire.unread(work, rows, originals, reasons, parts=parts, marks=marks, layer=lost)


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
    rows, parts, originals = _places(notes)
    layers = [
        {"soc.original_bytes": Column.of(FieldType.BINARY, originals)},
        _lost(parts, [note.datagram for note in notes]),
    ]
    flags: Flags = {k: marks for k, note in enumerate(notes) if (marks := _note_marks(note))}
    stamps: list[times.Stamp | None] = [(h.at_us, times.DEVICE) if h.at_us > 0 else None for h in heads]
    return make_batch(
        work, rows, definition.id, definition.dataset, stamps=stamps, layers=layers, mapped=mapped, parts=parts,
        flags=flags,
    )  # fmt: skip


def _places(notes: Sequence[Note]) -> tuple[list[int], list[int], list[bytes]]:
    return [note.datagram.row for note in notes], [note.part for note in notes], [note.original for note in notes]


def _note_marks(note: Note) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*note.marks, *note.datagram.marks)))


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
    result.extend(_quick_samples(work, definition, several) for several in reader.quick.values())
    if reader.notes:
        notes = reader.notes
        result.append(
            wire.unread(
                work, [note.row for note in notes], [note.original for note in notes], [note.error for note in notes],
                parts=[note.part for note in notes], marks=[note.marks for note in notes],
            )
        )  # fmt: skip
    return result, _kept(state, memory)


def _samples(work: Work, definition: Definition, samples: Sequence[sflow.Sample]) -> EventBatch:
    n = len(samples)
    names = dict.fromkeys(name for sample in samples for name in sample.values)
    values: dict[str, list[Any]] = {name: [sample.values.get(name) for sample in samples] for name in names}
    if "@protocol" in values:
        values["@community_id"] = sflow.communities(values)
    peer = Column.constant(FieldType.KEYWORD, work.envelope.block.peer, n)
    mapped = Mapped(n, work.zone)
    mapped.constants(definition.constants)
    mapped.fields(definition.maps, lambda name: peer if name == "@peer" else values.get(name), definition.missing)
    layer = {"soc.original_bytes": Column.of(FieldType.BINARY, [sample.original for sample in samples])}
    layer |= _own_fields(work.fields, values)
    flags = {k: sample.marks for k, sample in enumerate(samples) if sample.marks}
    stamps: list[times.Stamp | None] = [None] * n
    return make_batch(
        work, [s.row for s in samples], definition.id, definition.dataset, stamps=stamps, layers=(layer,),
        mapped=mapped, parts=[s.part for s in samples], flags=flags,
    )  # fmt: skip


def _quick_samples(work: Work, definition: Definition, several: Sequence[sflow.Placed]) -> EventBatch:
    """The same events as `_samples` makes, whole columns at a time."""
    n, datagrams = len(several), [placed.datagram for placed in several]
    values: dict[str, Any] = dict(columns(several[0].sample.family, [placed.sample for placed in several]))
    values |= {name: np.array([d.values[name] for d in datagrams]) for name in ("@domain", "@sequence", "@uptime_ms")}
    values |= {"@version": constant(sflow.VERSION, n), "@peer": constant(work.envelope.block.peer, n)}
    agent = datagrams[0].values["@agent"]
    values |= {} if agent is None else {"@agent": constant(agent, n)}
    values["@types"] = Column.constant(FieldType.KEYWORD, ("connection",), n, many=True)
    for name in ("@lost", "@lost_total"):
        if any(name in d.values for d in datagrams):
            values[name] = [placed.datagram.values.get(name) if placed.part == 0 else None for placed in several]
    mapped = Mapped(n, work.zone)
    mapped.constants(definition.constants)
    mapped.fields(definition.maps, values.get, definition.missing)
    layer = {"soc.original_bytes": Column.of(FieldType.BINARY, [placed.original for placed in several])}
    layer |= _own_fields(work.fields, values)
    known: dict[tuple[str, ...], int] = {(): 0}
    codes = np.array([known.setdefault(d.marks, len(known)) for d in datagrams])
    rows, parts = np.array([d.row for d in datagrams]), np.array([placed.part for placed in several])
    return make_batch_of_parts(
        work, rows, parts, definition.id, definition.dataset, at_us=np.zeros(n, np.int64), layers=(layer,),
        mapped=mapped, flags=_flags(known, codes, (("sampled", values["sflow.sampling_rate"] > 1),)),
    )  # fmt: skip


def _own_fields(fields: FieldDictionary, values: Mapping[str, Any]) -> Iterable[tuple[str, Column]]:
    for name, column in values.items():
        field = fields.get(name) if name.startswith("sflow.") else None
        if field is not None and isinstance(column, np.ndarray):
            yield name, Column.numpy(field.type, column)
        elif field is not None:
            yield name, Column.of(field.type, column, many=field.many)
