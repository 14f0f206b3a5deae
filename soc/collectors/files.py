"""Files to raw blocks: text, JSON, CSV, W3C, XML, EVTX, captures; plain, compressed, in archives; sizes are bounded."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

import orjson

from soc.collectors.archives import Budget, Member, leaves
from soc.collectors.blocks import MAX_BLOCK_BYTES, Packer, Record, Run
from soc.collectors.evtx_records import evtx_runs
from soc.collectors.lines import PLAIN, Coding, coding
from soc.collectors.tables import Row, csv_delimiter, csv_rows, directed_rows, looks_like_w3c, looks_like_zeek
from soc.collectors.unpack import limit_of
from soc.collectors.wrapped import is_wrapper, opened, unwrapped
from soc.collectors.xml_records import xml_records
from soc.errors import SocError, UsageError
from soc.model.clock import Clock
from soc.model.record import RawBlock

FORMATS = ("auto", "lines", "json", "csv", "w3c", "zeek", "xml", "evtx", "pcap")
WIRE_FORMATS = ("netflow", "sflow", "snmp", "syslog")
"""What a listener would have received: the UDP datagrams in a capture, or a file that is one datagram."""
MAX_RECORD = 1 << 20
"""A longer line goes on in the next record; both are flagged, no byte is lost."""
_RUN_BYTES = 64 << 10
MAX_DOCUMENT = 256 << 20
"""A file that is one JSON document (an array, or spread over lines) must fit in memory."""
_HEAD = 4096
_FORM = {"evtx": "windows-json", "pcap": "packet"}
MAX_DATAGRAM = 65_535
_NO_LIMIT = 1 << 40
"""Plain bytes of standard input, whose size nobody knows."""
_MAGIC = (
    (b"ElfFile\x00", "evtx"), (b"<?xml", "xml"), (b"<Event", "xml"),
    (b"\xd4\xc3\xb2\xa1", "pcap"), (b"\xa1\xb2\xc3\xd4", "pcap"), (b"\x4d\x3c\xb2\xa1", "pcap"),
    (b"\xa1\xb2\x3c\x4d", "pcap"), (b"\x0a\x0d\x0d\x0a", "pcap"),
)  # fmt: skip


class PacketStream(Protocol):
    """Where a capture is read from."""

    def read(self, size: int, /) -> bytes: ...


PacketReader = Callable[[PacketStream], Iterator[bytes]]
"""A capture file to the records of a sensor (`RawBlock.format` is `packet`); the same file gives the same records."""


class Datagram(Protocol):
    """What a capture shows of one: when it came (ns since the epoch), its sender, its payload (None: there is none)."""

    @property
    def ns(self) -> int: ...
    @property
    def peer(self) -> str: ...
    @property
    def payload(self) -> bytes | None: ...
    @property
    def number(self) -> int: ...


class Captures(NamedTuple):
    """Who reads captures (pcap, pcapng): to a sensor's records, and to the datagrams that a listener receives."""

    records: PacketReader
    datagrams: Callable[[PacketStream], Iterator[Datagram]]


def detect_format(source: Path | bytes) -> str:
    """`evtx`, `xml`, `pcap`, `w3c`, `zeek` by their first bytes, `json` by a brace or bracket, `csv` by a header and
    rows that fit it, else `lines`; of a file looks through compression, and in an archive at its first member."""
    if isinstance(source, Path):
        with _opened(source) as (stream, budget):
            found = (inner for _, inner in leaves(stream, str(source), budget) if inner is not None)
            inner = next(found, None)
            return detect_format(inner.peek(_HEAD)[:_HEAD]) if inner is not None else "lines"
    for magic, name in _MAGIC:
        if source.removeprefix(b"\xef\xbb\xbf").startswith(magic):
            return name
    wide = coding(source)
    text = source.removeprefix(b"\xef\xbb\xbf").lstrip()
    if wide is not PLAIN:
        text = source.decode(wide.name, "replace").lstrip("\ufeff").lstrip().encode()
        if text.startswith((b"<?xml", b"<Event")):
            return "xml"
    if text[:1] == b"{" or text[:2] in (b"[{", b"[\n", b"[\r", b"[ ", b"[]"):
        return "json"
    if looks_like_w3c(text):
        return "w3c"
    if looks_like_zeek(text):
        return "zeek"
    return "csv" if csv_delimiter(source) else "lines"


def read_blocks(
    path: Path | None,
    *,
    clock: Clock,
    format: str = "auto",
    site: str = "default",
    listener: str = "file",
    origin: Mapping[str, str] | None = None,
    max_records: int = 4096,
    max_bytes: int = MAX_BLOCK_BYTES,
    captures: Captures | None = None,
    members: list[Member] | None = None,
) -> Iterator[RawBlock]:
    """The records of a file (None: standard input) in order, at most `max_records` of `max_bytes` in a block.

    Archives and compressed files are read through: a member's records have its name (`logs.zip!auth.log`) and numbers
    of their own. What became of each member is added to `members`. `captures` reads pcap and pcapng; without it they
    are refused. Of `WIRE_FORMATS` each datagram's block has its sender for a peer and its time for a receipt.
    Raises UsageError for a format that there is not, OSError for a file that cannot be read, and SocError for one that
    is damaged or expands beyond bounds: at the end, for a damaged member stops no other.
    """
    if format not in FORMATS + WIRE_FORMATS:
        raise UsageError(f"format '{format}' is unknown; one of {', '.join(FORMATS + WIRE_FORMATS)}")
    name = str(path) if path is not None else "-"
    told = members if members is not None else []
    with _opened(path) as (stream, budget):
        for member, inner in leaves(stream, name, budget):
            told.append(member)
            if inner is None:
                continue
            packer = Packer(member.name, site, listener, clock, origin or {}, max_records, max_bytes)
            try:
                member.format = detect_format(inner.peek(_HEAD)[:_HEAD]) if format == "auto" else format
                if member.format == "pcap" and captures is None:
                    raise UsageError(f"{name}: captures of packets are not read here", hint="soc import takes them")
                packer.form = _FORM.get(member.format, member.format)
                for block in packer.blocks(_records(inner, member, captures)):
                    member.records += block.n
                    yield block
            except (SocError, RecursionError) as error:
                member.state, member.why = "failed", str(error)
                if member.name == name or budget.left < 0 or isinstance(error, UsageError):
                    raise
    failed = [member for member in told if member.state == "failed"]
    if failed:
        why = failed[0].why if failed[0].why.startswith(name) else f"{failed[0].name}: {failed[0].why}"
        many = f" (the first of {len(failed)} members that were not read whole)" if len(failed) > 1 else ""
        raise SocError(why + many, hint="the rest was read" if len(told) > 1 else "unpack it and look at it")


def _records(stream: io.BufferedReader, member: Member, captures: Captures | None) -> Iterator[Record | Run]:
    chosen, name = member.format, member.name
    head = stream.peek(_HEAD)[:_HEAD]
    if chosen == "pcap" and captures is not None:
        return (Record(data, number) for number, data in enumerate(captures.records(stream), 1))
    if chosen in WIRE_FORMATS and captures is not None:
        if detect_format(head) == "pcap":
            return _datagrams(captures.datagrams(stream), member)
        if chosen != "syslog":
            return _datagram(stream, name)
    if chosen == "evtx":
        return evtx_runs(stream, name)
    if chosen == "json":
        return _json(stream, name)
    if chosen == "csv":
        return _rows(csv_rows(stream, head, csv_delimiter(head) or ","))
    if chosen in ("w3c", "zeek"):
        return _rows(directed_rows((record.data, record.number) for record in _singly(_lines(stream))))
    if chosen == "xml":
        return (r for number, data in enumerate(xml_records(stream, head, name), 1) for r in _whole(data, number))
    return _lines(stream)


def _datagrams(heard: Iterator[Datagram], member: Member) -> Iterator[Record]:
    for each in heard:
        if each.payload is None:
            member.passed_over += 1
        else:
            yield Record(each.payload, each.number, peer=each.peer, receipt_ns=each.ns)


def _datagram(stream: io.BufferedReader, name: str) -> Iterator[Record]:
    data = stream.read(MAX_DATAGRAM + 1)
    if len(data) > MAX_DATAGRAM:
        raise SocError(f"{name}: more than one datagram, and no capture", hint="a capture (pcap, pcapng) holds many")
    yield Record(data, 1)


def _rows(rows: Iterator[Row]) -> Iterator[Record]:
    for row in rows:
        for piece in _pieces(row.data, row.number):
            yield piece._replace(origin=row.origin)


@contextmanager
def _opened(path: Path | None) -> Iterator[tuple[BinaryIO, Budget]]:
    if path is None:
        # A second buffer, because a pipe may give fewer bytes than a signature is long.
        piped: Any = sys.stdin.buffer
        yield io.BufferedReader(piped), Budget(_NO_LIMIT)
        return
    with path.open("rb", buffering=1 << 16) as plain:  # a sixth less than with 8 KiB, measured
        yield plain, Budget(limit_of(path.stat().st_size))


def _lines(stream: io.BufferedReader) -> Iterator[Record | Run]:
    """Lines that are not blank: those with an end in runs, those longer than a record in pieces."""
    code = coding(stream.peek(_HEAD)[:_HEAD])
    if code is not PLAIN:
        yield from _wide_lines(stream, code)
        return
    number, is_rest = 0, False
    run, size = list[bytes](), 0
    while line := stream.readline(MAX_RECORD):
        number += 0 if is_rest else 1
        if number == 1 and not is_rest:
            line = line.removeprefix(b"\xef\xbb\xbf")
        is_whole = line.endswith(b"\n")
        text = line.rstrip(b"\r\n") if is_whole else line
        is_blank = not text or text.isspace()
        if is_whole and not is_rest and not is_blank:
            run.append(text)
            size += len(text)
            if size < _RUN_BYTES:
                continue
            yield Run(run, number - len(run) + 1)
        else:
            if run:
                yield Run(run, number - len(run))
            if not is_blank:
                yield Record(text, number, is_rest or (not is_whole and len(line) >= MAX_RECORD))
        run, size, is_rest = [], 0, not is_whole
    if run:
        yield Run(run, number - len(run) + 1)


def _singly(records: Iterator[Record | Run]) -> Iterator[Record]:
    for each in records:
        if isinstance(each, Run):
            yield from (Record(data, number) for number, data in enumerate(each.records, each.number))
        else:
            yield each


def _wide_lines(stream: io.BufferedReader, code: Coding) -> Iterator[Record]:
    """Lines of UTF-16 as UTF-8; what is no character is escaped."""
    text = io.TextIOWrapper(stream, code.name, errors="backslashreplace", newline="\n")
    try:
        number, is_rest = 0, False
        while line := text.readline(MAX_RECORD // 4):
            number += 0 if is_rest else 1
            is_whole = line.endswith("\n")
            bare = line.lstrip("\ufeff") if number == 1 else line
            if bare.strip():
                yield Record(bare.rstrip("\r\n").encode("utf-8", "backslashreplace"), number, is_rest or not is_whole)
            is_rest = not is_whole
    finally:
        text.detach()


def _json(stream: io.BufferedReader, name: str) -> Iterator[Record | Run]:
    """JSON lines; or one document over many lines: an array gives its elements, an object itself, and one that cloud
    services wrap around many events (`{"Records": [...]}`) those."""
    head = stream.peek(_HEAD).removeprefix(b"\xef\xbb\xbf").lstrip()
    first_line = head.partition(b"\n")[0].rstrip()
    is_document = head[:1] == b"[" or (first_line == b"{" and head[:1] == b"{") or is_wrapper(head)
    if not is_document:
        yield from _lines(stream)
        return
    text = stream.read(MAX_DOCUMENT + 1)
    if len(text) > MAX_DOCUMENT:
        raise SocError(f"{name}: one JSON document of more than {MAX_DOCUMENT} bytes", hint="write one event a line")
    try:
        document = orjson.loads(text.removeprefix(b"\xef\xbb\xbf"))
    except ValueError:  # several documents in a row, or no JSON after all: line by line nothing is lost
        each = (data for piece in _spread(text) for data in opened(piece))
        yield from (record for number, data in enumerate(each, 1) for record in _whole(data, number))
        return
    for number, item in enumerate(document if isinstance(document, list) else unwrapped(document), 1):
        yield Record(orjson.dumps(item), number)


def _spread(text: bytes) -> Iterator[bytes]:
    # Pretty-printed objects one after another: each begins with a brace alone at the start of a line.
    pieces: list[bytes] = []
    for line in text.splitlines(keepends=True):
        if line.startswith(b"{") and pieces:
            yield b"".join(pieces)
            pieces = []
        pieces.append(line)
    if pieces:
        yield b"".join(pieces)


def _whole(data: bytes, number: int) -> Iterator[Record]:
    return _pieces(data.strip(), number)


def _pieces(data: bytes, number: int) -> Iterator[Record]:
    for start in range(0, len(data), MAX_RECORD):
        yield Record(data[start : start + MAX_RECORD], number, len(data) > MAX_RECORD)
