"""The frame codec of the disk logs: one `RawBlock` as bytes, found again behind damage."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from soc.errors import NewerStore, StoreError
from soc.model.kernel import kernel
from soc.model.position import partition_of
from soc.model.record import OVERSIZE, RawBlock

MAGIC = b"\xf5SOC\x00\r\n\x9d"
"""Eight bytes that are no text in any encoding, so that a search in log text seldom stops on them."""
VERSION = 1
MAX_FRAME = 4 << 20
"""Bytes of the largest frame, everything included."""

_crc32 = zlib.crc32 if kernel is None else kernel.crc32
_PREFIX = struct.Struct("<8sII")  # magic, length of what follows the crc, crc32 of what follows it
_FIXED = struct.Struct("<BBHI")  # version, flags (none is defined yet), zero, length of the header
_COUNT = struct.Struct("<I")
_OVERHEAD = _PREFIX.size + _FIXED.size + _COUNT.size
_PER_RECORD = 8 + 4  # receipt_ns and end
_PER_FLAG = 16  # at most: `[4294967295,255],` in the header


@dataclass(frozen=True)
class FrameRef:
    """Where a frame lies in its segment (bytes), and what a consumer has to know before it reads the records."""

    offset: int
    size: int
    seq: int
    partition: int
    records: int
    first_receipt_ns: int


@dataclass(frozen=True)
class Damage:
    """Bytes of a segment that are no frame."""

    offset: int
    size: int


def newer(folder: Path, error: NewerStore) -> NewerStore:
    """The same refusal with the log's folder in it, which the codec does not know."""
    return NewerStore(f"{folder}: {error}", hint=error.hint)


def split(block: RawBlock) -> Iterator[RawBlock]:
    """The block in pieces that each fit a frame, in order; a record that alone is larger is cut and flagged."""
    budget = MAX_FRAME - _OVERHEAD - len(_header(block, 2**63, flagged=False)) - _PER_FLAG
    if budget <= _PER_RECORD:
        raise StoreError(f"the origin of a block of {block.source} is too large for a frame")
    per_record = _PER_RECORD + (_PER_FLAG if block.flags else 0)
    if block.n and len(block.data) + block.n * per_record <= budget:
        yield block
        return
    total = block.end + np.arange(1, block.n + 1, dtype=np.int64) * per_record
    start = 0
    while start < block.n:
        base = int(total[start - 1]) if start else 0
        stop = int(np.searchsorted(total, base + budget, side="right"))
        yield _part(block, start, stop) if stop > start else _cut(block, start, budget - _PER_RECORD)
        start = max(stop, start + 1)


def _part(block: RawBlock, start: int, stop: int) -> RawBlock:
    first = int(block.end[start - 1]) if start else 0
    last = int(block.end[stop - 1])
    return replace(
        block,
        receipt_ns=block.receipt_ns[start:stop],
        end=(block.end[start:stop] - np.uint32(first)).astype(np.uint32),
        data=block.data[first:last],
        flags=block.flags[start:stop],
        origin=_moved(block, start),
    )


def _moved(block: RawBlock, start: int) -> dict[str, str]:
    """The origin of the piece that begins at record `start`: `first_record` counts on."""
    origin = dict(block.origin)
    if start and "first_record" in origin:
        origin["first_record"] = str(int(origin["first_record"]) + start)
    return origin


def _cut(block: RawBlock, i: int, limit: int) -> RawBlock:
    piece = _part(block, i, i + 1)
    flags = bytes([(piece.flags[0] if piece.flags else 0) | OVERSIZE])
    return replace(piece, data=piece.data[:limit], end=np.array([limit], np.uint32), flags=flags)


def _header(block: RawBlock, seq: int, *, flagged: bool = True) -> bytes:
    try:
        header: dict[str, Any] = {
            "seq": seq,
            "site": block.site,
            "listener": block.listener,
            "peer": block.peer,
            "partition": partition_of(block.site, block.listener, block.peer),
            "format": block.format,
        }
        if block.origin:
            header["origin"] = dict(block.origin)
        if flagged and any(block.flags):
            header["flags"] = [[i, bits] for i, bits in enumerate(block.flags) if bits]
        return orjson.dumps(header)
    except (TypeError, UnicodeEncodeError) as error:
        raise StoreError(f"a block of {block.source!r} cannot be stored: {error}") from error


def encode(block: RawBlock, seq: int) -> bytes:
    """One frame, little-endian; the block must come out of `split`. Raises StoreError for text that is not Unicode."""
    return b"".join(parts(block, seq))


def parts(block: RawBlock, seq: int) -> tuple[bytes, bytes, bytes]:
    """The same frame in pieces that stand one behind another, without a copy of the records."""
    header = _header(block, seq)
    head = b"".join(
        (
            _FIXED.pack(VERSION, 0, 0, len(header)),
            header,
            _COUNT.pack(block.n),
            np.ascontiguousarray(block.receipt_ns, "<i8").tobytes(),
            np.ascontiguousarray(block.end, "<u4").tobytes(),
        )
    )
    crc = _crc32(block.data, zlib.crc32(head))
    return _PREFIX.pack(MAGIC, len(head) + len(block.data), crc), head, block.data


def decode(frame: bytes | memoryview, *, node: str, log: str) -> RawBlock:
    """The block of one whole frame whose checksum `scan` has verified."""
    _, _, _, length = _FIXED.unpack_from(frame, _PREFIX.size)
    at = _PREFIX.size + _FIXED.size
    header = orjson.loads(frame[at : at + length])
    at += length
    (n,) = _COUNT.unpack_from(frame, at)
    at += _COUNT.size
    receipt = np.frombuffer(frame, "<i8", n, at).astype(np.int64)
    end = np.frombuffer(frame, "<u4", n, at + 8 * n).astype(np.uint32)
    return RawBlock(
        header["site"],
        header["listener"],
        header["peer"],
        header["format"],
        receipt,
        end,
        bytes(frame[at + _PER_RECORD * n :]),
        header.get("origin", {}),
        _flags(n, header.get("flags", ())),
        node,
        log,
        header["seq"],
    )


def _flags(n: int, pairs: list[list[int]]) -> bytes:
    if not pairs:
        return b""
    flags = bytearray(n)
    for i, bits in pairs:
        flags[i] = bits
    return bytes(flags)


def scan(buffer: bytes, base: int = 0, *, last_seq: int = -1, final: bool) -> Iterator[FrameRef | Damage]:
    """The frames of a piece of a segment that begins at a frame, at byte `base` of the segment.

    Sequence numbers must rise above `last_seq`. Behind damage the next valid frame is looked for. `final` says that
    no more bytes will follow, so that an incomplete end is damage; without it the iteration just ends there.
    Raises NewerStore.
    """
    at = 0
    while at < len(buffer):
        ref = _frame_at(buffer, at, base, last_seq)
        if ref is None:
            found = _next_frame(buffer, at, base, last_seq)
            if found is None:
                # Without `final` a writer may still be in the middle of it, however the first bytes look.
                if final:
                    yield Damage(base + at, len(buffer) - at)
                return
            yield Damage(base + at, found.offset - base - at)
            ref = found
        yield ref
        last_seq = ref.seq
        at = ref.offset - base + ref.size


def _next_frame(buffer: bytes, at: int, base: int, last_seq: int) -> FrameRef | None:
    # The damaged frame's own length is tried first: then text inside it that looks like a frame is never believed.
    if len(buffer) - at >= _PREFIX.size:
        magic, length, _ = _PREFIX.unpack_from(buffer, at)
        ref = _frame_at(buffer, at + _PREFIX.size + length, base, last_seq) if magic == MAGIC else None
        if ref is not None:
            return ref
    at = buffer.find(MAGIC, at + 1)
    while at >= 0:
        ref = _frame_at(buffer, at, base, last_seq)
        if ref is not None:
            return ref
        at = buffer.find(MAGIC, at + 1)
    return None


def _frame_at(buffer: bytes, at: int, base: int, last_seq: int) -> FrameRef | None:
    if len(buffer) - at < _OVERHEAD:
        return None
    magic, length, crc = _PREFIX.unpack_from(buffer, at)
    start = at + _PREFIX.size
    if magic != MAGIC or not _OVERHEAD - _PREFIX.size <= length <= MAX_FRAME or start + length > len(buffer):
        return None
    if zlib.crc32(memoryview(buffer)[start : start + length]) != crc:
        return None
    version, flags, _, header_length = _FIXED.unpack_from(buffer, start)
    if version > VERSION or flags:
        raise NewerStore(
            f"the log has a frame of version {version}, flags {flags}; this soc reads up to version {VERSION}",
            hint="install the version of soc that wrote it",
        )
    return _ref(buffer, at, base, start + _FIXED.size, header_length, _PREFIX.size + length, last_seq)


def _ref(
    buffer: bytes, at: int, base: int, header_at: int, header_length: int, size: int, last_seq: int
) -> FrameRef | None:
    count_at = header_at + header_length
    if count_at + _COUNT.size > at + size:
        return None
    (n,) = _COUNT.unpack_from(buffer, count_at)
    if count_at + _COUNT.size + _PER_RECORD * n > at + size:
        return None
    try:
        header = orjson.loads(memoryview(buffer)[header_at:count_at])
        seq, partition = int(header["seq"]), int(header["partition"])
    except (ValueError, KeyError, TypeError):
        return None
    if seq <= last_seq:
        return None
    first = struct.unpack_from("<q", buffer, count_at + _COUNT.size)[0] if n else 0
    return FrameRef(base + at, size, seq, partition, n, first)
