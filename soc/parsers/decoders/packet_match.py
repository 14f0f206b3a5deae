"""Which packets belong to a flow, by its community id and its VLAN tags."""

from __future__ import annotations

from collections.abc import Collection

from soc.parsers.decoders.flow_community import community_id
from soc.parsers.decoders.packet_file import Packet
from soc.parsers.decoders.packet_layers import Datagram, Unreadable, extensions, frame, internet, ports_of

MAX_FRAGMENTED = 65_536
"""Packets in fragments whose later fragments are recognised."""
Vlans = tuple[int, ...]


class FlowMatch:
    """Packets of one flow; of a packet in fragments those behind the first are recognised by its identification.

    Two flows of the same addresses and ports in different VLANs have one community id: `vlans` keeps them apart.
    """

    def __init__(self, wanted: str, ends: tuple[bytes, bytes], vlans: Collection[Vlans]) -> None:
        self._wanted, self._ends, self._vlans = wanted, ends, frozenset(vlans)
        self._fragments: set[tuple[bytes, bytes, int, int]] = set()
        self.is_full = False
        """Whether later fragments of a packet may have been passed over."""

    def matches(self, packet: Packet) -> bool:
        """Whether it is one of them."""
        data = packet.data
        if self._ends[0] not in data or self._ends[1] not in data:
            return False
        try:
            found = frame(packet.link, data)
            if found.vlans not in self._vlans:
                return False
            datagram = internet(found, data, packet.length)
        except Unreadable:
            return False
        return datagram is not None and self._is_ours(data, datagram)

    def _is_ours(self, data: bytes, datagram: Datagram) -> bool:
        protocol, at = datagram.protocol, datagram.at
        if datagram.fragment is not None:
            number, offset, _ = datagram.fragment
            name = (datagram.source, datagram.target, protocol, number)
            if offset:
                return name in self._fragments
            if len(datagram.source) == 16:
                protocol, at, _ = extensions(data, at, datagram.end, protocol)
            is_ours = self._has_id(data, datagram, protocol, at)
            if is_ours and name not in self._fragments:
                self.is_full = len(self._fragments) >= MAX_FRAGMENTED
                if not self.is_full:
                    self._fragments.add(name)
            return is_ours
        return self._has_id(data, datagram, protocol, at)

    def _has_id(self, data: bytes, datagram: Datagram, protocol: int, at: int) -> bool:
        first, second = ports_of(data, at, datagram.end, protocol) or (0, 0)
        return community_id(datagram.source, datagram.target, protocol, first, second) == self._wanted
