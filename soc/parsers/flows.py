"""Flow exports to events: NetFlow v5, v9 and IPFIX share a port and are told apart by their version; sFlow has its own.

Counts in ECS names (`network.bytes`, `source.packets`, …) are estimates where the exporter sampled: multiplied, flagged
`sampled`, with the factor in `flow.sampling_interval`. What it counted stands unchanged in `netflow.*` and `sflow.*`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from soc.model.batch import Column, EventBatch
from soc.model.fields import FieldDictionary, FieldType, parse_type
from soc.model.flow_elements import FIELD_TYPES
from soc.model.lazy import LazyMapping
from soc.model.record import RawBlock
from soc.parsers import times, wire
from soc.parsers.decoders import ipfix, netflow_v5, netflow_v9, sflow
from soc.parsers.decoders.flow_derive import Clock, Derived
from soc.parsers.decoders.flow_lists import read as read_list
from soc.parsers.decoders.flow_runs import Run
from soc.parsers.decoders.flow_sets import Chunk, Dialect, Note, Read, Stretch, Walker, originals
from soc.parsers.decoders.flow_state import MEMORY, Memory, without_counts
from soc.parsers.decoders.flow_templates import LISTS, Cut, Elements, Slot
from soc.parsers.decoders.flow_text import constant, fixed_binary
from soc.parsers.decoders.flow_values import Array, Values
from soc.parsers.decoders.sflow_columns import columns
from soc.parsers.definition import Definition
from soc.parsers.envelope import Envelope
from soc.parsers.mapping import LazilyMapped, Mapped
from soc.parsers.state import ParserState
from soc.parsers.work import Flags, Work, make_batch, make_batch_of_parts

FORMATS = ("netflow", "netflow-v9", "ipfix", "sflow")
"""What `recognise: {format: …}` of a flow definition says."""
_DIALECTS: Mapping[int, tuple[Dialect, str]] = {
    netflow_v5.VERSION: (netflow_v5.DIALECT, "netflow"),
    netflow_v9.VERSION: (netflow_v9.DIALECT, "netflow-v9"),
    ipfix.VERSION: (ipfix.DIALECT, "ipfix"),
}
_ORIGINAL = "soc.original_bytes"
_TYPES = {kind: parse_type(text)[0] for kind, text in FIELD_TYPES.items()}
Definitions = Mapping[str, Definition]
States = Mapping[int, ParserState]


def netflow(work: Work, definitions: Definitions, states: States) -> tuple[list[EventBatch], States]:
    """Every datagram of NetFlow listeners, whatever its version; what no decoder reads stays unparsed. The block may be
    of many exporters; the states are by number of their partition."""
    block = work.envelope.block
    versions = _versions(block)
    forms = {version: definitions.get(form) for version, (_, form) in _DIALECTS.items()}
    reasons: dict[int, str] = {}
    for version in np.unique(versions).tolist():
        if forms.get(version) is None:
            reasons |= dict.fromkeys(np.flatnonzero(versions == version).tolist(), _unread_version(version))
    result = wire.refused(work, list(block.records()), reasons) if reasons else []
    memories = {number: Memory(state.memory.get(MEMORY, {})) for number, state in states.items()}
    reads: dict[int, list[Read]] = {}
    for stretch in Stretch.all_of(block):
        mine = versions[stretch.first : stretch.first + stretch.frame.n]
        for version in np.unique(mine).tolist():
            if forms.get(version) is not None:
                walker = Walker(_DIALECTS[version][0], memories[stretch.frame.partition.number], stretch)
                walker.take_all(stretch.first + np.flatnonzero(mine == version))
                reads.setdefault(version, []).append(walker.read)
    for version, several in reads.items():
        definition = forms[version]
        assert definition is not None
        result.extend(_of_version(work, definition, several))
    return result, {number: _kept(state, memories[number]) for number, state in states.items()}


def _unread_version(version: int) -> str:
    if version in _DIALECTS:
        return f"no definition reads version {version}"
    return f"NetFlow version {version} is not read" if version >= 0 else "shorter than a version number"


def _versions(block: RawBlock) -> Array:
    """The first two octets of each record as a number; -1 where there are not so many."""
    end = block.end.astype(np.int64)
    start = np.concatenate([[0], end[:-1]])
    is_whole = end - start > 1
    octets = np.frombuffer(block.data, np.uint8)
    result = np.full(len(end), -1)
    at = start[is_whole]
    result[is_whole] = octets[at].astype(np.int64) << 8 | octets[at + 1]
    return result


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


def _of_version(work: Work, definition: Definition, reads: Sequence[Read]) -> list[EventBatch]:
    groups: dict[tuple[int, int, bool], list[Chunk | Run]] = {}
    for read in reads:
        pieces: list[Chunk | Run] = [*read.chunks, *read.runs]
        for piece in pieces:
            groups.setdefault(_kind(piece), []).append(piece)
    result = [_flows(work, definition, _Group(several)) for several in groups.values()]
    return result + _notes(work, definition, [note for read in reads for note in read.notes])


def _kind(piece: Chunk | Run) -> tuple[int, int, bool]:
    """Pieces of one kind become columns together: of one template's fields, and what their exporters said of flows
    beside; those that said nothing are alike."""
    rate = piece.head.rate if isinstance(piece, Chunk) else piece.rate
    says_nothing = piece.context.is_silent and rate <= 1 and not piece.layout.has_lists
    return 0 if says_nothing else id(piece.context), id(piece.layout), piece.template.is_options


class _Group:
    """Chunks and runs of one `_kind`, as columns. Lists have an item a set, arrays one a record."""

    def __init__(self, pieces: Sequence[Chunk | Run]) -> None:
        first = pieces[0]
        self.context, self.layout, self.is_options = first.context, first.layout, first.template.is_options
        self.chunks = [piece for piece in pieces if isinstance(piece, Chunk)]
        self.runs = [piece for piece in pieces if isinstance(piece, Run)]
        self.counts = self._of_sets(lambda chunk: chunk.cut.n, lambda run: run.messages.counts)
        self.n = int(self.counts.sum())
        cuts = [chunk.cut for chunk in self.chunks]
        cuts += [Cut(int(run.messages.counts.sum()), run.messages.fixed, (), [], 0) for run in self.runs]
        self.elements = Elements(self.layout, cuts)
        self.version = self.chunks[0].head.version if self.chunks else self.runs[0].version

    def _of_sets(self, of_chunk: Callable[[Chunk], int], of_run: Callable[[Run], Array]) -> Array:
        return np.concatenate([np.array([of_chunk(c) for c in self.chunks], np.int64), *map(of_run, self.runs)])

    def each(self, of_sets: Array) -> Array:
        """One number a set, repeated for each of its records."""
        return np.repeat(of_sets, self.counts)

    @functools.cached_property
    def rows(self) -> Array:
        """The place of each record's datagram in the block."""
        return self.each(self._of_sets(lambda chunk: chunk.datagram.row, lambda run: run.rows))

    @functools.cached_property
    def parts(self) -> Array:
        """The place of each record in its datagram."""
        firsts = self._of_sets(lambda chunk: chunk.part, lambda run: np.zeros(len(run.rows), np.int64))
        begins = np.cumsum(self.counts) - self.counts
        return np.arange(self.n) + self.each(firsts - begins)

    @functools.cached_property
    def domain(self) -> Array:
        """The observation domain of each."""
        return self.each(self._of_sets(lambda chunk: chunk.head.domain, lambda run: np.full(len(run.rows), run.domain)))

    @functools.cached_property
    def at_us(self) -> Array:
        """When each was exported (µs UTC)."""
        return self.each(self._of_sets(lambda chunk: chunk.head.at_us, lambda run: run.messages.at_us))

    @functools.cached_property
    def sequence(self) -> Array:
        """What the header of each says."""
        return self.each(self._of_sets(lambda chunk: chunk.head.sequence, lambda run: run.messages.sequence))

    @functools.cached_property
    def uptime_ms(self) -> Array | None:
        """Of the exporter when each was exported; IPFIX does not say it."""
        if self.version == ipfix.VERSION:
            return None
        return self.each(self._of_sets(lambda chunk: chunk.head.uptime_ms, lambda run: run.messages.uptime_ms))

    def clock(self) -> Clock:
        """What the headers say of times and of sampling."""
        rates = self._of_sets(lambda chunk: chunk.head.rate, lambda run: np.full(len(run.rows), run.rate))
        return Clock(self.at_us, self.uptime_ms, self.each(rates) if rates.max() > 1 else None)

    def templates(self) -> Any:
        """The template's number of each record; templates of the same fields go together."""
        numbers = self._of_sets(
            lambda chunk: chunk.template.number, lambda run: np.full(len(run.rows), run.template.number)
        )
        return constant(int(numbers[0]), self.n) if (numbers == numbers[0]).all() else self.each(numbers)

    def prefixes(self) -> bytes:
        """Message and set header of each set, all of one length."""
        return b"".join([*(chunk.prefix for chunk in self.chunks), *(run.messages.prefixes for run in self.runs)])

    def flags(self, derived: Derived | None) -> Column | None:
        """Of each flow; few sets of flags occur, so each is made once."""
        known: dict[tuple[str, ...], int] = {(): 0}
        marked = self._of_sets(
            lambda chunk: known.setdefault(_marks(chunk), len(known)), lambda run: np.zeros(len(run.rows), np.int64)
        )
        masks: list[tuple[str, Array | None]] = []
        if derived is not None:
            masks += [("sampled", derived.sampled), ("sampler_unknown", derived.unknown)]
            masks.append(("biflow_keyless", np.ones(self.n, bool) if self.layout.is_keyless else None))
        return _flags(known, self.each(marked), masks)


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
    elements, said = group.elements, _Said(work.envelope, group)
    derived = None
    if not group.is_options:
        derived = Derived(elements, elements.octets, group.context, group.n, group.clock)

    def value(name: str) -> Any:
        found = said.get(name)
        if found is None and derived is not None:
            found = derived.get(name)
        return elements.get(name) if found is None else found

    mapped = LazilyMapped(group.n, work.zone, [definition], value, definition.missing)
    return make_batch_of_parts(
        work, group, definition.id, definition.dataset, layers=(_Raw(group), _lost_of(group)), mapped=mapped,
        flags=lambda: group.flags(derived),
    )  # fmt: skip


_SAID = ("@peer", "@domain", "@engine_type", "@engine_id", "@sequence", "@template", "@uptime_ms")


class _Said(LazyMapping["Values | Column"]):
    """What headers say of each record, by `@name`."""

    def __init__(self, envelope: Envelope, group: _Group) -> None:
        super().__init__()
        self._envelope, self._group = envelope, group
        self._constants: dict[str, Any] = {"@version": group.version}
        if group.is_options:
            self._constants |= {"@action": "netflow_options", "@types": ("info",)}

    def names(self) -> Iterable[str]:
        return (*self._constants, *_SAID)

    def make(self, name: str) -> Values | Column | None:
        if name in self._constants:
            value = self._constants[name]
            return Column.constant(FieldType.KEYWORD, value, self._group.n, many=isinstance(value, tuple))
        match name:
            case "@peer":
                return self._envelope.peers(self._group.rows)
            case "@domain":
                return _one_or_each(self._group.domain)
            case "@engine_type":
                return _one_or_each(self._group.domain >> 8)
            case "@engine_id":
                return _one_or_each(self._group.domain & 0xFF)
            case "@sequence":
                return self._group.sequence
            case "@template":
                return self._group.templates()
            case "@uptime_ms":
                return self._group.uptime_ms
        return None


def _one_or_each(numbers: Array) -> Values | Column:
    """A constant where all are the same, as they are of one exporter."""
    if (numbers == numbers[0]).all():
        return Column.constant(FieldType.KEYWORD, int(numbers[0]), len(numbers))
    return numbers


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
    heads = np.frombuffer(group.prefixes(), np.uint8).reshape(len(group.counts), -1)
    size, length = heads.shape[1], group.layout.fixed_length
    rows = np.empty((group.n, size + length), np.uint8)
    rows[:, :size] = np.repeat(heads, group.counts, axis=0)
    rows[:, size:] = np.frombuffer(group.elements.fixed, np.uint8).reshape(-1, length)
    return Column.arrow(FieldType.BINARY, fixed_binary(rows))


class _Raw(LazyMapping[Column]):
    """The elements under their own names, and the octets of header and record."""

    def __init__(self, group: _Group) -> None:
        super().__init__()
        self._group = group
        self._slots = {slot.field: slot for slot in group.layout.slots}
        self._unfit = {
            f"netflow.other.{name.removeprefix('netflow.').removeprefix('other.')}": texts
            for name, texts in group.elements.unfit.items()
        }

    def names(self) -> Iterable[str]:
        return (_ORIGINAL, *self._slots, *self._unfit)

    def make(self, name: str) -> Column | None:
        if name == _ORIGINAL:
            return _originals(self._group)
        if name in self._unfit:
            return Column.of(FieldType.KEYWORD, self._unfit[name])
        slot = self._slots.get(name)
        return None if slot is None else _column(slot, self._group.elements[slot.key], self._group)


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
    values: dict[str, Any] = {
        "@peer": work.envelope.peers([note.datagram.row for note in notes]),
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
    work: Work, records: Sequence[bytes], definitions: Definitions, states: States
) -> tuple[list[EventBatch], States]:
    """Every datagram of an sFlow listener: an event for each sample, and for what cannot be read."""
    definition = definitions.get("sflow")
    if definition is None:
        return wire.refused(work, records, dict.fromkeys(range(len(records)), "no definition reads sFlow")), states
    [(number, state)] = states.items()
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
    return result, {number: _kept(state, memory)}


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
    mapped = LazilyMapped(n, work.zone, [definition], values.get, definition.missing)
    layer = {"soc.original_bytes": Column.of(FieldType.BINARY, [placed.original for placed in several])}
    layer |= _own_fields(work.fields, values)
    known: dict[tuple[str, ...], int] = {(): 0}
    codes = np.array([known.setdefault(d.marks, len(known)) for d in datagrams])
    rows, parts = np.array([d.row for d in datagrams]), np.array([placed.part for placed in several])
    return make_batch_of_parts(
        work, _Samples(n, rows, parts, np.zeros(n, np.int64)), definition.id, definition.dataset, layers=(layer,),
        mapped=mapped, flags=lambda: _flags(known, codes, (("sampled", values["sflow.sampling_rate"] > 1),)),
    )  # fmt: skip


@dataclass(frozen=True)
class _Samples:
    """Where samples stand; sFlow has no time of its own."""

    n: int
    rows: Array
    parts: Array
    at_us: Array


def _own_fields(fields: FieldDictionary, values: Mapping[str, Any]) -> Iterable[tuple[str, Column]]:
    for name, column in values.items():
        field = fields.get(name) if name.startswith("sflow.") else None
        if field is not None and isinstance(column, np.ndarray):
            yield name, Column.numpy(field.type, column)
        elif field is not None:
            yield name, Column.of(field.type, column, many=field.many)
