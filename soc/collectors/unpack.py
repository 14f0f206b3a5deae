"""Compressed files as plain streams: gzip, zstd, bzip2 and xz, told by their first bytes; damage and bombs end them."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Protocol

from soc.collectors.compressed import StreamCut, Zstd
from soc.errors import SocError

MAX_EXPANSION = 500
"""A compressed file may grow by this factor (plus `FREE_BYTES`): log text reaches 50, a bomb 1000."""
FREE_BYTES = 64 << 20
XZ_MEMORY = 128 << 20
"""Bytes that an xz dictionary may take (`xz -9` takes 65 MiB)."""
_PIECE = 256 << 10
_INPUT = 64 << 10
_MAGIC = ((b"\x1f\x8b\x08", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz"))


class Damaged(SocError):
    """The compressed data end early or are none; what came before is good."""


def compression(head: bytes) -> str:
    """`gzip`, `zstd`, `bzip2`, `xz`, or nothing."""
    return next((name for magic, name in _MAGIC if head.startswith(magic)), "")


def unpacked(source: BinaryIO, kind: str, limit: int, name: str) -> io.BufferedReader:
    """The plain bytes of a stream of this kind, at most `limit` of them.

    Reading raises Damaged, and SocError when there is more than the limit; `name` begins the sentence.
    """
    raw: Any = _Unpacked(_PIECES[kind](source), limit, name, kind)
    return io.BufferedReader(raw, 1 << 16)


def limit_of(size: int) -> int:
    """How many plain bytes a compressed file of this size may have."""
    return size * MAX_EXPANSION + FREE_BYTES


class _Unpacked(io.RawIOBase):
    def __init__(self, pieces: Iterator[bytes], limit: int, name: str, kind: str) -> None:
        super().__init__()
        self._pieces, self._left, self._name, self._kind = pieces, limit, name, kind
        self._held = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._held:
            self._held = memoryview(self._next())
            self._left -= len(self._held)
            if self._left < 0:
                raise SocError(f"{self._name}: expands more than {MAX_EXPANSION} times", hint="unpack it and look")
        n = min(len(buffer), len(self._held))
        buffer[:n] = self._held[:n]
        self._held = self._held[n:]
        return n

    def _next(self) -> bytes:
        try:
            return next(self._pieces, b"")
        except StreamCut as error:
            raise Damaged(f"{self._name}: unreadable {self._kind} data: {error}") from error
        except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise Damaged(f"{self._name}: damaged {self._kind} data: {error}") from error


class _Codec(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ...) -> bytes: ...


def _gzip(source: BinaryIO) -> Iterator[bytes]:
    inner = gzip.GzipFile(fileobj=source)
    while piece := inner.read1(_PIECE):
        yield piece


def _coded(new: Callable[[], _Codec]) -> Callable[[BinaryIO], Iterator[bytes]]:
    def pieces(source: BinaryIO) -> Iterator[bytes]:
        codec, data = new(), source.read(_INPUT)
        while True:
            if piece := codec.decompress(data, _PIECE):
                yield piece
            data = b""
            if codec.eof:  # another stream, or xz's padding of NULs, may follow
                data = (codec.unused_data or source.read(_INPUT)).lstrip(b"\0")
                while not data and (more := source.read(_INPUT)):
                    data = more.lstrip(b"\0")
                if not data:
                    return
                codec = new()
            elif codec.needs_input and not (data := source.read(_INPUT)):
                raise EOFError("it ends in the middle")

    return pieces


def _zstd(source: BinaryIO) -> Iterator[bytes]:
    data, codec = source.read(_INPUT), Zstd()
    try:
        while data:
            before = len(data)
            piece = codec.take(data)
            data = codec.rest
            if piece:
                yield piece
            if codec.damage is not None:
                raise StreamCut("", str(codec.damage))
            if codec.is_over:
                codec.close()
                codec, data = Zstd(), data or source.read(_INPUT)
            elif len(data) == before or not data:
                more = source.read(_INPUT)
                if not more:
                    raise EOFError("it ends in the middle")
                data += more
    finally:
        codec.close()


_PIECES: dict[str, Callable[[BinaryIO], Iterator[bytes]]] = {
    "gzip": _gzip,
    "zstd": _zstd,
    "bzip2": _coded(bz2.BZ2Decompressor),
    "xz": _coded(lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)),
}
