"""Syslog messages out of a byte stream (RFC 6587): octet-counted, LF- or NUL-terminated; no sockets here."""

from __future__ import annotations

import enum
import re

from soc.model.record import INCOMPLETE, OVERSIZE

# A message begins with its PRI, or with `z` and a zlib header: omfwd's compressed messages are always octet-counted.
_COUNT = re.compile(rb"([1-9][0-9]{0,8}) (?=<|z\x78[\x01\x5e\x9c\xda])")
_COUNT_BEGUN = re.compile(rb"[1-9][0-9]{0,8}(?: (?:z\x78?)?)?\Z")
# UTF-16 with its byte order mark, or by its first character; its NULs terminate nothing.
_WIDE = re.compile(rb"\xff\xfe|\xfe\xff|<\0|\0<")
_BETWEEN = b"\r\n\0 "

Framed = tuple[list[bytes], dict[int, int]]
"""Messages, and the flags of those that have any, by index."""


class _Mode(enum.Enum):
    UNKNOWN = enum.auto()
    LF = enum.auto()
    NUL = enum.auto()
    COUNTED = enum.auto()


class SyslogFramer:
    """One connection's framing, told from what the peer sends; holds at most `max_bytes` and a few.

    `<length> <` begins an octet-counted message (RFC 6587 §3.4.1). Otherwise the first LF or NUL of the connection is
    its terminator (§3.4.2); with LF a CR before it goes too. A message longer than `max_bytes` is cut and flagged
    OVERSIZE, its rest is swallowed. Empty messages are none. How the bytes are split over calls makes no difference.
    """

    def __init__(self, max_bytes: int = 65536) -> None:
        self.max_bytes = max_bytes
        self._mode = _Mode.UNKNOWN
        self._rest = b""
        self._swallow = 0  # bytes of an octet-counted message still to be thrown away
        self._swallowing = False  # throwing away up to the terminator
        self._records: list[bytes] = []
        self._flags: dict[int, int] = {}

    @property
    def is_counted(self) -> bool:
        """Whether the peer counts octets."""
        return self._mode is _Mode.COUNTED

    def feed(self, data: bytes) -> Framed:
        """The messages that are complete with these bytes."""
        self._rest = self._rest + data if self._rest else data
        while self._rest and self._step():
            pass
        return self._take()

    def close(self, *, is_cut: bool = False) -> Framed:
        """What the peer sent after the last complete message; the connection is over.

        With `is_cut` we ended it, and what began is flagged INCOMPLETE in every framing.
        """
        rest, self._rest = self._rest, b""
        bits = INCOMPLETE if is_cut else 0
        if self._mode is _Mode.COUNTED and rest:
            head = _COUNT.match(rest)
            self._emit(rest[head.end() :] if head else rest, INCOMPLETE if head else bits)
        elif rest and not self._swallowing and not (self._mode is _Mode.UNKNOWN and rest == b"\0"):
            self._emit(rest.removesuffix(b"\r"), bits)
        return self._take()

    def _take(self) -> Framed:
        taken = self._records, self._flags
        self._records, self._flags = [], {}
        return taken

    def _emit(self, record: bytes, flags: int) -> None:
        if len(record) > self.max_bytes:
            record, flags = record[: self.max_bytes], flags | OVERSIZE
        if not record:
            return
        if flags:
            self._flags[len(self._records)] = flags
        self._records.append(record)

    def _step(self) -> bool:
        """Work on the bytes at hand; whether to look again."""
        if self._mode is _Mode.COUNTED:
            return self._counted()
        if self._mode is _Mode.LF:
            return self._terminated(b"\n")
        if self._mode is _Mode.NUL:
            return self._terminated(b"\0")
        return self._decide()

    def _decide(self) -> bool:
        rest = self._rest
        if not self._swallowing:
            if _COUNT.match(rest):
                self._mode = _Mode.COUNTED
                return True
            if _COUNT_BEGUN.match(rest) or rest == b"\0":
                return False
            if _WIDE.match(rest):
                self._mode = _Mode.LF
                return True
        terminator = min((at for at in (rest.find(b"\n"), rest.find(b"\0")) if at >= 0), default=-1)
        if terminator < 0:
            return self._overflow()
        self._mode = _Mode.LF if rest[terminator] == 0x0A else _Mode.NUL
        return True

    # octet counting -------------------------------------------------------------------------------------------------

    def _counted(self) -> bool:
        if self._swallow:
            gone = min(self._swallow, len(self._rest))
            self._rest = self._rest[gone:]
            self._swallow -= gone
            return bool(self._rest)
        at, rest = 0, self._rest
        # Some senders add a terminator to the counted message without counting it.
        while at < len(rest):
            if rest[at] in _BETWEEN:
                at += 1
                continue
            head = _COUNT.match(rest, at)
            if head is None:
                return self._lost_count(at)
            stop = head.end() + int(head[1])
            if stop > len(rest):
                return self._partial(at, head.end(), stop)
            self._emit(rest[head.end() : stop], 0)
            at = stop
        self._rest = b""
        return False

    def _lost_count(self, at: int) -> bool:
        """No count where one belongs: not there yet, or the peer changed its framing; then it is told anew."""
        self._rest = self._rest[at:]
        if _COUNT_BEGUN.match(self._rest):
            return False
        self._mode = _Mode.UNKNOWN
        return True

    def _partial(self, at: int, start: int, stop: int) -> bool:
        rest = self._rest
        if len(rest) - start <= self.max_bytes:
            self._rest = rest[at:]
            return False
        self._emit(rest[start:], OVERSIZE)
        self._swallow = stop - len(rest)
        self._rest = b""
        return False

    # terminators ----------------------------------------------------------------------------------------------------

    def _terminated(self, terminator: bytes) -> bool:
        parts = self._rest.split(terminator)
        self._rest = parts.pop()
        if parts and self._swallowing:
            self._swallowing = False
            del parts[0]
        if terminator == b"\n":
            parts = [part.removesuffix(b"\r") for part in parts]
        if parts and max(map(len, parts)) <= self.max_bytes:
            self._records.extend(filter(None, parts))
        else:
            for part in parts:
                self._emit(part, 0)
        return self._overflow()

    def _overflow(self) -> bool:
        """Cut an unterminated message that is certainly too long (one more byte may be the CR before its LF)."""
        if self._swallowing:
            self._rest = b""
        elif len(self._rest) > self.max_bytes + 1:
            self._emit(self._rest, OVERSIZE)
            self._rest = b""
            self._swallowing = True
        return False
