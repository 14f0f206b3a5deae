"""Distant units: who was invited, what they say of themselves, and what their packet rings are asked for."""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson

from soc.collectors.enrol import Authority
from soc.collectors.packet_asks import HERE, Asks
from soc.config import Settings
from soc.model.clock import Clock
from soc.model.scope import Scope
from soc.pipeline import places
from soc.pipeline.flow_packets import FlowPackets, gather, look, request, retrieve
from soc.store.events import EventStore


@dataclass(frozen=True)
class Units:
    """The centre's side of its units; the hub speaks with them, through files below SOC_HOME."""

    settings: Settings
    clock: Clock
    store: EventStore

    def relays(self) -> list[dict[str, Any]]:
        """Every unit that was invited: when it joined, when it was last heard (µs UTC), what it said of itself."""
        found = []
        for name, entry in self.authority().units().items():
            told: dict[str, Any] = {}
            with suppress(OSError, ValueError):
                told = orjson.loads((places.relay_health(self.settings) / f"{name}.health.json").read_bytes())
            found.append({"name": name, **entry, "heard_us": told.get("heard_us"), "health": told.get("health")})
        return found

    def authority(self) -> Authority:
        """Who may join and who has."""
        return places.relay_authority(self.settings, self.clock)

    def flow_packets(
        self, scope: Scope, flow: str, since_us: int | None, until_us: int | None, actor: str, reason: str
    ) -> FlowPackets | str:
        """The captured packets of a flow; where distant units saw it they are asked, and it is the identifier of that.

        Raises NotFound, TryAgain when too much is asked of a unit already.
        """
        seen = look(self.store, scope, flow, since_us, until_us)
        if set(seen) == {HERE}:
            return retrieve(self.settings, self.store, scope, flow, since_us, until_us)
        asks, id = self.packet_asks(), secrets.token_hex(16)
        for unit, points in seen.items():
            asks.ask(unit, id, {**request(flow, points), "actor": actor, "reason": reason})
        if HERE in seen:
            own = gather(self.settings, flow, seen[HERE])
            data = own.data if own.packets else b""
            asks.take(HERE, id, 0, data, len(data), {"packets": own.packets, "is_cut": own.is_cut})
        return id

    def packet_asks(self) -> Asks:
        """What was asked of the rings of units."""
        return Asks(places.packet_asks(self.settings), self.clock)
