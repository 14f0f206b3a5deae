"""`Lookback`: what a person asked to be looked for in the stored events, by rules or by a search text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from soc.model.scope import Scope

WAITING, RUNNING, DONE, CANCELLED, FAILED = "waiting", "running", "done", "cancelled", "failed"
OPEN = (WAITING, RUNNING)
NEW, OLD, BOTH = "new", "old", "both"
"""Which side found a hit: the rules that were given, the loaded ones of the same ids, or each."""


@dataclass(frozen=True)
class RuleText:
    """A file of rules as the caller had it."""

    name: str
    text: str


@dataclass(frozen=True)
class Lookback:
    """`since_us <= t < until_us` (µs UTC) of event time, of receipt with `by_receipt`.

    `rules` are ids of loaded rules, `texts` rules of the caller's own, `where` a search text that events must match
    as well; without any rule it is what is looked for. `against`: also the loaded rules of the same ids. `units` are
    the owner units that the asker may see, None for all. `backfill`: findings become alerts. `automatic`: nobody asked.
    `late` is the id of the note of what came too late, which is looked at again.
    """

    id: str
    asker: str
    units: tuple[str, ...] | None
    since_us: int
    until_us: int
    created_us: int
    rules: tuple[str, ...] = ()
    texts: tuple[RuleText, ...] = ()
    where: str = ""
    against: bool = False
    by_receipt: bool = False
    backfill: bool = False
    automatic: bool = False
    late: str = ""
    reason: str = ""

    @property
    def scope(self) -> Scope:
        """What it may see."""
        why = f"lookback {self.id}: {self.reason}".rstrip(": ")
        everything = Scope.everything(self.asker, why)
        return everything if self.units is None else replace(everything, units=frozenset(self.units))

    def told(self) -> dict[str, Any]:
        """What the ledger keeps of it."""
        rules = [*self.rules, *(each.name for each in self.texts)]
        return {
            "rules": rules, "where": self.where, "since_us": self.since_us, "until_us": self.until_us,
            "backfill": self.backfill,
        }  # fmt: skip

    def to_document(self) -> dict[str, Any]:
        """A JSON-able dict."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of `to_document`."""
        data = dict(document)
        data["units"] = None if data["units"] is None else tuple(data["units"])
        data["rules"] = tuple(data["rules"])
        data["texts"] = tuple(RuleText(**each) for each in data["texts"])
        return cls(**data)
