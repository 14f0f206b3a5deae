"""The UDP datagrams in a capture, as the program received them for whom they were: fragments joined, in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import NamedTuple

from soc.parsers.decoders.packet_file import Damage, Packet
from soc.parsers.decoders.packet_fragments import Fragments, Whole
from soc.parsers.decoders.packet_layers import UDP, Datagram, Unreadable, frame, internet

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
        try:
            found = frame(packet.link, packet.data)
            datagram = internet(found, packet.data, packet.length)
        except Unreadable:
            datagram = None
        if datagram is None:
            yield Heard(packet.ns, "", None, number)
        elif datagram.fragment is None:
            yield _of(packet.ns, datagram, packet.data, number)
        else:
            for whole in fragments.add(packet, found, datagram):
                yield _joined(whole, number)
    for whole in fragments.rest():
        yield _joined(whole, number)


def _joined(whole: Whole, number: int) -> Heard:
    return _of(whole.last_ns, whole.datagram, whole.payload, number)


def _of(ns: int, datagram: Datagram, data: bytes, number: int) -> Heard:
    at = datagram.at
    size = data[at + 4] << 8 | data[at + 5] if len(data) >= at + _HEADER else 0
    is_whole = datagram.protocol == UDP and size >= _HEADER and at + size <= min(len(data), datagram.end)
    payload = data[at + _HEADER : at + size] if is_whole else None
    return Heard(ns, str(ip_address(datagram.source)), payload, number)
