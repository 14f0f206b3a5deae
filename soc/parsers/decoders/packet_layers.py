"""From the link to the transport: Ethernet, Linux cooked, raw IP; VLAN, MPLS; IPv4, IPv6 with its extension headers."""

from __future__ import annotations

import struct
from typing import NamedTuple

from soc.parsers.decoders.flow_community import answer_of

NULL, ETHERNET, RAW, LOOP, COOKED, IPV4, IPV6, COOKED2 = 0, 1, 101, 108, 113, 228, 229, 276
"""LINKTYPE numbers that are read here (tcpdump.org, Link-layer header types)."""
RAW_BSD = (12, 14)
"""Raw IP under the numbers that DLT_RAW has on the machine that wrote the file."""
LINKS = frozenset({NULL, ETHERNET, RAW, LOOP, COOKED, IPV4, IPV6, COOKED2, *RAW_BSD})
ETHER_IPV4, ETHER_IPV6, ETHER_ARP, ETHER_MPLS, ETHER_MPLS_MULTICAST = 0x0800, 0x86DD, 0x0806, 0x8847, 0x8848
TAGS = frozenset({0x8100, 0x88A8, 0x9100, 0x9200})
MAX_TAGS = 8
"""VLAN tags and MPLS labels of one frame; a frame with more is not read below them."""
MAX_EXTENSIONS = 16
"""IPv6 extension headers of one packet."""
TCP, UDP, ICMP, ICMP6, SCTP = 6, 17, 1, 58, 132
_HOP, _ROUTING, _FRAGMENT, _AUTHENTICATION, _OPTIONS, _MOBILITY, _HIP, _SHIM = 0, 43, 44, 51, 60, 135, 139, 140
_EXTENSIONS = frozenset({_HOP, _ROUTING, _FRAGMENT, _AUTHENTICATION, _OPTIONS, _MOBILITY, _HIP, _SHIM})
_IPV4_HEADER = struct.Struct(">BxHHHxB").unpack_from
_IPV6_HEADER = struct.Struct(">IHB").unpack_from
_PORTS = struct.Struct(">HH").unpack_from


class Frame(NamedTuple):
    """What lies below the network layer; `at` is where that begins. MAC addresses are empty where the link has none."""

    ether: int
    at: int
    target: bytes = b""
    sender: bytes = b""
    vlans: tuple[int, ...] = ()
    labels: tuple[int, ...] = ()


class Datagram(NamedTuple):
    """An IP header: where its payload begins and ends (`end` as the header claims, perhaps behind what was captured).

    `fragment` is (identification, offset of the payload in octets, whether more follow) or None; `size` the octets of
    the whole packet from the IP header on.
    """

    source: bytes
    target: bytes
    protocol: int
    at: int
    end: int
    size: int
    fragment: tuple[int, int, bool] | None = None


class Unreadable(ValueError):
    """Why a packet cannot be read further."""


def frame(link: int, data: bytes) -> Frame:
    """The link layer. Raises Unreadable for a link type that nobody reads here, and for a header that is cut."""
    try:
        return _frame(link, data)
    except (IndexError, struct.error):
        raise Unreadable("the link header is cut") from None


def _frame(link: int, data: bytes) -> Frame:
    if link == ETHERNET:
        if len(data) < 14:
            raise Unreadable("the link header is cut")
        found = Frame(data[12] << 8 | data[13], 14, data[:6], data[6:12])
    elif link == COOKED:
        (size, ether) = struct.unpack_from(">H8xH", data, 4)
        found = Frame(ether, 16, b"", data[6:12] if size == 6 else b"")
    elif link == COOKED2:
        ether, size = struct.unpack_from(">H9xB", data)
        found = Frame(ether, 20, b"", data[12:18] if size == 6 else b"")
        data[19]
    elif link in (NULL, LOOP):
        found = Frame(_version(data[4]), 4)
    elif link in LINKS:
        found = Frame(_version(data[0]), 0)
    else:
        raise Unreadable(f"link type {link} is not read here")
    if found.ether in TAGS or found.ether in (ETHER_MPLS, ETHER_MPLS_MULTICAST):
        return _tagged(found, data)
    return found


def _version(octet: int) -> int:
    version = octet >> 4
    return ETHER_IPV4 if version == 4 else ETHER_IPV6 if version == 6 else 0


def _tagged(found: Frame, data: bytes) -> Frame:
    ether, at = found.ether, found.at
    vlans: list[int] = []
    labels: list[int] = []
    while ether in TAGS and len(vlans) < MAX_TAGS:
        tag, ether = struct.unpack_from(">HH", data, at)
        vlans.append(tag & 0xFFF)
        at += 4
    if ether in (ETHER_MPLS, ETHER_MPLS_MULTICAST):
        while len(labels) < MAX_TAGS:
            (entry,) = struct.unpack_from(">I", data, at)
            labels.append(entry >> 12)
            at += 4
            if entry >> 8 & 1:  # bottom of the stack; the first nibble tells what is below it (RFC 4928)
                ether = _version(data[at])
                break
    return found._replace(ether=ether, at=at, vlans=tuple(vlans), labels=tuple(labels))


def internet(found: Frame, data: bytes, whole: int) -> Datagram | None:
    """The IP header behind a link header; None when it is not IP. `whole` as for `ipv4`. Raises Unreadable."""
    if found.ether == ETHER_IPV4:
        return ipv4(data, found.at, whole)
    return ipv6(data, found.at, whole) if found.ether == ETHER_IPV6 else None


def ipv4(data: bytes, at: int, whole: int) -> Datagram:
    """RFC 791. `whole` is the length of the packet on the wire. Raises Unreadable."""
    if len(data) < at + 20:
        raise Unreadable("the IPv4 header is cut")
    first, size, number, offset, protocol = _IPV4_HEADER(data, at)
    header = (first & 15) * 4
    if first >> 4 != 4 or header < 20:
        raise Unreadable("no IPv4 header")
    if size == 0:  # left to the network card (segmentation offload)
        size = whole - at
    if size < header:
        raise Unreadable("the IPv4 total length is shorter than the header")
    fragment = (number, (offset & 0x1FFF) * 8, bool(offset & 0x2000)) if offset & 0x3FFF else None
    return Datagram(data[at + 12 : at + 16], data[at + 16 : at + 20], protocol, at + header, at + size, size, fragment)


def ipv6(data: bytes, at: int, whole: int) -> Datagram:
    """RFC 8200, with the extension headers. Raises Unreadable."""
    if len(data) < at + 40:
        raise Unreadable("the IPv6 header is cut")
    first, size, following = _IPV6_HEADER(data, at)
    if first >> 28 != 6:
        raise Unreadable("no IPv6 header")
    size = size + 40 if size else max(whole - at, 40)  # 0: a jumbogram, or left to the network card
    end = at + size
    protocol, place, fragment = extensions(data, at + 40, end, following)
    return Datagram(data[at + 8 : at + 24], data[at + 24 : at + 40], protocol, place, end, size, fragment)


def extensions(data: bytes, place: int, end: int, following: int) -> tuple[int, int, tuple[int, int, bool] | None]:
    """Behind the extension headers from `place` on: protocol, place, and the fragment when the walk ends at one.

    An atomic fragment (RFC 6946) is whole, the walk goes on.
    """
    for _ in range(MAX_EXTENSIONS):
        if following not in _EXTENSIONS or len(data) < place + 8 or place + 8 > end:
            break
        if following == _FRAGMENT:
            bits = data[place + 2] << 8 | data[place + 3]
            number = int.from_bytes(data[place + 4 : place + 8], "big")
            following, place = data[place], place + 8
            if bits & 0xFFF9:
                return following, place, (number, bits & 0xFFF8, bool(bits & 1))
            continue
        step = (data[place + 1] + 2) * 4 if following == _AUTHENTICATION else (data[place + 1] + 1) * 8
        following, place = data[place], place + step
    return following, min(place, end), None


def ports_of(data: bytes, at: int, end: int, protocol: int) -> tuple[int, int] | None:
    """Source and destination port of the transport header at `at` of a datagram that ends at `end`.

    ICMP gives its type, and the type that answers it or else its code (as Community ID names flows); a protocol without
    ports, and ICMP that is cut, (0, 0). None: there ought to be ports, and they are cut. What lies behind `end` is the
    link's padding and no header.
    """
    room = min(len(data), end) - at
    if protocol in (TCP, UDP, SCTP):
        if room < 4:
            return None
        first, second = _PORTS(data, at)
        return first, second
    if protocol in (ICMP, ICMP6) and room >= 2:
        answer = answer_of(protocol, data[at])
        return data[at], data[at + 1] if answer is None else answer
    return 0, 0
