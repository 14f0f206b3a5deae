"""DHCPv6 (RFC 8415, 4704, 3646, 5970, 6939): who asked for an address or prefix, who got which, for how long."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from soc.parsers.decoders.flow_values import mac_text
from soc.parsers.decoders.packet_dhcp import told
from soc.parsers.decoders.packet_flows import Side, Teller
from soc.parsers.decoders.packet_streams import At

PORTS = (546, 547)
MAX_RELAYS = 8
"""Relay agents between client and server that are read through: HOP_COUNT_LIMIT, RFC 8415 section 7.6."""
MAX_NAMED = 64
"""Addresses and prefixes of a message that are told."""
TYPES = {
    1: "SOLICIT", 2: "ADVERTISE", 3: "REQUEST", 4: "CONFIRM", 5: "RENEW", 6: "REBIND", 7: "REPLY", 8: "RELEASE",
    9: "DECLINE", 10: "RECONFIGURE", 11: "INFORMATION-REQUEST",
}  # fmt: skip
_RELAYED = (12, 13)
_FROM_SERVERS = (2, 7, 10, 13)
_STATUS = ("Success", "UnspecFail", "NoAddrsAvail", "NoBinding", "NotOnLink", "UseMulticast", "NoPrefixAvail")
_IAS = {3: 12, 4: 4, 25: 12}
"""Identity associations, and how many octets stand before the options in each: IA_NA, IA_TA, IA_PD."""


class _Cut(ValueError):
    """A length that lies."""


@dataclass
class _Said:
    values: dict[str, Any]
    options: set[int] = field(default_factory=set)
    addresses: list[str] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)


def decode(data: bytes) -> tuple[dict[str, Any], str]:
    """What is in a message, inside its relay agents' envelopes, and why it ends early (empty: it does not)."""
    said = _Said({})
    try:
        _message(said, data, 0)
        why = ""
    except _Cut as error:
        why = str(error)
    values = said.values
    is_reply = values.get("op") == "reply"
    if said.addresses:
        values["addresses"] = said.addresses[:MAX_NAMED]
        values["your_ip" if is_reply else "requested_ip"] = said.addresses[0]
    if said.prefixes:
        values["prefixes"] = said.prefixes[:MAX_NAMED]
    values["options"] = sorted(said.options)
    return (values, why) if len(data) >= 4 else ({}, "shorter than a header")


def _message(said: _Said, data: bytes, depth: int) -> None:
    if len(data) < 4:
        raise _Cut("a message shorter than its header")
    kind, values = data[0], said.values
    values["op"] = "reply" if kind in _FROM_SERVERS else "request"
    if kind not in _RELAYED:
        values["type"], values["transaction"] = TYPES.get(kind, str(kind)), data[1:4].hex()
        _options(said, data[4:], depth)
        return
    if len(data) < 34:
        raise _Cut("a relay's message shorter than its header")
    if depth >= MAX_RELAYS:
        raise _Cut(f"more than {MAX_RELAYS} relay agents")
    values.setdefault("hops", data[1])
    # The innermost agent is the one that the client's link has; its envelope is read last.
    for name, at in (("relay_ip", 2), ("client_ip", 18)):
        values[name] = str(ipaddress.IPv6Address(data[at : at + 16]))
    _options(said, data[34:], depth)


def _pairs(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        code, size = int.from_bytes(data[at : at + 2], "big"), int.from_bytes(data[at + 2 : at + 4], "big")
        if at + 4 + size > len(data):
            raise _Cut(f"option {code} is cut")
        yield code, data[at + 4 : at + 4 + size]
        at += 4 + size


def _options(said: _Said, data: bytes, depth: int) -> None:
    values = said.values
    for code, value in _pairs(data):
        said.options.add(code)
        if code in _IAS:
            _association(said, code, value)
        elif code == 9:
            _message(said, value, depth + 1)
        elif code == 13 and len(value) >= 2:
            _status(values, value)
        elif code in _READ:
            name, read = _READ[code]
            found = read(value)
            if found:
                values[name] = found
        if code == 1:
            values.setdefault("client_mac", _station(value))
        elif code == 79 and value[:2] == b"\0\1" and len(value) == 8:  # RFC 6939: the relay saw the frame itself
            values["client_mac"] = mac_text(value[2:])
    if values.get("client_mac") is None:
        values.pop("client_mac", None)


def _association(said: _Said, code: int, data: bytes) -> None:
    head, values = _IAS[code], said.values
    if len(data) < head:
        raise _Cut(f"option {code} is shorter than its head")
    values.setdefault("iaid", data[:4].hex())
    if head == 12:
        for name, at in (("renewal_s", 4), ("rebinding_s", 8)):
            if seconds := int.from_bytes(data[at : at + 4], "big"):
                values.setdefault(name, seconds)
    for inner, value in _pairs(data[head:]):
        said.options.add(inner)
        if inner == 5 and len(value) >= 24:
            said.addresses.append(str(ipaddress.IPv6Address(value[:16])))
            _lease(values, value[20:24])
        elif inner == 26 and len(value) >= 25:
            said.prefixes.append(f"{ipaddress.IPv6Address(value[9:25])}/{value[8]}")
            _lease(values, value[4:8])
        elif inner == 13 and len(value) >= 2:
            _status(values, value)


def _lease(values: dict[str, Any], octets: bytes) -> None:
    if seconds := int.from_bytes(octets, "big"):
        values.setdefault("lease_s", seconds)


def _status(values: dict[str, Any], data: bytes) -> None:
    """The first that is no success stays; what holds for one address may be told inside of its association."""
    number = int.from_bytes(data[:2], "big")
    if values.get("status", "Success") == "Success":
        values["status"] = _STATUS[number] if number < len(_STATUS) else str(number)
        if len(data) > 2:
            values["message"] = _text(data[2:])


def _station(duid: bytes) -> str | None:
    """The link-layer address in a DUID-LLT or DUID-LL of Ethernet (RFC 8415 section 11)."""
    head = {b"\0\1\0\1": 8, b"\0\3\0\1": 4}.get(duid[:4])
    return mac_text(duid[head:]) if head is not None and len(duid) == head + 6 else None


def _addresses(data: bytes) -> list[str]:
    return [str(ipaddress.IPv6Address(data[i : i + 16])) for i in range(0, len(data) - 15, 16)]


def _names(data: bytes) -> list[str]:
    """Names in labels (RFC 1035 section 3.1), one after another; the last may lack its end (RFC 4704 section 4.2)."""
    names: list[str] = []
    labels: list[str] = []
    at = 0
    while at < len(data) and data[at] < 64:
        size = data[at]
        if size:
            labels.append(_text(data[at + 1 : at + 1 + size]))
        elif labels:
            names.append(".".join(labels))
            labels = []
        at += 1 + size
    return [*names, ".".join(labels)] if labels else names


def _vendor(data: bytes) -> str:
    """Behind the enterprise's number, pieces with their lengths; the first."""
    return _text(data[6 : 6 + int.from_bytes(data[4:6], "big")])


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace").replace("\0", "\\x00")


_READ: dict[int, tuple[str, Callable[[bytes], Any]]] = {
    1: ("client_duid", lambda data: data[:130].hex()), 2: ("server_duid", lambda data: data[:130].hex()),
    6: ("parameters", lambda data: [data[i] << 8 | data[i + 1] for i in range(0, len(data) - 1, 2)]),
    8: ("seconds", lambda data: int.from_bytes(data, "big") // 100 if len(data) == 2 else 0),
    16: ("vendor_class", _vendor), 18: ("circuit_id", lambda data: _text(data) if data.isascii() else data.hex()),
    23: ("dns_servers", _addresses), 24: ("domain", lambda data: " ".join(_names(data))),
    31: ("ntp_servers", _addresses), 37: ("remote_id", lambda data: data[4:].hex()),
    39: ("fqdn", lambda data: ".".join(_names(data[1:])[:1])), 59: ("boot_file", _text),
}  # fmt: skip
"""Options by their number: the name of the value, and how it is read; an empty one says nothing."""


def tell(teller: Teller, side: Side, data: bytes, length: int, at: At) -> None:
    """A message as a record."""
    told(decode(data), teller, side, data, length, at, "dhcpv6")
