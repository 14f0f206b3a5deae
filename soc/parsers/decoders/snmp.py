"""SNMP traps and informs, v1 (RFC 1157) and v2c (RFC 1901, RFC 3416), to named values."""

from __future__ import annotations

from typing import Any

from soc.parsers.decoders.ber import BadBer, expect, header, integer, oid, unsigned

SEQUENCE, INTEGER, OCTETS, NULL, OID = 0x30, 0x02, 0x04, 0x05, 0x06
_PDUS = {0xA4: "trap", 0xA6: "inform", 0xA7: "trap"}
_UPTIME, _TRAP_OID = "1.3.6.1.2.1.1.3.0", "1.3.6.1.6.3.1.1.4.1.0"
_GENERIC = "1.3.6.1.6.3.1.1.5"
_ABSENT = {0x80: "noSuchObject", 0x81: "noSuchInstance", 0x82: "endOfMibView"}
_UNSIGNED = {0x41: "counter32", 0x42: "gauge32", 0x43: "timeticks", 0x46: "counter64"}
MAX_VARBINDS = 256

__all__ = ["BadBer", "decode"]


def decode(data: bytes) -> dict[str, Any]:
    """The values of one datagram; `varbinds` is a list of {oid, type, value}. Raises BadBer."""
    at, end = expect(data, 0, len(data), SEQUENCE)
    start, at = expect(data, at, end, INTEGER)
    version = integer(data, start, at)
    if version not in (0, 1):
        raise BadBer(f"SNMP version {version} is not read yet")
    start, at = expect(data, at, end, OCTETS)
    values: dict[str, Any] = {"version": ("1", "2c")[version], "community": _text(data[start:at])}
    tag, start, stop = header(data, at, end)
    if tag not in _PDUS:
        raise BadBer(f"PDU 0x{tag:02x} is neither trap nor inform")
    values["pdu_type"] = _PDUS[tag]
    body = _trap_v1(data, start, stop) if tag == 0xA4 else _trap_v2(data, start, stop)
    return values | body


def _trap_v1(data: bytes, at: int, end: int) -> dict[str, Any]:
    start, at = expect(data, at, end, OID)
    enterprise = oid(data, start, at)
    start, at = expect(data, at, end, 0x40)
    if at - start != 4:
        raise BadBer("an agent address of other than four bytes")
    agent = ".".join(map(str, data[start:at]))
    numbers = []
    for tag in (INTEGER, INTEGER, 0x43):
        start, at = expect(data, at, end, tag)
        numbers.append(unsigned(data, start, at))
    generic, specific, uptime = numbers
    # RFC 3584 section 3.1: how a v1 trap is named in v2 terms.
    trap = f"{enterprise}.0.{specific}" if generic == 6 else f"{_GENERIC}.{generic + 1}"
    return {
        "enterprise": enterprise, "agent_address": agent, "generic_trap": str(generic), "uptime": uptime,
        "specific_trap": str(specific), "trap_oid": trap, "varbinds": _varbinds(data, at, end),
    }  # fmt: skip


def _trap_v2(data: bytes, at: int, end: int) -> dict[str, Any]:
    numbers = []
    for _ in ("request-id", "error-status", "error-index"):
        start, at = expect(data, at, end, INTEGER)
        numbers.append(integer(data, start, at))
    binds = _varbinds(data, at, end)
    named = {bind["oid"]: bind["value"] for bind in binds}
    rest = [bind for bind in binds if bind["oid"] not in (_UPTIME, _TRAP_OID)]
    uptime = named.get(_UPTIME)
    return {
        "request_id": numbers[0], "trap_oid": named.get(_TRAP_OID), "varbinds": rest,
        "uptime": uptime if isinstance(uptime, int) else None,
    }  # fmt: skip


def _varbinds(data: bytes, at: int, end: int) -> list[dict[str, Any]]:
    at, end = expect(data, at, end, SEQUENCE)
    binds: list[dict[str, Any]] = []
    while at < end:
        start, stop = expect(data, at, end, SEQUENCE)
        first, last = expect(data, start, stop, OID)
        tag, value_start, value_stop = header(data, last, stop)
        kind, value = _value(data, tag, value_start, value_stop)
        binds.append({"oid": oid(data, first, last), "type": kind, "value": value})
        if len(binds) > MAX_VARBINDS:
            raise BadBer(f"more than {MAX_VARBINDS} variables")
        at = stop
    return binds


def _value(data: bytes, tag: int, start: int, stop: int) -> tuple[str, Any]:
    if tag == INTEGER:
        return "integer", integer(data, start, stop)
    if tag == OCTETS:
        return "octets", _text(data[start:stop])
    if tag == OID:
        return "oid", oid(data, start, stop)
    if tag == 0x40 and stop - start == 4:
        return "ip", ".".join(map(str, data[start:stop]))
    if tag in _UNSIGNED:
        return _UNSIGNED[tag], unsigned(data, start, stop)
    if tag == NULL:
        return "null", None
    if tag in _ABSENT:
        return _ABSENT[tag], None
    return f"0x{tag:02x}", data[start:stop].hex()


def _text(value: bytes) -> str:
    # A display string stays text; an engine id or a MAC address is shown in hex.
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return value.hex(":")
    return text if text.replace("\t", "").replace("\n", "").replace("\r", "").isprintable() else value.hex(":")
