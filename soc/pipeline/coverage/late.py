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


def notes(settings: Settings) -> Iterator[LateNote]:
    """All that are kept, oldest first; what was looked at long ago goes."""
    for path in sorted(_folder(settings).glob("*.json")):
        found = _read(path)
        if found is not None:
            yield found


def get(settings: Settings, id: str) -> LateNote | None:
    """The one of that id."""
    return _read(_folder(settings) / f"{id}.json")


def tried(settings: Settings, found: LateNote) -> None:
    """It is looked at once more; durable on return."""
    _keep(settings, replace(found, tries=found.tries + 1))


def looked_at(settings: Settings, id: str, rules: frozenset[str]) -> None:
    """These correlations were held against it; durable on return."""
    found = get(settings, id)
    if found is not None:
        _keep(settings, replace(found, done=tuple(sorted({*found.done, *rules}))))


def prune(settings: Settings, now_us: int) -> None:
    """Let go what was noted long ago."""
    for found in notes(settings):
        if found.at_us < now_us - KEPT_US:
            (_folder(settings) / f"{found.id}.json").unlink(missing_ok=True)


def _folder(settings: Settings) -> Path:
    return folder(settings) / "late"


def _keep(settings: Settings, found: LateNote) -> None:
    files.replace(_folder(settings) / f"{found.id}.json", orjson.dumps({"version": _VERSION, **found.to_document()}))


def _read(path: Path) -> LateNote | None:
    document = files.read_versioned(path, _VERSION, "the late events", "move them away: they are not looked at then")
    if document is None:
        return None
    del document["version"]
    return LateNote.from_document(document)
