"""The UDP datagrams in a capture, as the program received them for whom they were: fragments joined, in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import NamedTuple

from soc.parsers.decoders.packet_file import Damage, Packet
from soc.parsers.decoders.packet_fragments import Fragments, Whole
from soc.parsers.decoders.packet_layers import ETHER_IPV4, ETHER_IPV6, UDP, Datagram, Unreadable, frame, ipv4, ipv6

_HEADER = 8


class Heard(NamedTuple):
    """One datagram: when it came (ns since the epoch; 0: the capture does not say), from which address, its payload.

    `number` is that of its packet in the file, of the last fragment when it came in several. A `payload` of None stands
    for a packet that holds no whole datagram: other protocols, damage, what was not captured to its end.
    """

    ns: int
    peer: str
    payload: bytes | None
    number: int


def datagrams(packets: Iterable[Packet | Damage]) -> Iterator[Heard]:
    """One for each packet but for the first fragments of a datagram, which is told with its last."""
    fragments = Fragments()
    number = 0
    for packet in packets:
        if isinstance(packet, Damage):
            yield Heard(0, "", None, number)
            continue
        number = packet.number
        for whole in fragments.expired(packet.ns):
            yield _joined(whole, number)
        yield from _heard(packet, fragments)
    for whole in fragments.rest():
        yield _joined(whole, number)


def _heard(packet: Packet, fragments: Fragments) -> Iterator[Heard]:
    try:
        found = frame(packet.link, packet.data)
        if found.ether not in (ETHER_IPV4, ETHER_IPV6):
            yield Heard(packet.ns, "", None, packet.number)
            return
        read = ipv4 if found.ether == ETHER_IPV4 else ipv6
        datagram = read(packet.data, found.at, packet.length)
    except Unreadable:
        yield Heard(packet.ns, "", None, packet.number)
        return
    if datagram.fragment is None:
        yield _of(packet.ns, datagram, packet.data, packet.number)
        return
    key = (packet.interface, datagram.source, datagram.target, datagram.protocol, datagram.fragment[0])
    for whole in fragments.add(key, datagram.fragment, packet, found, datagram):
        yield _joined(whole, packet.number)


def _joined(whole: Whole, number: int) -> Heard:
    _, source, target, protocol, _ = whole.key
    return _of(whole.last_ns, Datagram(source, target, protocol, 0, whole.length, whole.size), whole.payload, number)


def _of(ns: int, datagram: Datagram, data: bytes, number: int) -> Heard:
    at = datagram.at
    size = data[at + 4] << 8 | data[at + 5] if len(data) >= at + _HEADER else 0
    is_whole = datagram.protocol == UDP and size >= _HEADER and at + size <= min(len(data), datagram.end)
    payload = data[at + _HEADER : at + size] if is_whole else None
    return Heard(ns, str(ip_address(datagram.source)), payload, number)
