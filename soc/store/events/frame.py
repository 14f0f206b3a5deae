"""The bytes of a hot file: a file header, then frames of Arrow IPC streams with the cursor inside.

    file  = "SOC-HOT\\0" · u32 version · u32 reserved             (big endian)
    frame = "SOCF" · u32 payload length · u32 crc32(payload) · payload
    payload = u32 header length · header (JSON: upto, parts) · one Arrow IPC stream (LZ4) for each part

A frame whose magic, length or checksum is wrong is damage: the reader looks for the next whole frame behind it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa

from soc.errors import NewerStore, StoreError
from soc.model.position import Partition, Position

VERSION = 1
FILE_MAGIC = b"SOC-HOT\0"
FRAME_MAGIC = b"SOCF"
_FILE = struct.Struct(">8sII")
_FRAME = struct.Struct(">4sII")
_LENGTH = struct.Struct(">I")
FILE_HEADER = _FILE.pack(FILE_MAGIC, VERSION, 0)
FILE_HEADER_SIZE = _FILE.size
FRAME_HEADER_SIZE = _FRAME.size
MAX_PAYLOAD = 1 << 30
_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")

Marks = dict[Partition, Position]


@dataclass(frozen=True)
class Frame:
    """A whole frame: where it starts and ends in its file, and its payload's checksum."""

    start: int
    end: int
    crc: int
    payload: memoryview


def check_file_header(head: bytes, place: str) -> None:
    """Raises NewerStore for a later version, StoreError for what is no hot file."""
    magic, version, _ = _FILE.unpack(head)
    if magic != FILE_MAGIC:
        raise StoreError(f"{place}: this is not a hot file of the event store", hint="move it out of the folder")
    if version > VERSION:
        raise NewerStore(f"{place}: written in format {version}, this soc reads up to {VERSION}", hint="upgrade soc")


def _stream(table: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=_OPTIONS) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def encode(tables: Sequence[Any], upto: Mapping[Partition, Position]) -> bytes:
    """One frame of these tables and marks."""
    streams = [_stream(table) for table in tables]
    header = orjson.dumps(
        {
            "upto": {str(k): str(v) for k, v in upto.items()},
            "parts": [[len(s), t.num_rows] for s, t in zip(streams, tables, strict=True)],
        }
    )
    payload = b"".join((_LENGTH.pack(len(header)), header, *streams))
    if len(payload) > MAX_PAYLOAD:
        raise StoreError(f"an append of {len(payload)} bytes is more than a frame holds", hint="append fewer rows")
    return _FRAME.pack(FRAME_MAGIC, len(payload), zlib.crc32(payload)) + payload


def _header(payload: memoryview) -> tuple[dict[str, Any], int]:
    (length,) = _LENGTH.unpack_from(payload)
    header: dict[str, Any] = orjson.loads(payload[4 : 4 + length])
    return header, 4 + length


def marks(payload: memoryview) -> Marks:
    """The cursor of a frame."""
    return {Partition.parse(k): Position.parse(v) for k, v in _header(payload)[0]["upto"].items()}


def row_count(payload: memoryview) -> int:
    """How many rows a frame holds, without reading them."""
    return sum(rows for _, rows in _header(payload)[0]["parts"])


def tables(payload: memoryview) -> list[Any]:
    """The Arrow tables of a frame."""
    header, at = _header(payload)
    found = []
    for length, _rows in header["parts"]:
        found.append(pa.ipc.open_stream(pa.py_buffer(payload[at : at + length])).read_all())
        at += length
    return found


def _frame_at(data: memoryview, at: int, base: int) -> Frame | None:
    if len(data) - at < FRAME_HEADER_SIZE:
        return None
    magic, length, crc = _FRAME.unpack_from(data, at)
    stop = at + FRAME_HEADER_SIZE + length
    if magic != FRAME_MAGIC or length < 4 or stop > len(data):
        return None
    payload = data[at + FRAME_HEADER_SIZE : stop]
    return Frame(base + at, base + stop, crc, payload) if zlib.crc32(payload) == crc else None


def scan(data: bytes, base: int) -> Iterator[Frame]:
    """The whole frames of `data`, whose first byte stands at offset `base`; gaps between them are damage.

    Nothing is yielded behind the last whole frame: a torn tail is simply not there.
    """
    view = memoryview(data)
    at = 0
    while at < len(data):
        frame = _frame_at(view, at, base)
        if frame is not None:
            yield frame
            at = frame.end - base
            continue
        at = data.find(FRAME_MAGIC, at + 1)
        if at < 0:
            return
