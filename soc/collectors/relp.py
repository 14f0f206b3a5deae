"""RELP, the reliable event logging protocol, from the receiver's side; no sockets here.

Source: the specification that comes with librelp (doc/relp.html), and what librelp 1.11 sends. A frame is
`TXNR SP COMMAND SP DATALEN [SP DATA] LF`; a client keeps each message until `rsp 200` for its number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from soc.model.record import OVERSIZE

MAX_UNANSWERED = 16384
"""Messages of a session that may wait for their answer; then its peer is not read. librelp sends 128 ahead."""
OPEN_S = 30.0
"""Seconds a peer has to open its session after connecting."""
SLOW_S = 60.0
"""Seconds a peer has to take our answers before the session ends."""
MALFORMED = "relp_malformed"
SOFTWARE = "soc-toolkit"

_LAST_NUMBER = 999_999_999
_LARGEST_OFFERS = 4096
_SYSLOG = re.compile(rb"([0-9]{1,9}) syslog ([1-9][0-9]{0,8}) ")
_HEAD = re.compile(rb"([0-9]{1,9}) ([a-zA-Z]{1,32}) ([0-9]{1,9})(?: |(?=\n))")
_HEAD_BEGUN = re.compile(rb"[0-9]{0,9}(?:(?<=[0-9]) (?:[a-zA-Z]{0,32}(?:(?<=[a-zA-Z]) [0-9]{0,9})?)?)?\Z")
_OFFERS = b"relp_version=0\nrelp_software=" + SOFTWARE.encode() + b"\ncommands=syslog"


class RelpBroken(Exception):
    """The peer does not speak RELP, or not in this order; the session ends."""


@dataclass
class Heard:
    """What frames brought: messages with the flags of those that have any, their numbers, and answers to send now."""

    records: list[bytes] = field(default_factory=list)
    flags: dict[int, int] = field(default_factory=dict)
    numbers: list[int] = field(default_factory=list)
    answers: bytes = b""


class RelpSession:
    """One connection. `numbers[i]` of what `feed` hands out belongs to `records[i]`; call `answer` once their fate is
    known. Holds at most a message and a read. How the bytes are split over calls makes no difference."""

    def __init__(self, max_bytes: int = 65536) -> None:
        self.max_bytes = max_bytes
        self.is_open = False
        self.waiting = 0
        """Messages without an answer."""
        self._rest = b""
        self._skip = 0  # bytes of a long message still to be thrown away; its LF follows
        self._is_in_tail = False
        self._next: int | None = None
        self._closing: int | None = None
        self._heard = Heard()

    @property
    def is_over(self) -> bool:
        """The client closed the session and has all its answers."""
        return self._closing is not None and not self.waiting

    def feed(self, data: bytes | memoryview) -> Heard:
        """The messages of the frames that are whole with these bytes. Raises RelpBroken; `heard()` has what came before
        the fault."""
        self._rest = self._rest + data if self._rest else bytes(data)
        while self._rest and self._closing is None and self._step():
            pass
        return self.heard()

    def heard(self) -> Heard:
        """What was found since the last call."""
        heard, self._heard = self._heard, Heard()
        self.waiting += len(heard.numbers)
        return heard

    def answer(self, numbers: Iterable[int], is_stored: bool) -> bytes:
        """The answers for these messages: 200 when they are stored for good, 500 when the client must keep them."""
        numbers = list(numbers)
        self.waiting -= len(numbers)
        text = b"%d rsp 6 200 OK\n" if is_stored else b"%d rsp 14 500 not stored\n"
        return b"".join([text % number for number in numbers]) + self._closed()

    def end(self) -> bytes:
        """Our own end of the session: the hint that nothing is read any more."""
        return b"0 serverclose 0\n"

    def _closed(self) -> bytes:
        return b"%d rsp 0\n%b" % (self._closing or 0, self.end()) if self.is_over else b""

    # frames ---------------------------------------------------------------------------------------------------------

    def _step(self) -> bool:
        """Work on the bytes at hand; whether to look again."""
        if self._skip or self._is_in_tail:
            return self._tail()
        if self.is_open and self._messages():
            return bool(self._rest)
        return self._command()

    def _messages(self) -> bool:
        """Whole `syslog` frames, as many as there are; whether there was one."""
        rest, at, match = self._rest, 0, _SYSLOG.match
        records, numbers, most, expected = self._heard.records, self._heard.numbers, self.max_bytes, self._next
        while (head := match(rest, at)) is not None:
            size, start = int(head[2]), head.end()
            stop = start + size
            if size > most or stop >= len(rest):
                break
            number = int(head[1])
            if number != expected or rest[stop] != 0x0A:
                break  # _command says what is wrong
            records.append(rest[start:stop])
            numbers.append(number)
            expected = number + 1 if number < _LAST_NUMBER else 1
            at = stop + 1
        self._next = expected
        self._rest = rest[at:] if at else rest
        return at > 0

    def _command(self) -> bool:
        head = _HEAD.match(self._rest)
        if head is None:
            if _HEAD_BEGUN.match(self._rest):
                return False
            raise RelpBroken("no frame begins here")
        number, command, size = int(head[1]), head[2], int(head[3])
        if command == b"syslog" and self.is_open and size:
            return self._message(number, head.end(), size)
        if size > _LARGEST_OFFERS:
            raise RelpBroken(f"{size} bytes for '{command.decode()}'")
        stop = head.end() + size
        if len(self._rest) <= stop:
            return False
        if self._rest[stop] != 0x0A:
            raise RelpBroken("a frame is longer than it says")
        data, self._rest = self._rest[head.end() : stop], self._rest[stop + 1 :]
        self._number(number)
        self._obey(number, command, data)
        return True

    def _number(self, number: int) -> None:
        if self._next is not None and number != self._next:
            raise RelpBroken(f"transaction {number} where {self._next} belongs")
        self._next = number + 1 if number < _LAST_NUMBER else 1

    def _obey(self, number: int, command: bytes, data: bytes) -> None:
        if command == b"open" and not self.is_open:
            self._open(number, data)
        elif not self.is_open:
            raise RelpBroken(f"'{command.decode()}' before 'open'")
        elif command == b"close":
            self._closing = number
            self._heard.answers += b"" if self.waiting or self._heard.numbers else self._closed()
        elif command == b"syslog":
            self._heard.answers += b"%d rsp 6 200 OK\n" % number  # an empty message is none
        else:
            raise RelpBroken(f"unknown command '{command.decode()}'")

    def _open(self, number: int, data: bytes) -> None:
        offers = dict(line.split(b"=", 1) for line in data.splitlines() if b"=" in line)
        version, commands = offers.get(b"relp_version", b"0"), offers.get(b"commands", b"syslog")
        if version not in (b"0", b"1") or b"syslog" not in commands.split(b","):
            text = b"500 we speak relp_version=0 with commands=syslog"
            self._heard.answers += b"%d rsp %d %b\n" % (number, len(text), text)
            return
        self.is_open = True
        text = b"200 OK\n" + _OFFERS
        self._heard.answers += b"%d rsp %d %b\n" % (number, len(text), text)

    # long messages --------------------------------------------------------------------------------------------------

    def _message(self, number: int, start: int, size: int) -> bool:
        """A message that is not whole yet, or longer than allowed: then it is cut, flagged and its rest swallowed."""
        kept = min(size, self.max_bytes)
        if len(self._rest) < start + kept:
            return False
        if size == kept:
            if len(self._rest) == start + kept:
                return False
            if self._rest[start + kept] != 0x0A:
                raise RelpBroken("a frame is longer than it says")
        self._number(number)
        if size > kept:
            self._heard.flags[len(self._heard.records)] = OVERSIZE
        self._heard.records.append(self._rest[start : start + kept])
        self._heard.numbers.append(number)
        self._rest = self._rest[start + kept :]
        self._skip, self._is_in_tail = size - kept, True
        return bool(self._rest)

    def _tail(self) -> bool:
        gone = min(self._skip, len(self._rest))
        self._rest = self._rest[gone:]
        self._skip -= gone
        if not self._rest:
            return False
        if self._rest[0] != 0x0A:
            raise RelpBroken("a frame is longer than it says")
        self._rest = self._rest[1:]
        self._is_in_tail = False
        return True
