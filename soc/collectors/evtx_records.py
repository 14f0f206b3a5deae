"""Windows event logs (EVTX) to the JSON of their records; also of one that was cut off, dirty or damaged in places."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from itertools import islice
from typing import Any

from evtx import PyEvtxParser

from soc.collectors.blocks import Run
from soc.errors import SocError

MAX_STREAM = 256 << 20
"""Of a stream that cannot seek: it is read into memory first."""
_TOGETHER = 64
_HEADER, _CHUNK = 4096, 65536
"""Octets of the file's header and of each chunk behind it."""
_FIRST, _FREE_AT = 512, 48
"""In a chunk: where its first record is, and where it says that nothing is behind."""


def evtx_runs(stream: io.BufferedReader, name: str) -> Iterator[Run]:
    """The records as evtx_dump has them. Damaged records and chunks are records, too: what is known of the damage is
    kept in their place. Raises SocError for no EVTX."""
    source: Any = stream
    if not stream.seekable():
        data = stream.read(MAX_STREAM + 1)
        if len(data) > MAX_STREAM:
            raise SocError(f"{name}: more than {MAX_STREAM} bytes of EVTX in a stream", hint="unpack it to a file")
        source = io.BytesIO(data)
    cut = _cut_off(source)
    number = 1
    for found in _found(_parsed(source, name)):
        yield Run(list(map(_text, found)), number)
        number += len(found)
    if cut:
        head, rest = cut[:_HEADER], cut[_HEADER:]
        found = [each for some in _found(_parsed(io.BytesIO(head + _made_whole(rest)), name)) for each in some]
        found.append(f"the file ends within a chunk, {len(rest)} of {_CHUNK} octets are there")
        yield Run(list(map(_text, found)), number)


def _made_whole(chunk: bytes) -> bytes:
    """A chunk that was cut off, as one that ends behind the last record which is there as a whole: the reader passes
    over any other. Layout: libyal/libevtx, Windows XML Event Log (EVTX) format."""
    end = _FIRST
    while chunk.startswith(b"**\0\0", end) and len(chunk) >= end + 8:
        (size,) = struct.unpack_from("<I", chunk, end + 4)
        if size < 24 or end + size > len(chunk):
            break
        end += size
    whole = bytearray(chunk[:end].ljust(_CHUNK, b"\0"))
    struct.pack_into("<I", whole, _FREE_AT, end)
    return bytes(whole)


def _cut_off(source: Any) -> bytes:
    """The file's header and the beginning of its last chunk, when that one is not whole; else nothing."""
    size = source.seek(0, io.SEEK_END)
    rest = (size - _HEADER) % _CHUNK if size > _HEADER else 0
    found = b""
    if rest:
        source.seek(0)
        head = source.read(_HEADER)
        source.seek(size - rest)
        tail = source.read(rest)
        found = head + tail if any(tail) else b""
    source.seek(0)
    return found


def _parsed(source: Any, name: str) -> Iterator[Any]:
    try:
        found: Iterator[Any] = PyEvtxParser(source).records_json()
    except (RuntimeError, OSError, ValueError) as error:
        raise SocError(f"{name}: no readable EVTX file: {error}") from error
    return found


def _found(records: Iterator[Any]) -> Iterator[list[Any]]:
    """What the reader gives, many at a time, with the errors that it gives or raises in between."""
    is_end = False
    while not is_end:
        found: list[Any] = []
        try:
            found.extend(islice(records, _TOGETHER))
            is_end = len(found) < _TOGETHER
        except (RuntimeError, OSError, ValueError) as error:  # what came before it is in the list
            found.append(error)
        if found:
            yield found


def _text(record: Any) -> bytes:
    if isinstance(record, dict):
        text: str = record["data"]
        return text.encode("utf-8", "backslashreplace")
    return f"damaged EVTX record: {record}".encode()
