"""Compressed syslog: zlib, gzip and zstd streams, and single messages (rsyslog's omfwd), expanded within bounds."""

from __future__ import annotations

import re
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


MARK = b"z"
"""What such a message begins with."""


def expand_messages(records: list[bytes], flags: dict[int, int], max_bytes: int) -> None:
    """Replace messages of omfwd's `compression.mode="single"` (`z` and a zlib stream) by their text, in place.

    One that expands beyond `max_bytes` is cut and flagged OVERSIZE; one that is damaged stays as it came.
    """
    for i, record in enumerate(records):
        if record[:1] == MARK:
            records[i], bits = expanded(record, max_bytes)
            if bits:
                flags[i] = flags.get(i, 0) | bits


def expanded(record: bytes, max_bytes: int) -> tuple[bytes, int]:
    """The text of one such message and its flags; what is none stays as it is."""
    if not record.startswith(_SINGLE):
        return record, 0
    try:
        text = zlib.decompressobj().decompress(memoryview(record)[1:], max_bytes + 1)
    except zlib.error:
        return record, 0
    return (text[:max_bytes], OVERSIZE) if len(text) > max_bytes else (text, 0)


# streams --------------------------------------------------------------------------------------------------------------


class _Codec(Protocol):
    is_over: bool
    damage: Exception | None
    rest: bytes

    def take(self, data: bytes) -> bytes: ...

    def close(self) -> None: ...


class _Deflate:
    """zlib and gzip. After `take`, `rest` is input not yet used."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
        self.damage: Exception | None = None
        self.is_over = False
        self.rest = b""

    def take(self, data: bytes) -> bytes:
        """Up to `PIECE` of plaintext."""
        if self.damage is not None:
            raise StreamCut(DAMAGED, str(self.damage))
        before = self._inflate.copy()
        try:
            piece = self._inflate.decompress(data, PIECE)
        except zlib.error as error:
            # zlib throws away what it made in this call; the messages before the damage are good.
            self.damage, self.rest = error, data
            return _salvaged(before, data)
        self.is_over = self._inflate.eof
        self.rest = self._inflate.unused_data if self.is_over else self._inflate.unconsumed_tail
        return piece

    def close(self) -> None:
        """Nothing to give back."""


def _salvaged(inflate: zlib._Decompress, data: bytes) -> bytes:
    """What comes out before the damage, up to `PIECE`, found in smaller and smaller steps."""
    found, step = b"", len(data)
    while step and len(found) < PIECE:
        before = inflate.copy()
        try:
            found += inflate.decompress(data[:step], PIECE - len(found))
            data = inflate.unconsumed_tail + data[step:]
        except zlib.error:
            inflate, step = before, step // 2
    return found


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
_PROOF = 64
_LIKE_SYSLOG = re.compile(rb"[<1-9]")
_LARGEST_HEADER = 18
_LARGEST_BLOCK = 128 << 10


class Zstd:
    """zstd (RFC 8878), fed by blocks: each expands to 128 KiB at most, which bounds a piece whatever is in it."""

    def __init__(self) -> None:
        self._expand: zstandard.ZstdDecompressionObj | None = None
        self._window = 0
        self._has_checksum = False
        self.damage: Exception | None = None
        self.is_over = False
        self.rest = b""

    def take(self, data: bytes) -> bytes:
        """Up to `PIECE` and a block of plaintext."""
        if self.damage is not None:
            raise StreamCut(DAMAGED, str(self.damage))
        if self._expand is None:
            return self._begin(data)
        at, pieces, room = 0, [], PIECE
        while room > 0 and not self.is_over and (stop := self._block(data, at)):
            try:
                pieces.append(self._expand.decompress(data[at:stop]))
            except zstandard.ZstdError as error:
                self.damage, self.is_over = error, False  # the frame's last block is not read either
                break
            at, room = stop, room - len(pieces[-1])
        self.rest = data[at:]
        return b"".join(pieces)

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
        try:
            return self._expand.decompress(data[:size])
        except zstandard.ZstdError as error:  # it wants a dictionary, for one
            raise StreamCut(DAMAGED, str(error)) from error

    def _block(self, data: bytes, at: int) -> int:
        """The end of the block that begins here; 0: it is not whole. Notes whether the frame ends with it."""
        if len(data) < at + 3:
            return 0
        head = int.from_bytes(data[at : at + 3], "little")
        is_last, kind, size = bool(head & 1), head >> 1 & 3, head >> 3
        if kind == 3 or size > _LARGEST_BLOCK:
            raise StreamCut(DAMAGED, "no zstd block")
        stop = at + 3 + (1 if kind == 1 else size) + (4 if is_last and self._has_checksum else 0)
        if len(data) < stop:
            return 0
        self.is_over = is_last
        return stop

    def close(self) -> None:
        """Give the window's memory back."""
        _windows.give(self._window)
        self._window, self._expand = 0, None


class Expander:
    """One connection's compressed stream, expanded a piece at a time; a bomb is cut.

    A frame may follow a frame. It is believed to be compressed once what comes out begins like a syslog message, or is
    `_PROOF` bytes long; a damage before that means plain text, which is handed on as it came.
    """

    def __init__(self) -> None:
        self._codec: _Codec | None = None
        self._rest = b""
        self._seen = b""  # what came before the first byte of plaintext, in case it is plain text itself
        self._unproven = b""  # and the plaintext so far
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
            self._codec = Zstd() if self._rest.startswith(_ZSTD) else _Deflate()
        codec, before = self._codec, len(self._rest)
        piece = codec.take(self._rest)
        self._rest = codec.rest
        # zlib may hold plaintext back when a piece is full, without input left.
        self._is_full = len(piece) >= PIECE and not codec.is_over
        is_stuck = not piece and len(self._rest) == before
        self._is_starved = is_stuck and not codec.is_over and codec.damage is None
        if codec.is_over:
            self.close()
        return piece if self._is_proven else self._proven(piece, codec.is_over)

    def _proven(self, piece: bytes, is_whole: bool) -> bytes:
        self._unproven += piece
        if not (is_whole or _LIKE_SYSLOG.match(self._unproven) or len(self._unproven) >= _PROOF):
            return b""
        piece, self._unproven, self._seen, self._is_proven = self._unproven, b"", b"", True
        return piece

    def _give_up(self) -> bytes:
        self._is_plain = self._is_proven = True
        self._is_full = False
        self.close()
        piece, self._seen, self._unproven, self._rest = self._seen, b"", b"", b""
        return piece

    def finish(self) -> bytes:
        """At the end of the connection: plain text that looked as if it began a compressed stream."""
        return b"" if self._is_proven else self._give_up()

    def close(self) -> None:
        """Free the codec."""
        if self._codec is not None:
            self._codec.close()
            self._codec = None
