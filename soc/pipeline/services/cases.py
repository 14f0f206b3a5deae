"""Identifiers, and what a case covers: small questions that several parts of the service ask."""

from __future__ import annotations

import os
from collections.abc import Callable

from soc.model.alert import uuid7
from soc.model.clock import Clock
from soc.model.system import InformationSystem
from soc.registry import Registry
from soc.retention.hold import Extent
from soc.store.cases import Cases

ENGINE = "engine"
"""Who acts where no person does: the service itself."""


def case_extent(cases: Cases, case: str) -> Extent | None:
    """The systems and the time range of a ticket (by number or id) or an alert; None when there is no such case."""
    with cases.read(ENGINE) as tx:
        stored = tx.get("ticket", case) or next((found for _, found in tx.find("ticket", keys={"number": case})), None)
        ids = stored.document["alert_ids"] if stored else [case]
        alerts = [found.document for id in ids if (found := tx.get("alert", id))]
    if not alerts:
        return None
    systems = frozenset(alert["system_id"] for alert in alerts if alert["system_id"])
    return Extent(systems, min(a["first_us"] for a in alerts), max(a["last_us"] for a in alerts))


def new_id(clock: Clock) -> str:
    """A UUIDv7 of now."""
    return uuid7(clock.now_ns(), os.urandom(10))


class Systems:
    """The registry of now, for rooms that keep hold of one."""

    def __init__(self, registry: Callable[[], Registry]) -> None:
        self._registry = registry

    def get(self, id: str) -> InformationSystem | None:
        """The system of that id, or None."""
        return self._registry().get(id)

    def networks(self) -> list[str]:
        """Networks, hosts and links of all systems: never blocked."""
        return [text for s in self._registry().systems() for text in (*s.networks, *s.hosts, *s.links)]
