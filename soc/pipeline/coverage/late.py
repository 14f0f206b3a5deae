"""Events that came too late for correlations, as the coverage ledger keeps them until they were looked at again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import orjson

from soc.config import Settings
from soc.detections.correlation.late import Late
from soc.model.clock import DAY_US
from soc.pipeline.coverage.counting import WINDOW_US, folder
from soc.store import files

KEPT_US = 30 * DAY_US
"""Notes of what was looked at are kept for so long, counted from when they were made."""
_VERSION = 1


@dataclass(frozen=True)
class LateNote:
    """Late events whose own times (µs UTC) reach from `first_us` to `last_us`.

    Of each correlation: the groups, None for all, and how many events by window of receipt. `done` are those that were
    looked at again, `tries` how often it was tried.
    """

    id: str
    at_us: int
    first_us: int
    last_us: int
    groups: Mapping[str, list[list[str]] | None]
    received: Mapping[str, Mapping[int, int]]
    done: tuple[str, ...] = ()
    tries: int = 0
    keys: Mapping[str, frozenset[tuple[str, ...]] | None] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        keys = {id: None if some is None else frozenset(map(tuple, some)) for id, some in self.groups.items()}
        object.__setattr__(self, "keys", keys)

    @property
    def rules(self) -> tuple[str, ...]:
        """Those that are still to be looked at again."""
        return tuple(sorted(self.groups.keys() - set(self.done)))

    def means(self, rule: str, key: tuple[str, ...]) -> bool:
        """Whether it is about this group of a correlation."""
        keys = self.keys.get(rule, frozenset())
        return keys is None or key in keys

    def to_document(self) -> dict[str, Any]:
        """A JSON-able dict."""
        document = asdict(self)
        del document["keys"]
        return {**document, "received": {rule: list(of.items()) for rule, of in self.received.items()}}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of `to_document`."""
        received = {rule: dict(of) for rule, of in document["received"].items()}
        return cls(**{**document, "received": received, "done": tuple(document["done"])})


def note(settings: Settings, late: Late, id: str, now_us: int) -> None:
    """Keep it, durably on return."""
    groups = {rule: None if of.groups is None else list(map(list, of.groups)) for rule, of in late.rules.items()}
    received = {
        rule: {at_us // WINDOW_US * WINDOW_US: n for at_us, n in of.received.items()} for rule, of in late.rules.items()
    }
    _keep(settings, LateNote(id, now_us, late.first_us, late.last_us, groups, received))


def notes(settings: Settings, since_us: int) -> list[LateNote]:
    """Those noted since then, oldest first."""
    # What is done lies apart; after a crash on its way there it lies in both.
    paths = {path.stem: path for path in _paths(settings)}
    found = (_read(paths[id]) for id in sorted(paths) if _noted_us(id) >= since_us)
    return [each for each in found if each is not None]


def waiting(settings: Settings) -> Iterator[LateNote]:
    """Those that were not looked at again yet, oldest first."""
    for path in sorted(_folders(settings)[0].glob("*.json")):
        found = _read(path)
        if found is not None:
            yield found


def get(settings: Settings, id: str) -> LateNote | None:
    """The one of that id that waits."""
    return _read(_folders(settings)[0] / f"{id}.json")


def tried(settings: Settings, found: LateNote) -> None:
    """It is looked at once more; durable on return."""
    _keep(settings, replace(found, tries=found.tries + 1))


def looked_at(settings: Settings, id: str, rules: frozenset[str]) -> None:
    """These correlations were held against it; durable on return."""
    found = get(settings, id)
    if found is None:
        return
    found = replace(found, done=tuple(sorted({*found.done, *rules})))
    _keep(settings, found)
    if not found.rules:
        (_folders(settings)[0] / f"{id}.json").unlink(missing_ok=True)


def prune(settings: Settings, now_us: int) -> None:
    """Let go what was noted long ago."""
    for path in _paths(settings):
        if _noted_us(path.stem) < now_us - KEPT_US:
            path.unlink(missing_ok=True)


def _noted_us(id: str) -> int:
    """An id begins with its time in ms (RFC 9562)."""
    return int(id.replace("-", "")[:12], 16) * 1000


def _folders(settings: Settings) -> tuple[Path, Path]:
    """Of what waits, and of what is done."""
    waiting = folder(settings) / "late"
    return waiting, waiting / "done"


def _paths(settings: Settings) -> list[Path]:
    return [path for where in _folders(settings) for path in where.glob("*.json")]


def _keep(settings: Settings, found: LateNote) -> None:
    path = _folders(settings)[not found.rules] / f"{found.id}.json"
    files.replace(path, orjson.dumps({"version": _VERSION, **found.to_document()}))


def _read(path: Path) -> LateNote | None:
    document = files.read_versioned(path, _VERSION, "the late events", "move them away: they are not looked at then")
    if document is None:
        return None
    del document["version"]
    return LateNote.from_document(document)
