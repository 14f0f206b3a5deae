"""Hot files: the journal and the newest rows at once; one writer per name, any number of readers."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from soc.errors import StoreError, TryAgain
from soc.model.position import Partition, Position
from soc.store import files
from soc.store.events import frame
from soc.store.events.marks import Marks, advance
from soc.store.frames import FRAME_HEADER_SIZE, frame_length, scan

_NAME = re.compile(r"(?P<writer>[A-Za-z0-9_-]{1,64})\.(?P<number>\d{8})\.hot\Z")
WRITER_WAIT_S = 60.0
"""What a writer left when it ended is sealed under its lock; who begins anew under its name waits for that."""
COALESCE, SMALL, GATHERED = 32, 2_048, 4_096
"""So many pieces of fewer rows each are put together, up to so many rows in one."""


def hot_name(writer: str, number: int) -> str:
    """`work-0.00000007.hot`."""
    return f"{writer}.{number:08d}.hot"


def parse_name(name: str) -> tuple[str, int] | None:
    """The writer and number of a hot file's name, or None."""
    match = _NAME.match(name)
    return (match["writer"], int(match["number"])) if match else None


def list_hot(folder: Path) -> list[str]:
    """The names of all hot files, by writer and number."""
    return sorted(entry.name for entry in os.scandir(folder) if parse_name(entry.name))


class _Held:
    """A file held open, so that what lies in it can be read although it has no name, or was sealed meanwhile."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        os.close(self.fd)


def _hold(path: Path) -> _Held:
    return _Held(os.open(path, os.O_RDONLY | os.O_CLOEXEC))


@dataclass(frozen=True)
class Piece:
    """Rows of one dataset in a file, compressed until somebody reads them; @timestamp min to max (µs, inclusive)."""

    dataset: str
    rows: int
    min_us: int
    max_us: int
    schema: Any
    _held: _Held
    _at: int
    _length: int

    def read(self, columns: Collection[str] | None = None) -> Any:
        """The table, or only these of its columns. Raises OSError or ArrowException when it is not there any more."""
        return frame.read(_pread_all(self._held.fd, self._length, self._at), columns)


def _piece(held: _Held, at: int, stream: memoryview) -> Piece:
    table = frame.read(stream, ("@timestamp", "event.dataset"))
    schema = pa.ipc.open_stream(pa.py_buffer(stream)).schema
    return Piece(*_of(table), schema, held, at, len(stream))


def _of(table: Any) -> tuple[str, int, int, int]:
    times = pc.min_max(table.column("@timestamp").cast(pa.int64()))
    dataset = table.column("event.dataset")[0].as_py() if "event.dataset" in table.column_names else ""
    return dataset or "", table.num_rows, times["min"].as_py(), times["max"].as_py()


class Aside:
    """Small pieces of one dataset as one, in a file without a name: to read many costs more than to read much."""

    def __init__(self, folder: Path) -> None:
        with tempfile.TemporaryFile(dir=folder) as file:
            self._held = _Held(os.dup(file.fileno()))
        self._end = 0

    def together(self, pieces: Sequence[Piece]) -> Piece:
        """All their rows. Raises OSError when there is no room for them."""
        table = frame.concat([piece.read() for piece in pieces]).combine_chunks()
        data = frame.stream(table)
        files.write_all(self._held.fd, data)
        at, self._end = self._end, self._end + len(data)
        return Piece(*_of(table), table.schema, self._held, at, len(data))


def _groups(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """Some after the other, each with about `GATHERED` rows."""
    group: list[Piece] = []
    rows = 0
    for piece in pieces:
        if group and rows + piece.rows > GATHERED:
            yield group
            group, rows = [], 0
        group.append(piece)
        rows += piece.rows
    yield group


class HotFile:
    """What is known of one hot file; reads only what was added since. `pieces` are its rows, in the order of append
    but where small ones were put `together`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._held: _Held | None = None
        self._aside: Aside | None = None
        self._forget()

    def _forget(self) -> None:
        self.marks: Marks = {}
        self.counts: Counter[tuple[int, str]] = Counter()
        self.rows, self.damaged, self.end = 0, 0, frame.FILE_HEADER_SIZE
        self.pieces: list[Piece] = []
        self._last: tuple[int, bytes] | None = None

    def refresh(self, *, with_rows: bool = True, gather: bool = False) -> None:
        """Read the frames that came since; raises FileNotFoundError when the file was sealed and removed.

        With `gather`, small pieces are put together.
        """
        held = _hold(self.path)
        # A failed write is rolled back and its place used again, so the last frame known must still stand there.
        if self._last is not None and os.pread(held.fd, len(self._last[1]), self._last[0]) != self._last[1]:
            self._forget()
        self._held = self._held or held
        size = os.fstat(held.fd).st_size
        if size <= self.end:
            return
        if self._last is None:
            frame.check_file_header(os.pread(held.fd, frame.FILE_HEADER_SIZE, 0), str(self.path))
        self._read(size, with_rows)
        if gather:
            with contextlib.suppress(OSError):  # on a full disk they are read where they lie
                self._put_together()

    def _read(self, size: int, with_rows: bool) -> None:
        """Frame by frame: together they may have 32 MiB. Where none begins, the rest is looked through for more."""
        assert self._held is not None
        fd = self._held.fd
        while self.end < size:
            length = frame_length(os.pread(fd, FRAME_HEADER_SIZE, self.end))
            is_whole = 0 < length <= size - self.end
            if not is_whole or not self._take(_pread_all(fd, length, self.end), with_rows):
                self._take(_pread_all(fd, size - self.end, self.end), with_rows)
                return

    def _take(self, data: bytes, with_rows: bool) -> bool:
        """Note the frames in these bytes, which stand at `end`; whether there was one."""
        base = self.end
        assert self._held is not None
        for found in scan(data, base):
            self.damaged += found.start != self.end
            advance(self.marks, frame.marks(found.payload))
            self.counts.update(frame.counts(found.payload))
            self.rows += frame.row_count(found.payload)
            if with_rows:
                at = found.start + FRAME_HEADER_SIZE
                self.pieces += [
                    _piece(self._held, at + start, found.payload[start : start + length])
                    for start, length, _ in frame.parts(found.payload)
                ]
            self.end = found.end
            self._last = (found.start, data[found.start - base : found.start - base + FRAME_HEADER_SIZE])
        return self.end > base

    def _put_together(self) -> None:
        small: dict[str, list[Piece]] = {}
        for piece in self.pieces:
            if piece.rows < SMALL:
                small.setdefault(piece.dataset, []).append(piece)
        for several in small.values():
            for group in _groups(several) if len(several) >= COALESCE else ():
                self._aside = self._aside or Aside(self.path.parent)
                one = self._aside.together(group)
                gone = set(map(id, group))
                self.pieces = [piece for piece in self.pieces if id(piece) not in gone]
                self.pieces.append(one)


def _pread_all(fd: int, length: int, at: int) -> bytes:
    parts = []
    while length:
        part = os.pread(fd, length, at)
        if not part:
            break
        parts.append(part)
        length, at = length - len(part), at + len(part)
    return b"".join(parts)


class HotCache:
    """Hot files of one folder, shared by the threads of a process: rows and marks, or the marks alone."""

    def __init__(self, folder: Path, *, with_rows: bool = True) -> None:
        self._folder, self._with_rows = folder, with_rows
        self._files: dict[str, HotFile] = {}
        self._lock = threading.Lock()

    def snapshot(self) -> tuple[dict[str, list[Piece]], Marks]:
        """The rows of every hot file by name, and the marks of them all, as they stand now."""
        with self._lock:
            self._refresh()
            marks: Marks = {}
            for file in self._files.values():
                advance(marks, file.marks)
            return {name: list(file.pieces) for name, file in self._files.items() if file.pieces}, marks

    def _refresh(self) -> None:
        names = list_hot(self._folder)
        for gone in set(self._files) - set(names):
            del self._files[gone]
        for name in names:
            file = self._files.setdefault(name, HotFile(self._folder / name))
            try:
                file.refresh(with_rows=self._with_rows, gather=self._with_rows)
            except FileNotFoundError:
                # Sealed between the listing and the reading: the manifest, read after this, has its rows.
                del self._files[name]

    def counts(self) -> dict[str, Counter[tuple[int, str]]]:
        """What was counted with the rows of every hot file, by its name, as of now."""
        with self._lock:
            self._refresh()
            return {name: Counter(file.counts) for name, file in self._files.items()}


class HotWriter:
    """The one writer of `<writer>.<n>.hot`. Not for several threads at once.

    `first_number` says which one comes behind those that were sealed; it is asked when nobody can seal another.
    Raises TryAgain when another process has the name, NewerStore when the files are of a later version.
    """

    def __init__(self, folder: Path, writer: str, first_number: Callable[[], int], now_ns: int) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", writer):
            raise StoreError(f"writer '{writer}' may only have letters, digits, '_' and '-'")
        self.writer, self._folder = writer, folder
        self._fd, self._broken = -1, False
        lock = files.lock_within(folder / f"{writer}.lock", WRITER_WAIT_S)
        if lock is None:
            raise TryAgain(f"event store writer '{writer}' is in use by another process", hint="choose another name")
        self._lock_fd = lock
        try:
            self._open(first_number(), now_ns)
        except BaseException:
            self.close()
            raise

    def _open(self, first_number: int, now_ns: int) -> None:
        mine = [n for w, n in filter(None, map(parse_name, list_hot(self._folder))) if w == self.writer]
        number = max([first_number, *mine])
        if number in mine:
            try:
                self._reopen(number, now_ns)
            except OSError as error:
                raise files.store_error(error, f"opening {hot_name(self.writer, number)}") from error
        else:
            self._create(number, now_ns)

    def _reopen(self, number: int, now_ns: int) -> None:
        path = self._folder / hot_name(self.writer, number)
        if path.stat().st_size < frame.FILE_HEADER_SIZE:
            path.unlink()  # its creation never finished
            self._create(number, now_ns)
            return
        known = HotFile(path)
        known.refresh(with_rows=False)
        frame.check_file_header(path.read_bytes()[: frame.FILE_HEADER_SIZE], str(path))
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        if os.fstat(self._fd).st_size > known.end:
            os.ftruncate(self._fd, known.end)  # the torn tail was never acknowledged
        os.lseek(self._fd, known.end, os.SEEK_SET)
        os.fsync(self._fd)
        self.number, self.rows, self._length, self._born_ns = number, known.rows, known.end, now_ns

    def _create(self, number: int, now_ns: int) -> None:
        path = self._folder / hot_name(self.writer, number)
        fd = -1
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
            files.write_all(fd, frame.FILE_HEADER)
            os.fsync(fd)
            files.sync_folder(self._folder)
        except OSError as error:
            if fd >= 0:
                os.close(fd)
                path.unlink(missing_ok=True)
            raise files.store_error(error, f"creating {path.name}") from error
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self.number, self.rows = fd, number, 0
        self._length, self._born_ns = frame.FILE_HEADER_SIZE, now_ns

    def append(self, tables: Sequence[Any], upto: Mapping[Partition, Position], counted: frame.Counts) -> None:
        """One frame, one write, one fdatasync. Raises DiskFull or StoreError, and then nothing was stored."""
        if self._broken:
            raise StoreError(
                f"{hot_name(self.writer, self.number)} could not be rolled back", hint="restart the writer"
            )
        data = frame.encode(tables, upto, counted)
        try:
            files.write_all(self._fd, data)
            self._sync()
        except OSError as error:
            self._roll_back()
            raise files.store_error(error, f"writing {hot_name(self.writer, self.number)}") from error
        self._length += len(data)
        self.rows += sum(t.num_rows for t in tables)

    def _sync(self) -> None:
        os.fdatasync(self._fd)

    def _roll_back(self) -> None:
        try:
            os.ftruncate(self._fd, self._length)
            os.lseek(self._fd, self._length, os.SEEK_SET)
        except OSError:
            self._broken = True  # the frame may or may not be there: only opening the file anew can tell

    def is_due(self, now_ns: int, max_rows: int, max_bytes: int, max_age_ns: int) -> bool:
        """Whether the file is full or old enough to be closed (an empty one never is)."""
        is_full = self.rows >= max_rows or self._length >= max_bytes
        return self.rows > 0 and (is_full or now_ns - self._born_ns >= max_age_ns)

    def roll(self, now_ns: int) -> None:
        """Close this file for good and begin the next."""
        if self._broken:
            raise StoreError(
                f"{hot_name(self.writer, self.number)} could not be rolled back", hint="restart the writer"
            )
        self._create(self.number + 1, now_ns)

    def close(self) -> None:
        """Let the name go."""
        for fd in (self._fd, self._lock_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._lock_fd = -1
