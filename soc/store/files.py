"""Durable file steps: whole writes, syncs of files and folders, locks, and OS errors in the store's words."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from soc.errors import DiskFull, NewerStore, StoreError, TryAgain

LOCK_PAUSE_S = 0.02
_FULL = (errno.ENOSPC, errno.EDQUOT)


def store_error(error: OSError, what: str) -> StoreError:
    """The same fault as DiskFull or StoreError."""
    if error.errno in _FULL:
        return DiskFull(f"{what}: no space left on the disk", hint="free space; nothing was acknowledged")
    return StoreError(f"{what}: {error.strerror or error}")


def write_all(fd: int, data: bytes) -> None:
    """Write every byte at the descriptor's position; one system call unless the kernel takes less."""
    done = os.write(fd, data)
    while done < len(data):
        done += os.write(fd, memoryview(data)[done:])


def sync_folder(folder: Path) -> None:
    """Make creations, renames and removals in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_file(path: Path) -> None:
    """Make a file's content durable."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, durably."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o750)
    sync_folder(folder.parent)


def sha256_of(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def take_lock(path: Path) -> int | None:
    """A descriptor that holds an exclusive flock until it is closed; None when another holds it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except OSError:
        os.close(fd)
        raise
    return fd


def lock_within(path: Path, wait_s: float) -> int | None:
    """`take_lock`, tried again and again for so many seconds."""
    until = time.monotonic() + wait_s
    while (fd := take_lock(path)) is None and time.monotonic() < until:
        time.sleep(LOCK_PAUSE_S)
    return fd


@contextlib.contextmanager
def locked(path: Path, what: str, *, wait_s: float = 0) -> Iterator[None]:
    """Hold a lock for a block; raises TryAgain when another process has not ended the same work in `wait_s`."""
    fd = lock_within(path, wait_s)
    if fd is None:
        raise TryAgain(f"{what} is running in another process", hint="wait for it to finish")
    try:
        yield
    finally:
        os.close(fd)


def replace(path: Path, data: bytes, *, mode: int = 0o600, what: str = "writing") -> None:
    """Write a whole file by rename; durable on return. Raises DiskFull, StoreError, and the old file is whole then.

    `what` begins the error's sentence, which goes on with the path.
    """
    try:
        make_folder(path.parent)
        fresh = path.with_name(path.name + ".new")
        fresh.unlink(missing_ok=True)  # its mode would be that of an attempt before
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            write_all(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)
        fresh.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise store_error(error, f"{what} {path}") from error


def read_versioned(path: Path, version: int, what: str, way_out: str) -> dict[str, Any] | None:
    """A JSON object with its `version` that `replace` wrote; None when there is none yet.

    Raises NewerStore for a version after ours, StoreError with the `way_out` for what cannot be read; `what` names it.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"cannot read {what} {path}: {error}", hint=way_out) from error
    return versioned(data, version, f"{what} {path}", way_out)


def versioned(data: bytes, version: int, place: str, way_out: str) -> dict[str, Any]:
    """A JSON object with its `version`; raises as `read_versioned` does, `place` names it."""
    try:
        document = orjson.loads(data)
        found = int(document["version"])
    except (ValueError, TypeError, KeyError) as error:
        raise StoreError(f"cannot read {place}: {error}", hint=way_out) from error
    if found > version:
        raise NewerStore(
            f"{place}: version {found}, this soc reads up to {version}",
            hint="install the version of soc that wrote it",
        )
    return dict(document)
