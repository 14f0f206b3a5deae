"""SNMPv3 messages: verified and decrypted, and answered with reports and responses (RFC 3412, RFC 3414)."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hmac import compare_digest
from typing import NamedTuple

from soc.collectors import snmp_keys as keys
from soc.collectors.snmp_engine import Engine
from soc.collectors.snmp_users import User, Users
from soc.model.alike import Alike, Span
from soc.model.ber import INTEGER, OCTETS, SEQUENCE, BadBer, expect, header, integer, tlv, write_integer, write_oid
from soc.model.snmp_record import SnmpRecord

INFORM, TRAP, RESPONSE, REPORT, COUNTER32 = 0xA6, 0xA7, 0xA2, 0xA8, 0x41
VERSION_3 = 3
_USM = 3
_AUTH, _PRIV, _REPORTABLE = 1, 2, 4
_MAX_MESSAGE = 65507
_NO_ERROR = write_integer(0) * 2  # error-status, error-index
_STATS = "1.3.6.1.6.3.15.1.1"
MAX_KNOWN = 8192
"""Senders and lengths of traps that are read by slicing; when it is full, all are forgotten."""


@dataclass(frozen=True)
class Complaint:
    """Why a message is not believed: our word for it, and the counter that a Report about it carries."""

    reason: str
    oid: str


UNSUPPORTED_LEVEL = Complaint("a security level that its user does not have", f"{_STATS}.1.0")
NOT_TIMELY = Complaint("outside of the time window", f"{_STATS}.2.0")
UNKNOWN_USER = Complaint("an unknown user", f"{_STATS}.3.0")
UNKNOWN_ENGINE = Complaint("an inform to another engine", f"{_STATS}.4.0")
WRONG_DIGEST = Complaint("a wrong digest", f"{_STATS}.5.0")
UNDECIPHERED = Complaint("cipher text that does not decrypt", f"{_STATS}.6.0")
INVALID = Complaint("an invalid message", "1.3.6.1.6.3.11.2.1.2.0")
NO_NOTIFICATION = Complaint("neither trap nor inform", "1.3.6.1.6.3.11.2.1.3.0")
COMPLAINTS = (
    UNSUPPORTED_LEVEL, NOT_TIMELY, UNKNOWN_USER, UNKNOWN_ENGINE, WRONG_DIGEST, UNDECIPHERED, INVALID, NO_NOTIFICATION,
)  # fmt: skip


class Message(NamedTuple):
    """The frame of one message; spans are first and last offset in `data`."""

    data: bytes
    message_id: int
    flags: int
    engine_id: bytes
    boots: int
    time: int
    user: bytes
    numbers: tuple[Span, Span, Span]
    """Of message id, boots and time."""
    auth: Span
    salt: Span
    body: Span

    @property
    def level(self) -> int:
        """Index of `LEVELS`."""
        return (self.flags & _AUTH) + (self.flags >> 1 & 1)

    @property
    def is_reportable(self) -> bool:
        """Whether the sender wants to be told what is wrong."""
        return bool(self.flags & _REPORTABLE)


def parse(data: bytes) -> Message:
    """Raises BadBer for what is no SNMPv3 message with user-based security (RFC 3412 section 6, RFC 3414 2.4)."""
    at, end = expect(data, 0, len(data), SEQUENCE)
    start, at = expect(data, at, end, INTEGER)
    if integer(data, start, at) != VERSION_3:
        raise BadBer("no SNMPv3 message")
    start, at = expect(data, at, end, SEQUENCE)
    message_id, id_at, start = _number(data, start, at)
    _, _, start = _number(data, start, at)  # what the sender can take; a response is as long as its inform
    first, start = expect(data, start, at, OCTETS)
    if start - first != 1:
        raise BadBer("message flags of other than one byte")
    flags = data[first]
    if flags & _PRIV and not flags & _AUTH:
        raise BadBer("privacy without authentication")
    model, _, _ = _number(data, start, at)
    if model != _USM:
        raise BadBer("a security model other than USM")
    start, at = expect(data, at, end, OCTETS)
    start, stop = expect(data, start, at, SEQUENCE)
    first, start = expect(data, start, stop, OCTETS)
    engine_id = data[first:start]
    boots, boots_at, start = _number(data, start, stop)
    time, time_at, start = _number(data, start, stop)
    first, start = expect(data, start, stop, OCTETS)
    user = data[first:start]
    if len(engine_id) > 32 or len(user) > 32:
        raise BadBer("an engine id or a user name beyond 32 bytes")
    auth = expect(data, start, stop, OCTETS)
    salt = expect(data, auth[1], stop, OCTETS)
    tag, body, body_end = header(data, at, end)
    if body_end != end or end != len(data) or salt[1] != stop or tag != (OCTETS if flags & _PRIV else SEQUENCE):
        raise BadBer("an SNMPv3 message whose parts do not fit its flags or its length")
    return Message(
        data, message_id, flags, engine_id, boots, time, user, (id_at, boots_at, time_at), auth, salt,
        (body if flags & _PRIV else at, body_end),
    )  # fmt: skip


def _number(data: bytes, at: int, end: int) -> tuple[int, Span, int]:
    start, at = expect(data, at, end, INTEGER)
    value = integer(data, start, at)
    if not 0 <= value < 1 << 31:
        raise BadBer("a number beyond 31 bits")
    return value, (start, at), at


class Scoped(NamedTuple):
    """What a ScopedPDU begins with, and its PDU: tag, first and last offset in the plaintext."""

    context_engine_id: bytes
    context_name: bytes
    tag: int
    pdu: tuple[int, int]


def scoped(plain: bytes) -> Scoped:
    """Raises BadBer. DES leaves its padding behind the sequence; nothing is read there."""
    at, end = expect(plain, 0, len(plain), SEQUENCE)
    first, at = expect(plain, at, end, OCTETS)
    engine_id = plain[first:at]
    first, at = expect(plain, at, end, OCTETS)
    name = plain[first:at]
    tag, start, stop = header(plain, at, end)
    return Scoped(engine_id, name, tag, (start, stop))


def response(data: bytes, start: int, stop: int) -> bytes:
    """The Response PDU to an inform whose body lies there: the same request and variables, no error. Raises BadBer."""
    _, at = expect(data, start, stop, INTEGER)
    request = data[start:at]
    for _ in ("error-status", "error-index"):
        _, at = expect(data, at, stop, INTEGER)
    _, end = expect(data, at, stop, SEQUENCE)
    return tlv(RESPONSE, request, _NO_ERROR, data[at:end])


class Received(NamedTuple):
    """What became of a message.

    `record` is None when it only asked who and when we are, as senders do before an inform. `report` is to be sent at
    once; `answer` makes the Response, when its record is durable, to the inform that `inform` tells from others.
    """

    record: SnmpRecord | None
    report: bytes | None = None
    answer: Callable[[], bytes] | None = None
    inform: bytes = b""


class Refused(Exception):
    """A message that is not believed."""

    def __init__(self, complaint: Complaint, key_of: User | None = None) -> None:
        super().__init__(complaint.reason)
        self.complaint = complaint
        self.key_of = key_of
        """A Report about the time is authenticated, so that the sender may believe our clock."""


class _Known(NamedTuple):
    """A sender whose message was authentic, and how others of it are read that look alike.

    `unpack` gives message id, boots, time, digest, salt and body. `head`
    is the begin of the plaintext up to the body of its PDU, which is a trap's.
    """

    user: bytes
    engine_id: bytes
    level: int
    unpack: Callable[[bytes], tuple[bytes, ...]]
    digest: Span
    mac: keys.Mac | None
    seal: keys.Seal | None
    head: bytes

    def receive(self, data: bytes, engine: Engine) -> SnmpRecord | None:
        """The record of a trap that is authentic, timely and whole; None for all others, which are looked at closely.

        The order is that of RFC 3414 section 3.2: digest, time, plaintext.
        """
        number, boots_octets, time_octets, digest, salt, plain = self.unpack(data)
        boots, time = int.from_bytes(boots_octets), int.from_bytes(time_octets)
        if number[0] > 0x7F or (boots | time) >> 31:
            return None
        if self.mac is not None:
            first, last = self.digest
            if not compare_digest(self.mac.digest(data[:first] + bytes(last - first) + data[last:]), digest):
                return None
            if not engine.hears(self.engine_id, boots, time):
                return None
        if self.seal is not None:
            try:
                plain = self.seal.decrypt(boots=boots, time=time, salt=salt, data=plain)
            except keys.BadCipherText:
                return None
        if not plain.startswith(self.head):
            return None
        return SnmpRecord(data, plain, self.user, self.engine_id, self.level)


def _unpacker(spans: Sequence[Span], length: int) -> Callable[[bytes], tuple[bytes, ...]]:
    codes, at = [], 0
    for start, stop in spans:
        codes.append(f"{start - at}x{stop - start}s")
        at = stop
    return struct.Struct("".join((*codes, f"{length - at}x"))).unpack


class Usm:
    """The user-based security of one engine. Thread-safe."""

    def __init__(self, users: Users, engine: Engine) -> None:
        self.users = users
        self.engine = engine
        self._lock = threading.Lock()
        self._known: Alike[_Known] = Alike(MAX_KNOWN)
        self.counts: dict[str, int] = {complaint.oid: 0 for complaint in COMPLAINTS}
        """The usmStats and snmpMPDStats counters since these boots, by object identifier."""

    def reload(self, users: Users) -> None:
        """Other users from now on; what was remembered of the old ones is forgotten."""
        with self._lock:
            self.users = users
            self._known = Alike(MAX_KNOWN)

    def receive(self, data: bytes) -> Received:
        """Verify, decrypt, and say what to queue and what to answer. Never raises for what is in the bytes."""
        known = self._known.find(data)
        if known is not None and (record := known.receive(data, self.engine)) is not None:
            return Received(record)
        try:
            message = parse(data)
        except BadBer as error:
            self._count(INVALID)
            return Received(SnmpRecord(data, reason=f"{INVALID.reason}: {error}"))
        try:
            return self._received(message)
        except Refused as refusal:
            return self._refused(message, refusal)

    def _received(self, message: Message) -> Received:
        ours = message.engine_id == self.engine.engine_id
        if not ours and message.is_reportable:
            return self._misdirected(message)
        if not message.engine_id:
            raise Refused(INVALID)
        return self._believed(message, ours)

    def _misdirected(self, message: Message) -> Received:
        """An inform goes to our engine; only a trap, of an agent that wants to be told what is wrong, may not."""
        try:
            if message.engine_id:
                return self._believed(message, False)
        except Refused:
            pass
        raise Refused(UNKNOWN_ENGINE)

    def _believed(self, message: Message, ours: bool) -> Received:
        user = self.users.get(message.user)
        if user is None:
            raise Refused(UNKNOWN_USER)
        if not user.minimum <= message.level <= user.level:
            raise Refused(UNSUPPORTED_LEVEL)
        plain = self._opened(message, user, ours)
        try:
            found = scoped(plain)
            record = SnmpRecord(message.data, plain, message.user, message.engine_id, message.level)
            if found.tag == TRAP:
                self._learn(message, user, plain[: found.pdu[0]])
                return Received(record)
            if found.tag == INFORM and ours:
                pdu = response(plain, *found.pdu)
                body = tlv(SEQUENCE, tlv(OCTETS, found.context_engine_id), tlv(OCTETS, found.context_name), pdu)
                return Received(
                    record, None, lambda: self.message(message.message_id, user, message.level, body),
                    message.user + plain[slice(*found.pdu)],
                )  # fmt: skip
        except BadBer:
            # With the right digest only a wrong privacy passphrase (or a broken agent) comes here.
            raise Refused(UNDECIPHERED if message.level == 2 else INVALID) from None
        raise Refused(UNKNOWN_ENGINE if found.tag == INFORM else NO_NOTIFICATION)

    def _opened(self, message: Message, user: User, ours: bool) -> bytes:
        """The plaintext of an authentic and timely message, in the order of RFC 3414 section 3.2."""
        start, stop = message.body
        if not message.flags & _AUTH:
            return message.data[start:stop]
        first, last = message.auth
        blank = b"".join((message.data[:first], bytes(last - first), message.data[last:]))
        expected = self.users.mac(user, message.engine_id).digest(blank)
        if not compare_digest(expected, message.data[first:last]):
            raise Refused(WRONG_DIGEST)
        boots, time = message.boots, message.time
        if not (self.engine.is_timely(boots, time) if ours else self.engine.hears(message.engine_id, boots, time)):
            raise Refused(NOT_TIMELY, user)
        if not message.flags & _PRIV:
            return message.data[start:stop]
        salt, data = message.data[slice(*message.salt)], message.data[start:stop]
        try:
            return self.users.seal(user, message.engine_id).decrypt(boots=boots, time=time, salt=salt, data=data)
        except keys.BadCipherText:
            raise Refused(UNDECIPHERED) from None

    def _learn(self, message: Message, user: User, head: bytes) -> None:
        """Remember how to read this sender's messages of this length: they have been authentic once."""
        spans = (*message.numbers, message.auth, message.salt, message.body)
        if message.engine_id == self.engine.engine_id or any(stop - start > 4 for start, stop in message.numbers):
            return
        has_auth, is_private = message.flags & _AUTH, message.flags & _PRIV
        self._known.learn(
            message.data, spans,
            _Known(
                user.name, message.engine_id, message.level, _unpacker(spans, len(message.data)), message.auth,
                self.users.mac(user, message.engine_id) if has_auth else None,
                self.users.seal(user, message.engine_id) if is_private else None, head,
            ),
        )  # fmt: skip

    def _refused(self, message: Message, refusal: Refused) -> Received:
        complaint = refusal.complaint
        report = self._report(message, refusal) if message.is_reportable else None
        if not report:
            self._count(complaint)
        record = SnmpRecord(
            message.data, b"", message.user, message.engine_id, message.level, reason=complaint.reason
        )  # fmt: skip
        # RFC 3414 section 4: the two steps by which a sender finds our engine id and our time; it then sends again.
        is_discovery = complaint is UNKNOWN_ENGINE and not message.engine_id and not message.level
        is_clock = complaint is NOT_TIMELY and message.boots == message.time == 0
        return Received(None if report and (is_discovery or is_clock) else record, report)

    # what we send ---------------------------------------------------------------------------------------------------

    def _report(self, message: Message, refusal: Refused) -> bytes:
        count = self._count(refusal.complaint)
        bind = tlv(SEQUENCE, write_oid(refusal.complaint.oid), write_integer(count % (1 << 32), COUNTER32))
        pdu = tlv(REPORT, write_integer(_request_id(message)), _NO_ERROR, tlv(SEQUENCE, bind))
        body = tlv(SEQUENCE, tlv(OCTETS, self.engine.engine_id), tlv(OCTETS), pdu)
        return self.message(message.message_id, refusal.key_of, 1 if refusal.key_of else 0, body, message.user)

    def _count(self, complaint: Complaint) -> int:
        with self._lock:
            self.counts[complaint.oid] += 1
            return self.counts[complaint.oid]

    def message(self, message_id: int, user: User | None, level: int, body: bytes, name: bytes = b"") -> bytes:
        """A message of ours about a ScopedPDU; we are the authoritative engine."""
        engine, salt = self.engine, b""
        boots, time = engine.boots, engine.time
        mac = self.users.mac(user, engine.engine_id) if user is not None and level else None
        if user is not None and level == 2:
            salt = engine.salt().to_bytes(8, "big")
            if keys.PRIVACIES[user.privacy].cipher == "des":
                # RFC 3414 section 8.1.1.1: the boots, then a number of ours
                salt = boots.to_bytes(4, "big") + salt[4:]
            seal = self.users.seal(user, engine.engine_id)
            body = tlv(OCTETS, seal.encrypt(boots=boots, time=time, salt=salt, data=body))
        blank = bytes(mac.size) if mac is not None else b""
        head = tlv(
            SEQUENCE, write_integer(message_id), write_integer(_MAX_MESSAGE),
            tlv(OCTETS, bytes(((0, _AUTH, _AUTH | _PRIV)[level],))), write_integer(_USM),
        )  # fmt: skip
        last = tlv(OCTETS, salt)
        security = tlv(
            SEQUENCE, tlv(OCTETS, engine.engine_id), write_integer(boots), write_integer(time),
            tlv(OCTETS, user.name if user is not None else name), tlv(OCTETS, blank), last,
        )  # fmt: skip
        whole = tlv(SEQUENCE, write_integer(VERSION_3), head, tlv(OCTETS, security), body)
        if mac is None:
            return whole
        stop = len(whole) - len(body) - len(last)
        digest = mac.digest(whole)
        return whole[: stop - len(digest)] + digest + whole[stop:]


def _request_id(message: Message) -> int:
    """RFC 3412 section 7.1 (3c): that of the message when it can be read, else 0."""
    if message.flags & _PRIV:
        return 0
    try:
        plain = message.data[slice(*message.body)]
        found = scoped(plain)
        start, stop = expect(plain, *found.pdu, INTEGER)
        return integer(plain, start, stop)
    except BadBer:
        return 0
