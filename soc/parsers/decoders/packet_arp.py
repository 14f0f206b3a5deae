"""ARP (RFC 826, 5227): who has which address, and who took it over."""

from __future__ import annotations

import ipaddress
from collections import Counter
from typing import Any

from soc.parsers.decoders.flow_values import mac_text

MAX_BINDINGS = 65_536
"""Addresses whose station is remembered; the one that was told longest ago is forgotten first."""
_OPERATIONS = {
    1: "request",
    2: "reply",
    3: "reverse_request",
    4: "reverse_reply",
    8: "inverse_request",
    9: "inverse_reply",
}
_NOBODY = bytes(4)


class Bindings:
    """Which station last said that it has an address, by interface and VLAN."""

    def __init__(self) -> None:
        self._stations: dict[tuple[Any, bytes], bytes] = {}
        self.counts: Counter[str] = Counter()

    def said(self, place: Any, address: bytes, station: bytes) -> bytes | None:
        """Note who has the address; the station that had it before, when that was another."""
        key = (place, address)
        before = self._stations.pop(key, None)
        if before is None and len(self._stations) >= MAX_BINDINGS:
            del self._stations[next(iter(self._stations))]
            self.counts["arp_forgotten"] += 1
        self._stations[key] = station
        return before if before != station else None


def decode(data: bytes) -> tuple[dict[str, Any], bytes, bytes]:
    """What a message says, the sender's address and station (empty where it claims none). Raises ValueError."""
    if len(data) < 8:
        raise ValueError("the ARP message is cut")
    hardware, protocol = data[0] << 8 | data[1], data[2] << 8 | data[3]
    long, short, operation = data[4], data[5], data[6] << 8 | data[7]
    end = 8 + 2 * (long + short)
    if len(data) < end:
        raise ValueError("the ARP message is cut")
    values: dict[str, Any] = {"operation": _OPERATIONS.get(operation, str(operation))}
    sender, own = data[8 : 8 + long], data[8 + long : 8 + long + short]
    target, other = data[8 + long + short : end - short], data[end - short : end]
    if hardware != 1 or protocol != 0x0800 or long != 6 or short != 4:
        return values | {"hardware": hardware, "ether": protocol, "data_hex": data[:end].hex()}, b"", b""
    values["source_mac"], values["destination_ip"] = mac_text(sender), str(ipaddress.IPv4Address(other))
    if any(target):
        values["destination_mac"] = mac_text(target)
    if own == _NOBODY:
        values["is_probe"] = True  # RFC 5227: is somebody using it?
        return values, b"", b""
    values["source_ip"] = str(ipaddress.IPv4Address(own))
    values["is_gratuitous"] = own == other
    return values, own, sender
