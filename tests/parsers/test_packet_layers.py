"""Links, tags, labels, extension headers, fragments and streams."""

from __future__ import annotations

import functools
import io
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.contrib.mpls import MPLS
from scapy.layers.inet import IP, TCP, UDP, fragment
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    fragment6,
)  # fmt: skip
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.packet import Raw
from scapy.utils import PcapWriter

from soc.parsers.decoders import packet_file, packet_fragments, packet_streams
from soc.parsers.decoders.packet_file import Packet
from soc.parsers.decoders.packet_sensor import Sensor
from soc.parsers.decoders.packet_streams import At, Budget, Stream
from tests.parsers.packet_oracles import capture, kind, of, tshark

A, B = "192.0.2.1", "198.51.100.7"
A6, B6 = "2001:db8::1", "2001:db8:5::7"
E = {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}
X = b"x" * 30
FRAMES = {
    "plain": Ether(**E) / IP(src=A, dst=B) / UDP(sport=1000, dport=2000) / X,
    "options": Ether(**E) / IP(src=A, dst=B, options=[b"\x94\x04\0\0"]) / UDP(sport=1000, dport=2000) / X,
    "vlan": Ether(**E) / Dot1Q(vlan=7) / IP(src=A, dst=B) / UDP(sport=1000, dport=2000) / X,
    "qinq": Ether(**E) / Dot1AD(vlan=100) / Dot1Q(vlan=7) / IPv6(src=A6, dst=B6) / UDP(sport=1000, dport=2000) / X,
    "mpls": Ether(**E, type=0x8847) / MPLS(label=300, s=0) / MPLS(label=16, s=1) / IP(src=A, dst=B)
    / UDP(sport=1000, dport=2000) / X,
    "mpls6": Ether(**E, type=0x8847) / MPLS(label=9, s=1) / IPv6(src=A6, dst=B6) / UDP(sport=1000, dport=2000) / X,
    "extensions": Ether(**E) / IPv6(src=A6, dst=B6) / IPv6ExtHdrHopByHop() / IPv6ExtHdrRouting() / IPv6ExtHdrDestOpt()
    / UDP(sport=1000, dport=2000) / X,
    "atomic": Ether(**E) / IPv6(src=A6, dst=B6) / IPv6ExtHdrFragment(id=5) / UDP(sport=1000, dport=2000) / X,
}  # fmt: skip


def written(path, *frames) -> bytes:
    with PcapWriter(str(path)) as writer:
        for i, frame in enumerate(frames):
            frame.time = 1_795_000_000 + i / 1000
            writer.write(frame)
    return path.read_bytes()


@pytest.mark.parametrize("name", FRAMES)
def test_what_lies_below_the_flow(name: str, tmp_path) -> None:
    """Tags, labels and extension headers are walked; addresses, ports, VLAN and labels are those of tshark."""
    path = tmp_path / "a.pcap"
    [flow] = kind(of(written(path, FRAMES[name])), "flow")
    [row] = tshark(path, "ip.src", "ipv6.src", "udp.srcport", "udp.dstport", "vlan.id", "ieee8021ad.id", "mpls.label")
    assert [flow["source_ip"]] == row["ip.src"] + row["ipv6.src"]
    assert [str(flow["source_port"]), str(flow["destination_port"])] == row["udp.srcport"] + row["udp.dstport"]
    assert [str(tag) for tag in flow.get("vlans", ())] == row["ieee8021ad.id"] + row["vlan.id"]
    assert [str(label) for label in flow.get("labels", ())] == row["mpls.label"]


def test_the_same_addresses_in_two_vlans_are_two_flows(tmp_path) -> None:
    """Two units may use one private range."""
    other = Ether(**E) / Dot1Q(vlan=8) / IP(src=A, dst=B) / UDP(sport=1000, dport=2000) / X
    flows = kind(of(written(tmp_path / "a.pcap", FRAMES["vlan"], other, FRAMES["vlan"])), "flow")
    assert sorted((f["vlan"], f["packets"]) for f in flows) == [(7, 2), (8, 1)]


@pytest.mark.parametrize("version", [4, 6])
def test_fragments_in_any_order_are_one_packet(version: int, tmp_path) -> None:
    """A DNS message of 3,000 octets in pieces, shuffled, is read; the flow counts every fragment."""
    body = bytes.fromhex("00010100000100000000000106") + b"abcdef\0" + bytes.fromhex("0010000100002904d0000000000bb8")
    body += bytes.fromhex("fde90bb4") + b"p" * 2996
    udp = UDP(sport=1000, dport=53) / Raw(body)
    if version == 4:
        pieces = fragment(Ether(**E) / IP(src=A, dst=B, id=77) / udp, 600)
    else:
        pieces = fragment6(Ether(**E) / IPv6(src=A6, dst=B6) / IPv6ExtHdrFragment(id=77) / udp, 600)
    for seed in range(5):
        random.Random(seed).shuffle(pieces)
        records = of(written(tmp_path / "a.pcap", *pieces))
        [flow] = kind(records, "flow")
        [message] = kind(records, "dns")
        assert flow["packets"] == len(pieces) > 4
        assert (message["name"], "marks" in message) == ("abcdef", False)


def test_fragments_that_never_become_whole_are_counted(tmp_path) -> None:
    """What is missing is flagged, the packets are in the flow all the same, and time and room are bounded."""
    pieces = fragment(Ether(**E) / IP(src=A, dst=B, id=77) / UDP(sport=1000, dport=2000) / Raw(b"y" * 3000), 600)
    records = of(written(tmp_path / "a.pcap", *pieces[:2], *pieces[3:]))
    [flow] = kind(records, "flow")
    assert (flow["packets"], flow["source_port"], flow["marks"]) == (len(pieces) - 1, 1000, ["fragments_incomplete"])
    sensor = Sensor()
    for number in range(packet_fragments.MAX_PACKETS + 10):
        data = bytes(Ether(**E) / IP(src=A, dst=B, id=number, flags="MF") / (b"z" * 16))
        sensor.take(Packet(10**18, 1, data, len(data), 0, number))
    assert sensor.sums()["fragments_full"] == 10
    sensor.finish()
    assert sensor.sums()["flow_packets"] == packet_fragments.MAX_PACKETS + 10


class Heard:
    """Keeps what a stream gives."""

    def __init__(self) -> None:
        self.octets = b""
        self.gaps: list[tuple[int, int]] = []

    def data(self, reply: bool, data: bytes, at: At) -> None:
        self.octets += data

    def gap(self, reply: bool, octets: int) -> None:
        self.gaps.append((len(self.octets), octets))


AT = At(0, 0, 0, "")


@given(st.binary(min_size=1, max_size=400), st.integers(0, 2**32 - 1), st.randoms(use_true_random=False))
def test_segments_in_any_order_give_the_stream(data: bytes, start: int, chance: random.Random) -> None:
    """Cut, repeated, overlapping and shuffled, across the wrap of sequence numbers: the octets come once, in order."""
    heard = Heard()
    stream = Stream(heard, False, Budget())
    stream.begin((start - 1) & 0xFFFFFFFF)
    pieces = []
    at = 0
    while at < len(data):
        n = chance.randint(1, 40)
        pieces.append((at, data[at : at + n]))
        if chance.random() < 0.3:
            back = chance.randint(0, at)
            pieces.append((back, data[back : back + chance.randint(1, 80)]))
        at += n
    chance.shuffle(pieces)
    for place, piece in pieces:
        stream.segment((start + place) & 0xFFFFFFFF, piece, 0, AT)
    assert (heard.octets, heard.gaps) == (data, [])


def test_a_lost_segment_is_a_gap_within_bounds() -> None:
    """What waits for it is held up to a bound; then, or at the end, the stream goes on behind the gap."""
    heard, budget = Heard(), Budget()
    stream = Stream(heard, False, budget)
    stream.begin(0)
    stream.segment(1, b"ab", 0, AT)
    stream.segment(13, b"cd", 3, AT)
    assert heard.octets == b"ab"
    stream.finish()
    assert (heard.octets, heard.gaps, budget.held) == (b"abcd", [(2, 10), (4, 3)], 0)
    for i in range(packet_streams.MAX_SEGMENTS + 1):
        stream.segment(1000 + 2 * i, b"x", 0, AT)
    assert budget.counts == {"stream_segments": 1}
    big = Stream(Heard(), False, budget)
    big.begin(0)
    for i in range(5):
        big.segment(100 + i * 70_000, b"y" * 65_000, 0, AT)
    assert budget.counts["stream_octets"] == 1


@functools.cache
def office() -> list[Packet]:
    found = packet_file.read(io.BytesIO(capture("office.pcap").read_bytes()))
    return [packet for packet in found if isinstance(packet, Packet)]


@given(st.data())
def test_no_damage_to_real_packets_breaks_the_sensor(data: st.DataObject) -> None:
    """Octets changed anywhere behind the record headers: every packet is still in a flow or unread, none is lost."""
    packets = office()
    start = data.draw(st.integers(0, len(packets) - 20))
    sensor = Sensor()
    for packet in packets[start : start + 20]:
        octets = bytearray(packet.data)
        for _ in range(data.draw(st.integers(0, 3))):
            octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
        keep = data.draw(st.sampled_from([len(octets), len(octets), data.draw(st.integers(0, len(octets)))]))
        sensor.take(packet._replace(data=bytes(octets[:keep])))
    sensor.finish()
    sensor.records()
    sums = sensor.sums()
    assert sums["packets"] == 20 == sums.get("flow_packets", 0) + sums.get("unread", 0)
    assert sensor.budget.held == 0


@given(st.binary(max_size=200), st.sampled_from([0, 1, 101, 113, 228, 229, 276, 12, 999]))
def test_no_octets_break_the_sensor(octets: bytes, link: int) -> None:
    """Any octets under any link type."""
    sensor = Sensor()
    sensor.take(Packet(1, link, octets, len(octets), 0, 1))
    sensor.finish()
    sums = sensor.sums()
    assert sums.get("flow_packets", 0) + sums.get("unread", 0) == 1


def test_a_connection_that_begins_anew_is_a_new_flow(tmp_path) -> None:
    """The same ports after RST; a repeated SYN is no new connection."""
    ends = {"src": A, "dst": B}
    syn = Ether(**E) / IP(**ends) / TCP(sport=1000, dport=80, flags="S", seq=1)
    reset = Ether(**E) / IP(src=B, dst=A) / TCP(sport=80, dport=1000, flags="RA", ack=2)
    flows = kind(of(written(tmp_path / "a.pcap", syn, syn, reset, syn, reset)), "flow")
    assert [(f["packets"], f["end_reason"]) for f in flows] == [(3, "rst"), (2, "rst")]
