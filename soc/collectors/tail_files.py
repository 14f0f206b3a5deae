"""What a tail asks of one file: where it lies, how it is compressed, and how much of a known content it has."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from soc.collectors.tail_streams import Likeness, Mark, Place, likeness
from soc.collectors.unpack import compression
from soc.errors import SocError


def place_of(status: os.stat_result) -> Place:
    """Device and inode."""
    return status.st_dev, status.st_ino


def status_at(path: str, place: Place) -> os.stat_result | None:
    """Of the file at this path, when it is the one of this place."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status if place_of(status) == place else None


def packed_as(path: str) -> str:
    """How a file is compressed, by its first bytes. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return compression(os.read(fd, 8))
    finally:
        os.close(fd)


def likeness_of(path: str, mark: Mark) -> Likeness:
    """`likeness` of a file; none (yet) when it is damaged. Raises OSError."""
    try:
        return likeness(path, packed_as(path), mark)
    except SocError:
        return Likeness.NONE


def neighbours(path: str) -> list[tuple[str, os.stat_result]]:
    """Regular files in the folder of a path, the newest first."""
    folder, found = os.path.dirname(path), []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if entry.is_file(follow_symlinks=False):
                        found.append((entry.path, entry.stat(follow_symlinks=False)))
    except OSError:
        return []
    return sorted(found, key=lambda one: -one[1].st_mtime_ns)


def is_below(path: str, folder: Path) -> bool:
    """Whether a file lies in a folder, wherever links lead."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
