"""`Acceptor`: listeners to which peers connect, served by one event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

from soc.collectors.counters import Counters
from soc.collectors.intake import Intake
from soc.collectors.listeners import ListenerSpec, allow_files
from soc.collectors.threads import Threaded
from soc.model.clock import Clock

NOT_ALLOWED, TOO_MANY, TOO_SLOW = "not_allowed", "too_many", "too_slow"
MAX_CONNECTIONS = 4096
_LOG_S = 10.0
_WAIT_S = 0.1


class Door(Protocol):
    """One listener: who may come in, and how we answer."""

    spec: ListenerSpec


C = TypeVar("C")
D = TypeVar("D", bound=Door)


class Acceptor(Threaded, Generic[D]):
    """All listeners of one kind; they can change while it runs."""

    log: logging.Logger
    check_s: float
    """How often `_look_round` is called."""

    def __init__(
        self, name: str, listeners: list[tuple[ListenerSpec, socket.socket]], intake: Intake, counters: Counters,
        clock: Clock,
    ) -> None:  # fmt: skip
        """Raises ConfigError for files of a listener that cannot be used."""
        super().__init__(name)
        self.intake, self.counters, self.clock = intake, counters, clock
        self._doors = {spec.name: self._door(spec) for spec, _ in listeners}
        self._sockets = {spec.name: sock for spec, sock in listeners}
        self._names = set(self._doors)
        self._servers: dict[str, asyncio.Server] = {}
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._listening = threading.Event()
        self._told: dict[tuple[str, str, str], float] = {}
        self.of_peer: Counter[str] = Counter()
        """How many connections each address has."""

    def left(self, peer: str) -> None:
        """A connection of this address is over."""
        self.of_peer[peer] -= 1
        if not self.of_peer[peer]:
            del self.of_peer[peer]

    # what each kind is ------------------------------------------------------------------------------------------------

    def _door(self, spec: ListenerSpec) -> D:
        """Raises ConfigError."""
        raise NotImplementedError

    def _connection(self, door: D) -> asyncio.BaseProtocol:
        """What serves a new connection."""
        raise NotImplementedError

    def _change(self, fresh: D) -> None:
        """A listener is as this door says now; those who are inside stay, unless they would not be let in any more."""
        raise NotImplementedError

    def _part(self, name: str) -> None:
        """The listener is gone: end its connections in order."""
        raise NotImplementedError

    def _look_round(self) -> None:
        """From time to time. What one connection does to us must not end those of others: see `_each`."""
        raise NotImplementedError

    def _each(self, connections: Iterable[C], look: Callable[[C], None], give_up: Callable[[C], None]) -> None:
        """Look at each of them, and give up those that break."""
        for connection in list(connections):
            try:
                look(connection)
            except Exception:  # whatever one peer does, the others are served
                self.log.exception("%s: a connection broke", self._thread.name)
                give_up(connection)

    async def _finish(self) -> None:
        """End all connections in order."""
        raise NotImplementedError

    # from other threads -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to accept; returns when connections are served."""
        allow_files()
        super().start()
        self._listening.wait()

    def stop(self) -> None:
        """Begin to end: take what peers have sent, answer what is under way, then close. May be told again."""
        self.later(self._stopping.set)

    def prepared(self, spec: ListenerSpec) -> Callable[[], None]:
        """What makes the listener of this name be as `spec` says. Raises ConfigError."""
        fresh = self._door(spec)
        return lambda: self._now(lambda: self._change(fresh))

    def drop(self, name: str) -> bool:
        """End one listener and its connections in order, or answer True: it is the only one, so stop all of it."""
        if self._names == {name}:
            return True
        self._names.discard(name)  # its door stays: who is being let in just now asks for it
        self.later(lambda: self._drop(name))
        return False

    def _drop(self, name: str) -> None:
        self._servers.pop(name).close()
        self._part(name)

    def later(self, call: Callable[[], None]) -> None:
        """Have the loop call this, from any thread; nothing happens when it is over."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(call)

    def _now(self, call: Callable[[], None]) -> None:
        """Have the loop call this and wait for it: who is told that a change holds may connect the next moment."""
        is_done = threading.Event()

        def called() -> None:
            try:
                call()
            finally:
                is_done.set()

        self.later(called)
        while self._thread.is_alive() and not is_done.wait(_WAIT_S):
            pass

    # the loop ---------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._listening.set()
            self._loop.close()

    async def _serve(self) -> None:
        for name, sock in self._sockets.items():
            self._servers[name] = await self._loop.create_server(self._connecting(name), sock=sock, backlog=1024)
        self._listening.set()
        while not self._stopping.is_set():
            self._look_round()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self.check_s)
        for _ in range(4):  # peers in the backlog have connected and may have written: let them in
            await asyncio.sleep(0)
        for server in self._servers.values():
            server.close()
        await self._finish()

    def _connecting(self, name: str) -> Callable[[], asyncio.BaseProtocol]:
        return lambda: self._connection(self._doors[name])

    def after(self, wait_s: float, call: Callable[[], None]) -> None:
        """Have the loop call this after a time, if it still runs then."""
        self._loop.call_later(wait_s, call)

    def refuse(self, spec: ListenerSpec, peer: str, reason: str, text: str) -> None:
        """Count what is turned away or ended, and log it, the same one again only after a while."""
        self.counters.refused(spec.site, spec.name, peer, self.clock.now_ns(), reason)
        key, now = (spec.name, peer, reason), time.monotonic()
        if now - self._told.get(key, -_LOG_S) < _LOG_S:
            return
        if len(self._told) >= MAX_CONNECTIONS:
            self._told.clear()
        self._told[key] = now
        self.log.warning("listener %s refused %s (%s): %s", spec.name, peer, reason, text)
