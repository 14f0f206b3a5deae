"""Files to raw blocks: text lines, JSON lines and EVTX; nothing is dropped, sizes are bounded."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from evtx import PyEvtxParser

from soc.errors import UsageError
from soc.model.clock import Clock
from soc.model.record import OVERSIZE, RawBlock

FORMATS_BUILT = ("auto", "lines", "json", "evtx")
FORMATS_PLANNED = ("xml", "pcap")
MAX_RECORD = 1 << 20
"""A longer line is cut here and flagged."""


def detect_format(head: bytes) -> str:
    """`evtx` by its signature, `json` when the first character is a brace, else `lines`."""
    if head.startswith(b"ElfFile\x00"):
        return "evtx"
    return "json" if head.lstrip()[:1] == b"{" else "lines"


def read_blocks(
    path: Path | None, *, clock: Clock, format: str = "auto", site: str = "default", max_records: int = 4096
) -> Iterator[RawBlock]:
    """The records of a file (None: standard input) in order. Raises UsageError for a format not built, OSError."""
    if format not in FORMATS_BUILT:
        state = "is not built yet" if format in FORMATS_PLANNED else "is unknown"
        raise UsageError(f"format '{format}' {state}; one of {', '.join(FORMATS_BUILT)}")
    with _open(path) as stream:
        head = stream.peek(64)[:64]
        chosen = detect_format(head) if format == "auto" else format
        records = _evtx(stream) if chosen == "evtx" else _lines(stream)
        yield from _blocks(records, str(path or "-"), _FORM[chosen], site, clock, max_records)


_FORM = {"evtx": "windows-json", "json": "json", "lines": "lines"}


def _open(path: Path | None) -> Any:
    if path is None:
        return sys.stdin.buffer
    stream = path.open("rb")
    if stream.peek(2)[:2] == b"\x1f\x8b":
        stream.close()
        return gzip.open(path, "rb")
    return stream


def _lines(stream: IO[bytes]) -> Iterator[tuple[bytes, bool]]:
    while line := stream.readline(MAX_RECORD + 1):
        oversize = len(line) > MAX_RECORD and not line.endswith(b"\n")
        yield line.rstrip(b"\r\n")[:MAX_RECORD], oversize
        while oversize and (more := stream.readline(MAX_RECORD)) and not more.endswith(b"\n"):
            pass


def _evtx(stream: IO[bytes]) -> Iterator[tuple[bytes, bool]]:
    for record in PyEvtxParser(stream).records_json():
        if isinstance(record, Exception):  # a damaged record stays visible
            yield f"damaged EVTX record: {record}".encode(), False
        else:
            yield record["data"].encode(), False


def _blocks(
    records: Iterator[tuple[bytes, bool]], name: str, form: str, site: str, clock: Clock, most: int
) -> Iterator[RawBlock]:
    first, seq = 1, 0
    batch: list[tuple[bytes, bool]] = []
    for record in records:
        batch.append(record)
        if len(batch) >= most:
            yield _block(batch, name, form, site, clock, first, seq)
            first, seq, batch = first + len(batch), seq + 1, []
    if batch:
        yield _block(batch, name, form, site, clock, first, seq)


def _block(
    batch: list[tuple[bytes, bool]], name: str, form: str, site: str, clock: Clock, first: int, seq: int
) -> RawBlock:
    return RawBlock.of(
        [record for record, _ in batch], receipt_ns=clock.now_ns(), site=site, listener="file", peer=name,
        format=form, origin={"log.file.path": name, "first_record": str(first)},
        flags=bytes(OVERSIZE if cut else 0 for _, cut in batch), node="file", seq=seq,
    )  # fmt: skip
