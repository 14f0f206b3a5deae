"""`Relatives`: which streams a new file may be a copy of: related names, contents that begin alike; no file is compared
with all others."""

from __future__ import annotations

import os
from collections.abc import Iterator

from soc.collectors.tail_files import status_at
from soc.collectors.tail_paths import stem
from soc.collectors.tail_streams import FIRST, Book, Source, Stream
from soc.errors import SocError


class Relatives:
    """The streams of a book as they were, by folder and stem of their names, and by their first bytes."""

    def __init__(self, book: Book) -> None:
        self._of: dict[tuple[str, str], dict[bytes, list[Stream]]] = {}
        self._at: dict[str, Stream] = {}
        for stream in book:
            self.add(stream)

    def add(self, stream: Stream) -> None:
        """One more."""
        path, place, packed = stream.where
        first = stream.mark.first if stream.mark.offset else b""
        if not stream.mark.offset and status_at(path, place) is not None:
            first = first_bytes(path, packed)
        group = self._of.setdefault((os.path.dirname(path), stem(stream.name)), {})
        group.setdefault(_known(first), []).append(stream)
        self._at.setdefault(path, stream)

    def at(self, path: str) -> Stream | None:
        """The first stream whose content lay at this path."""
        return self._at.get(path)

    def of(self, path: str, first: bytes) -> Iterator[Stream]:
        """The streams that the file at this path, which begins with `first`, may be a copy or the beginning of."""
        group = self._of.get((os.path.dirname(path), stem(path)), {})
        if len(first) < FIRST:
            keys = [key for key in group if key.startswith(first) or first.startswith(key)]
        else:
            keys = [first[:n] for n in range(FIRST + 1)]
        for key in keys:
            yield from group.get(key, ())


def first_bytes(path: str, packed: str) -> bytes:
    """How a content begins; nothing where that is not known."""
    try:
        source = Source(path, packed)
        try:
            return _known(source.read(0, FIRST)[:FIRST])
        finally:
            source.close()
    except (OSError, SocError):
        return b""


def _known(first: bytes) -> bytes:
    """NULs are room that was made ahead: they may become anything."""
    return b"" if first[:1] == b"\0" else first
