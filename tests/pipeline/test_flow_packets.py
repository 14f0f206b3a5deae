"""The packets of a flow out of the ring: all of them and no others, for who may see the flow, noted in the ledger."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP, fragment
from scapy.layers.l2 import Dot1Q, Ether

from soc.collectors.packet_asks import HERE
from soc.collectors.packet_ring import PacketRing, files
from soc.errors import NotFound
from soc.model.record import RawBlock
from soc.model.scope import Scope
from soc.parsers.decoders import packet_file, packet_match
from soc.parsers.decoders.packet_file import Packet
from soc.parsers.decoders.packet_sensor import Sensor
from soc.pipeline import Services, Worker, flow_packets, places
from soc.pipeline.flow_packets import retrieve
from soc.store.queue import DiskLog
from tests.parsers.packet_oracles import capture, kind, ours, tshark
from tests.pipeline.world import World

EVERYBODY = Scope.everything("test", "test")


def sensed(world: World, packets: list[Packet], name: str = "edge") -> None:
    """What a sensor would have left: packets in the ring, records in the queue, events in the store."""
    ring = PacketRing(places.packet_ring(world.settings, name), 1, max_bytes=64 << 20, max_age_s=10**9)
    sensor = Sensor()
    for packet in packets:
        offset = ring.append(packet.ns, packet.data, packet.length)
        sensor.file = ring.name
        sensor.hear(packet.ns, packet.link, packet.data, packet.length, offset, "eth1")
    ring.close()
    sensor.finish()
    log = DiskLog(places.queue(world.settings), places.RAW, places.sense_node(name), world.clock)
    block = RawBlock.of(sensor.records(), receipt_ns=world.clock.now_ns(), listener=name, peer="eth1", format="packet")
    log.append([block])
    log.close()
    worker = Worker(world.settings, world.clock)
    while worker.step():
        pass
    worker.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World.make(tmp_path)
    yield made
    made.raw.close()


def office(world: World) -> list[Packet]:
    """The packets of the capture, as if they came now."""
    found = packet_file.read(io.BytesIO(capture("office.pcap").read_bytes()))
    packets = [packet for packet in found if isinstance(packet, Packet)]
    shift = world.clock.now_ns() - packets[-1].ns
    return [packet._replace(ns=packet.ns + shift) for packet in packets]


def got(world: World, flow: str, scope: Scope = EVERYBODY, **times: Any) -> flow_packets.FlowPackets:
    services = Services.open(world.settings, world.clock)
    try:
        return retrieve(world.settings, services.store, scope, flow, **times)
    finally:
        services.close()


FIELDS = ("tcp.seq_raw", "tcp.flags", "udp.checksum", "ip.id", "ip.frag_offset", "frame.len", "icmpv6.code")


def test_the_packets_of_each_flow_and_no_others(world: World, tmp_path: Path) -> None:
    """For every flow as many packets as it counted; those that tshark picks by the community id, octet for octet."""
    sensed(world, office(world))
    flows = [flow for flow in kind(ours(capture("office.pcap")), "flow") if flow.get("community_id")]
    packets: Counter[str] = Counter()
    for flow in flows:
        packets[flow["community_id"]] += flow["packets"]
    largest = sorted(flows, key=lambda flow: -flow["packets"])[:5]
    fragments = [flow for flow in flows if flow["bytes"] > 3000 and flow["protocol"] in (1, 17, 58)]
    for flow in largest + fragments:
        found = got(world, name := flow["community_id"])
        assert (found.packets, found.points, found.is_cut) == (packets[name], ("edge",), False)
        if flow["protocol"] == 6:  # of fragments tshark knows the id at the last alone
            path = tmp_path / "flow.pcapng"
            path.write_bytes(found.data)
            options = ("--enable-protocol", "communityid")
            theirs = tshark(capture("office.pcap"), *FIELDS, show=f'communityid == "{name}"', options=options)
            assert tshark(path, *FIELDS) == theirs
            assert tshark(path, "frame.interface_name")[0]["frame.interface_name"] == ["edge"]
    assert len(fragments) >= 3


def test_the_same_flow_in_another_vlan_is_not_given_out(world: World) -> None:
    """Two units with the same private addresses: only the packets of the VLAN whose events are shown."""
    packet = IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1000, dport=2000)
    link = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    frames = [bytes(link / Dot1Q(vlan=vlan) / packet / f"vlan {vlan}".encode()) for vlan in (7, 8)]
    now = world.clock.now_ns()
    packets = [Packet(now + i, 1, frame, len(frame), 0, i) for i, frame in enumerate(frames * 3)]
    sensed(world, packets)
    [first, second] = [event for event in world.events() if event["event.dataset"] == "packet.flow"]
    assert first["network.community_id"] == second["network.community_id"]
    services = Services.open(world.settings, world.clock)
    seen = flow_packets.look(services.store, EVERYBODY, first["network.community_id"])[HERE]
    services.close()
    assert seen["edge"].vlans == {(7,), (8,)}
    seen["edge"].vlans = {(7,)}
    folder = places.packet_ring(world.settings, "edge")
    match = seen["edge"].match(first["network.community_id"])
    kept = list(flow_packets._packets(folder, match, seen["edge"]))
    assert [packet.data[-6:] for packet in kept] == [b"vlan 7"] * 3


def test_a_header_that_the_ip_length_cuts_has_no_ports(world: World) -> None:
    """Ethernet pads short frames: with ports from the padding the packets of this flow would not be found again."""
    link = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    cut = bytes(link / IP(src="10.0.0.1", dst="10.0.0.2", proto=17, len=22) / b"\x03\xe8") + bytes(range(24))
    sensed(world, [Packet(world.clock.now_ns(), 1, cut, len(cut), 0, 1)])
    [flow] = [event for event in world.events() if event["event.dataset"] == "packet.flow"]
    assert (flow["source.port"], flow["destination.port"]) == (0, 0)
    assert "transport_cut" in flow["soc.flags"]
    assert got(world, flow["network.community_id"]).packets == 1


def test_more_fragmented_packets_than_are_remembered_are_said_to_be_cut(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packet_match, "MAX_FRAGMENTED", 2)
    link = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    whole = [IP(src="10.0.0.1", dst="10.0.0.2", id=n) / UDP(sport=1000, dport=2000) / (b"x" * 40) for n in range(3)]
    frames = [bytes(link / piece) for packet in whole for piece in fragment(packet, 24)]
    now = world.clock.now_ns()
    sensed(world, [Packet(now + i, 1, frame, len(frame), 0, i) for i, frame in enumerate(frames)])
    [flow] = [event for event in world.events() if event["event.dataset"] == "packet.flow"]
    found = got(world, flow["network.community_id"])
    assert (found.packets, found.is_cut) == (len(frames) - 1, True)


def test_who_sees_no_event_of_a_flow_gets_no_packet(world: World) -> None:
    """Unknown, of another unit, or of another time: it does not exist."""
    sensed(world, office(world))
    [flow] = [f for f in kind(ours(capture("office.pcap")), "flow") if f.get("destination_port") == 81]
    name = flow["community_id"]
    assert got(world, name).packets == 2
    with pytest.raises(NotFound, match="no flow"):
        got(world, name, Scope.of_units("test", {"so-yt"}, "test"))
    with pytest.raises(NotFound, match="no flow"):
        got(world, "1:" + "A" * 27 + "=")
    with pytest.raises(NotFound, match="no flow"):
        got(world, name, until_us=world.clock.now_ns() // 1000 - 3_600_000_000)


def test_packets_that_were_overwritten_are_said_to_be(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The events stay, the packets do not; and an answer has a bound."""
    sensed(world, office(world))
    flow = max(kind(ours(capture("office.pcap")), "flow"), key=lambda f: f["packets"])["community_id"]
    monkeypatch.setattr(flow_packets, "MAX_BYTES", 5000)
    cut = got(world, flow)
    assert (cut.is_cut, 0 < cut.packets < 30, len(cut.data) < 6000) == (True, True, True)
    for path in files(places.packet_ring(world.settings, "edge")):
        path.unlink()
    with pytest.raises(NotFound, match="have been overwritten"):
        got(world, flow)


def test_a_name_that_is_no_ring_reads_nothing(world: World, tmp_path: Path) -> None:
    """A listener's name in an event is looked for among the rings, never joined into a path."""
    assert not flow_packets._is_name(world.settings, "../queue")
    assert not flow_packets._is_name(world.settings, "")


def test_the_pointer_of_an_event_leads_into_the_ring(world: World) -> None:
    """`packet.file` and `packet.offset` of every event are the place of a packet of its flow."""
    sensed(world, office(world))
    folder = places.packet_ring(world.settings, "edge")
    events = [event for event in world.events() if event["event.dataset"] == "packet.dns"]
    assert len(events) == 28
    for event in events:
        data = (folder / event["packet.file"]).read_bytes()
        [packet] = [next(packet_file.read(io.BytesIO(data[:24] + data[event["packet.offset"] :])))]
        assert isinstance(packet, Packet)
        if json.loads(event["event.original"])["protocol"] == 17:
            assert event["dns.question.name"].split(".")[0].encode() in packet.data


def test_a_units_ring_gives_what_the_centre_asks_for(world: World) -> None:
    """The request is JSON; the answer at the unit is what the unit would give of its own flow."""
    sensed(world, office(world))
    flow = max(kind(ours(capture("office.pcap")), "flow"), key=lambda f: f["packets"])["community_id"]
    services = Services.open(world.settings, world.clock)
    seen = flow_packets.look(services.store, EVERYBODY, flow)[HERE]
    services.close()
    asked = json.loads(json.dumps(flow_packets.request(flow, seen)))
    found, own = flow_packets.answer(world.settings, asked), got(world, flow)
    assert (found.data, found.packets, found.is_cut) == (own.data, own.packets, False)
    later = [{**point, "since_us": point["until_us"] + 3_000_000} for point in asked["points"]]
    assert flow_packets.answer(world.settings, {**asked, "points": later}).packets == 0


@pytest.mark.parametrize(
    "point",
    [
        {}, {"name": "../queue"}, {"ends": ["10.0.0.1"]}, {"ends": ["x", "y"]}, {"ends": 5}, {"since_us": "x"},
        {"vlans": 5}, {"vlans": [["a"]]}, {"until_us": None},
    ],
)  # fmt: skip
def test_a_centre_that_asks_nonsense_gets_no_packet(world: World, point: dict[str, Any]) -> None:
    """Nothing of it becomes a path, and the relay goes on."""
    whole = {"name": "edge", "ends": ["10.0.0.1", "10.0.0.2"], "since_us": 0, "until_us": 10**15, "vlans": [[]]}
    points = [{**whole, **point}] if point else "nonsense"
    assert flow_packets.answer(world.settings, {"flow": "1:x", "points": points}).data == b""


def test_the_unit_of_an_event_is_told_by_its_position() -> None:
    """The hub puts the unit's name before the node's; what this machine received has none."""
    assert flow_packets._unit("xa-dakbla.sense-edge-0a1b2c3d:raw:5:0") == "xa-dakbla"
    assert flow_packets._unit("sense-edge:raw:5:0") == flow_packets._unit("") == HERE
