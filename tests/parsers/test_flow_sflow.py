"""sFlow version 5, community ids and the reading of packet headers."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.contrib.mpls import MPLS
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet

from soc.model.record import RawBlock
from soc.parsers import ParserSet, ParserState
from soc.parsers.decoders import flow_packet
from soc.parsers.decoders import sflow as sflow_decoder
from soc.parsers.decoders.flow_community import community_ids
from soc.parsers.decoders.sflow_columns import quick
from tests.parsers.conftest import RECEIPT_NS, Rows
from tests.parsers.flow_bytes import flow_sample, ip, raw_header, sflow, xdr

pytestmark = pytest.mark.usefixtures("way")

FRAME = Ether(src="02:00:00:00:00:09", dst="02:00:00:00:00:10")
TCP_FRAME = FRAME / Dot1Q(vlan=110) / IP(src="10.1.1.9", dst="203.0.113.9", tos=0xB8) / TCP(sport=51000, dport=443)


def parse(rows: Rows, *datagrams: bytes) -> list[dict[str, Any]]:
    """The events of an sFlow block."""
    return rows(datagrams, format="sflow")


def test_a_sampled_packet_stands_for_many(rows: Rows) -> None:
    """ECS has the estimate, `sflow.*` what was seen; the packet is one that scapy wrote."""
    sample = flow_sample((1, raw_header(bytes(TCP_FRAME), 1498)))
    (event,) = parse(rows, sflow((1, sample)))
    assert (event["source.ip"], event["source.port"], event["destination.port"]) == ("10.1.1.9", 51000, 443)
    assert (event["network.bytes"], event["network.packets"]) == (1498 * 512, 512)
    assert (event["sflow.frame_length"], event["sflow.sampling_rate"], event["soc.flags"]) == (1498, 512, ("sampled",))
    assert (event["network.vlan.id"], event["flow.tos"], event["flow.tcp_flags"]) == ("110", 0xB8, "S")
    assert (event["source.mac"], event["flow.input_interface"]) == ("02-00-00-00-00-09", 3)
    assert (event["flow.exporter.agent_ip"], event["event.action"]) == ("192.0.2.1", "sflow_flow")


def test_records_beside_the_packet(rows: Rows) -> None:
    """Switch, router, gateway, user, URL, NAT; unknown and damaged ones in hexadecimal."""
    gateway = struct.pack(">I", 1) + ip("192.0.2.1") + struct.pack(
        ">IIIIIIIIII", 64500, 64501, 64502, 1, 2, 2, 64510, 64511, 1, 64500 << 16 | 7
    ) + struct.pack(">I", 100)  # fmt: skip
    sample = flow_sample(
        (1001, struct.pack(">IIII", 110, 0, 111, 0)),
        (1002, struct.pack(">I", 1) + ip("192.0.2.254") + struct.pack(">II", 24, 16)),
        (1003, gateway),
        (1004, struct.pack(">I", 106) + xdr(b"an") + struct.pack(">I", 106) + xdr(b"")),
        (1005, struct.pack(">I", 1) + xdr(b"/index") + xdr(b"a.example")),
        (1007, struct.pack(">I", 1) + ip("198.51.100.7") + struct.pack(">I", 0)),
        (1020, struct.pack(">II", 40001, 0)),
        (1, raw_header(bytes(TCP_FRAME), 100)),
        (4413 << 12 | 1, b"\x01\x02\x03\x04"),
        (1012, b"\xff\xff\xff\xff"),
    )
    (event,) = parse(rows, sflow((1, sample)))
    assert (event["sflow.src_vlan"], event["sflow.next_hop"], event["sflow.dst_as_path"]) == (
        110, "192.0.2.254", (64510, 64511),
    )  # fmt: skip
    assert (event["source.as.number"], event["destination.as.number"]) == (64501, 64511)
    assert (event["sflow.communities"], event["source.user.name"]) == (("64500:7",), "an")
    assert (event["url.original"], event["url.domain"]) == ("/index", "a.example")
    assert (event["source.nat.ip"], event["source.nat.port"]) == ("198.51.100.7", 40001)
    assert (event["sflow.other.4413.1"], event["sflow.other.0.1012"]) == ("01020304", "ffffffff")


def test_sampled_ip_without_a_header(rows: Rows) -> None:
    """Record 3: an agent that decodes for itself."""
    record = struct.pack(">II", 1500, 6) + ip("10.1.1.9") + ip("203.0.113.9") + struct.pack(">IIII", 51000, 443, 18, 0)
    (event,) = parse(rows, sflow((1, flow_sample((3, record), rate=10))))
    assert (event["network.bytes"], event["flow.tcp_flags"], event["destination.port"]) == (15_000, "SA", 443)
    assert event["network.community_id"] == community_ids(["10.1.1.9"], ["203.0.113.9"], [6], ([51000], [443]))[0]


def test_a_packet_that_was_dropped(rows: Rows) -> None:
    """The output interface has the reason (format 1)."""
    sample = flow_sample((1, raw_header(bytes(TCP_FRAME), 100)), rate=1, output=1 << 30 | 257)
    (event,) = parse(rows, sflow((1, sample)))
    assert (event["flow.forwarding_status"], event["sflow.drop_reason"]) == ("dropped", 257)
    assert ("flow.output_interface" in event, "soc.flags" in event) == (False, False)


def test_counters_of_an_interface_and_of_a_host(rows: Rows) -> None:
    """Counter samples, short and expanded."""
    interface = struct.pack(
        ">IIQIIQIIIIIIQIIIIII", 3, 6, 10**9, 1, 3, 2**63 + 1, 1000, 2, 3, 0, 0, 0, 987, 2000, 4, 5, 0, 0, 2
    )
    host = xdr(b"sw01") + bytes(16) + struct.pack(">II", 3, 2) + xdr(b"5.10")
    short = struct.pack(">III", 9, 3, 1) + struct.pack(">I", 1) + xdr(interface)
    expanded = struct.pack(">IIII", 10, 0, 3, 1) + struct.pack(">I", 2000) + xdr(host)
    first, second = parse(rows, sflow((2, short), (4, expanded)))
    assert (first["sflow.ifInOctets"], first["sflow.ifSpeed"], first["event.action"]) == (
        2**63 + 1, 10**9, "sflow_counters",
    )  # fmt: skip
    assert (second["host.name"], second["sflow.os_release"]) == ("sw01", "5.10")


def test_sequence_gaps_of_an_agent(rows: Rows) -> None:
    """The first event of a datagram says how many are missing before it."""
    sample = (1, flow_sample((1, raw_header(bytes(TCP_FRAME), 100))))
    events = parse(rows, sflow(sample, seq=1), sflow(sample, sample, seq=5), sflow(sample, seq=6))
    assert [e.get("flow.sequence_lost") for e in events] == [None, 3, None, None]
    assert ["sequence_gap" in e["soc.flags"] for e in events] == [False, True, True, False]


@pytest.mark.parametrize(
    ("datagram", "why"),
    [
        (b"", "4 octets expected, 0 left"),
        (struct.pack(">I", 4) + bytes(30), "sFlow version 4 is not read"),
        (sflow((77, b"abcd")), "sample of enterprise 0, format 77"),
        (sflow((1, b"abcd")), "sample: 28 octets expected, 4 left"),
        (sflow(count=3), "sample 1 of 3 is cut short"),
        (struct.pack(">IIII", 5, 9, 1, 1), "an address of type 9"),
    ],
)
def test_what_cannot_be_read_is_kept(rows: Rows, datagram: bytes, why: str) -> None:
    """An unparsed event with the octets and the reason."""
    (event,) = parse(rows, datagram)
    assert (event["event.dataset"], event["error.message"]) == ("unparsed", why)
    assert event["soc.original_bytes"] == datagram


def test_a_datagram_without_samples_is_an_event(rows: Rows) -> None:
    """Every datagram leaves a trace."""
    (event,) = parse(rows, sflow())
    assert (event["event.action"], event["event.dataset"]) == ("sflow_empty", "sflow.v5")


@pytest.mark.parametrize(
    ("packet", "protocol", "expected"),
    [
        (FRAME / IP(src="10.1.1.9", dst="10.1.1.1") / UDP(sport=53, dport=5353), "17", (53, 5353, None)),
        (FRAME / IP(src="10.1.1.9", dst="10.1.1.1", frag=5) / UDP(), "17", (None, None, None)),
        (FRAME / Dot1Q(vlan=5) / Dot1Q(vlan=6) / IP(src="10.1.1.9", dst="10.1.1.1") / ICMP(type=3, code=1), "1",
         (None, None, 3)),
        (FRAME / IPv6(src="2001:db8::9", dst="2001:db8::1") / IPv6ExtHdrDestOpt() / ICMPv6EchoRequest(), "58",
         (None, None, 128)),
        (FRAME / MPLS(label=1000, s=0) / MPLS(label=23, s=1) / IP(src="10.1.1.9", dst="10.1.1.1")
         / TCP(sport=1, dport=2), "6", (1, 2, None)),
    ],
)  # fmt: skip
def test_packets_that_scapy_writes(packet: Packet, protocol: str, expected: tuple[int | None, ...]) -> None:
    """Tags, labels, extension headers, fragments."""
    found = flow_packet.read(flow_packet.ETHERNET, bytes(packet))
    assert found["@protocol"] == protocol
    assert tuple(found.get(name) for name in ("@source_port", "@destination_port", "@icmp_type")) == expected
    assert found["@source_ip"] in ("10.1.1.9", "2001:db8::9")


@given(st.sampled_from([1, 11, 12, 13, 99]), st.binary(max_size=120))
def test_any_octets_are_some_packet(protocol: int, data: bytes) -> None:
    """Hostile headers never raise."""
    found = flow_packet.read(protocol, data)
    assert all(name.startswith("@") for name in found)


@pytest.mark.parametrize(
    ("source", "target", "protocol", "ports", "expected"),
    [
        ("128.232.110.120", "66.35.250.204", 6, (34855, 80), "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
        ("66.35.250.204", "128.232.110.120", 6, (80, 34855), "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
        ("192.168.1.52", "8.8.8.8", 17, (54585, 53), "1:d/FP5EW3wiY1vCndhwleRRKHowQ="),
        ("192.168.0.89", "192.168.0.1", 1, (8, 0), "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="),
        ("192.168.0.1", "192.168.0.89", 1, (0, 0), "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="),
        ("192.168.170.8", "192.168.170.56", 132, (7, 7), "1:MP2EtRCAUIZvTw6MxJHLV7N7JDs="),
        ("192.168.170.8", "2001:db8::1", 6, (7, 7), None),
        ("192.168.170.8", "192.168.170.56", 6, (None, None), None),
    ],
)
def test_community_ids_of_the_specification(
    source: str, target: str, protocol: int, ports: tuple[int | None, int | None], expected: str | None
) -> None:
    """The vectors of the Community ID specification (baseline, seed 0); both directions are one flow."""
    assert community_ids([source], [target], [protocol], ([ports[0]], [ports[1]])) == [expected]


def frames() -> st.SearchStrategy[bytes]:
    """Ethernet frames that scapy writes, whole, cut or damaged."""
    v4, v6 = (
        IP(src="10.1.1.9", dst="203.0.113.9", tos=5, ttl=9),
        IPv6(src="2001:db8::9", dst="2001:db8::1", tc=3, hlim=7),
    )
    made = [
        bytes(FRAME / head / body)
        for head in (v4, v6)
        for body in (TCP(sport=51000, dport=443, flags="SEC"), UDP(sport=53, dport=5353), ICMP(type=3, code=1),
                     ICMPv6EchoRequest())
    ]  # fmt: skip
    made += [bytes(TCP_FRAME), bytes(FRAME / IP(frag=3, src="10.1.1.9", dst="10.1.1.1") / UDP())]

    @st.composite
    def one(draw: st.DrawFn) -> bytes:
        data = bytearray(draw(st.sampled_from(made)) + draw(st.binary(max_size=30)))
        for _ in range(draw(st.integers(0, 2))):
            data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
        return bytes(data[: draw(st.integers(20, len(data)))])

    return one()


SWITCHES = st.sampled_from([b"", struct.pack(">IIII", 110, 1, 111, 2), struct.pack(">IIII", 5000, 0, 0, 0)])
SAMPLES = st.tuples(
    frames(), SWITCHES, st.sampled_from([0, 1, 512, 2**32 - 1]), st.sampled_from([7, 0, 0x3FFFFFFF, 2**30 + 5])
)


@given(st.lists(SAMPLES, min_size=1, max_size=6), st.sampled_from([1, 3, 9]))
def test_columns_and_single_samples_are_the_same(
    parsers: ParserSet, samples: list[tuple[bytes, bytes, int, int]], seq: int
) -> None:
    """What goes into columns is read exactly as it would be alone."""
    bodies = [
        flow_sample(
            *([(1001, switch)] if switch else []), (1, raw_header(frame, len(frame) + 4)), rate=rate, output=out
        )
        for frame, switch, rate, out in samples
    ]
    datagrams = [sflow((1, bodies[0])), sflow(*((1, body) for body in bodies), seq=seq)]

    def events() -> list[dict[str, Any]]:
        block = RawBlock.of(datagrams, receipt_ns=RECEIPT_NS, format="sflow", peer="192.0.2.1")
        rows = [row for batch in parsers.parse(block, ParserState(), RECEIPT_NS)[0] for row in batch.rows()]
        return sorted(rows, key=lambda e: [int(x) for x in e["soc.position"].split(":")[2:]])

    quick = events()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sflow_decoder, "quick", lambda body: None)
        assert events() == quick


@pytest.mark.parametrize(
    ("frame", "family"),
    [
        (FRAME / IP(src="10.1.1.9", dst="203.0.113.9") / TCP(sport=51000, dport=443), 4),
        (FRAME / IPv6(src="2001:db8::9", dst="2001:db8::1") / ICMPv6EchoRequest(), 6),
        (TCP_FRAME, None),
        (FRAME / IP(src="10.1.1.9", dst="203.0.113.9", frag=5) / UDP(), None),
    ],
)
def test_which_samples_go_into_columns(frame: Packet, family: int | None) -> None:
    """Plain frames do; tags, options and fragments are read one by one."""
    found = quick(flow_sample((1, raw_header(bytes(frame), 100))))
    assert (found.family if found is not None else None) == family
