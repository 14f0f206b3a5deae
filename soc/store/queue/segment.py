"""Segment files of a disk log: their names, how their frames are walked, and how far they are durable."""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from soc.store.queue.frame import MAX_FRAME, Damage, FrameRef, scan

SUFFIX = ".log"
_CHUNK = 4 * MAX_FRAME
_MARK = struct.Struct("<QQQ")  # first seq of the last segment, its durable bytes, the next seq
_CRC = struct.Struct("<I")
_MARK_SIZE = _MARK.size + _CRC.size


def segment_name(first_seq: int) -> str:
    """`00000000000000000042.log`: every frame inside has this sequence number or a higher one."""
    return f"{first_seq:020d}{SUFFIX}"


def segments(folder: Path) -> list[int]:
    """The first sequence numbers of the segments in a node's folder, rising; empty when there is no folder."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return sorted(int(name[: -len(SUFFIX)]) for name in names if name.endswith(SUFFIX))


def nodes(root: Path, log: str) -> list[str]:
    """The nodes that wrote to this log, by name."""
    try:
        return sorted(entry.name for entry in os.scandir(root / log) if entry.is_dir())
    except FileNotFoundError:
        return []


def walk(fd: int, offset: int, limit: int, *, last_seq: int = -1, final: bool) -> Iterator[FrameRef | Damage]:
    """The frames between two byte offsets of a segment, verified; see `scan` for `final` and the errors."""
    while offset < limit:
        buffer = os.pread(fd, min(_CHUNK, limit - offset), offset)
        if not buffer:
            return
        reaches_end = offset + len(buffer) >= limit
        before = offset
        for item in scan(buffer, offset, last_seq=last_seq, final=final and reaches_end):
            yield item
            offset = item.offset + item.size
            if isinstance(item, FrameRef):
                last_seq = item.seq
        if offset > before:
            continue
        if reaches_end:
            return
        # Four times the largest frame and none in it: damage; the last frame's length may still begin a good one.
        skipped = len(buffer) - MAX_FRAME
        yield Damage(offset, skipped)
        offset += skipped


@dataclass(frozen=True)
class Mark:
    """Up to where a node's log is durable: `length` bytes of the segment `first_seq`, all segments before it whole."""

    first_seq: int
    length: int
    next_seq: int


class MarkFile:
    """The mark, shared with readers through a page of memory, so that none of them sees a frame that may yet vanish.

    It needs no fsync: kill -9 leaves the page; after a power cut an old or missing mark is replaced by `DiskLog`,
    which reads the segments. A value torn by a concurrent write fails its checksum and the reader keeps the last one.
    """

    def __init__(self, path: Path, *, writable: bool) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT if writable else os.O_RDONLY, 0o640)
        try:
            if writable and os.fstat(fd).st_size < _MARK_SIZE:
                # Written, not truncated to size: a hole would fail with SIGBUS when the disk is full.
                os.pwrite(fd, bytes(_MARK_SIZE), 0)
            access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
            self._map = mmap.mmap(fd, _MARK_SIZE, access=access)
        finally:
            os.close(fd)

    def get(self) -> Mark | None:
        """The mark, None when none was written yet or it is just being written."""
        raw = self._map[:_MARK_SIZE]
        if not any(raw) or zlib.crc32(raw[: _MARK.size]) != _CRC.unpack_from(raw, _MARK.size)[0]:
            return None
        return Mark(*_MARK.unpack_from(raw))

    def put(self, mark: Mark) -> None:
        """Let readers go up to here."""
        raw = _MARK.pack(mark.first_seq, mark.length, mark.next_seq)
        self._map[:_MARK_SIZE] = raw + _CRC.pack(zlib.crc32(raw))

    def close(self) -> None:
        """Give the page back."""
        self._map.close()
