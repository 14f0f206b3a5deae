"""A state that is kept in one file as a whole and the changes after it, so that a save costs what changed."""

from __future__ import annotations

import os
from pathlib import Path

from soc.errors import StoreError
from soc.store import files
from soc.store.frames import framed, scan

LEAST_BYTES = 1 << 20
"""So much of changes is kept however small the whole is."""


class Journal:
    """For one writer. `read` it first, then `append` changes; when `wants_whole`, only `replace` is left.

    The whole is the first frame of the file. `what` names the state in errors, `way_out` says what to do when it is
    damaged.
    """

    def __init__(self, path: Path, what: str, way_out: str) -> None:
        self.path, self._what, self._way_out = path, what, way_out
        self._fd = -1
        self._whole_bytes = self._bytes = 0

    @property
    def wants_whole(self) -> bool:
        """There is no file yet, an append failed, or the changes have become more than the whole."""
        return self._fd < 0 or self._bytes - self._whole_bytes > max(self._whole_bytes, LEAST_BYTES)

    def read(self) -> list[bytes]:
        """The whole and the changes after it, oldest first; empty when there is none yet.

        What an append that never came to its end left behind is cut off. Raises StoreError for damage before that.
        """
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
            data = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise files.store_error(error, f"cannot read {self._what} {self.path}") from error
        found: list[bytes] = []
        for frame in scan(data, 0):
            if frame.start != self._bytes:
                break
            found.append(bytes(frame.payload))
            self._bytes = frame.end
            self._whole_bytes = self._whole_bytes or frame.end
        else:
            if found:
                self._cut()
                return found
        raise StoreError(f"{self._what} {self.path} is damaged at byte {self._bytes}", hint=self._way_out)

    def _cut(self) -> None:
        try:
            os.ftruncate(self._fd, self._bytes)
        except OSError as error:
            raise files.store_error(error, f"cannot mend {self._what} {self.path}") from error

    def append(self, changes: bytes) -> None:
        """Durable on return, by one fdatasync. Raises DiskFull, StoreError; then only a new whole can be saved."""
        frame = framed(changes)
        try:
            os.lseek(self._fd, self._bytes, os.SEEK_SET)
            files.write_all(self._fd, frame)
            os.fdatasync(self._fd)
        except OSError as error:
            self.close()
            raise files.store_error(error, f"writing {self._what} {self.path}") from error
        self._bytes += len(frame)

    def replace(self, whole: bytes) -> None:
        """Durable on return. Raises DiskFull, StoreError, and what was saved before is still there."""
        self.close()
        frame = framed(whole)
        files.replace(self.path, frame, what=f"writing {self._what}")
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise files.store_error(error, f"writing {self._what} {self.path}") from error
        self._bytes = self._whole_bytes = len(frame)

    def close(self) -> None:
        """Let the file go."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
