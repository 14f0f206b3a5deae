"""SNMP traps and informs to named values: v1 (RFC 1157), v2c (RFC 1901, RFC 3416), v3 (RFC 3412, RFC 3414)."""

from __future__ import annotations

import math
import struct
from typing import Any

from soc.model.ber import INTEGER, NULL, OCTETS, OID, SEQUENCE, BadBer, expect, header, integer, unsigned
from soc.model.snmp_record import LEVELS, unpack
from soc.parsers.decoders.snmp_names import STANDARD, Names

TRAP_V1, ADDRESS, _TIMETICKS = 0xA4, 0x40, 0x43
_PDUS = {TRAP_V1: "trap", 0xA6: "inform", 0xA7: "trap"}
UPTIME, TRAP_OID = "1.3.6.1.2.1.1.3.0", "1.3.6.1.6.3.1.1.4.1.0"
KNOWN = {
    # RFC 3584 section 3.1: what a proxy adds when it turns a v1 trap into a v2 one goes back to its v1 name.
    "snmpTrapAddress": "agent_address",
    "snmpTrapEnterprise": "enterprise",
    "ifIndex": "interface_index",
    "ifName": "interface_name",
    "ifDescr": "interface_description",
    "ifAlias": "interface_alias",
    "ifAdminStatus": "interface_admin_status",
    "ifOperStatus": "interface_oper_status",
}
_ENTERPRISE = "1.3.6.1.6.3.1.1.4.3.0"
_GENERIC = "1.3.6.1.6.3.1.1.5"
OPAQUE = 0x44
# Numbers inside an Opaque, as Net-SNMP sends them (draft-perkins-float-00 and -opaque-00); integers have any length.
_OPAQUE_NUMBERS = {b"\x9f\x78\x04": ("float", struct.Struct(">f")), b"\x9f\x79\x08": ("double", struct.Struct(">d"))}
_OPAQUE_INTEGERS = {b"\x9f\x76": "counter64", b"\x9f\x7a": "int64", b"\x9f\x7b": "uint64"}
_ENTERPRISE_SPECIFIC = 6
ABSENT = {0x80: "noSuchObject", 0x81: "noSuchInstance", 0x82: "endOfMibView"}
UNSIGNED = {0x41: "counter32", 0x42: "gauge32", 0x43: "timeticks", 0x46: "counter64", 0x47: "uinteger32"}
_V3 = 3
_USM = 3
MAX_VARBINDS = 256


def decode(data: bytes, names: Names = STANDARD) -> dict[str, Any]:
    """The values of one datagram; `varbinds` is a list of {oid, type, value}, with name, index and label where known.

    A v3 message in clear text is read, as nobody vouches for it `is_verified` is False. Raises BadBer.
    """
    at, end = expect(data, 0, len(data), SEQUENCE)
    start, at = expect(data, at, end, INTEGER)
    version = integer(data, start, at)
    if version == _V3:
        return _unverified(data, at, end, names)
    if version not in (0, 1):
        raise BadBer(f"SNMP has no version number {version}")
    start, at = expect(data, at, end, OCTETS)
    values: dict[str, Any] = {"version": ("1", "2c")[version], "community": text(data[start:at])}
    tag, start, stop = header(data, at, end)
    if (tag == TRAP_V1) != (version == 0) and tag in _PDUS:
        raise BadBer(f"PDU 0x{tag:02x} in a message of version {values['version']}")
    _pdu(values, data, tag, start, stop, names)
    return values


def decode_verified(record: bytes, names: Names = STANDARD) -> tuple[bytes, dict[str, Any] | None, str]:
    """The datagram, the values and "" of a record of format `snmp-v3`, or None and why there are none: the collector
    could not verify the message, or it is no notification. Raises BadBer for what is no such record."""
    try:
        found = unpack(record)
    except ValueError as error:
        raise BadBer(str(error)) from error
    if found.reason:
        who = f"user {text(found.user)!r}, engine {found.engine_id.hex() or 'none'}"
        return found.original, None, f"SNMPv3 {LEVELS[found.level]}: {found.reason} ({who})"
    values: dict[str, Any] = {
        "version": "3", "user": text(found.user), "security_level": LEVELS[found.level],
        "engine_id": found.engine_id.hex(), "is_verified": found.level > 0,
    }  # fmt: skip
    try:
        _scoped(values, found.plain, 0, len(found.plain), names)
    except BadBer as error:
        return found.original, None, f"SNMPv3 from {values['user']!r}: {error}"
    return found.original, values, ""


def _unverified(data: bytes, at: int, end: int, names: Names) -> dict[str, Any]:
    head, at = expect(data, at, end, SEQUENCE)
    for _ in ("msgID", "msgMaxSize"):
        _, head = expect(data, head, at, INTEGER)
    start, head = expect(data, head, at, OCTETS)
    flags = data[start] if head - start == 1 else 0
    start, stop = expect(data, head, at, INTEGER)
    if integer(data, start, stop) != _USM:
        raise BadBer("a security model other than USM")
    start, at = expect(data, at, end, OCTETS)
    start, stop = expect(data, start, at, SEQUENCE)
    first, start = expect(data, start, stop, OCTETS)
    engine = data[first:start]
    for _ in ("msgAuthoritativeEngineBoots", "msgAuthoritativeEngineTime"):
        _, start = expect(data, start, stop, INTEGER)
    first, last = expect(data, start, stop, OCTETS)
    if flags & 2:
        raise BadBer("an SNMPv3 message in cipher text; its listener has no users")
    values = {
        "version": "3", "user": text(data[first:last]), "security_level": LEVELS[flags & 1],
        "engine_id": engine.hex(), "is_verified": False,
    }  # fmt: skip
    _scoped(values, data, at, end, names)
    return values


def _scoped(values: dict[str, Any], data: bytes, at: int, end: int, names: Names) -> None:
    at, end = expect(data, at, end, SEQUENCE)
    start, at = expect(data, at, end, OCTETS)
    values["context_engine_id"] = data[start:at].hex()
    start, at = expect(data, at, end, OCTETS)
    values["context_name"] = text(data[start:at]) or None
    tag, start, stop = header(data, at, end)
    if tag == TRAP_V1:
        raise BadBer("a v1 trap inside SNMPv3")
    _pdu(values, data, tag, start, stop, names)


def _pdu(values: dict[str, Any], data: bytes, tag: int, start: int, stop: int, names: Names) -> None:
    if tag not in _PDUS:
        raise BadBer(f"PDU 0x{tag:02x} is neither trap nor inform")
    values["pdu_type"] = _PDUS[tag]
    if tag == TRAP_V1:
        _trap_v1(values, data, start, stop, names)
    else:
        _trap_v2(values, data, start, stop, names)
    found = names.notification(values.get("trap_oid", ""))
    if found is not None:
        values["trap_name"] = found.name
        values["trap_severity"] = found.severity or None
        values["trap_description"] = found.description or None


def _trap_v1(values: dict[str, Any], data: bytes, at: int, end: int, names: Names) -> None:
    start, at = expect(data, at, end, OID)
    enterprise = names.named(data[start:at]).oid
    start, at = expect(data, at, end, ADDRESS)
    if at - start != 4:
        raise BadBer("an agent address of other than four bytes")
    agent = ".".join(map(str, data[start:at]))
    start, at = expect(data, at, end, INTEGER)
    generic = integer(data, start, at)
    start, at = expect(data, at, end, INTEGER)
    specific = integer(data, start, at)
    start, at = expect(data, at, end, _TIMETICKS)
    if not 0 <= generic <= _ENTERPRISE_SPECIFIC:
        raise BadBer(f"a generic trap number {generic}")
    # RFC 3584 section 3.1, rules 2 and 3: how a v1 trap is named in v2 terms.
    special = f"{enterprise}.0.{specific}"
    values |= {
        "enterprise": enterprise, "agent_address": agent, "generic_trap": str(generic),
        "specific_trap": str(specific), "uptime": unsigned(data, start, at),
        "trap_oid": special if generic == _ENTERPRISE_SPECIFIC else f"{_GENERIC}.{generic + 1}",
    }  # fmt: skip
    values["varbinds"] = _varbinds(values, data, at, end, names)


def _trap_v2(values: dict[str, Any], data: bytes, at: int, end: int, names: Names) -> None:
    start, at = expect(data, at, end, INTEGER)
    values["request_id"] = integer(data, start, at)
    for _ in ("error-status", "error-index"):
        _, at = expect(data, at, end, INTEGER)
    values["varbinds"] = _varbinds(values, data, at, end, names)


def _varbinds(values: dict[str, Any], data: bytes, at: int, end: int, names: Names) -> list[dict[str, Any]]:
    """All variables in order, without the two that name a v2 notification; what is known by name goes to `values`."""
    at, end = expect(data, at, end, SEQUENCE)
    binds: list[dict[str, Any]] = []
    while at < end:
        start, at = expect(data, at, end, SEQUENCE)
        first, last = expect(data, start, at, OID)
        tag, start, stop = header(data, last, at)
        oid, name, instance, labels = names.named(data[first:last])
        kind, value = read_value(data, tag, start, stop, names)
        if oid == UPTIME and isinstance(value, int) and "uptime" not in values:
            values["uptime"] = value
            continue
        if oid == TRAP_OID and kind == "oid" and "trap_oid" not in values:
            values["trap_oid"] = value
            continue
        bind: dict[str, Any] = {"oid": oid, "type": kind}
        if name is not None:
            bind["name"] = name
            if instance is not None:
                bind["index"] = instance
        bind["value"] = value
        if name is not None:
            label = labels.get(value) if kind == "integer" else None
            if label is not None:
                bind["label"] = label
            if name in KNOWN:
                values.setdefault(KNOWN[name], label or value)
        binds.append(bind)
        if len(binds) > MAX_VARBINDS:
            raise BadBer(f"more than {MAX_VARBINDS} variables")
    return binds


def read_value(data: bytes, tag: int, start: int, stop: int, names: Names) -> tuple[str, Any]:
    """Its type in our words, and the value; what its type cannot have is `0x` and the tag, and its octets in hex."""
    try:
        found = _typed(data, tag, start, stop, names)
    except BadBer:
        found = None
    return found or (f"0x{tag:02x}", data[start:stop].hex())


def _typed(data: bytes, tag: int, start: int, stop: int, names: Names) -> tuple[str, Any] | None:
    if tag == INTEGER:
        return "integer", integer(data, start, stop)
    if tag == OCTETS:
        return "octets", text(data[start:stop])
    if tag == OID:
        return "oid", names.named(data[start:stop]).oid
    if tag in UNSIGNED:
        return UNSIGNED[tag], unsigned(data, start, stop)
    if tag == ADDRESS and stop - start == 4:
        return "ip", ".".join(map(str, data[start:stop]))
    if tag == NULL:
        return "null", None
    if tag in ABSENT:
        return ABSENT[tag], None
    return _opaque(data, start, stop) if tag == OPAQUE else None


def _opaque(data: bytes, start: int, stop: int) -> tuple[str, Any] | None:
    kind, number = _OPAQUE_NUMBERS.get(data[start : start + 3], ("", None))
    if number is not None and stop - start == 3 + number.size:
        (value,) = number.unpack_from(data, start + 3)
        return (kind, value) if math.isfinite(value) else (kind, str(value))
    kind = _OPAQUE_INTEGERS.get(data[start : start + 2], "")
    if kind and stop - start >= 3 and stop - start == 3 + data[start + 2]:
        read = integer if kind == "int64" else unsigned
        return kind, read(data, start + 3, stop)
    return None


def text(value: bytes) -> str:
    """A display string stays text; an engine id or a MAC address is shown in hex."""
    try:
        found = value.decode()
    except UnicodeDecodeError:
        return value.hex(":")
    if found.isprintable():
        return found
    return found if found.replace("\t", "").replace("\n", "").replace("\r", "").isprintable() else value.hex(":")
