"""The first octets of a packet, as samplers cut them, to addresses, ports and flags; stops where the cut is.

Ethernet and 802.1Q (IEEE 802.3, 802.1Q), MPLS (RFC 3032), IPv4 (RFC 791), IPv6 (RFC 8200), TCP, UDP, SCTP, ICMP.
"""

from __future__ import annotations

from typing import Any

from soc.parsers.decoders.flow_derive import tcp_letters
from soc.parsers.decoders.flow_values import ipv6_text, mac_text

ETHERNET, IPV4, IPV6, MPLS = 1, 11, 12, 13
"""`header_protocol` of sFlow version 5."""
_TAGS = (0x8100, 0x88A8, 0x9100)
_EXTENSIONS = (0, 43, 60, 135)  # hop-by-hop, routing, destination options, mobility: 8 octets at least, length stated
_FRAGMENT, _AUTHENTICATION = 44, 51
_WITH_PORTS = (6, 17, 33, 132, 136)
_ICMP = (1, 58)
_MAX_LAYERS = 8
Packet = dict[str, Any]


def read(protocol: int, data: bytes) -> Packet:
    """What is there, under the names of `flow_derive` and of sFlow's own records; never raises."""
    packet: Packet = {}
    if protocol == ETHERNET:
        _ethernet(packet, data)
    elif protocol == IPV4:
        _ipv4(packet, data)
    elif protocol == IPV6:
        _ipv6(packet, data)
    elif protocol == MPLS:
        _mpls(packet, data)
    return packet


def _short(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "big")


def _ethernet(packet: Packet, data: bytes) -> None:
    if len(data) < 14:
        return
    packet["@destination_mac"], packet["@source_mac"] = mac_text(data[:6]), mac_text(data[6:12])
    kind, at = _short(data, 12), 14
    for _ in range(_MAX_LAYERS):
        if kind not in _TAGS or len(data) < at + 4:
            break
        packet.setdefault("@vlan", str(_short(data, at) & 0xFFF))
        kind, at = _short(data, at + 2), at + 4
    packet["@ether_type"] = kind
    if kind == 0x0800:
        _ipv4(packet, data[at:])
    elif kind == 0x86DD:
        _ipv6(packet, data[at:])
    elif kind in (0x8847, 0x8848):
        _mpls(packet, data[at:])


def _mpls(packet: Packet, data: bytes) -> None:
    labels: list[int] = []
    at = 0
    while at + 4 <= len(data) and len(labels) < 16:
        entry = int.from_bytes(data[at : at + 4], "big")
        labels.append(entry >> 12)
        at += 4
        if entry >> 8 & 1:  # the bottom of the stack
            break
    packet["@mpls_labels"] = tuple(labels) or None
    # What follows has no type of its own; the first four bits are how routers guess (RFC 4928).
    if at < len(data) and data[at] >> 4 == 4:
        _ipv4(packet, data[at:])
    elif at < len(data) and data[at] >> 4 == 6:
        _ipv6(packet, data[at:])


def _ipv4(packet: Packet, data: bytes) -> None:
    if len(data) < 20 or data[0] >> 4 != 4:
        return
    length = (data[0] & 15) * 4
    packet |= {
        "@source_ip": ".".join(map(str, data[12:16])), "@destination_ip": ".".join(map(str, data[16:20])),
        "@type": "ipv4", "@tos": data[1], "@ttl": data[8],
    }  # fmt: skip
    is_later_fragment = bool(_short(data, 6) & 0x1FFF)
    _transport(packet, data[9], b"" if is_later_fragment or length < 20 else data[length:])


def _ipv6(packet: Packet, data: bytes) -> None:
    if len(data) < 40 or data[0] >> 4 != 6:
        return
    packet |= {
        "@source_ip": ipv6_text(data[8:24]), "@destination_ip": ipv6_text(data[24:40]), "@type": "ipv6",
        "@tos": _short(data, 0) >> 4 & 255, "@ttl": data[7],
    }  # fmt: skip
    protocol, at = data[6], 40
    for _ in range(_MAX_LAYERS):
        if len(data) < at + 8:
            break
        if protocol in _EXTENSIONS:
            protocol, at = data[at], at + (data[at + 1] + 1) * 8
        elif protocol == _AUTHENTICATION:
            protocol, at = data[at], at + (data[at + 1] + 2) * 4
        elif protocol == _FRAGMENT:
            is_later = bool(_short(data, at + 2) >> 3)
            protocol, at = data[at], len(data) if is_later else at + 8
        else:
            break
    _transport(packet, protocol, data[at:])


def _transport(packet: Packet, protocol: int, data: bytes) -> None:
    packet["@protocol"] = str(protocol)
    if protocol in _ICMP and len(data) >= 2:
        packet["@icmp_type"], packet["@icmp_code"] = data[0], data[1]
    elif protocol in _WITH_PORTS and len(data) >= 4:
        packet["@source_port"], packet["@destination_port"] = _short(data, 0), _short(data, 2)
        if protocol == 6 and len(data) >= 14:
            bits = _short(data, 12) & 0x1FF
            packet["@tcp_control_bits"], packet["@tcp_flags"] = bits, tcp_letters(bits) or None
