"""DHCP (RFC 2131, 2132, 3396, 3046, 4702): who asked for an address, who got which, for how long."""

from __future__ import annotations

import ipaddress
from typing import Any

from soc.parsers.decoders.flow_values import mac_text
from soc.parsers.decoders.packet_flows import Side, Teller
from soc.parsers.decoders.packet_streams import At

PORTS = (67, 68)
MAX_KEPT = 2048
"""Octets that are kept of a message that cannot be read."""
_COOKIE = bytes.fromhex("63825363")
TYPES = {
    1: "DISCOVER", 2: "OFFER", 3: "REQUEST", 4: "DECLINE", 5: "ACK", 6: "NAK", 7: "RELEASE", 8: "INFORM",
    9: "FORCERENEW", 10: "LEASEQUERY", 11: "LEASEUNASSIGNED", 12: "LEASEUNKNOWN", 13: "LEASEACTIVE",
}  # fmt: skip
_ADDRESSES = {1: "subnet_mask", 50: "requested_ip", 54: "server_id"}
_LISTS = {3: "routers", 6: "dns_servers", 42: "ntp_servers"}
_TEXTS = {12: "host_name", 15: "domain", 56: "message", 60: "vendor_class", 66: "boot_server", 67: "boot_file"}
_SECONDS = {51: "lease_s", 58: "renewal_s", 59: "rebinding_s"}


def decode(data: bytes) -> tuple[dict[str, Any], str]:
    """What is in a message, and why it ends early (empty: it does not)."""
    if len(data) < 236:
        return {}, "shorter than a BOOTP header"
    op, kind, size, hops = data[:4]
    values: dict[str, Any] = {
        "op": {1: "request", 2: "reply"}.get(op, str(op)), "transaction": data[4:8].hex(), "hops": hops,
        "seconds": data[8] << 8 | data[9], "is_broadcast": bool(data[10] & 0x80),
    }  # fmt: skip
    for name, at in (("client_ip", 12), ("your_ip", 16), ("next_server_ip", 20), ("relay_ip", 24)):
        if any(data[at : at + 4]):
            values[name] = str(ipaddress.IPv4Address(data[at : at + 4]))
    if kind == 1 and size == 6:
        values["client_mac"] = mac_text(data[28:34])
    elif size:
        values["client_hardware"] = data[28 : 28 + min(size, 16)].hex()
    if data[236:240] != _COOKIE:
        return values, "" if len(data) <= 240 or not any(data[236:]) else "no DHCP options behind the BOOTP header"
    options, why = _options(data[240:])
    overload = options.get(52, b"\0")[:1]
    for bit, start, end in ((1, 108, 236), (2, 44, 108)):
        if overload and overload[0] & bit:
            more, trouble = _options(data[start:end])
            why = why or trouble
            for code, value in more.items():
                options[code] = options.get(code, b"") + value
    _say(values, options)
    return values, why


def _options(data: bytes) -> tuple[dict[int, bytes], str]:
    """Values by code; one in pieces is joined (RFC 3396)."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        code = data[at]
        if code == 0:
            at += 1
            continue
        if code == 255:
            return found, ""
        if at + 1 >= len(data) or at + 2 + data[at + 1] > len(data):
            return found, f"option {code} is cut"
        found[code] = found.get(code, b"") + data[at + 2 : at + 2 + data[at + 1]]
        at += 2 + data[at + 1]
    return found, "the options have no end"


def _say(values: dict[str, Any], options: dict[int, bytes]) -> None:
    if len(options.get(53, b"")) == 1:
        values["type"] = TYPES.get(options[53][0], str(options[53][0]))
    for code, name in _ADDRESSES.items():
        if len(options.get(code, b"")) == 4:
            values[name] = str(ipaddress.IPv4Address(options[code]))
    for code, name in _LISTS.items():
        data = options.get(code, b"")
        if data and len(data) % 4 == 0:
            values[name] = [str(ipaddress.IPv4Address(data[i : i + 4])) for i in range(0, len(data), 4)]
    for code, name in _TEXTS.items():
        if options.get(code):
            values[name] = _text(options[code])
    for code, name in _SECONDS.items():
        if len(options.get(code, b"")) == 4:
            values[name] = int.from_bytes(options[code], "big")
    client = options.get(61, b"")
    if client:
        values["client_id"] = mac_text(client[1:]) if client[0] == 1 and len(client) == 7 else client[:256].hex()
    if options.get(55):
        values["parameters"] = list(options[55])
    if len(options.get(81, b"")) > 3:
        values["fqdn"] = _fqdn(options[81])
    _relay(values, options.get(82, b""))
    values["options"] = sorted(options)


def _relay(values: dict[str, Any], data: bytes) -> None:
    """Relay agent information (RFC 3046): where in the network the client is."""
    at = 0
    while at + 2 <= len(data) and at + 2 + data[at + 1] <= len(data):
        part = data[at + 2 : at + 2 + data[at + 1]]
        if data[at] in (1, 2) and part:
            values["circuit_id" if data[at] == 1 else "remote_id"] = _text(part) if part.isascii() else part.hex()
        at += 2 + data[at + 1]


def _fqdn(data: bytes) -> str:
    """RFC 4702: flags, two result codes, then a name in labels or, as old clients send it, in ASCII."""
    if not data[0] & 4:
        return _text(data[3:])
    labels = []
    at = 3
    while at < len(data) and 0 < data[at] < 64:
        labels.append(_text(data[at + 1 : at + 1 + data[at]]))
        at += 1 + data[at]
    return ".".join(labels)


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode("utf-8", "backslashreplace")


def tell(teller: Teller, side: Side, data: bytes, length: int, at: At) -> None:
    """A message as a record."""
    told(decode(data), teller, side, data, length, at)


def told(
    found: tuple[dict[str, Any], str], teller: Teller, side: Side, data: bytes, length: int, at: At, name: str = "dhcp"
) -> None:
    """What was decoded of a message as a record; what cannot be read of it is flagged, and kept."""
    values, why = found
    marks = ["truncated"] if len(data) < length else []
    if why and not marks:
        marks = ["malformed"]
        values |= {"why": why, "data_hex": data[:MAX_KEPT].hex()}
    if marks:
        values["marks"] = marks
    teller.tell("dhcp", side.flow, at, {**values, "application": name}, side.is_reply)
