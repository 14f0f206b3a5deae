"""The walk through messages made of sets: what NetFlow v9 and IPFIX have in common."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple, Self

from soc.model.record import RawBlock
from soc.parsers.decoders.flow_options import learn_options
from soc.parsers.decoders.flow_runs import Before, Plain, Records, Run, gather
from soc.parsers.decoders.flow_state import Context, Exporter, Memory, Waiting
from soc.parsers.decoders.flow_templates import MIN_RECORD, Cut, Layout, Spec, Template
from soc.parsers.decoders.flow_text import Array

MAX_FIELDS = 512
"""A template with more fields is refused."""
MAX_SETS = 1024
"""What stands behind so many sets of a datagram is one unparsed event: each set of four octets would be one else."""
MAX_PADDING = 7
"""So many octets, if no record is that short, fill a set up to a multiple of four or eight: zeros or not (RFC 7011
sections 3.3.1 and 9.1)."""
_SET = struct.Struct(">HH")
_FIRST_DATA = 256
_REMEMBERED = 1024
"""Sets of templates of at most so many octets are remembered, the last 256: exporters send the same again and again."""


class Head(NamedTuple):
    """A message header. `at_us` is the export time (µs UTC), `uptime_ms` IPFIX has not, `stop` is where the sets end,
    `rate` is how many packets each counted one stands for (only v5 says so; 0 and 1: one)."""

    version: int
    at_us: int
    uptime_ms: int
    sequence: int
    domain: int
    size: int
    stop: int
    marks: tuple[str, ...] = ()
    rate: int = 0


class Malformed(ValueError):
    """A set, or a message, that cannot be read; the text says why."""


@dataclass(slots=True)
class Datagram:
    """One record while it is read; `marks` becomes the flags of all its events."""

    row: int
    head: Head
    raw: bytes
    marks: list[str]
    lost: int = 0
    lost_total: int = 0
    parts: int = 0
    defined: list[int] = field(default_factory=list)
    news: list[str] = field(default_factory=list)
    units: int | None = 0
    ready: list[tuple[Waiting, int]] = field(default_factory=list)
    is_again: bool = False

    def part(self, n: int = 1) -> int:
        """The number of the next event, and room for n."""
        first = self.parts
        self.parts += n
        return first


class Chunk(NamedTuple):
    """The records of one data set: `body` with its `cut`, under a template and what the exporter said until then."""

    datagram: Datagram
    head: Head
    context: Context
    template: Template
    layout: Layout
    cut: Cut
    body: bytes
    prefix: bytes
    part: int
    is_replayed: bool = False


@dataclass(frozen=True)
class Note:
    """An event that is no flow: a template message (`error` empty), or octets that cannot be read."""

    datagram: Datagram
    part: int
    original: bytes
    marks: tuple[str, ...]
    error: str = ""
    templates: tuple[int, ...] = ()


@dataclass(frozen=True)
class Dialect:
    """What tells v9 from IPFIX.

    `templates` and `options` are set numbers. `field` reads one field of a template (octets, place, whether it is a
    scope) and `sizes` the header of an options template: number, scope fields, all fields, where they begin. `plain`
    reads the head of a message with one data set. `record` is what follows the header when there are no sets. `window`
    is how far behind a sequence number may come late; `counts` is what it counts by the standard.
    """

    version: int
    header: Callable[[bytes], Head]
    templates: int
    options: int
    field: Callable[[bytes, int, bool], tuple[Spec, int]]
    sizes: Callable[[bytes, int], tuple[int, int, int, int]]
    window: int
    counts: str
    withdraws: bool
    plain: Callable[[bytes], Plain | None]
    record: Template | None = None


@dataclass
class Read:
    """What a run over datagrams gives."""

    chunks: list[Chunk] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)


class Stretch(NamedTuple):
    """The datagrams of a block that came in one frame: those from row `first` on; `receipts` are ns since the epoch."""

    frame: RawBlock
    first: int
    records: Records
    receipts: list[int]

    @classmethod
    def all_of(cls, block: RawBlock) -> Iterator[Self]:
        """Those of a block, in order."""
        first, records, receipts = 0, Records.of(block.data, block.end), block.receipt_ns.tolist()
        for frame in block.frames or (block,):
            yield cls(frame, first, records, receipts)
            first += frame.n


class Walker:
    """Reads the datagrams of one frame, in order."""

    def __init__(self, dialect: Dialect, memory: Memory, stretch: Stretch) -> None:
        self._dialect, self._memory = dialect, memory
        frame, self._first, self._records, self._receipts = stretch
        self._source, self._node, self._seq = frame.source, frame.node, frame.seq
        self.read = Read()

    def take_all(self, rows: Array) -> None:
        """These of the block's records (int64, in order): what follows each other plainly as runs, the rest one by
        one."""
        at = 0
        while at < len(rows):
            row = int(rows[at])
            data = self._records.at(row)
            run = self._run(data, rows, at)
            if run is None:
                self.take(row, data, self._receipts[row])
                at += 1
            else:
                self.read.runs.append(run)
                at += len(run.rows)

    def _run(self, data: bytes, rows: Array, at: int) -> Run | None:
        """Messages from `rows[at]` on, which is `data`, that need no second look; None when that one does."""
        dialect, row = self._dialect, int(rows[at])
        first = dialect.plain(data)
        exporter = self._memory.known(f"{self._source}|{dialect.version}|{first.domain}") if first else None
        if first is None or exporter is None or exporter.last is None:
            return None
        template = dialect.record or exporter.context.templates.get(first.number)
        if template is None or template.is_options or template.number in exporter.context.contested:
            return None
        layout, seen = template.layout, exporter.seen.get(self._node) if self._node else None
        size = layout.fixed_length
        if layout.variable or size < MIN_RECORD or (seen and [self._seq, row - self._first] <= seen):
            return None
        before = Before(dialect.version, size, min(MAX_PADDING, size - 1), exporter.counts, *exporter.last)
        messages = gather(self._records, rows, at, before, dialect.plain)
        if not len(messages.counts):
            return None
        taken = rows[at : at + len(messages.counts)]
        last = int(taken[-1])
        exporter.last = int(messages.sequence[-1]), int(messages.counts[-1])
        exporter.used_ns = max(exporter.used_ns, self._receipts[last])
        exporter.is_again(self._node, self._seq, last - self._first)
        return Run(dialect.version, first.domain, first.rate, exporter.share(), template, layout, taken, messages)

    def take(self, row: int, data: bytes, receipt_ns: int) -> None:
        """One datagram: at least one chunk with a record, or a note."""
        try:
            head = self._dialect.header(data)
        except Malformed as error:
            datagram = Datagram(row, Head(0, 0, 0, 0, 0, 0, 0), data, [])
            self.read.notes.append(Note(datagram, datagram.part(), data, (), str(error)))
            return
        datagram = Datagram(row, head, data, list(head.marks))
        forgotten = self._memory.forgotten
        exporter = self._memory.exporter(f"{self._source}|{head.version}|{head.domain}", receipt_ns)
        if self._memory.forgotten != forgotten:
            datagram.marks.append("exporter_forgotten")
        datagram.is_again = exporter.is_again(self._node, self._seq, row - self._first)
        if self._dialect.record is None:
            self._sets(datagram, exporter)
        else:
            self._data(datagram, head, exporter, self._dialect.record, data[: head.size], data[head.size : head.stop])
            self._left(datagram, b"", data[head.stop :], "record that the header counts")
        if not datagram.is_again:
            self._sequence(datagram, exporter)
        if datagram.news or not datagram.parts:
            self._tell(datagram)
        for entry, number in datagram.ready:
            self._replay(datagram, exporter, entry, number)

    def _sequence(self, datagram: Datagram, exporter: Exporter) -> None:
        number, dialect = datagram.head.sequence, self._dialect
        datagram.lost, marks = exporter.sequence(number, datagram.units, dialect.counts, dialect.window)
        if datagram.lost:
            datagram.lost_total = exporter.lost
        datagram.marks.extend(marks)

    def _tell(self, datagram: Datagram) -> None:
        marks = tuple(dict.fromkeys(datagram.news))
        templates = tuple(dict.fromkeys(datagram.defined))
        self.read.notes.append(Note(datagram, datagram.part(), datagram.raw, marks, templates=templates))

    def _sets(self, datagram: Datagram, exporter: Exporter) -> None:
        data, at, stop = datagram.raw, datagram.head.size, datagram.head.stop
        count = 0
        while at + 4 <= stop:
            number, length = _SET.unpack_from(data, at)
            end = at + length
            count += 1
            if count > MAX_SETS:
                self._refuse(datagram, data[at:stop], f"more than {MAX_SETS} sets")
                return
            if length < 4:
                if any(data[at:stop]):
                    self._refuse(datagram, data[at:stop], f"a set that says it has {length} octets")
                return
            if end > stop:
                datagram.marks.append("truncated")
                end = stop
            try:
                self._set(datagram, exporter, number, data[at:end])
            except Malformed as error:
                self._refuse(datagram, data[at:end], str(error))
            at = end
        self._left(datagram, b"", data[at:stop], "set")
        self._left(datagram, b"", data[stop:], "octet that the header's length counts")

    def _left(self, datagram: Datagram, before: bytes, rest: bytes, what: str, padding: int = 0) -> None:
        """Octets that nothing vouches for: zeros, and `padding` others, fill up; anything else is flagged and kept."""
        if not any(rest) or len(rest) <= padding:
            return
        datagram.marks.append("trailing_bytes")
        original = datagram.raw[: datagram.head.size] + before + rest
        why = f"{len(rest)} octets behind the last whole {what}"
        self.read.notes.append(Note(datagram, datagram.part(), original, (), why))

    def _refuse(self, datagram: Datagram, piece: bytes, why: str) -> None:
        datagram.units = None
        original = datagram.raw[: datagram.head.size] + piece
        self.read.notes.append(Note(datagram, datagram.part(), original, (), why))

    def _set(self, datagram: Datagram, exporter: Exporter, number: int, piece: bytes) -> None:
        if number in (self._dialect.templates, self._dialect.options):
            self._templates(datagram, exporter, piece, number == self._dialect.options)
        elif number < _FIRST_DATA:
            raise Malformed(f"set number {number} has no meaning")
        else:
            template = exporter.context.templates.get(number)
            if template is None:
                self._wait(datagram, exporter, number, piece)
            else:
                self._data(datagram, datagram.head, exporter, template, datagram.raw[: datagram.head.size] + piece[:4],
                           piece[4:])  # fmt: skip

    def _templates(self, datagram: Datagram, exporter: Exporter, piece: bytes, is_options: bool) -> None:
        for template in read_templates(self._dialect, piece, is_options):
            number = template.number
            datagram.defined.append(number)
            if not template.fields:
                # RFC 7011 section 8.4: over UDP a withdrawal must be ignored. One forged datagram would blind us else.
                datagram.news.append("withdrawal_ignored")
                continue
            datagram.news.extend(exporter.learn(template))
            datagram.ready.extend((entry, number) for entry in self._memory.release(exporter, number))

    def _wait(self, datagram: Datagram, exporter: Exporter, number: int, piece: bytes) -> None:
        position = f"{self._node}:{self._seq}:{datagram.row - self._first}:{datagram.parts}"
        head = datagram.raw[: datagram.head.size]
        kept = self._memory.wait(exporter, number, Waiting(position, head, piece), datagram.is_again)
        marks = ("no_template",) if kept else ("no_template", "replay_full")
        datagram.units = None
        why = f"template {number} is not known yet"
        self.read.notes.append(Note(datagram, datagram.part(), head + piece, marks, why))

    def _replay(self, datagram: Datagram, exporter: Exporter, entry: Waiting, number: int) -> None:
        template = exporter.context.templates.get(number)
        head = self._dialect.header(entry.head + entry.data)
        inner = replace(datagram, units=0)
        inner.marks = []
        inner.lost = inner.lost_total = 0
        inner.raw = entry.head + entry.data
        try:
            if template is None:
                raise Malformed(f"template {number} was forgotten at once")
            self._data(inner, head, exporter, template, entry.head + entry.data[:4], entry.data[4:], is_replayed=True)
        except Malformed as error:
            marks = ("replayed",)
            self.read.notes.append(Note(inner, inner.part(), entry.head + entry.data, marks, str(error)))
        datagram.parts = inner.parts

    def _data(
        self,
        datagram: Datagram,
        head: Head,
        exporter: Exporter,
        template: Template,
        prefix: bytes,
        body: bytes,
        *,
        is_replayed: bool = False,
    ) -> None:
        layout = template.layout
        cut = layout.cut(body)
        if cut.n == 0:
            raise Malformed(f"no whole record of template {template.number}")
        part = datagram.part(cut.n)
        self.read.chunks.append(
            Chunk(datagram, head, exporter.share(), template, layout, cut, body, prefix, part, is_replayed)
        )
        self._left(datagram, prefix[head.size :], body[cut.used :], "record", min(MAX_PADDING, layout.least - 1))
        if datagram.units is not None:
            datagram.units += cut.n
        if template.is_options:
            before = exporter.context
            exporter.context = learn_options(before, template, layout, cut)
            exporter.has_news = exporter.has_news or exporter.context is not before


def read_templates(dialect: Dialect, piece: bytes, is_options: bool) -> Iterator[Template]:
    """The templates of a set, one without fields for a withdrawal. Raises Malformed behind those that are whole."""
    at, stop = 4, len(piece)
    while at + 4 <= stop:
        number, count = _SET.unpack_from(piece, at)
        if number == 0:  # octets that fill up to a multiple of four
            return
        if count == 0 and dialect.withdraws:
            yield Template(number, is_options, ())
            at += 4
            continue
        if number < _FIRST_DATA:
            raise Malformed(f"a template with the number {number}")
        read = _template if len(piece) > _REMEMBERED else _known_template
        template, at = read(dialect, piece, at, is_options)
        yield template
    if any(piece[at:]):
        raise Malformed("octets behind the last template")


def _template(dialect: Dialect, piece: bytes, at: int, is_options: bool) -> tuple[Template, int]:
    if is_options:
        if at + 6 > len(piece):
            raise Malformed("an options template that ends in its header")
        number, scope, count, at = dialect.sizes(piece, at)
    else:
        number, count = _SET.unpack_from(piece, at)
        scope, at = 0, at + 4
    if count > MAX_FIELDS:
        raise Malformed(f"template {number} with {count} fields; at most {MAX_FIELDS} are read")
    fields: list[Spec] = []
    for i in range(count):
        if at + 4 > len(piece):
            raise Malformed(f"template {number} ends inside its field {i + 1} of {count}")
        spec, at = dialect.field(piece, at, i < scope)
        fields.append(spec)
    if not fields:
        raise Malformed(f"template {number} without fields")
    return Template(number, is_options, tuple(fields)), at


_known_template = lru_cache(maxsize=256)(_template)


def originals(chunk: Chunk) -> list[bytes]:
    """Message header, set header and record of each record of a template with variable lengths, as they were sent."""
    prefix, body, start = chunk.prefix, chunk.body, 0
    result: list[bytes] = []
    for end in chunk.cut.ends:
        result.append(prefix + body[start:end])
        start = end
    return result


__all__ = [
    "Chunk", "Datagram", "Dialect", "Head", "Malformed", "Note", "Plain", "Read", "Run", "Stretch", "Walker",
    "originals",
]  # fmt: skip
