"""QUIC handshakes (RFC 9000, 9001; version 2: RFC 9369): the hellos in Initial packets, whose keys everybody can make.

An Initial packet is protected with a key out of the client's first destination connection id, against chance and not
against readers. What follows is private. Told like a TLS handshake, with JA4's `q`.
"""

from __future__ import annotations

import hmac
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from soc.parsers.decoders.packet_flows import Flow, Side, Teller
from soc.parsers.decoders.packet_streams import MAX_TOTAL, At, Budget
from soc.parsers.decoders.packet_tls import Cursor, Malformed, agreed_version, client_hello, server_hello

LEAST = 1200
"""A client's datagram with an Initial packet is no shorter (RFC 9000 section 14.1)."""
MAX_HELLO = 64 << 10
"""Octets of a hello that are held …"""
MAX_PIECES = 64
"""… in so many pieces, which may come in any order."""
MAX_DATAGRAMS = 24
"""Datagrams of a flow in which hellos are looked for."""
MAX_KEYS = 4
"""Connection ids that are tried: the client's first, and those that servers give it in Retry packets."""
_MAX_PACKETS = 8


class _Version(NamedTuple):
    name: str
    salt: bytes
    label: bytes
    initial: int
    retry: int


VERSIONS = {
    1: _Version("1", bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a"), b"quic", 0, 3),
    0x6B3343CF: _Version("2", bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9"), b"quicv2", 1, 0),
}
"""RFC 9001 section 5.2, RFC 9369 section 3: the salt, the beginning of labels, the numbers of two packet types."""


def begins(data: bytes, at: int, end: int) -> bool:
    """Whether a datagram's payload begins with a client's Initial packet of a version that is known here."""
    if end - at < LEAST or data[at] & 0xC0 != 0xC0:
        return False
    version = VERSIONS.get(int.from_bytes(data[at + 1 : at + 5], "big"))
    return version is not None and data[at] >> 4 & 3 == version.initial and data[at + 5] <= 20


class _Keys(NamedTuple):
    """What protects the Initial packets of one side."""

    aead: AESGCM
    iv: bytes
    mask: Cipher[modes.ECB]


def _expand(secret: bytes, label: bytes, length: int) -> bytes:
    """HKDF-Expand-Label of RFC 8446 section 7.1, without a context."""
    name = b"tls13 " + label
    info = length.to_bytes(2, "big") + bytes([len(name)]) + name + b"\0"
    return HKDFExpand(SHA256(), length, info).derive(secret)


def keys_of(version: _Version, connection_id: bytes) -> tuple[_Keys, _Keys]:
    """Of the client and of the server."""
    secret = hmac.digest(version.salt, connection_id, "sha256")  # HKDF-Extract
    made = []
    for side in (b"client in", b"server in"):
        own = _expand(secret, side, 32)
        key, iv, mask = (
            _expand(own, version.label + b" " + what, size) for what, size in ((b"key", 16), (b"iv", 12), (b"hp", 16))
        )
        made.append(_Keys(AESGCM(key), iv, Cipher(algorithms.AES(mask), modes.ECB())))  # noqa: S305 -- RFC 9001, 5.4.3
    return made[0], made[1]


class Initial(NamedTuple):
    """One Initial packet, still protected; `number_at` is where its packet number begins in `data`."""

    version: _Version
    target: bytes
    data: bytes
    number_at: int


def _whole(cursor: Cursor) -> int:
    """A number of 1, 2, 4 or 8 octets (RFC 9000 section 16)."""
    size = 1 << (cursor.data[cursor.at] >> 6) if not cursor.is_done else 1
    return cursor.number(size) & (1 << (8 * size - 2)) - 1


def initials(data: bytes) -> list[Initial]:
    """The Initial packets of a datagram; others may stand between them (RFC 9000 section 12.2). Raises Malformed."""
    found: list[Initial] = []
    at = 0
    for _ in range(_MAX_PACKETS):
        cursor = Cursor(data)
        cursor.at = at
        if cursor.is_done or not (first := cursor.number(1)) & 0x80:
            break  # a short header goes to the end
        version = VERSIONS.get(cursor.number(4))
        if version is None or first >> 4 & 3 == version.retry:
            break
        target = cursor.vector(1)
        cursor.vector(1)
        is_initial = first >> 4 & 3 == version.initial
        if is_initial:
            cursor.take(_whole(cursor))  # a token
        size = _whole(cursor)
        number_at = cursor.at
        cursor.take(size)
        if is_initial:
            found.append(Initial(version, target, data[at : cursor.at], number_at - at))
        at = cursor.at
    return found


def opened(packet: Initial, keys: _Keys) -> bytes | None:
    """The frames of a packet (RFC 9001 sections 5.3 and 5.4); None when these are not its keys."""
    data, at = packet.data, packet.number_at
    sample = data[at + 4 : at + 20]
    if len(sample) < 16:
        return None
    mask = keys.mask.encryptor().update(sample)
    first = data[0] ^ mask[0] & 0x0F
    size = (first & 3) + 1
    number = bytes(a ^ b for a, b in zip(data[at : at + size], mask[1:], strict=False))
    nonce = (int.from_bytes(keys.iv, "big") ^ int.from_bytes(number, "big")).to_bytes(12, "big")
    head = bytes([first]) + data[1:at] + number
    try:
        return keys.aead.decrypt(nonce, data[at + size :], head)
    except InvalidTag:
        return None


def crypto(frames: bytes) -> list[tuple[int, bytes]]:
    """Where each piece of the handshake belongs, and it. Raises Malformed for a frame that may not be in here."""
    cursor, found = Cursor(frames), []
    while not cursor.is_done:
        kind = cursor.number(1)
        if kind == 6:
            offset = _whole(cursor)
            found.append((offset, cursor.take(_whole(cursor))))
        elif kind in (2, 3):  # an acknowledgement: largest, delay, ranges, and perhaps three counts
            _whole(cursor)
            _whole(cursor)
            ranges = _whole(cursor)
            for _ in range(min(1 + 2 * ranges, len(frames)) + (3 if kind == 3 else 0)):
                _whole(cursor)
        elif kind == 0x1C:  # the connection is closed
            break
        elif kind > 1:  # neither padding nor a ping
            raise Malformed(f"a frame of type {kind} in an Initial packet")
    return found


class _Hello:
    """The handshake octets of one side, put in order; they count towards what all streams of the sensor hold."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._pieces: dict[int, bytes] = {}
        self._held = 0
        self.is_cut = False

    def add(self, offset: int, data: bytes) -> None:
        """One piece; what is beyond a bound is left out, and counted."""
        more = len(data) - len(self._pieces.get(offset, b""))
        if more <= 0:
            return
        is_much = len(self._pieces) >= MAX_PIECES or self._held + more > MAX_HELLO
        if is_much or self._budget.held + more > MAX_TOTAL:
            self._budget.counts["quic_hello" if is_much else "streams_total"] += 1
            self.is_cut = True
            return
        self._held += more
        self._budget.held += more
        self._pieces[offset] = data

    def message(self) -> tuple[int, bytes] | None:
        """The first message: its type, its body; None as long as it is not whole."""
        joined = bytearray()
        for offset, data in sorted(self._pieces.items()):
            if offset > len(joined):
                break
            joined += data[len(joined) - offset :]
        size = 4 + int.from_bytes(joined[1:4], "big")
        return (joined[0], bytes(joined[4:size])) if 4 <= size <= len(joined) else None

    def close(self) -> None:
        """Hold nothing any more."""
        self._budget.held -= self._held
        self._pieces.clear()
        self._held = 0


class QuicTalk:
    """The handshake of one flow, whose first datagram is a client's; told when both hellos are there, or at the end."""

    def __init__(self, flow: Flow, at: At, budget: Budget) -> None:
        self._flow, self._at = flow, at
        self._keys: list[tuple[_Keys, _Keys]] = []
        self._tried: set[bytes] = set()
        self._hellos = (_Hello(budget), _Hello(budget))
        self._read: set[bool] = set()
        self._values: dict[str, Any] = {}
        self._marks: dict[str, None] = {}
        self._datagrams = 0
        self._is_opened = False

    def __call__(self, teller: Teller, side: Side, data: bytes, length: int, at: At) -> None:
        """One datagram of the flow."""
        self._datagrams += 1
        if len(data) < length:
            self._marks["truncated"] = None
        try:
            for packet in initials(data):
                self._packet(packet, side.is_reply)
        except Malformed as error:
            if "truncated" not in self._marks:
                self._marks["malformed"] = None
                self._values.setdefault("why", str(error))
        if len(self._read) == 2 or self._datagrams >= MAX_DATAGRAMS:
            self.finish(teller)

    def _packet(self, packet: Initial, is_reply: bool) -> None:
        self._values.setdefault("quic_version", packet.version.name)
        frames = next((f for keys in reversed(self._keys) if (f := opened(packet, keys[is_reply])) is not None), None)
        if frames is None and not is_reply and packet.target not in self._tried and len(self._tried) < MAX_KEYS:
            self._tried.add(packet.target)
            keys = keys_of(packet.version, packet.target)
            frames = opened(packet, keys[0])
            if frames is not None:
                self._keys.append(keys)
        if frames is None:
            return
        self._is_opened = True
        if is_reply in self._read:
            return
        hello = self._hellos[is_reply]
        for offset, piece in crypto(frames):
            hello.add(offset, piece)
        if hello.is_cut:
            self._marks["handshake_cut"] = None
        message = hello.message()
        if message is None:
            return
        hello.close()
        kind, body = message
        if kind != (2 if is_reply else 1):
            raise Malformed(f"a handshake that begins with message {kind}")
        self._read.add(is_reply)
        said = server_hello(body) if is_reply else client_hello(body, "q")
        said.pop("is_retry", None)
        self._values |= said

    def finish(self, teller: Teller) -> None:
        """Tell it, and hear no more of the flow."""
        self._flow.talk = None
        for hello in self._hellos:
            hello.close()
        values = self._values
        agreed_version(values)
        for name in ("session", "server_session"):
            values.pop(name, None)
        if not self._is_opened and not self._marks:
            self._marks["malformed"] = None
            values.setdefault("why", "no Initial packet opens with the client's connection id")
        if self._marks:
            values["marks"] = list(self._marks)
        teller.tell("tls", self._flow, self._at, {**values, "transport": "udp", "application": "quic"})
