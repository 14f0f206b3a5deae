"""The bytes of a hot file: a file header, then frames of Arrow IPC streams with the cursor inside.

file  = "SOC-HOT\\0" · u32 version · u32 reserved             (big endian)
frame = as in `soc.store.frames`
payload = u32 header length · header (JSON: upto, parts, counts) · one Arrow IPC stream (LZ4) for each part
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import orjson
import pyarrow as pa

from soc.errors import NewerStore, StoreError
from soc.model.position import Partition, Position
from soc.store.frames import framed

VERSION = 1
FILE_MAGIC = b"SOC-HOT\0"
_FILE = struct.Struct(">8sII")
_LENGTH = struct.Struct(">I")
FILE_HEADER = _FILE.pack(FILE_MAGIC, VERSION, 0)
FILE_HEADER_SIZE = _FILE.size
_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")

Marks = dict[Partition, Position]
Counts = Mapping[tuple[int, str], int]
"""What is counted with the rows, by a moment (µs UTC) and a name of the caller's: `EventStore.counts` adds it up."""


def check_file_header(head: bytes, place: str) -> None:
    """Raises NewerStore for a later version, StoreError for what is no hot file."""
    magic, version, _ = _FILE.unpack(head)
    if magic != FILE_MAGIC:
        raise StoreError(f"{place}: this is not a hot file of the event store", hint="move it out of the folder")
    if version > VERSION:
        raise NewerStore(f"{place}: written in format {version}, this soc reads up to {VERSION}", hint="upgrade soc")


def stream(table: Any) -> bytes:
    """A table as one LZ4 stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=_OPTIONS) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def encode(tables: Sequence[Any], upto: Mapping[Partition, Position], counted: Counts) -> bytes:
    """One frame of these tables, marks and counts."""
    streams = [stream(table) for table in tables]
    header = orjson.dumps(
        {
            "upto": {str(k): str(v) for k, v in upto.items()},
            "parts": [[len(s), t.num_rows] for s, t in zip(streams, tables, strict=True)],
            **({"counts": [[at_us, name, n] for (at_us, name), n in counted.items()]} if counted else {}),
        }
    )
    payload = b"".join((_LENGTH.pack(len(header)), header, *streams))
    return framed(payload)


def _header(payload: memoryview) -> tuple[dict[str, Any], int]:
    (length,) = _LENGTH.unpack_from(payload)
    header: dict[str, Any] = orjson.loads(payload[4 : 4 + length])
    return header, 4 + length


def marks(payload: memoryview) -> Marks:
    """The cursor of a frame."""
    return {Partition.parse(k): Position.parse(v) for k, v in _header(payload)[0]["upto"].items()}


def counts(payload: memoryview) -> dict[tuple[int, str], int]:
    """What was counted with the rows of a frame."""
    return {(at_us, name): n for at_us, name, n in _header(payload)[0].get("counts", ())}


def row_count(payload: memoryview) -> int:
    """How many rows a frame holds, without reading them."""
    return sum(rows for _, rows in _header(payload)[0]["parts"])


def parts(payload: memoryview) -> list[tuple[int, int, int]]:
    """Where each Arrow IPC stream lies in a frame's payload, its length, and how many rows it holds."""
    header, at = _header(payload)
    found = []
    for length, rows in header["parts"]:
        found.append((at, length, rows))
        at += length
    return found


def read(stream: Any, columns: Collection[str] | None = None) -> Any:
    """The table of one stream, or only these of its columns: what is not asked for is not even decompressed."""
    buffer = pa.py_buffer(stream)
    if columns is None:
        return pa.ipc.open_stream(buffer).read_all()
    names = pa.ipc.open_stream(buffer).schema.names
    wanted = [i for i, name in enumerate(names) if name in columns]
    return pa.ipc.open_stream(buffer, options=pa.ipc.IpcReadOptions(included_fields=wanted)).read_all()


def concat(tables: Sequence[Any]) -> Any:
    """One table; columns that some lack are missing there."""
    return tables[0] if len(tables) == 1 else pa.concat_tables(tables, promote_options="default")
