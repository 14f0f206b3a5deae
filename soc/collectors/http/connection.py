"""One HTTP/1.1 connection: its requests one after the other, and answers that wait for the queue."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Protocol, cast

import h11

from soc.collectors.acceptor import MAX_CONNECTIONS, NOT_ALLOWED, TOO_MANY, TOO_SLOW
from soc.collectors.counters import Counters
from soc.collectors.http.bodies import MAX_BODY, BadBody, cut
from soc.collectors.http.calls import TEXT, Dialect, Reply, Taken
from soc.collectors.http.doors import Door
from soc.collectors.http.requests import Request, written
from soc.collectors.http.senders import NO_ANSWER, QUEUE_IS_FULL, Sender
from soc.collectors.intake import Intake
from soc.collectors.listeners import ListenerSpec, peer_name
from soc.collectors.tls import HANDSHAKE_S, NOT_LISTED, TlsRefused, TlsSession
from soc.model.clock import Clock

MAX_OF_PEER = 1024
"""Connections of one address that may still send. Clients that open one for each record and do not wait for the answer
(graypy, pygelf) are turned away, and lose it, when this is low; a connection alone takes 3 KiB."""
MAX_HEAD = 32 << 10
"""Bytes of a request line with its headers."""
MAX_BODIES = 64 << 20
"""Bytes of all bodies that are under way; beyond it a request is asked to come again."""
MAX_AHEAD = 64 << 10
"""Bytes that a peer may send of its next requests before the last one is answered; beyond it we do not read."""
HEAD_S = 10.0
"""Seconds that a request line with its headers may take, from its first byte or from the connection."""
BODY_S, BODY_RATE = 20.0, 2048
"""After so many seconds a body must have come at so many bytes a second on the whole."""
IDLE_S = 120.0
"""Seconds that a connection may wait between requests."""
ANSWER_S = 25.0
"""Seconds after which a request is told that its records may not be durable; senders give up after 30 to 90."""
STUCK_S = 20.0
"""Seconds that a peer may leave its answer untaken."""
LINGER_S = 3.0
"""Seconds that we read on, and throw away, after an answer that ends the connection."""


class Receiver(Protocol):
    """Where records go, the loop that everything runs in, and what all connections share."""

    intake: Intake
    counters: Counters
    clock: Clock
    dialects: dict[str, Dialect]
    connections: set[Connection]
    of_peer: Counter[str]
    body_bytes: int
    is_ending: bool

    @property
    def is_full(self) -> bool: ...

    def later(self, call: Callable[[], None]) -> None: ...

    def left(self, peer: str) -> None: ...

    def refuse(self, spec: ListenerSpec, peer: str, reason: str, text: str) -> None: ...


class Connection(asyncio.Protocol):
    """One connection: requests one after the other, the next one read when the last is answered."""

    def __init__(self, receiver: Receiver, door: Door) -> None:
        self._receiver = receiver
        self._door = door
        self._sender = Sender(receiver, door, door.spec)
        self._transport: asyncio.Transport | None = None
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._since = self._stuck_since = self._lingers_until = 0.0
        self._is_of_peer = self._is_held = False
        tls = door.spec.tls
        self._tls = TlsSession(door.context, tls.clients) if door.context is not None and tls is not None else None
        self._ahead = 0
        self._stored = 0
        self._next()

    def _next(self) -> None:
        """Ready for a request."""
        self._request: Request | None = None
        self._has_begun = False
        self._waiting = 0
        self._since = time.monotonic()

    # the transport's calls --------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = self._sender.peer = peer_name((transport.get_extra_info("peername") or ("unknown",))[0])
        receiver = self._receiver
        if not self._door.allowed.permits(peer):
            self._turn_away(NOT_ALLOWED, "its address is not in 'allow'")
        elif len(receiver.connections) >= MAX_CONNECTIONS:
            self._turn_away(TOO_MANY, f"{MAX_CONNECTIONS} connections are open")
        elif receiver.of_peer[peer] >= MAX_OF_PEER:
            self._turn_away(TOO_MANY, f"{MAX_OF_PEER} connections of this address are open")
        else:
            receiver.connections.add(self)
            receiver.of_peer[peer] += 1
            self._is_of_peer = True

    def is_at(self, door: Door) -> bool:
        """Whether it came in there."""
        return self._door is door

    def change(self) -> None:
        """Its door is another one now; a request under way is answered first."""
        spec = self._sender.spec = self._door.spec
        if not self._door.allowed.permits(self._sender.peer):
            self._sender.refuse(NOT_ALLOWED, "its address is not in 'allow' any more")
        elif self._tls is not None and spec.tls is not None and not self._tls.relist(spec.tls.clients):
            self._sender.refuse(NOT_LISTED, "none of its names is listed any more")
        else:
            return
        self.leave(is_late=True)

    def _opened(self, data: bytes) -> bytes:
        """The plaintext in what came: none before the end of the handshake, or when the peer is refused."""
        tls = cast(TlsSession, self._tls)
        try:
            data = tls.feed(data)
        except TlsRefused as error:
            self._write(tls.outgoing())
            self._sender.refuse(error.reason, str(error))
            self._close()
            return b""
        self._write(tls.outgoing())
        self._sender.is_certified = tls.is_certified
        return data

    def data_received(self, data: bytes) -> None:
        if self._transport is None or self._lingers_until:
            return
        if self._tls is not None:
            data = self._opened(data)
        if data:
            self._feed(data)
        if self._tls is not None and self._tls.is_ended and self._transport is not None and not self.eof_received():
            self._close()

    def _feed(self, data: bytes) -> None:
        if not self._has_begun and self._request is None and not self._waiting:
            self._has_begun, self._since = True, time.monotonic()
        self._http.receive_data(data)
        self._ahead += len(data)
        self._read()
        if self._ahead > MAX_AHEAD and self._transport is not None and not self._is_held:
            self._is_held = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        if self._transport is None or self._lingers_until:
            return False
        self._http.receive_data(b"")
        self._read()
        if not self._waiting:
            return False
        self._leave_peer()  # it sends no more, and only waits for its answer
        return True

    def pause_writing(self) -> None:
        self._stuck_since = time.monotonic()

    def resume_writing(self) -> None:
        self._stuck_since = 0.0
        self._receiver.later(self._read)

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()

    # a request --------------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        while self._transport is not None and not self._stuck_since:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                self._answer(Reply(error.error_status_hint, f"{error}\n".encode(), TEXT), is_last=True)
                return
            if event is h11.NEED_DATA:
                self._ahead = 0
                if self._is_held:
                    self._is_held = False
                    self._transport.resume_reading()
                self._encourage()
                return
            if event is h11.PAUSED:
                return
            if isinstance(event, h11.Request):
                self._begin(Request(event, self._receiver.dialects))
            elif isinstance(event, h11.Data):
                self._take(cast(Request, self._request), bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                self._complete(cast(Request, self._request))
            else:  # the peer closed its half, and may still read the answer
                if not self._waiting:
                    self._close()
                return

    def _begin(self, request: Request) -> None:
        self._request, self._since = request, time.monotonic()
        request.refusal = self._sender.judge(request)

    def _encourage(self) -> None:
        """Who asks before it sends its body (RFC 9110 §10.1.1) gets an answer: curl does from 1 MiB on."""
        request = self._request
        if request is None or self._waiting or not self._http.they_are_waiting_for_100_continue:
            return
        if request.refusal is not None:
            self._answer(request.refusal, is_last=True)
        else:
            self._send(self._http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")

    def _take(self, request: Request, data: bytes) -> None:
        request.size += len(data)
        if request.size > MAX_BODY:
            self._answer(request.dialect.fault(413, f"a body may have {MAX_BODY} bytes"), is_last=True)
        elif request.refusal is None:
            request.pieces.append(data)
            self._receiver.body_bytes += len(data)
            if self._receiver.body_bytes > MAX_BODIES:  # others came with theirs since this one's head
                self._release()
                request.refusal = self._sender.put_off(request, 429, QUEUE_IS_FULL)

    def _complete(self, request: Request) -> None:
        body = self._release()
        if request.refusal is not None:
            self._answer(request.refusal)
            return
        try:
            found = request.dialect.answer(request.call(body, self._sender.spec.max_bytes))
        except BadBody as error:
            if error.status in (400, 413):
                self._sender.malformed(request, self._receiver.clock.now_ns())
            self._answer(request.dialect.fault(error.status, str(error), error.number))
            return
        if isinstance(found, Reply):
            self._answer(found)
        else:
            self._store(request, found)

    def _store(self, request: Request, taken: Taken) -> None:
        receiver, sender = self._receiver, self._sender
        if receiver.intake.is_half_full:
            # Others came whole while this one did: together they must not go over the bound.
            self._answer(sender.put_off(request, 429, QUEUE_IS_FULL))
            return
        now = receiver.clock.now_ns()
        spec = self._door.form(taken.form, sender.site(request))
        if taken.refused:
            sender.malformed(request, now, taken.refused)
        flags = cut(taken.records, spec.max_bytes)
        self._waiting += 1
        self._since = time.monotonic()
        self._stored += 1
        number = self._stored
        self._asked = (number, taken.reply)

        def told(is_durable: bool) -> None:
            receiver.later(lambda: self._tell(number, is_durable))

        self._door.rates.spend(sender.peer, len(taken.records), receiver.clock.monotonic_ns())
        receiver.intake.add(spec, sender.peer, now, taken.records, flags, told)

    def _tell(self, number: int, is_durable: bool) -> None:
        """From the loop, after the group commit."""
        if not self._waiting or self._asked[0] != number:
            return  # it was answered that it takes too long
        self._answer(self._asked[1]() if is_durable else self._late(QUEUE_IS_FULL))

    def _late(self, text: str) -> Reply:
        return self._sender.put_off(cast(Request, self._request), 503, text)

    # answers ----------------------------------------------------------------------------------------------------------

    def _answer(self, reply: Reply, *, is_last: bool = False) -> None:
        if self._transport is None:
            return
        if reply is NO_ANSWER:
            self.abort()
            return
        self._release()
        self._waiting = 0
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self._close()
            return
        is_last = is_last or self._receiver.is_ending
        self._send(written(self._http, reply, self._request, is_last=is_last))
        if self._http.their_state is h11.SEND_BODY or self._http.their_state is h11.ERROR:
            self._linger()
            return
        if is_last or not self._is_done():
            self._close()
            return
        self._http.start_next_cycle()
        self._next()
        if self._http.trailing_data[0]:
            self._has_begun = True
            self._receiver.later(self._read)  # others get their turn between pipelined requests

    def _is_done(self) -> bool:
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    def _send(self, data: bytes) -> None:
        if self._tls is not None:
            self._tls.write(data)
            data = self._tls.outgoing()
        self._write(data)

    def _write(self, data: bytes) -> None:
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _take_leave(self) -> None:
        """TLS says that nothing follows (RFC 8446 §6.1)."""
        if self._tls is not None and self._tls.is_open:
            self._tls.close()
            self._write(self._tls.outgoing())

    # endings ----------------------------------------------------------------------------------------------------------

    def look(self, now: float) -> None:
        """End what takes too long: a head or a body that trickles, an idle connection, an answer nobody takes."""
        age = now - self._since
        if self._lingers_until:
            if now > self._lingers_until:
                self.abort()
        elif self._stuck_since and now - self._stuck_since > STUCK_S:
            self._slow(f"takes no answer for {STUCK_S:.0f} s")
        elif self._waiting:
            if age > ANSWER_S:
                self._answer(self._late("the queue takes nothing at the moment"))
        elif self._tls is not None and not self._tls.is_open:
            if age > HANDSHAKE_S:
                self._slow(f"no TLS handshake within {HANDSHAKE_S:.0f} s")
        elif self._request is not None:
            size = self._request.size
            if age > BODY_S and size < BODY_RATE * age:
                self._slow(f"a body of {size} bytes in {age:.0f} s")
        elif self._has_begun or self._http.their_state is not h11.IDLE:
            if age > HEAD_S:
                self._slow(f"no whole request within {HEAD_S:.0f} s")
        elif age > IDLE_S:
            self._close()

    def _slow(self, text: str) -> None:
        self._sender.refuse(TOO_SLOW, text)
        self.abort()

    def leave(self, *, is_late: bool) -> None:
        """The receiver ends: close unless a request is under way (late: unless its records are)."""
        if self._waiting or (not is_late and (self._request is not None or self._has_begun)):
            return
        self._close()

    def _linger(self) -> None:
        """The peer still sends. Read on for a moment: closing now would have the kernel reset the connection, and the
        answer with it (RFC 9112 §9.6)."""
        self._lingers_until = time.monotonic() + LINGER_S
        if self._is_held and self._transport is not None:
            self._transport.resume_reading()
        self._take_leave()
        if self._transport is not None:
            self._transport.write_eof()

    def abort(self) -> None:
        """Close at once."""
        transport = self._transport
        self._forget()
        if transport is not None:
            transport.abort()

    def _close(self) -> None:
        self._take_leave()
        transport = self._transport
        self._forget()
        if transport is not None:
            transport.close()

    def _turn_away(self, reason: str, text: str) -> None:
        self._sender.refuse(reason, text)
        self.abort()

    def _release(self) -> bytes:
        """The body, which is no longer counted as under way."""
        pieces = self._request.pieces if self._request is not None else []
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._receiver.body_bytes -= len(body)
        pieces.clear()
        return body

    def _forget(self) -> None:
        self._release()
        self._waiting = 0
        self._transport = None
        self._receiver.connections.discard(self)
        self._leave_peer()

    def _leave_peer(self) -> None:
        if self._is_of_peer:
            self._is_of_peer = False
            self._receiver.left(self._sender.peer)
