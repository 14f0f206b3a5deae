"""TLS handshakes in clear (RFC 8446, 5246, 6066, 7301): names, versions, ciphers, certificates, JA3, JA3S and JA4.

JA3 as its authors describe it (github.com/salesforce/ja3), JA4 as FoxIO does (technical_details/JA4.md).
"""

from __future__ import annotations

import hashlib
import struct
from typing import Any

from soc.parsers.decoders.packet_certificates import certificate
from soc.parsers.decoders.packet_flows import Flow, Teller
from soc.parsers.decoders.packet_streams import At

MAX_HANDSHAKE = 128 << 10
"""Octets of one side's handshake that are held; certificate chains are the long part of it."""
MAX_CERTIFICATES = 16
"""Certificates of a chain that are told."""
_CHANGE, _ALERT, _HANDSHAKE, _DATA = 20, 21, 22, 23
_CLIENT_HELLO, _SERVER_HELLO, _CERTIFICATE = 1, 2, 11
_RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
"""The random of a HelloRetryRequest (RFC 8446 section 4.1.3)."""
GREASE = frozenset(n << 8 | n for n in range(0x0A, 0x100, 0x10))
"""Values that mean nothing (RFC 8701)."""
VERSIONS = {
    0x0002: ("ssl", "2.0", "s2"), 0x0300: ("ssl", "3.0", "s3"), 0x0301: ("tls", "1.0", "10"),
    0x0302: ("tls", "1.1", "11"), 0x0303: ("tls", "1.2", "12"), 0x0304: ("tls", "1.3", "13"),
}  # fmt: skip
CURVES = {
    0x0017: "secp256r1", 0x0018: "secp384r1", 0x0019: "secp521r1", 0x001D: "x25519", 0x001E: "x448",
    0x0100: "ffdhe2048", 0x0101: "ffdhe3072", 0x0102: "ffdhe4096", 0x11EB: "SecP256r1MLKEM768",
    0x11EC: "X25519MLKEM768", 0x11ED: "SecP384r1MLKEM1024", 0x6399: "X25519Kyber768Draft00",
}  # fmt: skip
CIPHERS = {
    0x0004: "TLS_RSA_WITH_RC4_128_MD5", 0x0005: "TLS_RSA_WITH_RC4_128_SHA", 0x000A: "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    0x002F: "TLS_RSA_WITH_AES_128_CBC_SHA", 0x0033: "TLS_DHE_RSA_WITH_AES_128_CBC_SHA",
    0x0035: "TLS_RSA_WITH_AES_256_CBC_SHA", 0x0039: "TLS_DHE_RSA_WITH_AES_256_CBC_SHA",
    0x003C: "TLS_RSA_WITH_AES_128_CBC_SHA256", 0x003D: "TLS_RSA_WITH_AES_256_CBC_SHA256",
    0x0067: "TLS_DHE_RSA_WITH_AES_128_CBC_SHA256", 0x006B: "TLS_DHE_RSA_WITH_AES_256_CBC_SHA256",
    0x009C: "TLS_RSA_WITH_AES_128_GCM_SHA256", 0x009D: "TLS_RSA_WITH_AES_256_GCM_SHA384",
    0x009E: "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256", 0x009F: "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384",
    0x1301: "TLS_AES_128_GCM_SHA256", 0x1302: "TLS_AES_256_GCM_SHA384", 0x1303: "TLS_CHACHA20_POLY1305_SHA256",
    0x1304: "TLS_AES_128_CCM_SHA256", 0x1305: "TLS_AES_128_CCM_8_SHA256",
    0xC009: "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", 0xC00A: "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    0xC013: "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", 0xC014: "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    0xC023: "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256", 0xC024: "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384",
    0xC027: "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256", 0xC028: "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384",
    0xC02B: "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", 0xC02C: "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    0xC02F: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", 0xC030: "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    0xCCA8: "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", 0xCCA9: "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    0xCCAA: "TLS_DHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
}  # fmt: skip
ALERTS = {
    0: "close_notify", 10: "unexpected_message", 20: "bad_record_mac", 22: "record_overflow", 40: "handshake_failure",
    42: "bad_certificate", 43: "unsupported_certificate", 44: "certificate_revoked", 45: "certificate_expired",
    46: "certificate_unknown", 47: "illegal_parameter", 48: "unknown_ca", 49: "access_denied", 50: "decode_error",
    51: "decrypt_error", 70: "protocol_version", 71: "insufficient_security", 80: "internal_error",
    86: "inappropriate_fallback", 90: "user_canceled", 109: "missing_extension", 110: "unsupported_extension",
    112: "unrecognized_name", 116: "certificate_required", 120: "no_application_protocol",
}  # fmt: skip


class Malformed(ValueError):
    """A length in a handshake that lies."""


def cipher_name(number: int) -> str:
    """The IANA name, or the number in hexadecimal."""
    return CIPHERS.get(number) or f"0x{number:04x}"


def begins(head: bytes) -> bool | None:
    """Whether a stream begins with a TLS handshake or alert record; None: too short to tell."""
    if head[:1] not in (b"\x16", b"\x15"):
        return False if head else None
    if len(head) < 6:
        return None
    if head[1] != 3 or head[2] > 4 or head[3] > 0x48:
        return False
    return head[0] == _ALERT or head[5] in (_CLIENT_HELLO, _SERVER_HELLO)


class Cursor:
    """Reads numbers and vectors; raises Malformed instead of reading over the end."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.data):
            raise Malformed(f"{size} octets at {self.at} of {len(self.data)}")
        found, self.at = self.data[self.at : end], end
        return found

    def vector(self, size: int) -> bytes:
        """As many octets as the number in the `size` octets before them says."""
        return self.take(self.number(size))

    @property
    def is_done(self) -> bool:
        return self.at >= len(self.data)


def _numbers(data: bytes) -> list[int]:
    return list(struct.unpack(f">{len(data) // 2}H", data[: len(data) // 2 * 2]))


def client_hello(body: bytes, carrier: str = "t") -> dict[str, Any]:
    """What a ClientHello says, with its fingerprints; `carrier` is JA4's letter, `q` for QUIC. Raises Malformed."""
    cursor = Cursor(body)
    legacy = cursor.number(2)
    cursor.take(32)
    session = cursor.vector(1)
    ciphers = _numbers(cursor.vector(2))
    cursor.vector(1)
    found = _extensions(cursor)
    groups, formats = _numbers(found.get(10, b"")[2:]), list(found.get(11, b"")[1:])
    versions = [v for v in _numbers(found.get(43, b"")[1:]) if v not in GREASE]
    names = _alpn(found.get(16))
    plain = [[n for n in several if n not in GREASE] for several in (ciphers, list(found), groups)]
    text = ",".join([str(legacy), *("-".join(map(str, p)) for p in plain), "-".join(map(str, formats))])
    values: dict[str, Any] = {
        "ja3": hashlib.md5(text.encode(), usedforsecurity=False).hexdigest(),
        "ja4": ja4(max(versions or [legacy]), ciphers, list(found), names, _numbers(found.get(13, b"")[2:]), carrier),
        "supported_ciphers": [cipher_name(n) for n in plain[0]],
        "offered": max(versions or [legacy]), "session": session.hex(),
    }  # fmt: skip
    name = _server_name(found.get(0))
    if name:
        values["server_name"] = name
    if names:
        values["offered_protocols"] = [_word(n) for n in names]
    return values


def server_hello(body: bytes) -> dict[str, Any]:
    """What a ServerHello says. Raises Malformed."""
    cursor = Cursor(body)
    legacy = cursor.number(2)
    random = cursor.take(32)
    session = cursor.vector(1)
    cipher = cursor.number(2)
    cursor.take(1)
    found = _extensions(cursor)
    chosen = _numbers(found.get(43, b""))
    text = ",".join([str(legacy), str(cipher), "-".join(map(str, found))])
    values: dict[str, Any] = {
        "ja3s": hashlib.md5(text.encode(), usedforsecurity=False).hexdigest(),
        "cipher": cipher_name(cipher), "chosen": chosen[0] if chosen else legacy, "server_session": session.hex(),
        "is_retry": random == _RETRY,
    }  # fmt: skip
    names = _alpn(found.get(16))
    if names:
        values["next_protocol"] = _word(names[0])
    share = found.get(51, b"")
    if len(share) >= 2:
        number = share[0] << 8 | share[1]
        values["curve"] = CURVES.get(number, f"0x{number:04x}")
    return values


def _extensions(cursor: Cursor) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    if cursor.is_done:
        return found
    inner = Cursor(cursor.vector(2))
    while not inner.is_done:
        kind = inner.number(2)
        found.setdefault(kind, inner.vector(2))
    return found


def _server_name(data: bytes | None) -> str:
    if not data:
        return ""
    cursor = Cursor(data)
    cursor = Cursor(cursor.vector(2))
    while not cursor.is_done:
        kind, name = cursor.number(1), cursor.vector(2)
        if kind == 0:
            return _word(name)
    return ""


def _alpn(data: bytes | None) -> list[bytes]:
    names: list[bytes] = []
    if data:
        cursor = Cursor(data)
        cursor = Cursor(cursor.vector(2))
        while not cursor.is_done:
            names.append(cursor.vector(1))
    return names


def _word(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace").replace("\0", "\\x00")


def ja4(
    version: int,
    ciphers: list[int],
    extensions: list[int],
    names: list[bytes],
    algorithms: list[int],
    carrier: str = "t",
) -> str:
    """The JA4 fingerprint of a ClientHello; lists as they came, with the values that mean nothing."""
    plain = [n for n in ciphers if n not in GREASE]
    kinds = [n for n in extensions if n not in GREASE]
    first = names[0] if names else b""
    if not first:
        alpn = "00"
    elif _is_alphanumeric(first[0]) and _is_alphanumeric(first[-1]):
        alpn = chr(first[0]) + chr(first[-1])
    else:
        alpn = first.hex()[0] + first.hex()[-1]
    head = carrier + (VERSIONS[version][2] if version in VERSIONS else "00") + ("d" if 0 in kinds else "i")
    head += f"{min(len(plain), 99):02d}{min(len(kinds), 99):02d}{alpn}"
    listed = ",".join(sorted(f"{n:04x}" for n in kinds if n not in (0, 16)))
    signed = ",".join(f"{n:04x}" for n in algorithms if n not in GREASE)
    return "_".join(
        (head, _short(",".join(sorted(f"{n:04x}" for n in plain))), _short(f"{listed}_{signed}" if signed else listed))
    )


def _is_alphanumeric(octet: int) -> bool:
    return octet < 128 and chr(octet).isalnum()


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12] if text else "000000000000"


def agreed_version(values: dict[str, Any]) -> int | None:
    """The number of the version that the server chose, else the highest that was offered; `values` name it then."""
    offered, chosen = values.pop("offered", None), values.pop("chosen", None)
    number: int | None = chosen if chosen is not None else offered
    if number is not None:
        protocol, text, _ = VERSIONS.get(number, ("tls", f"0x{number:04x}", ""))
        values["version"], values["version_protocol"] = text, protocol
    return number


class _Side:
    """One direction: records that are not whole yet, and handshake messages that are not."""

    def __init__(self) -> None:
        self.records = bytearray()
        self.messages = bytearray()
        self.is_done = False


class TlsTalk:
    """The handshake of one connection; told once, when both sides have gone over to ciphers, or at the end."""

    def __init__(self, teller: Teller, flow: Flow) -> None:
        self._teller, self._flow = teller, flow
        self._sides = (_Side(), _Side())
        self._values: dict[str, Any] = {}
        self._marks: dict[str, None] = {}
        self._at: At | None = None
        self._client: bool | None = None  # the side of the client, when the flow was turned round
        self._is_told = False

    def data(self, reply: bool, data: bytes, at: At) -> bool:
        if self._at is None:
            self._at = at
        side = self._sides[reply]
        if side.is_done:
            return False
        side.records += data
        try:
            self._records(reply, side)
        except Malformed as error:
            self._bad(side, str(error))
        if side.is_done:
            side.records.clear()
            side.messages.clear()
        self._tell_when_done()
        return not side.is_done

    def _bad(self, side: _Side, why: str) -> None:
        self._marks["malformed"] = None
        self._values.setdefault("why", why)
        side.is_done = True

    def _records(self, reply: bool, side: _Side) -> None:
        held = side.records
        while len(held) >= 5 and not side.is_done:
            kind, major, size = held[0], held[1], held[3] << 8 | held[4]
            if kind not in (_CHANGE, _ALERT, _HANDSHAKE, _DATA) or major != 3 or size > 0x4900:
                raise Malformed("no TLS record")
            is_between = "is_retried" in self._values and "ja3s" not in self._values
            if kind == _DATA or (kind == _CHANGE and not is_between):
                # TLS 1.3 sends a ChangeCipherSpec that means nothing, and then data: both end what is in clear. But
                # between a HelloRetryRequest and the hellos that follow it the handshake goes on in clear.
                side.is_done = True
                self._values["client_done" if self._is_client(reply) else "server_done"] = True
                return
            if len(held) < 5 + size:
                return
            body = bytes(held[5 : 5 + size])
            del held[: 5 + size]
            if kind == _ALERT:
                if len(body) == 2:
                    self._values.setdefault("alert", ALERTS.get(body[1], str(body[1])))
            elif kind == _HANDSHAKE:
                side.messages += body
                if len(side.messages) > MAX_HANDSHAKE:
                    self._marks["handshake_cut"] = None
                    side.is_done = True
                    return
                self._handshake(reply, side)

    def _handshake(self, reply: bool, side: _Side) -> None:
        held = side.messages
        while len(held) >= 4 and len(held) >= (size := 4 + int.from_bytes(held[1:4], "big")):
            kind, body = held[0], bytes(held[4:size])
            del held[:size]
            if kind == _CLIENT_HELLO:
                self._client = reply
                if "ja3" not in self._values:  # a second one answers a HelloRetryRequest
                    self._values |= client_hello(body)
            elif kind == _SERVER_HELLO:
                self._client = not reply
                said = server_hello(body)
                if not said.pop("is_retry"):
                    self._values |= said
                else:
                    self._values["is_retried"] = True
            elif kind == _CERTIFICATE:
                self._certificates("client" if self._is_client(reply) else "server", body)

    def _is_client(self, reply: bool) -> bool:
        return reply == bool(self._client)

    def _certificates(self, whose: str, body: bytes) -> None:
        cursor = Cursor(body)
        chain = Cursor(cursor.vector(3))
        shown: list[bytes] = []
        while not chain.is_done:
            shown.append(chain.vector(3))
        if len(shown) > MAX_CERTIFICATES:
            self._marks["certificates_cut"] = None
        if shown:
            values, is_read = certificate(shown[0])
            values["chain"] = [hashlib.sha256(data).hexdigest().upper() for data in shown[:MAX_CERTIFICATES]]
            self._values |= {f"{whose}_{name}": value for name, value in values.items()}
            if not is_read:
                self._marks["certificate_unreadable"] = None

    def _tell_when_done(self) -> None:
        if all(side.is_done for side in self._sides):
            self._tell()

    def gap(self, reply: bool, octets: int) -> bool:
        if not self._sides[reply].is_done:
            self._marks["gap"] = None
            self._sides[reply].is_done = True
            self._tell_when_done()
        return False

    def finish(self) -> None:
        self._tell()

    def _tell(self) -> None:
        if self._is_told or self._at is None:
            return
        self._is_told = True
        values = self._values
        number = agreed_version(values)
        values["established"] = bool(values.pop("client_done", False) and values.pop("server_done", False))
        values.pop("server_done", None)
        mine, theirs = values.pop("session", ""), values.pop("server_session", "")
        if number is not None and number < 0x0304:  # TLS 1.3 repeats the client's session id whatever it does
            values["resumed"] = bool(mine) and mine == theirs
        if self._marks:
            values["marks"] = list(self._marks)
        more = {"transport": "tcp", "application": "tls"}
        self._teller.tell("tls", self._flow, self._at, {**values, **more}, bool(self._client))
