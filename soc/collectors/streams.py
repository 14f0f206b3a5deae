"""Receives syslog over TCP: one event loop in its own thread for all stream listeners."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import time
from typing import cast

from soc.collectors.counters import Counters
from soc.collectors.framing import Framed, SyslogFramer
from soc.collectors.intake import Intake
from soc.collectors.listeners import AllowList, ListenerSpec, peer_name
from soc.model.clock import Clock

MAX_CONNECTIONS = 4096
_STOP_READ = 1 << 20
_STOP_TOTAL = 8 << 20
_CHECK_S = 0.02
_log = logging.getLogger("soc.collectors")


class StreamReceiver:
    """All stream listeners of a collector."""

    def __init__(
        self, listeners: list[tuple[ListenerSpec, socket.socket]], intake: Intake, counters: Counters, clock: Clock
    ):
        self.intake = intake
        self.counters = counters
        self.clock = clock
        self.connections: set[_Connection] = set()
        self.is_paused = False
        self._listeners = [(spec, AllowList(spec), sock) for spec, sock in listeners]
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._run, name="listen-streams", daemon=True)

    def start(self) -> None:
        """Begin to accept; returns when connections are served."""
        self._thread.start()
        self._listening.wait()

    def stop(self) -> None:
        """Begin to end: take what the kernel has already received of every connection, then close them all."""
        self._loop.call_soon_threadsafe(self._stopping.set)

    def ended(self, wait_s: float) -> bool:
        """Whether the end has come, within so many seconds; somebody must empty the intake meanwhile."""
        self._thread.join(wait_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._listening.set()
            self._loop.close()

    async def _serve(self) -> None:
        servers = [await self._listen(spec, allowed, sock) for spec, allowed, sock in self._listeners]
        self._listening.set()
        while not self._stopping.is_set():
            self.regulate()
            try:
                await asyncio.wait_for(self._stopping.wait(), _CHECK_S)
            except TimeoutError:
                continue
        # Peers that wait in the backlog have connected and may have written: let them in before the door closes.
        for _ in range(4):
            await asyncio.sleep(0)
        for server in servers:
            server.close()
        for connection in list(self.connections):
            connection.finish()
        await asyncio.sleep(0)

    async def _listen(self, spec: ListenerSpec, allowed: AllowList, sock: socket.socket) -> asyncio.Server:
        def connection() -> asyncio.Protocol:
            return _Connection(self, spec, allowed)

        return await self._loop.create_server(connection, sock=sock, backlog=1024)

    def regulate(self) -> None:
        """Stop reading while the queue takes nothing or memory fills; the peers' own windows hold the rest back.

        Asked after every read, so that at most one read goes over the bound.
        """
        if self.intake.is_half_full != self.is_paused:
            self.is_paused = not self.is_paused
            for connection in self.connections:
                connection.regulate(self.is_paused)


class _Connection(asyncio.Protocol):
    def __init__(self, receiver: StreamReceiver, spec: ListenerSpec, allowed: AllowList) -> None:
        self._receiver = receiver
        self._spec = spec
        self._allowed = allowed
        self._framer = SyslogFramer(spec.max_bytes)
        self._transport: asyncio.Transport | None = None
        self._peer = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._peer = peer_name((transport.get_extra_info("peername") or ("unknown",))[0])
        receiver = self._receiver
        if len(receiver.connections) >= MAX_CONNECTIONS or not self._allowed.permits(self._peer):
            receiver.counters.refused(self._spec.site, self._spec.name, self._peer, receiver.clock.now_ns())
            _log.warning("listener %s refused a connection from %s", self._spec.name, self._peer)
            self._transport.abort()
            self._transport = None
            return
        receiver.connections.add(self)
        self.regulate(receiver.is_paused)

    def data_received(self, data: bytes) -> None:
        if self._transport is not None:
            self._add(self._framer.feed(data))
            self._receiver.regulate()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._end()

    def regulate(self, paused: bool) -> None:
        """Stop reading, or go on."""
        if self._transport is None or self._transport.is_closing():
            return
        if paused:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def finish(self) -> None:
        """Read what lies in the kernel's buffer: the peer believes it delivered. Then close."""
        if self._transport is None:
            return
        transport = self._transport
        transport.pause_reading()
        with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as sock:
            self._drain(sock)
        self._end()
        transport.abort()

    def _drain(self, sock: socket.socket) -> None:
        total = 0
        intake = self._receiver.intake
        while total < _STOP_TOTAL and not intake.is_stopped:
            if intake.is_half_full:
                time.sleep(_CHECK_S)  # the loop has nothing else to do any more; the group commit makes room
                continue
            try:
                data = sock.recv(_STOP_READ, socket.MSG_DONTWAIT)
            except OSError:
                return  # nothing left, or the peer reset the connection
            if not data:
                return
            total += len(data)
            self._add(self._framer.feed(data))

    def _end(self) -> None:
        self._add(self._framer.close())
        self._transport = None
        self._receiver.connections.discard(self)

    def _add(self, framed: Framed) -> None:
        records, flags = framed
        self._receiver.intake.add(self._spec, self._peer, self._receiver.clock.now_ns(), records, flags)
