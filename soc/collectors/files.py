"""Files to raw blocks: text lines, JSON and EVTX, plain or gzipped; nothing is dropped, sizes are bounded."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import orjson
from evtx import PyEvtxParser

from soc.errors import SocError, UsageError
from soc.model.clock import Clock
from soc.model.record import OVERSIZE, RawBlock

FORMATS_BUILT = ("auto", "lines", "json", "evtx", "pcap")
FORMATS_PLANNED = ("xml",)
MAX_RECORD = 1 << 20
"""A longer line goes on in the next record; both are flagged, no byte is lost."""
MAX_BLOCK_BYTES = 2 << 20
"""A block is closed when it holds this much, so that it fits a frame."""
MAX_DOCUMENT = 256 << 20
"""A file that is one JSON document (an array, or spread over lines) must fit in memory."""
MAX_EXPANSION = 500
"""A gzip file may grow by this factor (plus 64 MiB): log text reaches 50, a bomb 1000."""
_HEAD = 4096
_FORM = {"evtx": "windows-json", "json": "json", "lines": "lines", "pcap": "packet"}
_MAGIC = (
    (b"ElfFile\x00", "evtx"), (b"<?xml", "xml"), (b"<Event", "xml"), (b"\xef\xbb\xbf<?xml", "xml"),
    (b"\xd4\xc3\xb2\xa1", "pcap"), (b"\xa1\xb2\xc3\xd4", "pcap"), (b"\x4d\x3c\xb2\xa1", "pcap"),
    (b"\xa1\xb2\x3c\x4d", "pcap"), (b"\x0a\x0d\x0d\x0a", "pcap"),
)  # fmt: skip


class PacketStream(Protocol):
    """Where a capture is read from."""

    def read(self, size: int, /) -> bytes: ...


PacketReader = Callable[[PacketStream], Iterator[bytes]]
"""A capture file to the records of a sensor (`RawBlock.format` is `packet`); the same file gives the same records."""


class Record(NamedTuple):
    """One record, its 1-based number in the file (for text: the line), and whether it is a piece of a longer one."""

    data: bytes
    number: int
    is_cut: bool = False


def detect_format(source: Path | bytes) -> str:
    """`evtx`, `xml`, `pcap` by their first bytes, `json` by a brace or bracket, else `lines`; looks into gzip."""
    if isinstance(source, Path):
        with _opened(source) as stream:
            return detect_format(stream.peek(_HEAD)[:_HEAD])
    for magic, name in _MAGIC:
        if source.startswith(magic):
            return name
    text = source.removeprefix(b"\xef\xbb\xbf").lstrip()
    return "json" if text[:1] == b"{" or text[:2] in (b"[{", b"[\n", b"[\r", b"[ ", b"[]") else "lines"


def read_blocks(
    path: Path | None,
    *,
    clock: Clock,
    format: str = "auto",
    site: str = "default",
    listener: str = "file",
    origin: Mapping[str, str] | None = None,
    max_records: int = 4096,
    packets: PacketReader | None = None,
) -> Iterator[RawBlock]:
    """The records of a file (None: standard input) in order, at most `max_records` in a block.

    `packets` reads captures (pcap, pcapng); without it they are refused.
    Raises UsageError for a format that is not built, OSError for a file that cannot be read, SocError for one that is
    damaged as a whole or expands beyond bounds.
    """
    _refuse_unbuilt(format)
    name = str(path) if path is not None else "-"
    with _opened(path) as stream:
        chosen = detect_format(stream.peek(_HEAD)[:_HEAD]) if format == "auto" else format
        _refuse_unbuilt(chosen)
        if chosen == "pcap" and packets is None:
            raise UsageError(f"{name}: captures of packets are not read here", hint="soc import takes them")
        packer = _Packer(
            name, _FORM[chosen], site=site, listener=listener, clock=clock, origin=origin or {}, max_records=max_records
        )
        yield from packer.blocks(_records(stream, chosen, name, packets))


def _refuse_unbuilt(format: str) -> None:
    if format in FORMATS_PLANNED:
        raise UsageError(f"format '{format}' is not built yet", hint=f"one of {', '.join(FORMATS_BUILT)}")
    if format not in FORMATS_BUILT:
        raise UsageError(f"format '{format}' is unknown; one of {', '.join(FORMATS_BUILT)}")


def _records(stream: io.BufferedReader, chosen: str, name: str, packets: PacketReader | None) -> Iterator[Record]:
    if chosen == "pcap" and packets is not None:
        return (Record(data, number) for number, data in enumerate(packets(stream), 1))
    if chosen == "evtx":
        return _evtx(stream, name)
    return _json(stream, name) if chosen == "json" else _lines(stream)


@contextmanager
def _opened(path: Path | None) -> Iterator[io.BufferedReader]:
    if path is None:
        # A second buffer, because a pipe may give fewer bytes than a signature is long.
        yield _unzipped(io.BufferedReader(sys.stdin.buffer), 1 << 40, "-")  # type: ignore[arg-type]
        return
    with path.open("rb") as plain:
        yield _unzipped(plain, path.stat().st_size * MAX_EXPANSION + (64 << 20), str(path))


def _unzipped(plain: io.BufferedReader, limit: int, name: str) -> io.BufferedReader:
    if plain.peek(3)[:3] != b"\x1f\x8b\x08":
        return plain
    bounded: Any = _Bounded(gzip.GzipFile(fileobj=plain), limit, name)
    return io.BufferedReader(bounded, 1 << 16)


class _Bounded(io.RawIOBase):
    """A stream that refuses to grow beyond `limit` bytes; damage becomes one clear error."""

    def __init__(self, inner: gzip.GzipFile, limit: int, name: str) -> None:
        super().__init__()
        self.inner, self.left, self.name = inner, limit, name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self.inner.read1(len(buffer))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise SocError(f"{self.name}: damaged gzip data: {error}") from error
        self.left -= len(data)
        if self.left < 0:
            raise SocError(f"{self.name}: expands more than {MAX_EXPANSION} times", hint="unpack it and look at it")
        buffer[: len(data)] = data
        return len(data)


def _lines(stream: io.BufferedReader) -> Iterator[Record]:
    number, is_rest = 0, False
    while line := stream.readline(MAX_RECORD):
        number += 0 if is_rest else 1
        is_whole = line.endswith(b"\n")
        if number == 1 and not is_rest:
            line = line.removeprefix(b"\xef\xbb\xbf")
        text = line.rstrip(b"\r\n") if is_whole else line
        is_cut = is_rest or (not is_whole and len(line) >= MAX_RECORD)
        if text.strip():
            yield Record(text, number, is_cut)
        is_rest = not is_whole


def _json(stream: io.BufferedReader, name: str) -> Iterator[Record]:
    """JSON lines; or one document over many lines: an array gives its elements, an object itself."""
    head = stream.peek(_HEAD).removeprefix(b"\xef\xbb\xbf").lstrip()
    first_line = head.partition(b"\n")[0].rstrip()
    is_document = head[:1] == b"[" or (first_line == b"{" and head[:1] == b"{")
    if not is_document:
        yield from _lines(stream)
        return
    text = stream.read(MAX_DOCUMENT + 1)
    if len(text) > MAX_DOCUMENT:
        raise SocError(f"{name}: one JSON document of more than {MAX_DOCUMENT} bytes", hint="write one event a line")
    try:
        document = orjson.loads(text.removeprefix(b"\xef\xbb\xbf"))
    except ValueError:  # several documents in a row, or no JSON after all: line by line nothing is lost
        yield from _spread(text)
        return
    for number, item in enumerate(document if isinstance(document, list) else [document], 1):
        yield Record(orjson.dumps(item), number)


def _spread(text: bytes) -> Iterator[Record]:
    # Pretty-printed objects one after another: each begins with a brace alone at the start of a line.
    pieces: list[bytes] = []
    number = 0
    for line in text.splitlines(keepends=True):
        if line.startswith(b"{") and pieces:
            number += 1
            yield from _whole(b"".join(pieces), number)
            pieces = []
        pieces.append(line)
    if pieces:
        yield from _whole(b"".join(pieces), number + 1)


def _whole(data: bytes, number: int) -> Iterator[Record]:
    data = data.strip()
    for start in range(0, len(data), MAX_RECORD):
        yield Record(data[start : start + MAX_RECORD], number, len(data) > MAX_RECORD)


def _evtx(stream: io.BufferedReader, name: str) -> Iterator[Record]:
    # The reader wants to seek; a gzip stream or a pipe is read into memory first, within the bound.
    source: Any = stream
    if not stream.seekable():
        data = stream.read(MAX_DOCUMENT + 1)
        if len(data) > MAX_DOCUMENT:
            raise SocError(f"{name}: more than {MAX_DOCUMENT} bytes of EVTX in a stream", hint="unpack it to a file")
        source = io.BytesIO(data)
    try:
        records = PyEvtxParser(source).records_json()
    except (RuntimeError, OSError, ValueError) as error:
        raise SocError(f"{name}: no readable EVTX file: {error}") from error
    number = 0
    while True:
        number += 1
        try:
            record = next(records)
        except StopIteration:
            return
        except (RuntimeError, OSError, ValueError) as error:  # a damaged record or chunk: keep what is known of it
            yield Record(f"damaged EVTX record: {error}".encode(), number)
            continue
        yield Record(_evtx_text(record), number)


def _evtx_text(record: Any) -> bytes:
    if isinstance(record, dict):
        return str(record["data"]).encode("utf-8", "backslashreplace")
    return f"damaged EVTX record: {record}".encode()


class _Packer:
    """Collects records into blocks whose numbers run without a gap."""

    def __init__(
        self,
        name: str,
        form: str,
        *,
        site: str,
        listener: str,
        clock: Clock,
        origin: Mapping[str, str],
        max_records: int,
    ) -> None:
        self.name, self.form, self.site, self.listener = name, form, site, listener
        self.clock, self.origin, self.most = clock, origin, max_records
        self.held: list[Record] = []
        self.size = 0
        self.seq = 0

    def blocks(self, records: Iterator[Record]) -> Iterator[RawBlock]:
        """Blocks of these records. A block ends where a number is skipped, so that `first_record` tells them all."""
        try:
            for record in records:
                if self.held and not self._goes_on(record):
                    yield self._block()
                self.held.append(record)
                self.size += len(record.data)
        except SocError:
            if self.held:  # what came before the damage is not lost
                yield self._block()
            raise
        if self.held:
            yield self._block()

    def _goes_on(self, record: Record) -> bool:
        return (
            len(self.held) < self.most
            and self.size + len(record.data) <= MAX_BLOCK_BYTES
            and record.number == self.held[-1].number + 1
        )

    def _block(self) -> RawBlock:
        held, self.held, self.size = self.held, [], 0
        self.seq += 1
        is_cut = any(r.is_cut for r in held)
        return RawBlock.of(
            [r.data for r in held],
            receipt_ns=self.clock.now_ns(), site=self.site, listener=self.listener, peer=self.name, format=self.form,
            origin={**self.origin, "log.file.path": self.name, "first_record": str(held[0].number)},
            flags=bytes(OVERSIZE if r.is_cut else 0 for r in held) if is_cut else b"", node="file", seq=self.seq,
        )  # fmt: skip
