"""What a tail knows: for each file's content how far it was read, and where it lies now; kept with the queue."""

from __future__ import annotations

import enum
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import orjson

from soc.collectors.unpack import limit_of, unpacked
from soc.model.record import RawBlock
from soc.store import files

ORIGIN = "tail"
"""Key of `RawBlock.origin`: how far the stream was read, with this frame included. So a line is in the queue if and
only if the offset behind it is: both are one frame, which is there whole or not at all."""
HEAD = 1024
LAST = 48
"""Bytes at the beginning, and before the offset, by which content is known again, besides the checksum of all."""
FIRST = 16
"""Bytes by which contents are told apart before files are compared."""
TRAIL = 6
"""Offsets before the present one at which the checksum is known: a copy that was made of a file while it was written,
and cut off from it later (copytruncate), may be a little shorter than what was read."""
_VERSION = 1
_PIECE = 1 << 20

Place = tuple[int, int]
"""Device and inode."""
NOWHERE: Place = (0, 0)


@dataclass
class Mark:
    """How far a stream was read: `offset` in plain bytes, and what was before it. `inside` are `lines.cut`'s flags;
    `trail` the last offsets before, with the checksum of all up to there; `header` what a W3C or Zeek log says of its
    rows; `first` how the content begins (empty: not known)."""

    offset: int = 0
    crc: int = 0
    head_size: int = 0
    head_crc: int = 0
    last: bytes = b""
    inside: int = 0
    trail: tuple[tuple[int, int], ...] = ()
    header: str = ""
    first: bytes = b""

    def after(self, chunk: bytes, inside: int, header: str = "") -> Mark:
        """Behind so many more bytes."""
        lacks = HEAD - self.head_size if self.head_size == self.offset else 0
        more = chunk[: max(lacks, 0)]
        return Mark(
            self.offset + len(chunk), zlib.crc32(chunk, self.crc), self.head_size + len(more),
            zlib.crc32(more, self.head_crc), (self.last + chunk[-LAST:])[-LAST:], inside,
            (*self.trail, (self.offset, self.crc))[-TRAIL:] if self.offset else (), header or self.header,
            (self.first + chunk[:FIRST])[:FIRST] if len(self.first) == self.offset else self.first,
        )  # fmt: skip

    def to_document(self) -> dict[str, Any]:
        """For JSON."""
        return {"offset": self.offset, "crc": self.crc, "head": [self.head_size, self.head_crc],
                "last": self.last.hex(), "inside": self.inside, "trail": self.trail, "header": self.header,
                "first": self.first.hex()}  # fmt: skip

    @classmethod
    def of(cls, document: dict[str, Any]) -> Mark:
        """The inverse of `to_document`."""
        head_size, head_crc = document["head"]
        return cls(document["offset"], document["crc"], head_size, head_crc, bytes.fromhex(document["last"]),
                   document["inside"], tuple((offset, crc) for offset, crc in document["trail"]),
                   document["header"], bytes.fromhex(document.get("first", "")))  # fmt: skip


class Where(NamedTuple):
    """Where a content lies; `packed` is its compression; the place is `NOWHERE` when nobody knows."""

    path: str
    place: Place
    packed: str = ""


@dataclass
class Stream:
    """The content of one file, through all the names it has. `name` is the path under which it was met: its peer.

    `mark` says how far it was read, `kept` how far the queue has it. `given` and `settled` count blocks, the first by
    the thread that reads and the second by the one that commits. The rest is memory of this process: `source` is open,
    times are monotonic seconds.
    """

    id: str
    name: str
    where: Where
    code: str = ""
    is_finished: bool = False
    seen_at: int = 0
    stamp: int = 0
    mark: Mark = field(default_factory=Mark)
    kept: Mark = field(default_factory=Mark)
    given: int = 0
    settled: int = 0
    source: Source | None = None
    opened_at: float = 0.0
    grew_at: float = 0.0
    size: int = 0
    waiting: int = 0
    waits_since: float = 0.0
    nul_to: int = 0
    before: Stream | None = None
    next_search: float = 0.0
    search_pause: float = 0.5

    def to_document(self, mark: Mark) -> dict[str, Any]:
        """Where it lies, and this mark of it."""
        path, place, packed = self.where
        return {
            "id": self.id, "name": self.name, "path": shown(path), "place": list(place),
            "packed": packed, "code": self.code, "is_finished": self.is_finished, "seen_at": self.seen_at,
            "stamp": self.stamp, **mark.to_document(),
        }  # fmt: skip

    @classmethod
    def of(cls, document: dict[str, Any]) -> Stream:
        """The inverse of `to_document`."""
        mark = Mark.of(document)
        device, inode = document["place"]
        where = Where(document["path"], (device, inode), document["packed"])
        return cls(
            document["id"], document["name"], where, document["code"],
            document["is_finished"], document["seen_at"], document["stamp"], mark, mark,
        )  # fmt: skip

    def close(self) -> None:
        """Let the file go."""
        if self.source is not None:
            self.source.close()
            self.source = None


def shown(path: str) -> str:
    """A path as text; bytes that are no UTF-8 are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


class Source:
    """An open file, plain or packed, read at offsets of its plain content that only rise."""

    def __init__(self, path: str, packed: str) -> None:
        # A FIFO that took the file's place must not hold us.
        self.fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._file: BinaryIO = os.fdopen(self.fd, "rb", buffering=0)
        self._plain = unpacked(self._file, packed, limit_of(self.status().st_size), path) if packed else None
        self._held, self._at = b"", 0

    def status(self) -> os.stat_result:
        """Of the open file, whatever its name is now."""
        return os.fstat(self.fd)

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes at `offset`; fewer only at the end. Raises OSError and, for packed files, SocError."""
        if self._plain is None:
            return os.pread(self.fd, size, offset)
        while self._at + len(self._held) < offset + size:
            piece = self._plain.read(_PIECE)
            if not piece:
                break
            self._held += piece
            spare = min(offset - self._at, len(self._held))
            if spare > 0:
                self._held, self._at = self._held[spare:], self._at + spare
        return self._held[offset - self._at : offset - self._at + size] if offset >= self._at else b""

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def is_same(source: Source, mark: Mark) -> bool:
    """Whether what lies before the offset in a plain file is still what was read. Raises OSError."""
    if not mark.offset:
        return True
    last = source.read(mark.offset - len(mark.last), len(mark.last))
    return last == mark.last and zlib.crc32(source.read(0, mark.head_size)) == mark.head_crc


class Likeness(enum.Enum):
    """What a file has of a stream: nothing, all that was read (and more, maybe), or a beginning of it."""

    NONE = enum.auto()
    WHOLE = enum.auto()
    SHORTER = enum.auto()


def likeness(path: str, packed: str, mark: Mark) -> Likeness:
    """Compare the content of a file with what was read up to the mark. Raises OSError, SocError."""
    source = Source(path, packed)
    try:
        head = source.read(0, mark.head_size)
        if len(head) == mark.head_size and zlib.crc32(head) != mark.head_crc:
            return Likeness.NONE
        crc, at, known = 0, 0, Likeness.NONE
        for stop, wanted in (*mark.trail, (mark.offset, mark.crc)):
            while at < stop:
                piece = source.read(at, min(_PIECE, stop - at))
                if not piece:
                    return known
                crc, at = zlib.crc32(piece, crc), at + len(piece)
            if crc != wanted:
                return Likeness.NONE
            known = Likeness.SHORTER
        return Likeness.WHOLE
    finally:
        source.close()


def begins_like(path: str, size: int, other: str) -> bool:
    """Whether so many bytes of a plain file are the beginning of another: the first and last MiB of them. OSError."""
    one, two = Source(path, ""), Source(other, "")
    try:
        first, last = min(size, _PIECE), max(size - _PIECE, 0)
        return one.read(0, first) == two.read(0, first) and one.read(last, size - last) == two.read(last, size - last)
    finally:
        one.close()
        two.close()


class Book:
    """All streams, by id and by place; saved as a snapshot that frames of the queue complete."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seq = -1
        self.is_changed = False
        """Whether a snapshot would say more than the last one."""
        self._streams: dict[str, Stream] = {}
        self._at: dict[Place, str] = {}
        self._load()

    def __iter__(self) -> Iterator[Stream]:
        return iter(list(self._streams.values()))

    def __len__(self) -> int:
        return len(self._streams)

    def at(self, place: Place) -> Stream | None:
        """The stream whose content lies there."""
        id = self._at.get(place)
        return self._streams.get(id) if id is not None else None

    def add(self, stream: Stream) -> None:
        """Know a stream; the place is its own from now on, whoever had it before has none."""
        self._streams[stream.id] = stream
        self._claim(stream)

    def move(self, stream: Stream, where: Where) -> None:
        """The content lies elsewhere now."""
        stream.close()
        self._free(stream)
        stream.where = where
        self._claim(stream)

    def leave(self, stream: Stream) -> None:
        """The content is not at its place any more, and nobody knows where it is."""
        self.move(stream, Where(stream.where.path, NOWHERE))

    def remove(self, stream: Stream) -> None:
        """Forget a stream."""
        self.leave(stream)
        self._streams.pop(stream.id, None)

    def _claim(self, stream: Stream) -> None:
        if stream.where.place == NOWHERE:
            return
        other = self.at(stream.where.place)
        if other is not None and other is not stream:
            self.leave(other)
        self._at[stream.where.place] = stream.id

    def _free(self, stream: Stream) -> None:
        if self._at.get(stream.where.place) == stream.id:
            del self._at[stream.where.place]

    # keeping --------------------------------------------------------------------------------------------------------

    def fold(self, frames: Iterable[RawBlock]) -> None:
        """Go on from what the queue holds: a frame's mark counts when it is behind the one that is known."""
        for block in frames:
            self.seq = max(self.seq, block.seq)
            if ORIGIN not in block.origin:
                continue
            fresh = Stream.of(orjson.loads(block.origin[ORIGIN]))
            known = self._streams.get(fresh.id)
            if known is None:
                self.add(fresh)
            elif fresh.mark.offset > known.mark.offset:
                known.mark = known.kept = fresh.mark
                known.is_finished = False

    def save(self, seq: int) -> None:
        """Replace the snapshot: what the queue has up to frame `seq`. Raises StoreError; the old one is whole then."""
        streams = [stream.to_document(stream.kept) for stream in self if stream.kept.offset]
        data = orjson.dumps({"version": _VERSION, "seq": seq, "streams": streams})
        files.replace(self.path, data, what="cannot write the offsets")
        self.seq = seq

    def _load(self) -> None:
        document = files.read_versioned(self.path, _VERSION, "the offsets", "move the file away to read the files anew")
        if document is None:
            return
        self.seq = document["seq"]
        for entry in document["streams"]:
            self.add(Stream.of(entry))
