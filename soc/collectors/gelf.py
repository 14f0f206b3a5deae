"""GELF: datagrams that are compressed or come in chunks, put together within bounds, and NUL-terminated streams.

Source: the GELF specification of Graylog (payload version 1.1).
"""

from __future__ import annotations

import logging
import socket
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import orjson

from soc.collectors.counters import Counters
from soc.collectors.datagrams import DatagramReceiver
from soc.collectors.framing import Framed
from soc.collectors.intake import Intake
from soc.collectors.listeners import ListenerSpec
from soc.model.clock import Clock
from soc.model.record import INCOMPLETE, OVERSIZE

CHUNK = b"\x1e\x0f"
_HEAD = 12
"""Magic (2), message id (8), sequence number, sequence count."""
MAX_CHUNKS = 128
WHOLE_S = 5.0
"""Seconds in which all chunks of a message must come."""
MAX_MESSAGES = 4096
"""Messages that wait for chunks."""
MAX_OF_PEER = 512
"""Of these, messages of one sender."""
MAX_BYTES = 16 << 20
"""Bytes of chunks that wait; beyond it the oldest message is given up."""
_OVERHEAD = 120
_LOG_S = 10.0
_ZLIB_HEADS = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_GZIP_HEAD = b"\x1f\x8b"
_log = logging.getLogger("soc.collectors.gelf")


def expanded(payload: bytes, max_bytes: int) -> tuple[bytes, int]:
    """The message of a payload that may be zlib or gzip, and its flags; a damaged one stays as it came."""
    if payload.startswith(_GZIP_HEAD):
        window = zlib.MAX_WBITS | 16
    elif payload.startswith(_ZLIB_HEADS):
        window = zlib.MAX_WBITS
    else:
        return (payload[:max_bytes], OVERSIZE) if len(payload) > max_bytes else (payload, 0)
    inflate = zlib.decompressobj(window)
    try:
        text = inflate.decompress(payload, max_bytes + 1)
    except zlib.error:
        return payload[:max_bytes], INCOMPLETE
    if len(text) > max_bytes:
        return text[:max_bytes], OVERSIZE
    return (text, 0) if inflate.eof else (payload[:max_bytes], INCOMPLETE)


@dataclass
class _Parts:
    count: int
    began: float
    size: int = 0
    found: dict[int, bytes] = field(default_factory=dict)


class Assembly:
    """Chunks of messages that are not whole yet, by sender and message id; no sockets here.

    What does not become whole in time, or is pushed out by the bounds, is given back chunk by chunk, as it came.
    """

    def __init__(self) -> None:
        self._waiting: OrderedDict[tuple[str, bytes], _Parts] = OrderedDict()
        self._of_peer: dict[str, int] = {}
        self.size = 0
        """Bytes that wait."""

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, peer: str, chunk: bytes, now: float) -> tuple[bytes | None, list[tuple[str, bytes]]]:
        """The payload that is whole with this chunk, and chunks that are given up, each with its sender."""
        given_up: list[tuple[str, bytes]] = []
        number, count = (chunk[10], chunk[11]) if len(chunk) >= _HEAD else (0, 0)
        if not 0 < count <= MAX_CHUNKS or number >= count:
            return None, [(peer, chunk)]
        if count == 1:
            return chunk[_HEAD:], []
        key = (peer, chunk[2:10])
        parts = self._waiting.get(key)
        if parts is not None and parts.count != count:
            given_up += self._give_up(key)
            parts = None
        if parts is None:
            given_up += self._make_room(peer)
            parts = self._waiting[key] = _Parts(count, now)
            self._of_peer[peer] = self._of_peer.get(peer, 0) + 1
        if number in parts.found:
            # A datagram that the network doubled; another text under the same number belongs to another message.
            return None, given_up if parts.found[number] == chunk else [*given_up, (peer, chunk)]
        parts.found[number] = chunk
        parts.size += len(chunk) + _OVERHEAD
        self.size += len(chunk) + _OVERHEAD
        if len(parts.found) == count:
            self._remove(key)
            return b"".join(parts.found[i][_HEAD:] for i in range(count)), given_up
        while self.size > MAX_BYTES:
            given_up += self._give_up(next(iter(self._waiting)))
        return None, given_up

    def expired(self, now: float) -> list[tuple[str, bytes]]:
        """Chunks of messages that waited too long; with infinity all that wait."""
        given_up: list[tuple[str, bytes]] = []
        while self._waiting:
            key, parts = next(iter(self._waiting.items()))
            if now - parts.began <= WHOLE_S:
                break
            given_up += self._give_up(key)
        return given_up

    def _make_room(self, peer: str) -> list[tuple[str, bytes]]:
        """A sender that leaves everything half done pushes out its own."""
        if self._of_peer.get(peer, 0) >= MAX_OF_PEER:
            return self._give_up(next(key for key in self._waiting if key[0] == peer))
        if len(self._waiting) >= MAX_MESSAGES:
            return self._give_up(next(iter(self._waiting)))
        return []

    def _give_up(self, key: tuple[str, bytes]) -> list[tuple[str, bytes]]:
        parts = self._remove(key)
        return [(key[0], parts.found[i]) for i in sorted(parts.found)]

    def _remove(self, key: tuple[str, bytes]) -> _Parts:
        parts = self._waiting.pop(key)
        self.size -= parts.size
        left = self._of_peer.pop(key[0]) - 1
        if left:
            self._of_peer[key[0]] = left
        return parts


class GelfReceiver(DatagramReceiver):
    """One GELF listener over UDP."""

    def __init__(
        self,
        spec: ListenerSpec,
        sock: socket.socket,
        intake: Intake,
        counters: Counters,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(spec, sock, intake, counters, clock)
        self._assembly = Assembly()
        self._monotonic = monotonic
        self._told = -_LOG_S

    def _accept(self, peer: str, records: Sequence[bytes], now_ns: int) -> None:
        found: list[bytes] = []
        flags: dict[int, int] = {}
        now = self._monotonic()
        longest = self._spec.max_bytes
        for record in records:
            if record[:1] == b"{" and len(record) <= longest:  # nearly all of them
                found.append(record)
                continue
            if record.startswith(CHUNK):
                payload, given_up = self._assembly.add(peer, record, now)
                self._keep(given_up, now_ns)
                if payload is None:
                    continue
            else:
                payload = record
            message, bits = expanded(payload, self._spec.max_bytes)
            if bits:
                flags[len(found)] = bits
            found.append(message)
        self._intake.add(self._spec, peer, now_ns, found, flags)

    def _between(self) -> None:
        self._keep(self._assembly.expired(self._monotonic()), self._clock.now_ns())

    def _at_end(self) -> None:
        self._keep(self._assembly.expired(float("inf")), self._clock.now_ns())

    def _keep(self, given_up: list[tuple[str, bytes]], now_ns: int) -> None:
        """Chunks without their message: each is a record, flagged, so that it is counted and can be looked at."""
        by_peer: dict[str, list[bytes]] = {}
        for peer, chunk in given_up:
            by_peer.setdefault(peer, []).append(chunk[: self._spec.max_bytes])
        for peer, chunks in by_peer.items():
            self._intake.add(self._spec, peer, now_ns, chunks, dict.fromkeys(range(len(chunks)), INCOMPLETE))
        if by_peer and self._monotonic() - self._told >= _LOG_S:
            self._told = self._monotonic()
            _log.warning(
                "listener %s: GELF messages of %s are not whole", self._spec.name, ", ".join(sorted(by_peer)[:5])
            )


_TRIES = 64


class GelfFramer:
    """One connection's messages: terminated by NUL, or by LF when a line alone is a message.

    The specification knows NUL; some senders end lines instead, and others break their JSON into lines. Holds at most
    `max_bytes` and a few; a longer message is cut and flagged OVERSIZE.
    """

    def __init__(self, max_bytes: int = 65536) -> None:
        self.max_bytes = max_bytes
        self._end = b""
        self._rest = b""
        self._looked = 0
        self._tries = 0
        self._swallowing = False

    def feed(self, data: bytes | memoryview) -> Framed:
        """The messages that are complete with these bytes."""
        self._rest = self._rest + data if self._rest else bytes(data)
        if not self._end:
            self._end = self._decided()
        records: list[bytes] = []
        flags: dict[int, int] = {}
        if self._end:
            parts = self._rest.split(self._end)
            self._rest = parts.pop()
            if parts and self._swallowing:
                self._swallowing = False
                del parts[0]
            for part in parts:
                self._emit(part, 0, records, flags)
        self._overflow(records, flags)
        return records, flags

    def close(self, *, is_cut: bool = False) -> Framed:
        """What the peer sent after the last complete message; the connection is over."""
        records: list[bytes] = []
        flags: dict[int, int] = {}
        rest, self._rest = self._rest, b""
        if not self._swallowing:
            self._emit(rest, INCOMPLETE if is_cut else 0, records, flags)
        return records, flags

    def _decided(self) -> bytes:
        rest = self._rest
        nul = rest.find(b"\0")
        if self._swallowing:
            ends = [at for at in (nul, rest.find(b"\n")) if at >= 0]
            return rest[min(ends) : min(ends) + 1] if ends else b""
        stop = nul if nul >= 0 else len(rest)
        while self._tries < _TRIES and (at := rest.find(b"\n", self._looked, stop)) >= 0:
            self._looked, self._tries = at + 1, self._tries + 1
            line = rest[:at].strip()
            # JSON over several lines is no line that ends a message.
            if b"\n" not in line and line.endswith(b"}") and _is_object(line):
                return b"\n"
        return b"\0" if nul >= 0 else b""

    def _overflow(self, records: list[bytes], flags: dict[int, int]) -> None:
        if self._swallowing:
            self._rest = b""
        elif len(self._rest) > self.max_bytes + 1:
            self._emit(self._rest, OVERSIZE, records, flags)
            self._rest = b""
            self._swallowing = True

    def _emit(self, record: bytes, bits: int, records: list[bytes], flags: dict[int, int]) -> None:
        record = record.strip(b"\r\n\0")
        if len(record) > self.max_bytes:
            record, bits = record[: self.max_bytes], bits | OVERSIZE
        if not record:
            return
        if bits:
            flags[len(records)] = bits
        records.append(record)


def _is_object(text: bytes) -> bool:
    try:
        return isinstance(orjson.loads(text), dict)
    except ValueError:
        return False
