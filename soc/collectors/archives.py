"""What a file holds in the end: through compression and archives (zip, tar), member by member; bounded."""

from __future__ import annotations

import io
import lzma
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from soc.collectors.unpack import MAX_EXPANSION, Damaged, compression, unpacked
from soc.errors import SocError

MAX_DEPTH = 4
"""Archives and compressions inside each other."""
MAX_MEMBERS = 10_000
"""Members of one file, those of inner archives included."""
MAX_DIRECTORY = 8 << 20
"""Bytes of the directory of a zip archive; its reader takes it whole, and makes ten times as much of it."""
MAX_HEADER = 1 << 20
"""Bytes of a tar header that says more of the next member (a long name, attributes)."""
MAX_SPOOL = 4 << 30
"""Bytes of a zip archive that comes as a stream; it is read at its end first, so it waits in a temporary file."""
_HEAD = 1024
_IN_MEMORY = 16 << 20
_COUNTED = 1 << 62
"""No limit of its own: the budget counts."""
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_READING = (
    EOFError, OSError, RuntimeError, NotImplementedError, zlib.error, lzma.LZMAError, zipfile.BadZipFile,
    ValueError, LookupError, OverflowError, struct.error,
)  # fmt: skip
"""What the readers of archives raise for damaged ones; the last four are numbers and names that they do not check."""


@dataclass
class Member:
    """What became of one piece of a file: of the file itself, or of a member of an archive.

    `name` is `archive.zip!inner.log`; `state` is `read`, `skipped` (it holds no records: a link, a device) or `failed`,
    both with the reason in `why`; records that came before a damage count. `passed_over` counts packets of a capture
    that hold no datagram, where datagrams were asked for.
    """

    name: str
    format: str = ""
    records: int = 0
    state: str = "read"
    why: str = ""
    passed_over: int = 0

    def to_document(self) -> dict[str, Any]:
        """For reports."""
        return {"name": self.name, "format": self.format, "records": self.records, "state": self.state, "why": self.why}


class Budget:
    """What one file may still give, through all its layers: plain bytes and members."""

    def __init__(self, limit: int) -> None:
        self.left = limit
        self.members = MAX_MEMBERS

    def take(self, n: int, name: str) -> None:
        """Raises SocError when it is used up."""
        self.left -= n
        if self.left < 0:
            raise SocError(f"{name}: expands more than {MAX_EXPANSION} times", hint="unpack it and look at it")


def shown(name: str) -> str:
    """A name from an archive, safe to print and to keep: control characters escaped, at most 500 characters."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)[:500]


Leaves = Iterator[tuple[Member, io.BufferedReader | None]]


def leaves(stream: BinaryIO, name: str, budget: Budget, depth: int = 0) -> Leaves:
    """The contents that are no archive, each with its stream; None where there is nothing to read, and why.

    A stream is good until the next one is asked for. Damage of an archive is a failed member of its own. Raises
    SocError when the budget is used up.
    """
    try:
        whole, head = _headed(stream)
    except Damaged as error:
        yield Member(name, state="failed", why=str(error)), None
        return
    kind = compression(head)
    is_zip, is_tar = head.startswith(_ZIP), head[257:262] == b"ustar"
    if not (kind or is_zip or is_tar):
        yield Member(name), whole
    elif depth >= MAX_DEPTH:
        yield Member(name, state="failed", why=f"more than {MAX_DEPTH} archives inside each other"), None
    elif kind:
        yield from leaves(_counted(unpacked(whole, kind, _COUNTED, name), name, budget), name, budget, depth + 1)
    else:
        try:
            yield from (_zipped if is_zip else _tarred)(whole, name, budget, depth + 1)
        except (tarfile.TarError, *_READING) as error:
            yield Member(name, state="failed", why=f"damaged archive: {_reason(error)}"), None


def _headed(stream: BinaryIO) -> tuple[io.BufferedReader, bytes]:
    """The stream as it was, and how it begins; a file that can be seeked stays one."""
    if isinstance(stream, io.BufferedReader) and stream.seekable():
        head = stream.read(_HEAD)
        stream.seek(-len(head), io.SEEK_CUR)
        return stream, head
    pieces = b""
    while len(pieces) < _HEAD and (piece := stream.read(_HEAD - len(pieces))):
        pieces += piece
    raw: Any = _Joined(pieces, stream)
    return io.BufferedReader(raw, 1 << 16), pieces


class _Joined(io.RawIOBase):
    """Bytes that were read already, then the rest."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        super().__init__()
        self._head, self._rest = head, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._head:
            n = min(len(buffer), len(self._head))
            buffer[:n], self._head = self._head[:n], self._head[n:]
            return n
        data = self._rest.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _counted(stream: BinaryIO, name: str, budget: Budget) -> io.BufferedReader:
    raw: Any = _Counted(stream, name, budget)
    return io.BufferedReader(raw, 1 << 16)


class _Counted(io.RawIOBase):
    """A stream that takes from the budget; what breaks inside becomes Damaged."""

    def __init__(self, stream: BinaryIO, name: str, budget: Budget) -> None:
        super().__init__()
        self._stream, self._name, self._budget = stream, name, budget

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._stream.read(len(buffer))
        except SocError:
            raise
        except (tarfile.TarError, *_READING) as error:
            raise Damaged(f"{self._name}: damaged: {_reason(error)}") from error
        self._budget.take(len(data), self._name)
        buffer[: len(data)] = data
        return len(data)


def _zipped(stream: io.BufferedReader, name: str, budget: Budget, depth: int) -> Leaves:
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as spool:
        source: Any = stream
        if not stream.seekable():
            size = 0
            while piece := stream.read(1 << 20):
                size += len(piece)
                if size > MAX_SPOOL:
                    raise SocError(f"{name}: a zip archive of more than {MAX_SPOOL} bytes in a stream")
                spool.write(piece)
            source = spool
        with zipfile.ZipFile(_Bounded(source)) as archive:
            for info in archive.infolist():
                if info.filename.endswith("/"):
                    continue
                inner = f"{name}!{shown(info.filename)}"
                mode = info.external_attr >> 16
                if _is_over(budget):
                    yield _too_many(name), None
                    return
                if stat.S_ISLNK(mode):
                    yield Member(inner, state="skipped", why="a link"), None
                elif info.flag_bits & 1:
                    yield Member(inner, state="failed", why="encrypted"), None
                else:
                    yield from _zip_member(archive, info, inner, budget, depth)


class _Bounded:
    """The file of a zip archive as its reader has it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        """Raises BadZipFile for more at once than any member is read with."""
        if size > MAX_DIRECTORY:
            raise zipfile.BadZipFile(f"a directory of {size} bytes")
        return self._file.read(size)


def _zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, inner: str, budget: Budget, depth: int) -> Leaves:
    try:
        opened: Any = archive.open(info)
    except _READING as error:
        yield Member(inner, state="failed", why=_reason(error)), None
        return
    with opened:
        yield from leaves(_counted(opened, inner, budget), inner, budget, depth)


def _tarred(stream: io.BufferedReader, name: str, budget: Budget, depth: int) -> Leaves:
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header) as archive:
        for info in archive:
            if info.isdir():
                continue
            inner = f"{name}!{shown(info.name)}"
            if _is_over(budget):
                yield _too_many(name), None
                return
            opened: Any = archive.extractfile(info) if info.isreg() else None
            if opened is None:
                yield Member(inner, state="skipped", why="a link" if info.issym() or info.islnk() else "no file"), None
            else:
                yield from leaves(_counted(opened, inner, budget), inner, budget, depth)


class _Header(tarfile.TarInfo):
    """The library reads a header that extends another into memory, however long it says it is."""

    def _proc_member(self, tar: tarfile.TarFile) -> Any:
        is_extended = self.type in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE,
                                    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)  # fmt: skip
        if is_extended and self.size > MAX_HEADER:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        return super()._proc_member(tar)  # type: ignore[misc]


def _is_over(budget: Budget) -> bool:
    budget.members -= 1
    return budget.members < 0


def _too_many(name: str) -> Member:
    return Member(name, state="failed", why=f"more than {MAX_MEMBERS} members; those behind are not read")


def _reason(error: Exception) -> str:
    return shown(str(error) or type(error).__name__)
