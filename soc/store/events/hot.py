"""Hot files: the journal and the newest rows at once; one writer per name, any number of readers."""

from __future__ import annotations

import os
import re
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from soc.errors import StoreError, TryAgain
from soc.model.position import Partition, Position
from soc.store import files
from soc.store.events import frame
from soc.store.events.marks import Marks, advance
from soc.store.frames import FRAME_HEADER_SIZE, scan

_NAME = re.compile(r"(?P<writer>[A-Za-z0-9_-]{1,64})\.(?P<number>\d{8})\.hot\Z")
COALESCE = 64
"""Chunks a reader keeps before it copies them into one table."""


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


class HotFile:
    """What a reader knows of one hot file; reads only what was added since."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.marks: Marks = {}
        self.counts: Counter[tuple[int, str]] = Counter()
        self.rows = 0
        self.damaged = 0
        self.end = frame.FILE_HEADER_SIZE
        self._last: tuple[int, bytes] | None = None
        self._tables: list[Any] = []

    def _forget(self) -> None:
        self.marks, self.counts, self.rows, self.damaged = {}, Counter(), 0, 0
        self.end, self._last, self._tables = frame.FILE_HEADER_SIZE, None, []

    def refresh(self, *, decode: bool = True) -> None:
        """Read the frames that came since; raises FileNotFoundError when the file was sealed and removed."""
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            # A failed write is rolled back and its place used again, so the last frame known must still stand there.
            if self._last is not None and os.pread(fd, len(self._last[1]), self._last[0]) != self._last[1]:
                self._forget()
            size = os.fstat(fd).st_size
            if size <= self.end:
                return
            if self._last is None:
                frame.check_file_header(os.pread(fd, frame.FILE_HEADER_SIZE, 0), str(self.path))
            self._read(_pread_all(fd, size - self.end, self.end), decode)
        finally:
            os.close(fd)

    def _read(self, data: bytes, decode: bool) -> None:
        base = self.end
        for found in scan(data, base):
            self.damaged += found.start != self.end
            advance(self.marks, frame.marks(found.payload))
            self.counts.update(frame.counts(found.payload))
            self.rows += frame.row_count(found.payload)
            if decode:
                self._tables.extend(frame.tables(found.payload))
            self.end = found.end
            self._last = (found.start, data[found.start - base : found.start - base + FRAME_HEADER_SIZE])
        if len(self._tables) > COALESCE:
            self._tables = [concat(self._tables).combine_chunks()]

    def table(self) -> Any | None:
        """All rows, in the order of append, or None."""
        return concat(self._tables) if self._tables else None


def _pread_all(fd: int, length: int, at: int) -> bytes:
    parts = []
    while length:
        part = os.pread(fd, length, at)
        if not part:
            break
        parts.append(part)
        length, at = length - len(part), at + len(part)
    return b"".join(parts)


def concat(tables: Sequence[Any]) -> Any:
    """One table; columns that some lack are missing there."""
    return tables[0] if len(tables) == 1 else pa.concat_tables(tables, promote_options="default")


class HotCache:
    """Hot files of one folder, shared by the threads of a process: decoded, or (not `decode`) their marks alone."""

    def __init__(self, folder: Path, *, decode: bool = True) -> None:
        self._folder, self._decode = folder, decode
        self._files: dict[str, HotFile] = {}
        self._lock = threading.Lock()

    def snapshot(self) -> tuple[dict[str, Any], Marks]:
        """Every hot file's table by name, and the marks of them all, as they stand now."""
        with self._lock:
            self._refresh()
            tables: dict[str, Any] = {}
            marks: Marks = {}
            for name, file in self._files.items():
                advance(marks, file.marks)
                table = file.table()
                if table is not None:
                    tables[name] = table
            return tables, marks

    def _refresh(self) -> None:
        names = list_hot(self._folder)
        for gone in set(self._files) - set(names):
            del self._files[gone]
        for name in names:
            file = self._files.setdefault(name, HotFile(self._folder / name))
            try:
                file.refresh(decode=self._decode)
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

    Raises TryAgain when another process has the name, NewerStore when the files are of a later version.
    """

    def __init__(self, folder: Path, writer: str, first_number: int, now_ns: int) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", writer):
            raise StoreError(f"writer '{writer}' may only have letters, digits, '_' and '-'")
        self.writer, self._folder = writer, folder
        self._fd, self._broken = -1, False
        lock = files.take_lock(folder / f"{writer}.lock")
        if lock is None:
            raise TryAgain(f"event store writer '{writer}' is in use by another process", hint="choose another name")
        self._lock_fd = lock
        try:
            self._open(first_number, now_ns)
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
        known.refresh(decode=False)
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

    def is_due(self, now_ns: int, max_rows: int, max_age_ns: int) -> bool:
        """Whether the file is full or old enough to be closed (an empty one never is)."""
        return self.rows > 0 and (self.rows >= max_rows or now_ns - self._born_ns >= max_age_ns)

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
