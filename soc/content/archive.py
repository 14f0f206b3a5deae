"""Where YAML lies: a file, a folder, or a zip archive such as a release of a rule collection. Nothing is unpacked."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from soc.content.document import MAX_BYTES, read, yaml_paths
from soc.errors import ContentError, Fault

MAX_MEMBERS = 100_000
MAX_EXPANDED = 512 << 20
"""Bytes that the YAML of one archive may have; beyond, it is refused."""
INSIDE = "!"
"""Between the path of an archive and the name of a file in it."""
_YAML = (".yml", ".yaml")


@dataclass(frozen=True)
class Source:
    """One YAML file: how it is called, and its bytes, at most one more than a definition may have."""

    path: str
    read: Callable[[], bytes]
    """Raises OSError, or ContentError for what is wrong with the archive around it."""
    mark: str = ""
    """What its content is known by without reading it; empty when it has to be read."""


def sources(root: Path) -> Iterator[Source]:
    """All at or below `root`, sorted; hidden folders are passed over. Raises ContentError for a broken archive."""
    if root.is_file() and root.suffix.lower() == ".zip":
        yield from _archived(root)
        return
    for path in yaml_paths(str(root)):
        yield Source(path, partial(read, path))


def source(path: str) -> Source:
    """The one of this name, as `sources` gave it."""
    archive, mark, name = path.partition(f".zip{INSIDE}")
    if not mark:
        return Source(path, partial(read, path))
    return Source(path, lambda: _member(Path(f"{archive}.zip"), name))


def _archived(path: Path) -> Iterator[Source]:
    with path.open("rb") as file, _opened(file, path) as archive:
        file.seek(0)  # the archive was read from its end
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        infos = archive.infolist()
        if len(infos) > MAX_MEMBERS:
            raise ContentError([Fault(str(path), 1, f"more than {MAX_MEMBERS} files")])
        wanted = [info for info in infos if _is_wanted(info.filename)]
        if sum(info.file_size for info in wanted) > MAX_EXPANDED:
            raise ContentError([Fault(str(path), 1, f"more than {MAX_EXPANDED >> 20} MiB of YAML")])
        for name in sorted(info.filename for info in wanted):
            yield Source(f"{path}{INSIDE}{name}", partial(_bytes, archive, path, name), f"{digest}{INSIDE}{name}")


def _is_wanted(name: str) -> bool:
    return name.lower().endswith(_YAML) and not any(p.startswith(".") and p not in (".", "..") for p in name.split("/"))


def _opened(file: IO[bytes], path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except zipfile.BadZipFile as error:
        raise ContentError([Fault(str(path), 1, f"no zip archive: {error}")]) from error


def _member(path: Path, name: str) -> bytes:
    with path.open("rb") as file, _opened(file, path) as archive:
        return _bytes(archive, path, name)


def _bytes(archive: zipfile.ZipFile, path: Path, name: str) -> bytes:
    if ".." in name.split("/"):  # nothing is unpacked, but whoever made it meant no good
        raise ContentError([Fault(f"{path}{INSIDE}{name}", 1, "its name leads out of the archive")])
    try:
        with archive.open(name) as file:
            return file.read(MAX_BYTES + 1)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, KeyError, EOFError, ValueError) as error:
        # RuntimeError: encrypted; NotImplementedError: a method of compression that Python has not
        raise ContentError([Fault(f"{path}{INSIDE}{name}", 1, f"cannot be unpacked: {error}")]) from error
