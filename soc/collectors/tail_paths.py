"""Which files a pattern names: folders, `*`, `?`, `[…]` and `**` for any depth; bounded, loops cannot be made."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterator, Sequence

MAX_FILES = 20_000
"""Files that the patterns of one listener may name; what is beyond is told and not read."""
MAX_DEPTH = 32
"""Folders below the one in which `**` begins."""
_MAGIC = re.compile(r"[*?\[]")
_STEM = re.compile(r"[^.\d]*")

Told = Callable[[str, str], None]
"""Gets a path and a word: why it is not read."""


def matching(patterns: Sequence[str], told: Told) -> Iterator[tuple[str, os.stat_result]]:
    """Regular files (also through a link) that absolute patterns name, in order, each path once.

    A folder stands for the files in it. Names that begin with a dot are only found when the pattern spells the dot, and
    `**` does not follow links to folders.
    """
    found: set[str] = set()
    for pattern in patterns:
        for path in _expanded(pattern, told):
            if path in found:
                continue
            status = _status(path, told)
            if status is None:
                continue
            if len(found) >= MAX_FILES:
                told(path, "too_many_files")
                return
            found.add(path)
            yield path, status


def stem(path: str) -> str:
    """What stays of a file's name through its rotations: `app.log`, `app.log.2.gz`, `app-20261125.log` are `app`."""
    name = os.path.basename(path)
    return _STEM.match(name)[0].rstrip("-_ ")  # type: ignore[index]  # it matches nothing too


def _expanded(pattern: str, told: Told) -> Iterator[str]:
    parts = [part for part in pattern.split("/") if part]
    fixed = next((i for i, part in enumerate(parts) if _MAGIC.search(part)), len(parts))
    start = "/" + "/".join(parts[:fixed])
    if fixed < len(parts):
        yield from _below(start, parts[fixed:], told)
    elif os.path.isdir(start):
        yield from (path for path, is_folder in _listed(start, "*", told) if not is_folder)
    elif os.path.lexists(start):
        yield start


def _below(folder: str, parts: Sequence[str], told: Told) -> Iterator[str]:
    if parts[0] == "**":
        rest = parts[1:] or ["*"]
        for below in _folders(folder, told, MAX_DEPTH):
            yield from _below(below, rest, told)
        return
    for path, is_folder in _listed(folder, parts[0], told):
        if len(parts) > 1:
            if is_folder or os.path.isdir(path):
                yield from _below(path, parts[1:], told)
        elif not is_folder:
            yield path


def _folders(folder: str, told: Told, depth: int) -> Iterator[str]:
    yield folder
    if depth:
        for path, is_folder in _listed(folder, "*", told):
            if is_folder:
                yield from _folders(path, told, depth - 1)


def _listed(folder: str, pattern: str, told: Told) -> Iterator[tuple[str, bool]]:
    """Paths of one folder and whether they are folders themselves (a link to one is not)."""
    try:
        with os.scandir(folder) as entries:
            known = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    except PermissionError:
        told(folder, "permission_denied")
        return
    except OSError:
        return  # it went away, or is none
    match = re.compile(fnmatch.translate(pattern)).match
    shows_dots = pattern.startswith(".")
    for name, is_folder in known:
        if match(name) and (shows_dots or not name.startswith(".")):
            yield f"{folder.rstrip('/')}/{name}", is_folder


def _status(path: str, told: Told) -> os.stat_result | None:
    try:
        status = os.stat(path)
    except PermissionError:
        told(path, "permission_denied")
        return None
    except OSError as error:
        if os.path.islink(path):
            told(path, "link_to_nothing" if isinstance(error, FileNotFoundError) else "link_loop")
        return None
    if not os.path.stat.S_ISREG(status.st_mode):  # type: ignore[attr-defined]
        if not os.path.isdir(path):
            told(path, "no_regular_file")
        return None
    return status
