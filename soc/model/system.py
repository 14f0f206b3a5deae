"""`InformationSystem`: what is protected, who owns it, and its level; the registry's noun."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass


@dataclass(frozen=True)
class LevelDecision:
    """The level (1–5) from a local date on, with the number of the decision that approved it."""

    level: int
    since: dt.date
    decision: str = ""


@dataclass(frozen=True)
class InformationSystem:
    """One information system (hệ thống thông tin). `networks` are canonical CIDR texts at `site`.

    `levels` is ordered by date, oldest first; `registered` is the local date from which retention is owed.
    `sources` names what sends its logs (peer addresses); `links` its Internet links, `points` its monitoring points.
    """

    id: str
    name: str
    code: str
    organization_id: str
    organization_name: str
    site: str
    levels: tuple[LevelDecision, ...]
    registered: dt.date
    networks: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    contact: str = ""
    kind: str = ""
    retired: dt.date | None = None
    simulated: bool = False

    def level_on(self, day: dt.date) -> int:
        """The level in force on a local day; before the first decision, the first one's."""
        level = self.levels[0].level
        for decision in self.levels:
            if decision.since <= day:
                level = decision.level
        return level
