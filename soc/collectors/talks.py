"""What is spoken on a connection, above TLS: syslog in any framing, compressed or not, and RELP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from soc.collectors import compressed, relp
from soc.collectors.counters import Counters
from soc.collectors.framing import Framed, SyslogFramer
from soc.collectors.gelf import GelfFramer
from soc.collectors.intake import Intake
from soc.collectors.listeners import ListenerSpec
from soc.model.clock import Clock

_TURN = 4 << 20
Bytes = bytes | memoryview


class Receiver(Protocol):
    """Where records go, and the loop that everything runs in."""

    intake: Intake
    counters: Counters
    clock: Clock

    def later(self, call: Callable[[], None]) -> None: ...


class Connection(Protocol):
    """The peer that is spoken with."""

    spec: ListenerSpec
    peer: str

    @property
    def receiver(self) -> Receiver: ...

    def add(self, framed: Framed, durable: Callable[[bool], None] | None = None) -> None: ...

    def send(self, data: bytes) -> None: ...

    def hold(self, why: str) -> None: ...

    def release(self, why: str) -> None: ...

    def break_off(self, reason: str, text: str) -> None: ...

    def end_session(self) -> None: ...

    def end_session_when_quiet(self) -> None: ...


class Talk(Protocol):
    """What is spoken on a connection, above TLS."""

    @property
    def is_behind(self) -> bool:
        """Bytes that were fed are not all worked on; `go_on` does some more."""
        ...

    def feed(self, data: Bytes) -> None: ...

    def go_on(self) -> None: ...

    def limit(self, max_bytes: int) -> None:
        """From now on a record may have so many bytes."""
        ...

    def is_quiet(self) -> bool:
        """Nobody waits for an answer."""
        ...

    def is_late(self, age_s: float) -> bool:
        """Whether the peer should have begun to speak by now."""
        ...

    def cut(self) -> None:
        """We end the connection here."""
        ...

    def lost(self) -> None:
        """The connection is over."""
        ...

    def farewell(self) -> bytes: ...


class Syslog:
    """Syslog in any framing, compressed or not."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        framer = GelfFramer if connection.spec.format == "gelf" else SyslogFramer
        self._framer: SyslogFramer | GelfFramer = framer(connection.spec.max_bytes)
        self._expander: compressed.Expander | None = None
        self._head: bytes | None = b""  # None: the first bytes have shown whether the stream is compressed

    @property
    def is_behind(self) -> bool:
        return self._expander is not None and self._expander.is_behind

    def feed(self, data: Bytes) -> None:
        if self._head is not None:
            data, self._head = self._head + data, None
            is_compressed = compressed.could_be(data)
            if is_compressed is None:
                self._head = data
                return
            if is_compressed:
                self._expander = compressed.Expander()
        if self._expander is None:
            self._add(self._framer.feed(data))
        else:
            self._expander.put(bytes(data))
            self.go_on()

    def go_on(self) -> None:
        """Expand for one turn."""
        expander, done = self._expander, 0
        if expander is None:
            return
        try:
            while expander.is_behind and done < _TURN and not self._connection.receiver.intake.is_crowded:
                piece = expander.take()
                done += len(piece)
                self._add(self._framer.feed(piece))
        except compressed.StreamCut as cut:
            connection = self._connection
            now_ns = connection.receiver.clock.now_ns()
            # The rest of the stream is lost to us, nobody knows how many messages: one drop says so.
            connection.receiver.counters.dropped(
                connection.spec.site, connection.spec.name, connection.peer, now_ns, cut.reason
            )
            connection.break_off(cut.reason, str(cut))

    def cut(self) -> None:
        self._add(self._framer.close(is_cut=True))
        self._close()

    def lost(self) -> None:
        rest = self._head or b""
        if self._expander is not None:
            rest = self._expander.finish()
        if rest:
            self._add(self._framer.feed(rest))
        self._add(self._framer.close())
        self._close()

    def _close(self) -> None:
        self._head = None
        if self._expander is not None:
            self._expander.close()
            self._expander = None

    def _add(self, framed: Framed) -> None:
        if framed[0]:
            self._connection.add(framed)

    def limit(self, max_bytes: int) -> None:
        self._framer.max_bytes = max_bytes

    def is_quiet(self) -> bool:
        return True

    def is_late(self, age_s: float) -> bool:
        return False  # a device may have nothing to say for days

    def farewell(self) -> bytes:
        return b""


class Relp:
    """RELP: an answer only when the queue has the message for good."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._session = relp.RelpSession(connection.spec.max_bytes)
        self._is_over = False

    def feed(self, data: Bytes) -> None:
        try:
            heard = self._session.feed(data)
        except relp.RelpBroken as error:
            self._pass_on(self._session.heard())
            self._connection.send(self._session.end())
            self._connection.break_off(relp.MALFORMED, str(error))
            return
        self._pass_on(heard)
        if self._session.waiting > relp.MAX_UNANSWERED:
            self._connection.hold("window")
        self._close_when_over()

    def _pass_on(self, heard: relp.Heard) -> None:
        self._connection.send(heard.answers)
        if heard.records:
            numbers, later = heard.numbers, self._connection.receiver.later

            def durable(is_stored: bool) -> None:
                later(lambda: self._tell(numbers, is_stored))

            self._connection.add((heard.records, heard.flags), durable)

    def _tell(self, numbers: list[int], is_stored: bool) -> None:
        answers = self._session.answer(numbers, is_stored)
        if self._is_over:
            return
        self._connection.send(answers)
        if self._session.waiting <= relp.MAX_UNANSWERED // 2:
            self._connection.release("window")
        self._close_when_over()
        self._connection.end_session_when_quiet()

    def _close_when_over(self) -> None:
        if self._session.is_over and not self._is_over:
            self._is_over = True
            self._connection.end_session()

    @property
    def is_behind(self) -> bool:
        return False

    def go_on(self) -> None:
        """Nothing is ever left over."""

    def cut(self) -> None:
        self._is_over = True

    def lost(self) -> None:
        self._is_over = True

    def limit(self, max_bytes: int) -> None:
        self._session.max_bytes = max_bytes

    def is_quiet(self) -> bool:
        return not self._session.waiting

    def is_late(self, age_s: float) -> bool:
        return not self._session.is_open and age_s > relp.OPEN_S

    def farewell(self) -> bytes:
        # After the peer's own `close` our hint stands behind its answer already.
        return b"" if self._is_over else self._session.end()
