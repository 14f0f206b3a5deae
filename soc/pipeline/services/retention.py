"""`Retention`: what may be deleted at this moment, and whether each system keeps what it owes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from soc.model.clock import DAY_US, Clock
from soc.model.query import Between
from soc.model.scope import Scope
from soc.pipeline.services.cases import ENGINE
from soc.registry import Registry
from soc.retention import check
from soc.retention.hold import Holds
from soc.retention.plan import Plan, Policy, make_plan
from soc.retention.plan import Segment as Inventory
from soc.store.events import EventStore
from soc.store.events.nouns import Aggregate


@dataclass(frozen=True)
class Retention:
    """The rules of keeping over the store of this site; `registry` gives the systems of now."""

    clock: Clock
    store: EventStore
    policy: Policy
    holds: Holds
    registry: Callable[[], Registry]

    def plan(self, planner: str) -> Plan:
        """What may be deleted at this moment, and why the rest may not."""
        return self.decided(self.store.segments(), planner)

    def decided(self, inventory: Iterable[Inventory], planner: str) -> Plan:
        """What of an inventory may be deleted at this moment, by policy, levels and holds."""
        systems = {system.id: system for system in self.registry().systems()}
        return make_plan(
            inventory,
            systems,
            self.holds.list(),
            self.policy,
            now_us=self.clock.now_ns() // 1000,
            planner=planner,
        )

    def standings(self) -> list[check.Standing]:
        """The standing of every system; rows that are not sealed yet count as held."""
        return check.check(
            self.registry().systems(),
            self.store.segments(),
            self.policy,
            self.clock.now_ns() // 1000,
            held_now=self._held_now(),
            tombstones=self.store.tombstones(),
        )

    def _held_now(self) -> dict[str, set[str]]:
        """Receipt days (UTC) of the last week per system, over hot and sealed rows."""
        now_us = self.clock.now_ns() // 1000
        found: dict[str, set[str]] = {}
        for row in self.store.aggregate(
            Scope.everything(ENGINE, "retention check"),
            Between("event.created", low=now_us - 7 * DAY_US),
            Aggregate(group_by=("soc.system.id",), interval_us=DAY_US, interval_of="event.created"),
        ):
            if row["soc.system.id"] and row["bucket"]:
                found.setdefault(row["soc.system.id"], set()).add(row["bucket"][:10])
        return found
