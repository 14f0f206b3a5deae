"""`PunctualProtocol`: HTTP/1.1 of uvicorn's, whose peers must begin to ask: it waits for ever for the first request."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_S = 15.0
"""A connection that has not sent the head of a request by then is closed."""


class PunctualProtocol(H11Protocol):  # type: ignore[misc]
    """Anybody may connect, so nobody may hold a descriptor and say nothing."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._waiting = self.loop.call_later(REQUEST_S, transport.abort)

    def handle_events(self) -> None:
        super().handle_events()
        if self.cycle is not None:
            self._is_heard()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._is_heard()

    def _is_heard(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
