"""`PacketRing`: the last packets of a monitoring point, in capture files; the oldest give way, and are counted."""

from __future__ import annotations

import logging
import os
import re
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from soc.errors import ConfigError

FILE_BYTES = 16 << 20
"""A file is closed when it has so much …"""
FILE_NS = 300_000_000_000
"""… or when its first packet is so old."""
_HEADER = struct.Struct("<IHHiIII")
_NANOSECONDS = 0xA1B23C4D
_RECORD = struct.Struct("<IIII")
_NAME = re.compile(r"\d{20}\.pcap")
_SECOND = 1_000_000_000
_log = logging.getLogger("soc.sense")


class PacketRing:
    """Capture files (pcap, ns) in a folder, named by the time of their first packet in ns; names are never reused.

    `max_bytes` bounds the folder with the file that is being written, `max_age_s` how long a packet stays. What cannot
    be written is counted and does not stop the sensor.
    """

    def __init__(self, folder: Path, link: int, *, max_bytes: int, max_age_s: int) -> None:
        if max_bytes < 2 * FILE_BYTES:
            raise ConfigError(f"a ring of {max_bytes} bytes is too small", hint=f"at least {2 * FILE_BYTES}")
        self._folder, self._link = folder, link
        self._max_bytes, self._max_age_ns = max_bytes, max_age_s * _SECOND
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._closed = {path.name: path.stat().st_size for path in files(folder)}
        self._file: BinaryIO | None = None
        self._parts: list[bytes] = []
        self._size = self._began = self._waiting = 0
        self.name = ""
        """The file that the next packet goes to."""
        self.counts: Counter[str] = Counter()
        """Files and octets that gave way, packets that could not be written."""

    def append(self, ns: int, data: bytes, length: int) -> int:
        """Keep a packet; where its record begins in the file `name`. Durable when the file is closed."""
        size = 16 + len(data)
        if not self.name or self._size + size > FILE_BYTES or not 0 <= ns - self._began < FILE_NS:
            self._begin(ns)
        offset = self._size
        self._parts += (_RECORD.pack(ns // _SECOND & 0xFFFFFFFF, ns % _SECOND, len(data), length), data)
        self._size += size
        self._waiting += 1
        return offset

    def _begin(self, ns: int) -> None:
        self._end()
        taken = max((int(name[:20]) for name in (*self._closed, self.name) if name), default=-1)
        self._began = ns
        self.name = f"{max(ns, taken + 1):020d}.pcap"
        self._make_room(ns)
        self._parts.append(_HEADER.pack(_NANOSECONDS, 2, 4, 0, 0, 262_144, self._link))
        self._size = _HEADER.size

    def _make_room(self, ns: int) -> None:
        """Room for a whole file more, and nothing older than the bound."""
        total = sum(self._closed.values())
        for name in sorted(self._closed):
            is_old = ns - int(name[:20]) > self._max_age_ns + FILE_NS
            if total + FILE_BYTES <= self._max_bytes and not is_old:
                break
            size = self._closed.pop(name)
            (self._folder / name).unlink(missing_ok=True)
            total -= size
            self.counts["ring_overwritten_files"] += 1
            self.counts["ring_overwritten_bytes"] += size

    def expire(self, ns: int) -> None:
        """Let go of what is too old when nothing new comes."""
        if self.name and ns - self._began > self._max_age_ns:
            self._end()
            self.name = ""
        if not self.name:
            self._make_room(ns)

    def flush(self) -> None:
        """Hand what was appended to the kernel."""
        if not self._parts:
            return
        data = b"".join(self._parts)
        self._parts.clear()
        waiting, self._waiting = self._waiting, 0
        try:
            if self._file is None:
                path = self._folder / self.name
                self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", buffering=0)
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            if not self.counts["ring_unwritten"]:
                _log.error("packets cannot be kept in %s: %s", self._folder, error.strerror)
            self.counts["ring_unwritten"] += waiting
            self._give_up()

    def _give_up(self) -> None:
        """A file with a hole would lie about its offsets: it ends here, and the next packet begins another."""
        self._end()
        self.name = ""

    def _end(self) -> None:
        self.flush_if_named()
        if self._file is not None:
            try:
                self._closed[self.name] = os.fstat(self._file.fileno()).st_size
                os.fdatasync(self._file.fileno())
            except OSError as error:
                _log.error("%s/%s may not be durable: %s", self._folder, self.name, error.strerror)
            self._file.close()
            self._file = None

    def flush_if_named(self) -> None:
        """Write what waits, unless the file was given up already."""
        if self.name and self._parts:
            self.flush()

    @property
    def bytes(self) -> int:
        """Octets on disk."""
        return sum(self._closed.values()) + (self._size if self.name else 0)

    def close(self) -> None:
        """The end: what was appended is durable."""
        self._end()
        self.name = ""


def files(folder: Path) -> list[Path]:
    """The capture files of a ring, oldest first."""
    return sorted(path for path in folder.glob("*.pcap") if _NAME.fullmatch(path.name))


def between(folder: Path, since_ns: int, until_ns: int) -> Iterator[Path]:
    """Files that may have packets of this time, oldest first."""
    paths = files(folder)
    for i, path in enumerate(paths):
        following = paths[i + 1] if i + 1 < len(paths) else None
        begins = int(path.name[:20])
        if begins > until_ns:
            return
        # A file's packets are no older than its name by more than clocks jump, and end before the next begins.
        if following is None or int(following.name[:20]) >= since_ns or begins + FILE_NS >= since_ns:
            yield path
