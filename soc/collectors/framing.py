"""Syslog messages out of a byte stream (RFC 6587): octet-counted, LF- or NUL-terminated; no sockets here."""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from soc.collectors import compressed
from soc.collectors.packed import Packer
from soc.model.record import INCOMPLETE, OVERSIZE

# A message begins with its PRI, or with `z` and a zlib header: omfwd's compressed messages are always octet-counted.
_COUNT = re.compile(rb"([1-9][0-9]{0,8}) (?=<|z\x78[\x01\x5e\x9c\xda])")
_COUNT_BEGUN = re.compile(rb"[1-9][0-9]{0,8}(?: (?:z\x78?)?)?\Z")
# UTF-16 with its byte order mark, or by its first character; its NULs terminate nothing.
_WIDE = re.compile(rb"\xff\xfe|\xfe\xff|<\0|\0<")
_BETWEEN = b"\r\n\0 "

_MANY = 16384
"""Bytes from which the search for messages in all of them at once is cheaper than one by one."""
_WINDOW = 1 << 18
_TURN = _WINDOW // 16
_DIGITS = 6
_NEVER = b"\xff"
"""No UTF-8 has this byte (RFC 3629 section 1)."""
_POWERS = 10 ** np.arange(1, 10)

Array = np.ndarray[Any, Any]
Framed = tuple[Sequence[bytes], dict[int, int]]
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
        self._found = Packer()

    def feed(self, data: bytes | memoryview) -> Framed:
        """The messages that are complete with these bytes."""
        self._rest = self._rest + data if self._rest else bytes(data)
        while self._rest and self._step():
            pass
        return self._found.take()

    def close(self, *, is_cut: bool = False) -> Framed:
        """What the peer sent after the last complete message; the connection is over.

        With `is_cut` we ended it, and what began is flagged INCOMPLETE in every framing.
        """
        rest, self._rest = self._rest, b""
        bits = INCOMPLETE if is_cut else 0
        if self._mode is _Mode.COUNTED and rest:
            head = _COUNT.match(rest)
            self._emit_counted(rest[head.end() :] if head else rest, INCOMPLETE if head else bits)
        elif rest and not self._swallowing and not (self._mode is _Mode.UNKNOWN and rest == b"\0"):
            self._emit(rest.removesuffix(b"\r"), bits)
        return self._found.take()

    def _emit(self, record: bytes, flags: int) -> None:
        if len(record) > self.max_bytes:
            record, flags = record[: self.max_bytes], flags | OVERSIZE
        self._found.add(record, flags)

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
        at, rest, is_provable = 0, self._rest, True
        while at < len(rest):
            if is_provable and len(rest) - at >= _MANY:
                at, is_provable = self._many_counted(at)
            at = self._plain_counted(at)
            # Some senders add a terminator to the counted message without counting it.
            while at < len(rest) and rest[at] in _BETWEEN:
                at += 1
            if at == len(rest):
                break
            head = _COUNT.match(rest, at)
            if head is None:
                return self._lost_count(at)
            stop = head.end() + int(head[1])
            if stop > len(rest):
                return self._partial(at, head.end(), stop)
            self._emit_counted(rest[head.end() : stop], 0)
            at = stop
        self._rest = b""
        return False

    def _plain_counted(self, at: int) -> int:
        """Take messages from here on, one by one, up to the first that is cut off, long, compressed or none."""
        rest, find, most, records = self._rest, self._rest.find, self.max_bytes, []
        size, limit = len(rest), at + _TURN
        while at < limit:
            space = find(b" <", at, at + _DIGITS + 2)
            count = rest[at:space]
            if space <= at or count[0] == 0x30 or not count.isdigit():
                break
            begin = space + 1
            stop = begin + int(count)
            if stop > size or stop - begin > most:
                break
            records.append(rest[begin:stop])
            at = stop
        self._found.extend(records)
        return at

    def _emit_counted(self, record: bytes, flags: int) -> None:
        """A counted message, which may be one of omfwd's compressed ones."""
        if len(record) > self.max_bytes:
            record, flags = record[: self.max_bytes], flags | OVERSIZE
        if record[:1] == b"z":
            record, bits = compressed.expanded(record, self.max_bytes)
            flags |= bits
        self._found.add(record, flags)

    def _many_counted(self, at: int) -> tuple[int, bool]:
        """Take messages from here on, as many as can be proven at once; where the rest begins, and whether there were.

        Every ` <` behind a digit is taken for a count's end. From the distance to the next one follows what the count
        must be, and how many digits it has; where the digits say just that, and did so for all messages before, it is.
        """
        data = np.frombuffer(self._rest, np.uint8, min(_WINDOW, len(self._rest) - at), at)
        begins = np.flatnonzero(data[2:] == 0x3C) + 2
        begins = begins[(data[begins - 1] == 0x20) & (data[begins - 2] - 0x30 < 10)]
        if len(begins) < 3:
            return at, True
        distance = np.diff(begins)
        digits = np.searchsorted(_POWERS, distance - 4, "right") + 1
        for _ in range(2):
            digits[:-1] = np.searchsorted(_POWERS, distance[:-1] - 1 - digits[1:], "right") + 1
        counts = (distance[:-1] - 1 - digits[1:]).clip(0)
        # `counts[i]` must stand before `begins[i]`, in `digits[i]` digits; the first one begins where we are.
        digits = digits[:-1]
        good = (digits <= _DIGITS) & (counts > 0) & (counts <= self.max_bytes)
        good &= digits == np.searchsorted(_POWERS, counts, "right") + 1
        good[0] &= digits[0] == begins[0] - 1
        left = counts
        for k in range(int(digits.max(initial=0, where=good))):
            left, digit = np.divmod(left, 10)
            good &= (data[begins[:-2] - 2 - k] - 0x30 == digit) | (k >= digits)
        n = len(good) if good.all() else int(good.argmin())
        if not n:
            return at, False  # a peer that adds terminators, for one: it will be so in the rest as well
        begins, sizes = begins[:n], counts[:n]
        stop = int(begins[-1] + sizes[-1])
        self._found.join(_without_counts(data[:stop], begins, sizes, digits[:n]), sizes)
        return at + stop, True

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
        self._emit_counted(rest[start:], OVERSIZE)
        self._swallow = stop - len(rest)
        self._rest = b""
        return False

    # terminators ----------------------------------------------------------------------------------------------------

    def _terminated(self, terminator: bytes) -> bool:
        if len(self._rest) >= _MANY and not self._swallowing and self._many_terminated(terminator):
            return self._overflow()
        parts = self._rest.split(terminator)
        self._rest = parts.pop()
        if parts and self._swallowing:
            self._swallowing = False
            del parts[0]
        if terminator == b"\n":
            parts = [part.removesuffix(b"\r") for part in parts]
        if parts and max(map(len, parts)) <= self.max_bytes:
            self._found.extend(filter(None, parts))
        else:
            for part in parts:
                self._emit(part, 0)
        return self._overflow()

    def _many_terminated(self, terminator: bytes) -> bool:
        """Take all whole messages at once; False when one of them needs a closer look."""
        rest = self._rest
        stop = rest.rfind(terminator) + 1
        if not stop or (terminator == b"\n" and b"\r" in rest):
            return False
        whole = rest[:stop]
        sizes = np.diff(np.flatnonzero(np.frombuffer(whole, np.uint8) == terminator[0]), prepend=-1) - 1
        if sizes.max() > self.max_bytes:
            return False
        self._found.join(whole.replace(terminator, b""), sizes if sizes.all() else sizes[sizes > 0])
        self._rest = rest[stop:]
        return True

    def _overflow(self) -> bool:
        """Cut an unterminated message that is certainly too long (one more byte may be the CR before its LF)."""
        if self._swallowing:
            self._rest = b""
        elif len(self._rest) > self.max_bytes + 1:
            self._emit(self._rest, OVERSIZE)
            self._rest = b""
            self._swallowing = True
        return False


def _without_counts(data: Array, begins: Array, sizes: Array, digits: Array) -> bytes:
    """The messages one behind another. Each count is made of a byte that no text has, and all of those are left out."""
    if _NEVER in data.tobytes():
        whole = data.tobytes()
        pairs = zip(begins.tolist(), (begins + sizes).tolist(), strict=True)
        return b"".join([whole[begin:stop] for begin, stop in pairs])
    marked = data.copy()
    marked[begins - 1] = _NEVER[0]
    for k in range(int(digits.max())):
        marked[begins[digits > k] - 2 - k] = _NEVER[0]
    return marked.tobytes().replace(_NEVER, b"")
