"""`Sensor`: packets in, records of what they were out: flows, messages of protocols, what could not be read.

A record is a JSON object with `kind` (flow, dns, http, tls, dhcp, arp, capture, unread), `at_us` and the values that
`parsers/wire/packet_*.yml` maps. Every packet is counted in one flow, ARP or `unread` record; `capture` has the sums.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from soc.parsers.decoders import packet_arp
from soc.parsers.decoders.flow_values import mac_text
from soc.parsers.decoders.packet_file import Damage, Packet
from soc.parsers.decoders.packet_flows import ACK, FIN, LINGER_NS, RST, SYN, Flow, Side, Table
from soc.parsers.decoders.packet_fragments import Fragments, Whole
from soc.parsers.decoders.packet_layers import (
    ETHER_ARP,
    TCP,
    UDP,
    Datagram,
    Frame,
    Unreadable,
    frame,
    internet,
    ports_of,
)
from soc.parsers.decoders.packet_quic import QuicTalk, begins
from soc.parsers.decoders.packet_streams import At, Budget, Stream
from soc.parsers.decoders.packet_talk import DATAGRAMS, Talk

MAX_SHOWN = 4096
"""Octets of an unreadable packet or message that its record keeps."""
MAX_RECORD = 1 << 20
"""A record that would be longer says so instead."""


class Sensor:
    """Follows the packets of one capture. Not thread-safe."""

    def __init__(self, file: str = "") -> None:
        self.file = file
        """Which file holds the packets; a live sensor changes it as the ring goes on."""
        self.counts: Counter[str] = Counter()
        """Packets, octets, and how often each bound was met."""
        self.budget = Budget()
        self.table = Table(self._told)
        self.fragments = Fragments()
        self.bindings = packet_arp.Bindings()
        self._records: list[dict[str, Any]] = []
        self._now = 0

    # packets in -----------------------------------------------------------------------------------------------------

    def hear(self, ns: int, link: int, data: bytes, length: int, offset: int, interface: str) -> None:
        """One packet of a live capture, `offset` octets into `file`."""
        self.take(Packet(ns, link, data, length, offset, self.counts["packets"] + 1, interface))

    def take(self, packet: Packet) -> None:
        """One packet."""
        ns, link, data, length, _, _, interface, _ = packet
        counts = self.counts
        counts["packets"] += 1
        counts["octets"] += length
        self._now = ns
        if self.table.is_due(ns):
            self.sweep(ns)
        # The common case without a name for each part: Ethernet, IPv4 without options, whole, TCP or UDP.
        if link == 1 and data[12:15] == b"\x08\x00\x45" and len(data) >= 42 and not data[20] & 0x3F and not data[21]:
            protocol, size = data[23], data[16] << 8 | data[17]
            if protocol in (6, 17) and size >= 28:
                key = data[23:24] + data[26:38]
                sides = self.table.of(interface)
                side = sides.get(key)
                if side is not None and (protocol == 17 or (len(data) >= 54 and not data[47] & SYN)):
                    side.packets += 1
                    side.octets += size
                    side.flow.last = ns
                    if protocol == 6:
                        side.bits |= data[47]
                        if side.stream is not None:
                            self._segment(side, packet, 34, 14 + size)
                    elif side.flow.talk is not None:
                        self._datagram(side, packet, 34, 14 + size)
                    if len(data) < length:
                        counts["truncated"] += 1
                    return
        if len(data) < length:
            counts["truncated"] += 1
        try:
            self._layers(packet)
        except Unreadable as error:
            self.unread(str(error), packet)

    def _layers(self, packet: Packet) -> None:
        found = frame(packet.link, packet.data)
        datagram = internet(found, packet.data, packet.length)
        if datagram is None:
            self._other(packet, found)
        elif datagram.fragment is None:
            self._transport(packet, found, datagram)
        else:
            self.counts["fragments"] += 1
            self._late(self.fragments.add(packet, found, datagram))

    def _whole(self, whole: Whole) -> None:
        """A packet that came in fragments: its payload alone, in the place of the first."""
        joined = whole.first._replace(data=whole.payload, length=whole.length)
        side = self._transport(joined, whole.frame, whole.datagram, whole.packets, whole.marks)
        side.flow.last = max(side.flow.last, whole.last_ns)

    def _transport(
        self, packet: Packet, found: Frame, datagram: Datagram, packets: int = 1, marks: tuple[str, ...] = ()
    ) -> Side:
        data, protocol, at, end = packet.data, datagram.protocol, datagram.at, datagram.end
        ends = ports_of(data, at, end, protocol)
        if ends is None:
            marks = (*marks, "transport_cut")
        first, second = ends or (0, 0)
        bits = data[at + 13] if protocol == TCP and min(len(data), end) > at + 13 else 0
        head = bytes((protocol,))
        ports = first.to_bytes(2, "big") + second.to_bytes(2, "big")
        tags = b"".join([tag.to_bytes(2, "big") for tag in found.vlans])
        key = head + datagram.source + datagram.target + ports + tags
        sides = self.table.of(packet.interface)
        side = sides.get(key)
        if side is not None and bits & SYN and not bits & ACK and self._is_anew(side, packet.ns):
            self.table.end(side.flow, side.flow.how() if side.flow.is_over() else "reopened")
            side = None
        if side is None:
            other = head + datagram.target + datagram.source + ports[2:] + ports[:2] + tags
            side = self._begin(packet, found, datagram, (first, second), key, other, bits)
        side.packets += packets
        side.octets += datagram.size
        side.flow.last = packet.ns
        for mark in marks:
            side.flow.marks[mark] = None
        if protocol == TCP:
            side.bits |= bits
            if side.stream is not None:
                self._segment(side, packet, at, end)
        elif protocol == UDP and side.flow.talk is not None:
            self._datagram(side, packet, at, end)
        return side

    @staticmethod
    def _is_anew(side: Side, ns: int) -> bool:
        """A SYN begins a new connection when the old one is over or was silent for longer than repetitions take."""
        flow = side.flow
        return flow.is_over() or (bool(flow.sides[1].bits) and ns - flow.last > 4 * LINGER_NS)

    def _begin(
        self,
        packet: Packet,
        found: Frame,
        datagram: Datagram,
        ports: tuple[int, int],
        key: bytes,
        other: bytes,
        bits: int,
    ) -> Side:
        ends = (datagram.source, datagram.target)
        is_answer = datagram.protocol == TCP and bits & (SYN | ACK) == SYN | ACK
        if is_answer:  # what it answers was not seen
            ends, ports, key, other = ends[::-1], ports[::-1], other, key
            found = found._replace(target=found.sender, sender=found.target)
        flow = Flow(ends, datagram.protocol, ports, found, self._at(packet), packet.interface)
        if datagram.protocol == TCP:
            if not bits & SYN and not bits & (RST | FIN):
                flow.marks["midstream"] = None
            flow.talk = talk = Talk(self, flow)
            for side in flow.sides:
                side.stream = Stream(talk, side.is_reply, self.budget)
        elif datagram.protocol == UDP:
            flow.talk = self._spoken(ports)
            if flow.talk is None and begins(packet.data, datagram.at + 8, min(len(packet.data), datagram.end)):
                flow.talk = QuicTalk(flow, flow.first, self.budget)
        self.table.add(flow, key, other)
        return flow.sides[1 if is_answer else 0]

    @staticmethod
    def _spoken(ports: tuple[int, int]) -> Any:
        for port in ports:
            if port in DATAGRAMS:
                return DATAGRAMS[port]
        return None

    def _segment(self, side: Side, packet: Packet, at: int, end: int) -> None:
        """TCP at `at` of the packet, whose IP header says that it goes to `end`."""
        data = packet.data
        if len(data) < at + 20:
            return
        stream = side.stream
        assert stream is not None
        sequence = int.from_bytes(data[at + 4 : at + 8], "big")
        if data[at + 13] & SYN:
            stream.begin(sequence)
            sequence = (sequence + 1) & 0xFFFFFFFF
        start = at + (data[at + 12] >> 4) * 4
        if start < at + 20 or start >= end:
            return
        payload = data[start:end]
        stream.segment(sequence, payload, end - start - len(payload), self._at(packet))

    def _datagram(self, side: Side, packet: Packet, at: int, end: int) -> None:
        data = packet.data
        if len(data) < at + 8:
            return
        size = data[at + 4] << 8 | data[at + 5]
        stop = min(end, at + size) if size >= 8 else end
        side.flow.talk(self, side, data[at + 8 : stop], stop - at - 8, self._at(packet))

    def _other(self, packet: Packet, found: Frame) -> None:
        """Not IP: a flow of the two stations and the EtherType; what ARP says is told besides."""
        if found.ether == ETHER_ARP:
            self._arp(packet, found)
        kind = found.ether.to_bytes(2, "big")
        tags = b"".join([tag.to_bytes(2, "big") for tag in found.vlans])
        key = b"\0" + kind + found.sender + found.target + tags
        side = self.table.of(packet.interface).get(key)
        if side is None:
            flow = Flow((b"", b""), found.ether, (0, 0), found, self._at(packet), packet.interface)
            side = self.table.add(flow, key, b"\0" + kind + found.target + found.sender + tags)
        side.packets += 1
        side.octets += packet.length - found.at
        side.flow.last = packet.ns

    def _arp(self, packet: Packet, found: Frame) -> None:
        values: dict[str, Any] = {"interface": packet.interface} if packet.interface else {}
        if found.vlans:
            values |= {"vlan": found.vlans[-1], "vlans": found.vlans}
        at = self._at(packet)
        try:
            said, address, station = packet_arp.decode(packet.data[found.at :])
        except ValueError as error:
            kept = packet.data[found.at : found.at + MAX_SHOWN].hex()
            self._emit(
                "arp", at, values | {"action": "malformed", "why": str(error), "data_hex": kept, "marks": ["malformed"]}
            )
            return
        values |= said
        if station and found.sender and station != found.sender:
            values["marks"] = ["sender_differs"]  # the frame came from another station than it says
        self._emit("arp", at, values | {"action": said["operation"]})
        before = self.bindings.said((packet.interface, found.vlans), address, station) if station else None
        if before is not None:
            self._emit("arp", at, values | {"action": "address_changed", "previous_mac": mac_text(before)})

    def _at(self, packet: Packet) -> At:
        return At(packet.ns, packet.number, packet.offset, self.file)

    def damage(self, found: Damage) -> None:
        """What the file has in the place of packets."""
        self.counts["damage"] += 1
        self._emit("unread", At(self._now, 0, found.offset, self.file), {"why": found.reason, "data": found.data.hex()})

    def unread(self, why: str, packet: Packet) -> None:
        """A packet that nobody can read."""
        self.counts["unread"] += 1
        values: dict[str, Any] = {"why": why, "data": packet.data[:MAX_SHOWN].hex()}
        if packet.interface:
            values["interface"] = packet.interface
        self._emit("unread", self._at(packet), values)

    # time -----------------------------------------------------------------------------------------------------------

    def sweep(self, ns: int) -> None:
        """End what has ended by this time (ns since the epoch); a live sensor calls it when nothing comes."""
        self._late(self.fragments.expired(ns))
        self.table.sweep(ns)

    def finish(self) -> None:
        """No more packets come: tell every flow that is open, and the sums."""
        self._late(self.fragments.rest())
        self.table.finish()
        self.report()

    def _late(self, wholes: Iterable[Whole]) -> None:
        for whole in wholes:
            self._whole(whole)

    def report(self) -> None:
        """Tell the sums so far."""
        sums = self.sums()
        at = At(self._now, self.counts["packets"], 0, self.file)
        values = {name: sums.pop(name, 0) for name in ("packets", "octets", "truncated", "unread")}
        self._emit("capture", at, {**values, "counts": sums, "open_flows": self.table.n})

    def sums(self) -> dict[str, int]:
        """Packets, octets, and how often each bound was met."""
        return dict(self.counts + self.table.counts + self.fragments.counts + self.budget.counts + self.bindings.counts)

    # records out ----------------------------------------------------------------------------------------------------

    def tell(self, kind: str, flow: Flow, at: At, values: dict[str, Any], is_reply: bool = False) -> None:
        """A message of a protocol in a flow; `is_reply` turns source and destination round."""
        flow.said.add(values.get("application", kind))
        self._emit(kind, at, flow.place(is_reply) | values)

    def _told(self, flow: Flow, reason: str) -> None:
        if flow.talk is not None and flow.protocol == TCP and reason != "active_timeout":
            for side in flow.sides:
                if side.stream is not None:
                    side.stream.finish()
            flow.talk.finish()
            for side in flow.sides:
                self.quiet(side)
        elif isinstance(flow.talk, QuicTalk):
            flow.talk.finish(self)
        values = flow.document(reason)
        if flow.marks:
            values["marks"] = list(flow.marks)
        self.counts["flow_packets"] += values["packets"]
        self._emit("flow", flow.first, values, flow.last)

    @staticmethod
    def quiet(side: Side) -> None:
        """Nobody listens to this direction any more."""
        if side.stream is not None:
            side.stream.close()
            side.stream = None

    def _emit(self, kind: str, at: At, values: dict[str, Any], ns: int | None = None) -> None:
        when = at.ns if ns is None else ns
        self.counts[f"records_{kind}"] += 1
        record = {"kind": kind, "at_us": when // 1000, **values, "number": at.number, "offset": at.offset}
        if at.file:
            record["file"] = at.file
        self._records.append(record)

    def records(self) -> list[bytes]:
        """The records made since the last call, in order, as JSON."""
        if not self._records:
            return []
        made, self._records = self._records, []
        return [_json(record) for record in made]


def _json(record: dict[str, Any]) -> bytes:
    data = orjson.dumps(record)
    if len(data) <= MAX_RECORD:
        return data
    kept = {k: v for k, v in record.items() if not isinstance(v, list | dict | str) or len(v) < 256}
    return orjson.dumps({**kept, "marks": [*record.get("marks", ()), "record_cut"]})


def read(packets: Iterable[Packet | Damage]) -> Iterator[bytes]:
    """The records of a whole capture."""
    sensor = Sensor()
    for packet in packets:
        if isinstance(packet, Damage):
            sensor.damage(packet)
        else:
            sensor.take(packet)
        yield from sensor.records()
    sensor.finish()
    yield from sensor.records()
