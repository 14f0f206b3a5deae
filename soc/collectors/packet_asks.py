"""`Asks`: captured packets that the centre wants of its units, and what came of them, as files.

The service asks, the hub hands it on when the unit calls and takes the answer piece by piece, the service reads it:
`<unit>/<id>.json` what is wanted, `.part` and `.size` while it comes, then `.pcapng` and `.told` (what the unit says of
it). Everything goes after a day.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from soc.collectors.enrol import checked_name
from soc.errors import NotFound, TryAgain, UsageError
from soc.model.clock import DAY_US, Clock
from soc.store import files

HERE = "_here"
"""In the place of a unit: what the centre's own rings had."""
MAX_OPEN = 16
"""Requests of a unit that wait for it."""
MAX_KEPT = 8
"""Answers of a unit that are kept; the oldest gives way to the next."""
MAX_BYTES = 80 << 20
"""Octets of an answer; packets are 64 MiB at most, see `soc.pipeline.flow_packets`."""
KEPT_US = DAY_US
_ID = re.compile(r"[0-9a-f]{32}")


class Asks:
    """What was asked of each unit, in a folder of mode 0700. Only the hub writes a unit's answer."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder, self._clock = folder, clock

    def ask(self, unit: str, id: str, document: Mapping[str, Any]) -> None:
        """Leave a request for the unit. Raises TryAgain when too many wait already."""
        if len(self.open(unit)) >= MAX_OPEN:
            raise TryAgain(f"unit '{unit}' has {MAX_OPEN} requests for packets to answer", hint="ask later")
        asked = {**document, "id": id, "asked_us": self._clock.now_ns() // 1000}
        files.replace(self._path(unit, id, "json"), orjson.dumps(asked))

    def open(self, unit: str) -> list[dict[str, Any]]:
        """What the unit has not answered yet, oldest first; what is older than a day is gone."""
        found = []
        for path in (self._folder / _checked(unit)).glob("*.json"):
            asked = _read(path)
            if self._clock.now_ns() // 1000 - asked.get("asked_us", 0) > KEPT_US:
                for old in path.parent.glob(f"{path.stem}.*"):
                    old.unlink(missing_ok=True)
            elif asked and not path.with_suffix(".told").exists():
                found.append(asked)
        return sorted(found, key=lambda asked: (asked["asked_us"], asked["id"]))

    def take(self, unit: str, id: str, at: int, data: bytes, size: int, told: Mapping[str, Any] | None = None) -> int:
        """A piece of an answer of `size` octets, with `told` its last; how much there is now.

        An answer begins anew with `at` 0. Raises NotFound, and UsageError for what does not go on where it stands.
        """
        if not self._path(unit, id, "json").exists() or self._path(unit, id, "told").exists():
            raise NotFound(f"nobody asked unit '{unit}' for {id[:32]}")
        part = self._path(unit, id, "part")
        there = part.stat().st_size if at and part.exists() else 0
        if at != there or at + len(data) > min(size, MAX_BYTES) or (told is not None and at + len(data) != size):
            raise UsageError(f"octets {at} to {at + len(data)} of {size} do not follow {there}, or are too many")
        if not at:
            files.replace(self._path(unit, id, "size"), b"%d" % size)
        with part.open("ab" if at else "wb") as file:
            file.write(data)
        if told is not None:
            part.rename(self._path(unit, id, "pcapng"))
            files.replace(self._path(unit, id, "told"), orjson.dumps(dict(told)))
            whole = sorted(part.parent.glob("*.pcapng"), key=lambda path: path.stat().st_mtime_ns)
            for old in whole[:-MAX_KEPT]:
                old.unlink()
        return there + len(data)

    def states(self, id: str) -> list[dict[str, Any]]:
        """How far each unit is with a request: `unit`, `asked_us`, `actor`, `flow`, `is_done`, `bytes`, `size` (None
        before it began), and when it is done `packets` and `is_cut`."""
        if not _ID.fullmatch(id):
            return []
        return [self._state(path) for path in sorted(self._folder.glob(f"*/{id}.json"))]

    def _state(self, path: Path) -> dict[str, Any]:
        told, size = _read(path.with_suffix(".told")), None
        with suppress(OSError, ValueError):
            size = int(path.with_suffix(".size").read_bytes())
        came = path.with_suffix(".pcapng" if told else ".part")
        asked = _read(path)
        return {
            "unit": "" if path.parent.name == HERE else path.parent.name, "size": size, "is_done": bool(told),
            "bytes": came.stat().st_size if came.exists() else 0, "packets": told.get("packets"),
            "is_cut": told.get("is_cut"), **{key: asked.get(key) for key in ("asked_us", "actor", "flow", "reason")},
        }  # fmt: skip

    def pieces(self, id: str) -> Iterator[bytes]:
        """The whole answers, one after another: a capture file of several sections."""
        if _ID.fullmatch(id):
            for path in sorted(self._folder.glob(f"*/{id}.pcapng")):
                yield path.read_bytes()

    def _path(self, unit: str, id: str, suffix: str) -> Path:
        if not _ID.fullmatch(id):
            raise UsageError("no identifier of a request")
        return self._folder / _checked(unit) / f"{id}.{suffix}"


def _checked(unit: str) -> str:
    return unit if unit == HERE else checked_name(unit)


def _read(path: Path) -> dict[str, Any]:
    """A document; empty where there is none."""
    try:
        found: dict[str, Any] = orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found
