"""`Waiting`: records that wait for those that go on with them, of all partitions of a worker, in one file.

It is written before the cursor moves, so with every step while lines wait: a file for each of 50 sources' partitions
took two thirds of a worker's time in their syncs.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from soc.config import Settings
from soc.parsers.groups import NONE, Groups
from soc.store import files

_HEAD = b"soc groups 1"
_log = logging.getLogger("soc.work")


class Waiting:
    """Lines of partition, turn and groups. Partitions change hands when the number of workers changes: of all files the
    line of the highest turn counts, and a turn is higher than all that were there when its worker began."""

    def __init__(self, settings: Settings, node: str) -> None:
        """Whoever has the partitions' leases reads it: nobody else writes their lines any more."""
        self._path = _folder(settings) / f"{node}.groups"
        self._lines = _lines(settings)
        self._mine = {number for number, (_, _, path) in self._lines.items() if path == self._path}
        self._turn = max((turn for turn, _, _ in self._lines.values()), default=0)

    def of(self, number: int) -> Groups:
        """What waits in a partition, and what was closed and may not be in the store yet."""
        return _groups(self._lines[number]) if number in self._lines else NONE

    def __contains__(self, number: int) -> bool:
        return number in self._lines

    def keep(self, fresh: Mapping[int, Groups]) -> None:
        """Keep these, and what else is in our file; durable on return. Raises StoreError."""
        self._turn += 1
        self._lines |= {number: (self._turn, groups.snapshot(), self._path) for number, groups in fresh.items()}
        self._mine |= fresh.keys()
        lines = [b"%d %d %b" % (number, *self._lines[number][:2]) for number in sorted(self._mine)]
        files.replace(self._path, b"\n".join([_HEAD, *lines]))


def kept(settings: Settings) -> dict[int, Groups]:
    """What waits, by partition, as the workers kept it last."""
    return {number: _groups(line) for number, line in _lines(settings).items()}


_Line = tuple[int, bytes, Path]
"""Turn, groups, and the file that has them."""


def _folder(settings: Settings) -> Path:
    return settings.path("run", "parsers")


def _lines(settings: Settings) -> dict[int, _Line]:
    """The line that counts, by partition."""
    found: dict[int, _Line] = {}
    for path in sorted(_folder(settings).glob("*.groups.json")):  # a file for each partition, as they were once
        found[int(path.name[:2])] = 0, path.read_bytes(), path
    for path in sorted(_folder(settings).glob("*.groups")):
        try:
            head, *lines = path.read_bytes().split(b"\n")
            if head != _HEAD:
                raise ValueError(f"it begins with {head[:20]!r}")
            for number, turn, groups in (line.split(b" ", 2) for line in lines):
                if int(turn) > found.get(int(number), (-1, b"", path))[0]:
                    found[int(number)] = int(turn), groups, path
        except ValueError as error:
            _damaged(path, error)
    return found


def _groups(line: _Line) -> Groups:
    _, data, path = line
    try:
        return Groups.restore(data)
    except ValueError as error:
        _damaged(path, error)
        return NONE


def _damaged(path: Path, error: ValueError) -> None:
    _log.error("%s is damaged, what waited in it is lost: %s", path, error)
