"""Compressed syslog: zlib, gzip and zstd streams, and single messages (rsyslog's omfwd), expanded within bounds."""

from __future__ import annotations

import threading
import zlib
from typing import Protocol

import zstandard

from soc.model.record import OVERSIZE

PIECE = 1 << 20
"""Bytes that a stream expands to at once (for zstd a block more, 128 KiB); then the next stage takes them."""
MAX_RATIO = 250
"""A stream may expand to so many times its size, once it is longer than `FREE_BYTES`."""
FREE_BYTES = 8 << 20
MAX_WINDOW = 8 << 20
"""The largest zstd window (`zstd -19`); `--long` makes larger ones."""
MAX_WINDOWS = 64 << 20
"""Memory for the windows of all zstd streams together."""
EXPANSION = "expansion"
DAMAGED = "compression_damaged"
MEMORY = "compression_memory"

_ZLIB = tuple(b"\x78" + level for level in (b"\x01", b"\x5e", b"\x9c", b"\xda"))  # RFC 1950 §2.2, a 32 KiB window
_GZIP = b"\x1f\x8b\x08"
_ZSTD = b"\x28\xb5\x2f\xfd"
_SINGLE = tuple(b"z" + head for head in _ZLIB)
_MAGICS = (*_ZLIB, _GZIP, _ZSTD)


class StreamCut(Exception):
    """The stream is not read further; `reason` is a word for counters."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def could_be(head: bytes) -> bool | None:
    """Whether a connection that begins like this is compressed; None: more bytes decide."""
    if head.startswith(_MAGICS):
        return True
    if any(magic.startswith(head) for magic in _MAGICS):
        return None
    return False


# single messages ------------------------------------------------------------------------------------------------------


def expand_messages(records: list[bytes], flags: dict[int, int], max_bytes: int) -> None:
    """Replace messages of omfwd's `compression.mode="single"` (`z` and a zlib stream) by their text, in place.

    One that expands beyond `max_bytes` is cut and flagged OVERSIZE; one that is damaged stays as it came.
    """
    for i, record in enumerate(records):
        if record[:1] == b"z" and record.startswith(_SINGLE):
            records[i], bits = _expanded(record, max_bytes)
            if bits:
                flags[i] = flags.get(i, 0) | bits


def _expanded(record: bytes, max_bytes: int) -> tuple[bytes, int]:
    try:
        text = zlib.decompressobj().decompress(memoryview(record)[1:], max_bytes + 1)
    except zlib.error:
        return record, 0
    return (text[:max_bytes], OVERSIZE) if len(text) > max_bytes else (text, 0)


# streams --------------------------------------------------------------------------------------------------------------


class _Codec(Protocol):
    is_over: bool
    rest: bytes

    def take(self, data: bytes) -> bytes: ...

    def close(self) -> None: ...


class _Deflate:
    """zlib and gzip. After `take`, `rest` is input not yet used."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
        self.is_over = False
        self.rest = b""

    def take(self, data: bytes) -> bytes:
        """Up to `PIECE` of plaintext."""
        try:
            piece = self._inflate.decompress(data, PIECE)
        except zlib.error as error:
            raise StreamCut(DAMAGED, str(error)) from error
        self.is_over = self._inflate.eof
        self.rest = self._inflate.unused_data if self.is_over else self._inflate.unconsumed_tail
        return piece

    def close(self) -> None:
        """Nothing to give back."""


class _Windows:
    """The memory that zstd streams may take together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._used = 0

    def take(self, size: int) -> bool:
        with self._lock:
            if self._used + size > MAX_WINDOWS:
                return False
            self._used += size
            return True

    def give(self, size: int) -> None:
        with self._lock:
            self._used -= size


_windows = _Windows()
_LARGEST_HEADER = 18
_LARGEST_BLOCK = 128 << 10


class _Zstd:
    """zstd (RFC 8878), fed by blocks: each expands to 128 KiB at most, which bounds a piece whatever is in it."""

    def __init__(self) -> None:
        self._expand: zstandard.ZstdDecompressionObj | None = None
        self._window = 0
        self._has_checksum = False
        self.is_over = False
        self.rest = b""

    def take(self, data: bytes) -> bytes:
        """Up to `PIECE` and a block of plaintext."""
        if self._expand is None:
            return self._begin(data)
        stop, self.is_over = self._blocks(data)
        self.rest = data[stop:]
        return self._expanded(self._expand, data[:stop])

    def _expanded(self, expand: zstandard.ZstdDecompressionObj, data: bytes) -> bytes:
        try:
            return expand.decompress(data)
        except zstandard.ZstdError as error:
            raise StreamCut(DAMAGED, str(error)) from error

    def _begin(self, data: bytes) -> bytes:
        self.rest = data
        try:
            size = zstandard.frame_header_size(data)
            frame = zstandard.get_frame_parameters(data)
        except (zstandard.ZstdError, ValueError) as error:
            if len(data) < _LARGEST_HEADER:
                return b""  # the header is not whole
            raise StreamCut(DAMAGED, str(error)) from error
        if frame.window_size > MAX_WINDOW:
            raise StreamCut(MEMORY, f"a zstd window of {frame.window_size} bytes, {MAX_WINDOW} are allowed")
        if not _windows.take(frame.window_size):
            raise StreamCut(MEMORY, "too many zstd streams at once")
        self._window, self._has_checksum = frame.window_size, frame.has_checksum
        self._expand = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW).decompressobj()
        self.rest = data[size:]
        return self._expanded(self._expand, data[:size])

    def _blocks(self, data: bytes) -> tuple[int, bool]:
        """The end of the whole blocks to expand now (0: none is), and whether the frame ends with them."""
        at, end, room = 0, 0, PIECE
        while room > 0 and len(data) >= at + 3:
            head = int.from_bytes(data[at : at + 3], "little")
            is_last, kind, size = bool(head & 1), head >> 1 & 3, head >> 3
            if kind == 3 or size > _LARGEST_BLOCK:
                raise StreamCut(DAMAGED, "no zstd block")
            at += 3 + (1 if kind == 1 else size) + (4 if is_last and self._has_checksum else 0)
            if len(data) < at:
                break
            end, room = at, room - (size if kind < 2 else _LARGEST_BLOCK)
            if is_last:
                return end, True
        return end, False

    def close(self) -> None:
        """Give the window's memory back."""
        _windows.give(self._window)
        self._window, self._expand = 0, None


class Expander:
    """One connection's compressed stream, expanded a piece at a time; a bomb is cut.

    A frame may follow a frame. What turns out to be no compressed stream before it gave a byte is handed on as it came.
    """

    def __init__(self) -> None:
        self._codec: _Codec | None = None
        self._rest = b""
        self._seen = b""  # what came before the first byte of plaintext, in case it is plain text itself
        self._is_plain = False
        self._is_proven = False
        self._is_full = False
        self._is_starved = False
        self._consumed = 0
        self._produced = 0

    @property
    def is_behind(self) -> bool:
        """Whether `take` may have more without another `put`."""
        return self._is_full or (bool(self._rest) and not self._is_starved)

    def put(self, data: bytes) -> None:
        """Bytes from the peer."""
        self._rest = self._rest + data if self._rest else data
        self._is_starved = False
        self._consumed += len(data)
        if not self._is_proven:
            self._seen = (self._seen + data)[: PIECE + 1]

    def take(self) -> bytes:
        """The next piece, b"" when there is none before the next `put` or `take`. Raises StreamCut."""
        if self._is_plain:
            piece, self._rest = self._rest, b""
            return piece
        try:
            piece = self._step()
        except StreamCut as error:
            if self._is_proven or error.reason != DAMAGED or len(self._seen) > PIECE:
                raise
            return self._give_up()
        self._produced += len(piece)
        if self._produced > FREE_BYTES and self._produced > MAX_RATIO * self._consumed:
            raise StreamCut(EXPANSION, f"{self._consumed} bytes expand to more than {self._produced}")
        return piece

    def _step(self) -> bytes:
        if self._codec is None:
            kind = could_be(self._rest)
            if kind is None:
                self._is_starved, self._is_full = True, False
                return b""
            if not kind:
                raise StreamCut(DAMAGED, "what follows a compressed stream is none")
            self._codec = _Zstd() if self._rest.startswith(_ZSTD) else _Deflate()
        codec, before = self._codec, len(self._rest)
        piece = codec.take(self._rest)
        self._rest = codec.rest
        # zlib may hold plaintext back when a piece is full, without input left.
        self._is_full = len(piece) >= PIECE and not codec.is_over
        self._is_starved = not piece and len(self._rest) == before
        if piece or codec.is_over:
            self._is_proven, self._seen = True, b""
        if codec.is_over:
            self.close()
        return piece

    def _give_up(self) -> bytes:
        self._is_plain = self._is_proven = True
        self._is_full = False
        self.close()
        piece, self._seen, self._rest = self._seen, b"", b""
        return piece

    def finish(self) -> bytes:
        """At the end of the connection: plain text that looked as if it began a compressed stream."""
        return b"" if self._is_proven else self._give_up()

    def close(self) -> None:
        """Free the codec."""
        if self._codec is not None:
            self._codec.close()
            self._codec = None
