"""Receives what comes over connections, syslog (TCP, TLS, compressed) and RELP: one event loop in its own thread."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import time
from collections.abc import Callable
from typing import cast

from soc.collectors import relp
from soc.collectors.acceptor import MAX_CONNECTIONS, NOT_ALLOWED, TOO_MANY, TOO_SLOW, Acceptor
from soc.collectors.counters import Counters
from soc.collectors.framing import Framed
from soc.collectors.intake import Intake
from soc.collectors.listeners import AllowList, ListenerSpec, peer_name
from soc.collectors.rates import Rates
from soc.collectors.talks import Bytes, Relp, Syslog, Talk
from soc.collectors.tls import HANDSHAKE_S, NOT_LISTED, TlsRefused, TlsSession, server_context
from soc.model.clock import Clock

VANISHED = "vanished"
IDLE_S, ASK_S, ASKED = 600, 30, 4
"""A peer that has been silent for so long is asked whether it is still there, every so often, so many times."""
_READ = 256 << 10
_STOP_READ = 256 << 10
_STOP_TOTAL = 8 << 20
_STOP_ROUNDS = 10
_STOP_ANSWERS_S = 5.0
MAX_OF_PEER = MAX_CONNECTIONS // 2
"""Of one address, so that nobody can shut all others out; many devices may stand behind one."""
_CHECK_S = 0.02
_TIMES_S = 1.0
_LINGER_S = 5.0
_GONE = (errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH)
_log = logging.getLogger("soc.collectors")


class _Door:
    """One listener: who may come in, and with which certificate we answer. Raises ConfigError for its files."""

    def __init__(self, spec: ListenerSpec) -> None:
        self.spec = spec
        self.allowed = AllowList(spec)
        self.rates = Rates(spec)
        self.context = server_context(spec) if spec.is_tls else None


class StreamReceiver(Acceptor[_Door]):
    """All stream and RELP listeners of a collector."""

    log, check_s = _log, _CHECK_S

    def __init__(
        self, listeners: list[tuple[ListenerSpec, socket.socket]], intake: Intake, counters: Counters, clock: Clock
    ):
        super().__init__("listen-streams", listeners, intake, counters, clock)
        self.connections: set[_Connection] = set()
        self.read_into = memoryview(bytearray(_READ))
        """One for all connections: what was read is worked on before the next read."""
        self.is_paused = False
        self._looked = time.monotonic()

    def _door(self, spec: ListenerSpec) -> _Door:
        return _Door(spec)

    def _connection(self, door: _Door) -> asyncio.BufferedProtocol:
        return _Connection(self, door)

    def _change(self, fresh: _Door) -> None:
        self._doors[fresh.spec.name] = fresh
        for connection in list(self.connections):
            if connection.spec.name == fresh.spec.name:
                connection.change(fresh)

    def _part(self, name: str) -> None:
        for connection in list(self.connections):
            if connection.spec.name == name:
                connection.finish()

    def _look_round(self) -> None:
        self.regulate()
        now = time.monotonic()
        if now - self._looked > _TIMES_S:
            self._looked = now
            self._each(self.connections, lambda connection: connection.end_when_slow(now), _Connection.abort)

    async def _finish(self) -> None:
        # What peers have written may still be on its way out of their kernels: look again until nothing comes any more.
        empty = 0
        for _ in range(_STOP_ROUNDS):
            taken = [connection.take_rest() for connection in list(self.connections)]
            empty = 0 if any(taken) else empty + 1
            if empty == 2:
                break
            await asyncio.sleep(_CHECK_S)
        for connection in list(self.connections):
            connection.finish()
        # What RELP peers sent last is on its way into the queue; their answers are worth a moment.
        end = time.monotonic() + _STOP_ANSWERS_S
        while self.connections and time.monotonic() < end and not self.intake.is_stopped:
            await asyncio.sleep(_CHECK_S / 4)
        for connection in list(self.connections):
            connection.end_session()
        await asyncio.sleep(_CHECK_S)

    def regulate(self) -> None:
        """Stop reading while the queue takes nothing or memory fills; the peers' own windows hold the rest back.

        Asked after every read, so that at most one read goes over the bound.
        """
        if self.intake.is_half_full != self.is_paused:
            self.is_paused = not self.is_paused
            for connection in list(self.connections):
                connection.regulate()


class _Connection(asyncio.BufferedProtocol):
    def __init__(self, receiver: StreamReceiver, door: _Door) -> None:
        self.receiver = receiver
        self.spec = spec = door.spec
        self.peer = ""
        self._allowed = door.allowed
        self._rates = door.rates
        self._tls = TlsSession(door.context, spec.tls.clients) if door.context and spec.tls else None
        self._talk: Talk = Relp(self) if spec.kind == "relp" else Syslog(self)
        self._transport: asyncio.Transport | None = None
        self._began = self._stuck_since = 0.0
        self._held: set[str] = set()
        self._paces = 0
        self._is_lost = False

    # the transport's calls ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._began = time.monotonic()
        self.peer = peer_name((transport.get_extra_info("peername") or ("unknown",))[0])
        receiver = self.receiver
        if not self._allowed.permits(self.peer):
            self._turn_away(NOT_ALLOWED, "its address is not in 'allow'")
        elif len(receiver.connections) >= MAX_CONNECTIONS:
            self._turn_away(TOO_MANY, f"{MAX_CONNECTIONS} connections are open")
        elif receiver.of_peer[self.peer] >= MAX_OF_PEER:
            self._turn_away(TOO_MANY, f"{MAX_OF_PEER} connections of this address are open")
        else:
            _notice_the_dead(transport.get_extra_info("socket"))
            receiver.connections.add(self)
            receiver.of_peer[self.peer] += 1
            self.regulate()

    def get_buffer(self, _sizehint: int) -> memoryview:
        return self.receiver.read_into

    def buffer_updated(self, size: int) -> None:
        if self._transport is None:
            return
        self._take(self.receiver.read_into[:size])
        self.receiver.regulate()
        self._work_later()

    def pause_writing(self) -> None:
        self._stuck_since = time.monotonic()
        self.hold("answers")

    def resume_writing(self) -> None:
        self._stuck_since = 0.0
        self.release("answers")

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is None:
            return
        self._is_lost = True
        has_vanished = isinstance(exc, OSError) and exc.errno in _GONE
        if has_vanished:
            self.receiver.refuse(self.spec, self.peer, VANISHED, "it is there no more, and never took its leave")
        if not self._talk.is_behind:
            if has_vanished:
                self._talk.cut()
            self._end()

    def change(self, door: _Door) -> None:
        """The listener is another one now. What was agreed with this peer stays: its protocol, its TLS session."""
        spec, self._rates = door.spec, door.rates
        if not door.allowed.permits(self.peer):
            self.break_off(NOT_ALLOWED, "its address is not in 'allow' any more")
        elif self._tls is not None and spec.tls is not None and not self._tls.relist(spec.tls.clients):
            self.break_off(NOT_LISTED, "none of its names is listed any more")
        elif (spec.kind, spec.format) == (self.spec.kind, self.spec.format):
            self.spec = spec
            self._talk.limit(spec.max_bytes)
            self._paces += 1
            self._go_on(self._paces)

    # reading --------------------------------------------------------------------------------------------------------

    def _take(self, data: Bytes) -> None:
        if self._tls is None:
            self._talk.feed(data)
            return
        try:
            data = self._tls.feed(data)
        except TlsRefused as error:
            self.send_raw(self._tls.outgoing())
            self.break_off(error.reason, str(error))
            return
        self.send_raw(self._tls.outgoing())
        if data:
            self._talk.feed(data)
        if self._tls.is_ended and not self._talk.is_behind:
            self.end_session()

    def _work_later(self) -> None:
        """What one read expands to may be much: others get their turn in between, and the intake has a say."""
        if self._talk.is_behind:
            self.hold("behind")
            if not self.receiver.is_paused and "rate" not in self._held:
                self.receiver.later(self._work)

    def _work(self) -> None:
        if self._transport is None or self.receiver.is_paused or not self._talk.is_behind or "rate" in self._held:
            return
        self._talk.go_on()
        self.receiver.regulate()
        if self._talk.is_behind:
            self._work_later()
        elif self._is_lost:
            self._end()
        elif self._tls is not None and self._tls.is_ended:
            self.end_session()
        else:
            self.release("behind")

    def regulate(self) -> None:
        """Stop reading while the receiver is paused, or go on."""
        if self.receiver.is_paused:
            self.hold("queue")
        else:
            self.release("queue")
            self._work_later()

    def hold(self, why: str) -> None:
        """Do not read, for this reason."""
        if not self._held and self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
        self._held.add(why)

    def release(self, why: str) -> None:
        """This reason is gone; read when no other is left."""
        if why not in self._held:
            return
        self._held.discard(why)
        if not self._held and self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def add(self, framed: Framed, durable: Callable[[bool], None] | None = None) -> None:
        """Hand records to the intake."""
        records, flags = framed
        now_ns = self.receiver.clock.now_ns()
        self.receiver.intake.add(self.spec, self.peer, now_ns, records, flags, durable)
        if self._rates.is_limited:
            self._pace(len(records))

    def _pace(self, n: int) -> None:
        """Read on when the source has room for it again; its window holds the rest back until then."""
        wait_s = self._rates.spend(self.peer, n, self.receiver.clock.monotonic_ns())
        if wait_s > 0:
            self.hold("rate")
            self._paces += 1
            number = self._paces
            self.receiver.after(wait_s, lambda: self._go_on(number))

    def _go_on(self, number: int) -> None:
        """The wait is over, unless a later one began."""
        if number == self._paces:
            self.release("rate")
            self._work_later()

    # writing --------------------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Bytes for the peer, through TLS when it is spoken."""
        if self._tls is not None:
            if not self._tls.is_open:
                return
            self._tls.write(data)
            data = self._tls.outgoing()
        self.send_raw(data)

    def send_raw(self, data: bytes) -> None:
        """Bytes for the peer as they are."""
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    # endings --------------------------------------------------------------------------------------------------------

    def end_when_slow(self, now: float) -> None:
        """Turn a peer away that does not begin, or does not take its answers: it may be gone without a word."""
        age = now - self._began
        if self._tls is not None and not self._tls.is_open:
            if age > HANDSHAKE_S:
                self.break_off(TOO_SLOW, f"no TLS handshake within {HANDSHAKE_S:.0f} s")
        elif self._talk.is_late(age):
            self.break_off(TOO_SLOW, f"no session within {relp.OPEN_S:.0f} s")
        elif self._stuck_since and now - self._stuck_since > relp.SLOW_S:
            self.break_off(TOO_SLOW, f"takes no answers for {relp.SLOW_S:.0f} s")

    def break_off(self, reason: str, text: str) -> None:
        """End the connection because of what the peer did or was."""
        self.receiver.refuse(self.spec, self.peer, reason, text)
        self._talk.cut()
        self._hang_up()

    def _turn_away(self, reason: str, text: str) -> None:
        self.receiver.refuse(self.spec, self.peer, reason, text)
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def abort(self) -> None:
        """Close at once."""
        transport = self._transport
        self._end()
        if transport is not None:
            transport.abort()

    def _hang_up(self) -> None:
        """Close after what waits to be sent; the rest the peer sends is not read."""
        transport = self._transport
        self._end()
        if transport is not None:
            transport.close()
            # A peer that takes nothing must not keep what waits for it.
            self.receiver.after(_LINGER_S, transport.abort)

    def finish(self) -> None:
        """The receiver ends. Syslog: read what lies in the kernel's buffer, for the peer believes it delivered, and
        close. RELP: what has no answer stays with the peer; wait for the answers under way."""
        if self._transport is None:
            return
        self.take_rest()
        if self.spec.kind == "relp":
            if self._talk.is_quiet():
                self.end_session()
            return
        self.end_session()

    def take_rest(self) -> int:
        """Read no more by the loop; of syslog take what the kernel has. How many bytes that were."""
        self.hold("finish")
        if self._transport is None or self.spec.kind == "relp":
            return 0
        with socket.socket(fileno=os.dup(self._transport.get_extra_info("socket").fileno())) as sock:
            return self._drain(sock)

    def _drain(self, sock: socket.socket) -> int:
        total = 0
        intake = self.receiver.intake
        while total < _STOP_TOTAL and self._transport is not None and not intake.is_stopped:
            if intake.is_crowded:
                time.sleep(_CHECK_S)  # the loop has nothing else to do any more; the group commit makes room
                continue
            if self._talk.is_behind:
                self._talk.go_on()
                continue
            try:
                data = sock.recv(_STOP_READ, socket.MSG_DONTWAIT)
            except OSError:
                break  # nothing left, or the peer reset the connection
            if not data:
                break
            total += len(data)
            self._take(data)
        return total

    def end_session(self) -> None:
        """Take leave and close."""
        if self._transport is None:
            return
        self.send(self._talk.farewell())
        if self._tls is not None and self._tls.is_open:
            self._tls.close()
            self.send_raw(self._tls.outgoing())
        self._hang_up()

    def end_session_when_quiet(self) -> None:
        """After `finish`: close once the last answer is given."""
        if "finish" in self._held and self._talk.is_quiet():
            self.end_session()

    def _end(self) -> None:
        self._talk.lost()
        self._transport = None
        receiver = self.receiver
        if self in receiver.connections:
            receiver.connections.remove(self)
            receiver.left(self.peer)


def _notice_the_dead(sock: socket.socket) -> None:
    """Give a peer up that answers nothing, neither our questions when it is silent nor what we sent it (which is not
    asked, but repeated)."""
    options = {
        socket.TCP_KEEPIDLE: IDLE_S,
        socket.TCP_KEEPINTVL: ASK_S,
        socket.TCP_KEEPCNT: ASKED,
        socket.TCP_USER_TIMEOUT: (IDLE_S + ASK_S * ASKED) * 1000,
    }
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in options.items():
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
