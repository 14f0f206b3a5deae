"""Frames with a checksum, one behind the other in a file, for records that are appended: whole or not there.

    frame = "SOCF" · u32 payload length · u32 crc32(payload) · payload             (big endian)

A frame whose magic, length or checksum is wrong is damage: the reader looks for the next whole frame behind it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from soc.errors import StoreError

FRAME_MAGIC = b"SOCF"
MAX_PAYLOAD = 1 << 30
_FRAME = struct.Struct(">4sII")
FRAME_HEADER_SIZE = _FRAME.size


@dataclass(frozen=True)
class Frame:
    """A whole frame: where it starts and ends in its file, and its payload's checksum."""

    start: int
    end: int
    crc: int
    payload: memoryview


def framed(payload: bytes) -> bytes:
    """The payload as a frame. Raises StoreError when it is larger than a frame holds."""
    if len(payload) > MAX_PAYLOAD:
        raise StoreError(f"an append of {len(payload)} bytes is more than a frame holds", hint="append fewer rows")
    return _FRAME.pack(FRAME_MAGIC, len(payload), zlib.crc32(payload)) + payload


def frame_length(head: bytes) -> int:
    """How many bytes the frame has that begins so; 0 when none does."""
    if len(head) < FRAME_HEADER_SIZE:
        return 0
    magic, length, _ = _FRAME.unpack_from(head)
    return FRAME_HEADER_SIZE + int(length) if magic == FRAME_MAGIC else 0


def _frame_at(data: memoryview, at: int, base: int) -> Frame | None:
    if len(data) - at < FRAME_HEADER_SIZE:
        return None
    magic, length, crc = _FRAME.unpack_from(data, at)
    stop = at + FRAME_HEADER_SIZE + length
    if magic != FRAME_MAGIC or not length or stop > len(data):
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
