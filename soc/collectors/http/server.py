"""Serves HTTP/1.1 listeners: one event loop in its own thread; an answer says 2xx when the queue has the records."""

from __future__ import annotations

import asyncio
import logging
import socket
import time

from soc.collectors.acceptor import Acceptor
from soc.collectors.counters import Counters
from soc.collectors.http import elastic, hec, plain
from soc.collectors.http.calls import Dialect
from soc.collectors.http.connection import MAX_BODIES, Connection
from soc.collectors.http.doors import Door
from soc.collectors.intake import Intake
from soc.collectors.listeners import ListenerSpec
from soc.model.clock import Clock

_LEAVE_S = 5.0
_FINISH_S = 2.0
_log = logging.getLogger("soc.collectors.http")


class HttpReceiver(Acceptor[Door]):
    """All HTTP listeners of a collector."""

    log, check_s = _log, 0.5

    def __init__(
        self, listeners: list[tuple[ListenerSpec, socket.socket]], intake: Intake, counters: Counters, clock: Clock
    ) -> None:
        """Raises ConfigError for a token or TLS file that cannot be used."""
        super().__init__("listen-http", listeners, intake, counters, clock)
        self.dialects: dict[str, Dialect] = {"plain": plain.Plain(), "elastic": elastic.Elastic(), "hec": hec.Hec()}
        self.connections: set[Connection] = set()
        self.body_bytes = 0
        self.is_ending = False

    def _door(self, spec: ListenerSpec) -> Door:
        return Door(spec)

    def _connection(self, door: Door) -> asyncio.Protocol:
        return Connection(self, door)

    def _change(self, fresh: Door) -> None:
        door = self._doors[fresh.spec.name]
        door.become(fresh)  # who connects from now on finds its TLS context there
        self._each([c for c in self.connections if c.is_at(door)], Connection.change, Connection.abort)

    def _part(self, name: str) -> None:
        for connection in [c for c in self.connections if c.is_at(self._doors[name])]:
            connection.leave(is_late=False)

    @property
    def is_full(self) -> bool:
        """Whether requests should come again later."""
        return self.intake.is_half_full or self.body_bytes > MAX_BODIES

    def _look_round(self) -> None:
        now = time.monotonic()
        for door in self._doors.values():
            door.reload()
        self._each(self.connections, lambda connection: connection.look(now), Connection.abort)

    async def _finish(self) -> None:
        """Requests that have begun get a moment to come whole, and their answers; then all is closed."""
        self.is_ending = True
        began = time.monotonic()
        while self.connections and (age := time.monotonic() - began) < _LEAVE_S:
            for connection in list(self.connections):
                connection.leave(is_late=age > _FINISH_S)
            await asyncio.sleep(0.005)
        for connection in list(self.connections):
            connection.abort()
        await asyncio.sleep(0)
