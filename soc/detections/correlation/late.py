"""What came too late to be counted live: of which groups and which time, so that it can be looked at again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_GROUPS = 200
"""Groups of a correlation that are named; with more, all of its groups are meant."""
RECEIVED_US = 300 * 1_000_000
MAX_RECEIVED = 2_000
"""When late events were received is noted by so much time, and so many such times; further ones count with the last."""
WAIT_US = 300 * 1_000_000
"""What comes within so much time after the first is looked at together."""


@dataclass
class LateRule:
    """Of one correlation: its groups (None: all), and how many events by their receipt (µs UTC, cut to `RECEIVED_US`).

    A group is a key as its stage has it: site, import id, `simulated` or nothing, then the values of `group-by`.
    """

    groups: dict[tuple[str, ...], None] | None = field(default_factory=dict)
    received: Counter[int] = field(default_factory=Counter)

    def add(self, group: tuple[str, ...], received_us: int) -> None:
        if self.groups is not None:
            self.groups[group] = None
            if len(self.groups) > MAX_GROUPS:
                self.groups = None
        at_us = received_us // RECEIVED_US * RECEIVED_US
        if at_us not in self.received and len(self.received) >= MAX_RECEIVED:
            at_us = max(self.received)
        self.received[at_us] += 1

    def absorb(self, other: LateRule) -> None:
        known = self.groups is not None and other.groups is not None
        self.groups = {**self.groups, **other.groups} if known else None  # type: ignore[dict-item]
        self.received += other.received


@dataclass
class Late:
    """Late events since `began_us` (by the clock of receipt); their own times reach from `first_us` to `last_us`."""

    rules: dict[str, LateRule] = field(default_factory=dict)
    began_us: int = 0
    first_us: int = 0
    last_us: int = 0

    def add(self, rule: str, group: tuple[str, ...], at_us: int, received_us: int, now_us: int) -> None:
        """Note one of a correlation."""
        if not self.rules:
            self.began_us, self.first_us, self.last_us = now_us, at_us, at_us
        self.first_us, self.last_us = min(self.first_us, at_us), max(self.last_us, at_us)
        self.rules.setdefault(rule, LateRule()).add(group, received_us)

    @property
    def events(self) -> int:
        """How many; one counts for each correlation that it was late for."""
        return sum(sum(each.received.values()) for each in self.rules.values())

    def is_due(self, settled_us: int) -> bool:
        """Whether it is time to look again; everything received before `settled_us` is stored."""
        return bool(self.rules) and settled_us >= self.began_us + WAIT_US

    def absorb(self, other: Late) -> None:
        """Take in what another one noted."""
        if not other.rules:
            return
        mine = (self,) if self.rules else ()
        self.began_us = min(each.began_us for each in (*mine, other))
        self.first_us = min(each.first_us for each in (*mine, other))
        self.last_us = max(each.last_us for each in (*mine, other))
        for id, theirs in other.rules.items():
            self.rules.setdefault(id, LateRule()).absorb(theirs)

    def clear(self) -> None:
        """It is kept elsewhere now."""
        self.rules = {}

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        rules = {
            id: [None if each.groups is None else [list(group) for group in each.groups], list(each.received.items())]
            for id, each in self.rules.items()
        }
        return {"rules": rules, "began_us": self.began_us, "first_us": self.first_us, "last_us": self.last_us}

    def restore(self, data: Mapping[str, Any]) -> None:
        """The inverse of `to_json`; also of nothing, as states of before have it."""
        self.rules = {
            id: LateRule(None if groups is None else dict.fromkeys(map(tuple, groups)), Counter(dict(received)))
            for id, (groups, received) in data.get("rules", {}).items()
        }
        self.began_us, self.first_us, self.last_us = (data.get(name, 0) for name in ("began_us", "first_us", "last_us"))
