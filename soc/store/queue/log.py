"""`DiskLog`: the one writer of a node's log; what it returned from is on the disk."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from soc.errors import DiskFull, NewerStore, SocError, StoreError, TryAgain
from soc.model.clock import Clock
from soc.model.record import RawBlock
from soc.store.files import make_folder, sync_folder
from soc.store.queue.frame import Damage, FrameRef, decode, newer, parts, split
from soc.store.queue.segment import Mark, MarkFile, segment_name, segments, walk

SEGMENT_BYTES = 64 << 20
"""A segment that has reached this many bytes is followed by a new one."""
MARK_NAME = "durable"
_LOCK_NAME = "lock"
_SEQ_JUMP = 1 << 16
_IOV_MAX = 1024
"""Pieces of one write (limits.h of Linux)."""
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _behind(pieces: list[memoryview], n: int) -> list[memoryview]:
    """What is left of pieces whose first n octets are written."""
    for i, piece in enumerate(pieces):
        if n < len(piece):
            return [piece[n:], *pieces[i + 1 :]]
        n -= len(piece)
    return []


class DiskLog:
    """Appends frames to `<root>/<log>/<node>/<20-digit first seq>.log`. One process and node at a time (flock).

    On opening, a torn end is cut off, damage inside is kept and counted in `damaged` (places), and sequence numbers
    go on; a number that a reader may have seen is never given twice. `max_bytes` is the log's share of the disk;
    `replica` holds another node's frames under their own numbers (`replicate`). A log that is new begins at
    `first_seq`: its readers may remember higher numbers of one that was wiped.
    Raises TryAgain when another process has it open, NewerStore, StoreError.
    """

    def __init__(
        self,
        root: Path,
        log: str,
        node: str,
        clock: Clock,
        *,
        max_bytes: int | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        replica: bool = False,
        first_seq: int = 0,
    ) -> None:
        self.folder = root / log / node
        self._begin = first_seq
        self._replica = replica
        self.log = log
        self.node = node
        self.max_bytes = max_bytes
        self.damaged = 0
        self._clock = clock
        self._segment_bytes = segment_bytes
        self._mutex = threading.Lock()
        self._fd = -1
        self._unclean = False
        self._lock_fd = -1
        self._mark: MarkFile | None = None
        try:
            self._recover(self._claim())
        except OSError as error:
            self.close()
            raise self._failure("open", error) from error
        except NewerStore as error:
            self.close()
            raise newer(self.folder, error) from error
        except SocError:
            self.close()
            raise

    def _claim(self) -> MarkFile:
        make_folder(self.folder)
        self._lock_fd = self._lock()
        self._mark = MarkFile(self.folder / MARK_NAME, writable=True)
        return self._mark

    def _lock(self) -> int:
        fd = os.open(self.folder / _LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o640)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(fd)
            raise TryAgain(
                f"another process writes the log {self.folder}", hint="stop it, or give this node another name"
            ) from error
        return fd

    # opening -------------------------------------------------------------------------------------------------------

    def _recover(self, mark_file: MarkFile) -> None:
        mark = mark_file.get()
        known = segments(self.folder)
        self._next_seq = max(mark.next_seq if mark else 0, known[-1] if known else 0)
        if mark is None and not known:
            self._next_seq = self._begin
        self._used = self._measure()
        if not known:
            self._new_segment()
            return
        self._first_seq = known[-1]
        self._fd = os.open(self._path(), os.O_RDWR)
        self._length = self._recover_segment(mark.length if mark and mark.first_seq == self._first_seq else 0)
        # Frames that were written but not yet synced when the last writer was killed become readable only now.
        os.fdatasync(self._fd)
        self._publish()

    def _recover_segment(self, published: int) -> int:
        """Read the last segment; cut its torn end off, count its damage; returns its length in bytes."""
        size = os.fstat(self._fd).st_size
        good = 0
        for item in walk(self._fd, 0, size, final=False):
            if isinstance(item, Damage):
                self.damaged += 1
            else:
                good = item.offset + item.size
                self._next_seq = max(self._next_seq, item.seq + 1)
        if good == size:
            return size
        if good < published:
            # These bytes were acknowledged once, so they are damage and not a torn write: keep them for examination,
            # and leave their unknown sequence numbers unused.
            self.damaged += 1
            self._next_seq += 0 if self._replica else _SEQ_JUMP
            return size
        os.ftruncate(self._fd, good)
        os.fsync(self._fd)
        return good

    # writing -------------------------------------------------------------------------------------------------------

    def append(self, blocks: Sequence[RawBlock]) -> list[int]:
        """Make the blocks durable with one write and one fdatasync; their frames' sequence numbers, in order.

        A block of more than 4 MiB becomes several frames. On an error nothing of the call stays: raises DiskFull
        (no room, or the share is used up) or StoreError, and the same blocks may be given again.
        """
        with self._mutex:
            if self._fd < 0 and not self._unclean:
                raise StoreError(f"the log {self.folder} is closed")
            pieces = [piece for block in blocks for piece in split(block)]
            first = self._next_seq
            self._durable(
                [part for i, piece in enumerate(pieces) for part in parts(piece, first + i)], first + len(pieces)
            )
            return list(range(first, self._next_seq))

    def replicate(self, blocks: Sequence[RawBlock]) -> list[RawBlock]:
        """Make frames of another node's log durable under their own numbers; the ones that were new.

        What lies at or below `last_seq` was taken before and is passed over, so a batch may be sent again.
        Only for a log opened with `replica`, whose numbers come from elsewhere. Raises as `append` does.
        """
        if not self._replica:
            raise StoreError(f"the log {self.folder} gives its own numbers")
        with self._mutex:
            if self._fd < 0 and not self._unclean:
                raise StoreError(f"the log {self.folder} is closed")
            fresh: list[RawBlock] = []
            last = self._next_seq - 1
            for block in blocks:
                if block.seq > last:
                    fresh.append(block)
                    last = block.seq
            self._durable([part for block in fresh for part in parts(block, block.seq)], last + 1)
            return fresh

    def _durable(self, frames: list[bytes], next_seq: int) -> None:
        size = sum(map(len, frames))
        if not size:
            return
        self._check_share(size)
        try:
            self._restore()
            if self._length >= self._segment_bytes:
                self._new_segment()
            self._write(frames)
        except OSError as error:
            self._roll_back()
            raise self._failure("write", error) from error
        self._length += size
        self._used += size
        self._next_seq = next_seq
        self._publish()

    def _write(self, pieces: Sequence[bytes]) -> None:
        """Raises OSError, then the end of the file is undefined."""
        self._unclean = True
        at = self._length
        for start in range(0, len(pieces), _IOV_MAX):
            left = [memoryview(piece) for piece in pieces[start : start + _IOV_MAX]]
            while left:
                written = os.pwritev(self._fd, left, at)
                at += written
                left = _behind(left, written)
        self._sync()
        self._unclean = False

    def _sync(self) -> None:
        os.fdatasync(self._fd)

    def _roll_back(self) -> None:
        """Best effort now; `_restore` insists on it before the next write."""
        try:
            self._restore()
        except OSError:
            self._unclean = True

    def _restore(self) -> None:
        if not self._unclean:
            return
        os.ftruncate(self._fd, self._length)
        os.fsync(self._fd)
        self._unclean = False

    def _new_segment(self) -> None:
        """Begin the segment of the next sequence number; on OSError the old one stays the current one."""
        path = self.folder / segment_name(self._next_seq)
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o640)
        try:
            os.ftruncate(fd, 0)  # a start that failed at the folder's fsync may have left the name behind
            sync_folder(self.folder)
        except OSError:
            os.close(fd)
            raise
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._first_seq, self._length = fd, self._next_seq, 0
        self._publish()

    def _publish(self) -> None:
        assert self._mark is not None
        self._mark.put(Mark(self._first_seq, self._length, self._next_seq))

    def _path(self) -> Path:
        return self.folder / segment_name(self._first_seq)

    # the share of the disk -----------------------------------------------------------------------------------------

    def _measure(self) -> int:
        total = 0
        for first in segments(self.folder):
            try:
                total += (self.folder / segment_name(first)).stat().st_size
            except FileNotFoundError:
                continue  # trimmed between the listing and now
        return total

    @property
    def used(self) -> int:
        """At most so many bytes of it are on the disk: what was trimmed since the last `measured` still counts."""
        return self._used

    def measured(self) -> int:
        """Bytes of the log on the disk now; consumers trim it."""
        with self._mutex:
            self._used = self._measure()
            return self._used

    def _check_share(self, wanted: int) -> None:
        if self.max_bytes is None or self._used + wanted <= self.max_bytes:
            return
        self._used = self._measure()  # consumers may have trimmed the log meanwhile
        if self._used + wanted > self.max_bytes:
            raise DiskFull(
                f"the log {self.folder} uses {self._used} of its {self.max_bytes} bytes; {wanted} more do not fit",
                hint="let the consumers catch up (soc status), or raise [queue] max_bytes",
            )

    def _failure(self, verb: str, error: OSError) -> StoreError:
        if error.errno in _NO_ROOM:
            return DiskFull(f"cannot {verb} the log {self.folder}: {error.strerror}", hint="free room on the disk")
        return StoreError(f"cannot {verb} the log {self.folder}: {error.strerror}")

    # looking back --------------------------------------------------------------------------------------------------

    @property
    def last_seq(self) -> int:
        """The highest sequence number that is durable, or may have been; -1 in a new log."""
        return self._next_seq - 1

    def frames_after(self, seq: int) -> Iterator[RawBlock]:
        """The log's own durable frames above a sequence number, in order; for accounting after a crash."""
        with self._mutex:
            end = (self._first_seq, self._length)
        known = [first for first in segments(self.folder) if first <= end[0]]
        for i, first in enumerate(known):
            if i + 1 < len(known) and known[i + 1] <= seq + 1:
                continue
            yield from self._segment_frames(first, end[1] if first == end[0] else None, seq)

    def _segment_frames(self, first: int, length: int | None, after: int) -> Iterator[RawBlock]:
        fd = os.open(self.folder / segment_name(first), os.O_RDONLY)
        try:
            for item in walk(fd, 0, os.fstat(fd).st_size if length is None else length, final=True):
                if isinstance(item, FrameRef) and item.seq > after:
                    yield decode(os.pread(fd, item.size, item.offset), node=self.node, log=self.log)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Release the log to another writer; everything appended is durable already."""
        with self._mutex:
            self._unclean = False
            for fd in (self._fd, self._lock_fd):
                if fd >= 0:
                    os.close(fd)
            self._fd = self._lock_fd = -1
            if self._mark:
                self._mark.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
