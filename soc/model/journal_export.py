"""Entries of a systemd journal in the Journal Export Format, told apart and taken apart.

An entry is fields, one a line, and an empty line. A field is `NAME=text`, or `NAME`, a 64-bit little-endian length, the
bytes and a line feed. Source: https://systemd.io/JOURNAL_EXPORT_FORMATS/ (Journal Export Format).
"""

from __future__ import annotations

from collections.abc import Iterator

MAX_NAME = 256
"""Bytes before the `=` of a field; systemd's own names end at 64."""
_LENGTH = 8


def fields(entry: bytes) -> Iterator[tuple[str, bytes]]:
    """Names and values, in order; a name may come several times. What a cut entry has of its last field is given."""
    at, size = 0, len(entry)
    while at < size:
        end = entry.find(b"\n", at)
        end = size if end < 0 else end
        line = entry[at:end]
        name, is_text, text = line.partition(b"=")
        if not line:
            at = end + 1
        elif is_text:
            yield _name(name), text
            at = end + 1
        else:
            start = end + 1 + _LENGTH
            length = int.from_bytes(entry[end + 1 : start], "little")
            yield _name(name), entry[start : start + length]
            at = start + length + 1


def _name(name: bytes) -> str:
    return name[:MAX_NAME].decode("ascii", "backslashreplace")


def is_text(entry: bytes) -> bool:
    """Whether every field is `NAME=text`, so that the entry reads as it is."""
    return all(not line or b"=" in line for line in entry.split(b"\n"))


class Splitter:
    """A stream of entries, cut into entries: `feed` bytes as they come. An entry keeps at most `limit` bytes.

    What is longer is passed over up to the entry's end; the entry is then given as cut.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left = b""
        self._kept = bytearray()
        self._skip = 0
        self._in_line = False
        self._is_cut = False

    def feed(self, data: bytes) -> list[tuple[bytes, bool]]:
        """The entries that end in this piece, each without its empty line, and whether it was cut."""
        buffer, at, found = self._left + data, 0, []
        while True:
            if self._skip:
                taken = min(self._skip, len(buffer) - at)
                self._keep(buffer[at : at + taken])
                at += taken
                self._skip -= taken
                if self._skip:
                    break
            end = buffer.find(b"\n", at)
            if end < 0:
                # A line without end is kept up to the bound; its beginning has told what it is.
                if len(buffer) - at > self._limit + MAX_NAME:
                    self._keep(buffer[at:])
                    at, self._in_line = len(buffer), True
                break
            if self._in_line:
                self._keep(buffer[at : end + 1])
                at, self._in_line = end + 1, False
                continue
            line = buffer[at:end]
            if not line:
                at = end + 1
                if self._kept:
                    found.append((bytes(self._kept), self._is_cut))
                self._kept.clear()
                self._is_cut = False
            elif b"=" in line:
                self._keep(buffer[at : end + 1])
                at = end + 1
            else:
                start = end + 1 + _LENGTH
                if len(buffer) < start:
                    break
                # The value is followed by a line feed of its own.
                self._skip = int.from_bytes(buffer[end + 1 : start], "little") + 1
                self._keep(buffer[at:start])
                at = start
        self._left = buffer[at:]
        return found

    def _keep(self, piece: bytes) -> None:
        room = self._limit - len(self._kept)
        self._kept += piece[: max(room, 0)]
        self._is_cut |= len(piece) > room
