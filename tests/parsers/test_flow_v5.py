"""NetFlow version 5: Cisco's fixed records, with the names, the sampling and the sequence that the others have."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.netflow import NetflowHeader, NetflowHeaderV5, NetflowRecordV5

from soc.model.record import RawBlock
from soc.parsers import ParserSet, ParserState
from soc.parsers.decoders.flow_community import community_ids
from tests.parsers.conftest import RECEIPT_NS, Rows
from tests.parsers.flow_bytes import EXPORT_S, ip

pytestmark = pytest.mark.usefixtures("way")

Event = dict[str, Any]
_RECORD = struct.Struct(">4s4s4sHHIIIIHHBBBBHHBBH")


def record(protocol: int = 6, ports: tuple[int, int] = (51000, 443), first: int = 90_000) -> bytes:
    """10.1.1.9 to 203.0.113.9, 10 packets of 4,096 octets, until 5 s before an uptime of 100 s."""
    return _RECORD.pack(
        ip("10.1.1.9"), ip("203.0.113.9"), ip("192.0.2.254"), 1, 2, 10, 4096, first, 95_000, *ports, 0, 0x12, protocol,
        0xB8, 64500, 64501, 24, 16, 0,
    )  # fmt: skip


def v5(*records: bytes, count: int | None = None, seq: int = 7, sampling: int = 0, uptime: int = 100_000) -> bytes:
    """A datagram of engine 3:9, exported half a second after `EXPORT_S`."""
    n = len(records) if count is None else count
    head = struct.pack(">HHIIIIBBH", 5, n, uptime, EXPORT_S, 500_000_000, seq, 3, 9, sampling)
    return head + b"".join(records)


def parse(rows: Rows, *datagrams: bytes) -> list[Event]:
    """The events of a NetFlow block."""
    return rows(datagrams, format="netflow")


def flows(events: list[Event]) -> list[Event]:
    """Without what is unparsed."""
    return [e for e in events if e["event.dataset"] == "netflow.v5"]


def test_a_flow_has_ecs_and_the_elements_names(rows: Rows) -> None:
    """The record's fields are the information elements of the same meaning."""
    (flow,) = parse(rows, v5(record()))
    assert (flow["source.ip"], flow["source.port"], flow["destination.ip"]) == ("10.1.1.9", 51000, "203.0.113.9")
    assert (flow["network.bytes"], flow["network.packets"], flow["network.transport"]) == (4096, 10, "tcp")
    assert (flow["netflow.octetDeltaCount"], flow["netflow.ipNextHopIPv4Address"]) == (4096, "192.0.2.254")
    assert (flow["netflow.sourceIPv4PrefixLength"], flow["destination.as.number"]) == (24, 64501)
    assert (flow["flow.tcp_flags"], flow["flow.tos"], flow["flow.input_interface"]) == ("SA", 0xB8, 1)
    assert (flow["flow.engine_type"], flow["flow.exporter.source_id"], flow["flow.sequence"]) == (3, 9, 7)
    assert flow["@timestamp"] == EXPORT_S * 1_000_000 + 500_000
    assert (flow["event.start"], flow["event.duration"]) == (EXPORT_S * 1_000_000 - 9_500_000, 5_000_000_000)
    assert flow["soc.original_bytes"] == v5(record())
    expected = community_ids(["10.1.1.9"], ["203.0.113.9"], [6], ([51000], [443]))
    assert [flow["network.community_id"]] == expected


def test_scapy_writes_what_we_read(rows: Rows) -> None:
    """A datagram by another implementation."""
    body = NetflowRecordV5(src="192.0.2.1", dst="192.0.2.2", dpkts=7, dOctets=9000, srcport=1024, dstport=53, prot=17)
    head = NetflowHeader(version=5) / NetflowHeaderV5(count=1, unixSecs=EXPORT_S, flowSequence=5, engineID=3)
    (flow,) = parse(rows, bytes(head / body))
    assert (flow["source.ip"], flow["destination.port"], flow["network.transport"]) == ("192.0.2.1", 53, "udp")
    assert (flow["network.bytes"], flow["network.packets"], flow["flow.exporter.source_id"]) == (9000, 7, 3)


def test_icmp_has_type_and_code_for_a_port(rows: Rows) -> None:
    """type * 256 + code stand where the destination port does."""
    (flow,) = parse(rows, v5(record(protocol=1, ports=(0, 0x0301))))
    assert (flow["flow.icmp.type"], flow["flow.icmp.code"], "destination.port" in flow) == (3, 1, False)
    assert (flow["netflow.v5.icmp_type"], "source.port" in flow) == (3, False)


def test_sampled_counts_are_estimates(rows: Rows) -> None:
    """The header's last 14 bits: 1 packet in 100; the elements keep what was counted."""
    (flow,) = parse(rows, v5(record(), sampling=1 << 14 | 100))
    assert (flow["network.bytes"], flow["network.packets"], flow["flow.sampling_interval"]) == (409_600, 1000, 100)
    assert (flow["netflow.octetDeltaCount"], flow["soc.flags"]) == (4096, ("sampled",))


def test_sequence_counts_flows(rows: Rows) -> None:
    """The flow sequence is the number of flows before this datagram."""
    events = parse(
        rows, v5(record(), record(), seq=10), v5(record(), seq=12), v5(record(), seq=20), v5(record(), seq=13)
    )
    seen = [(e.get("soc.flags"), e.get("flow.sequence_lost")) for e in flows(events)[2:]]
    assert seen == [(None, None), (("sequence_gap",), 7), (("out_of_order",), None)]


def test_the_clock_wraps(rows: Rows) -> None:
    """`first` may be larger than the uptime: both are 32-bit counters of ms."""
    (flow,) = parse(rows, v5(record(first=2**32 - 995), uptime=5))
    assert flow["event.start"] == EXPORT_S * 1_000_000 + 500_000 - 1_000_000


@pytest.mark.parametrize(
    ("datagram", "found", "flags"),
    [
        (v5(record(), record(), count=30), 2, ("truncated",)),
        (v5(record(), record(), count=1), 1, ("trailing_bytes",)),
        (v5(record()) + b"x", 1, ("trailing_bytes",)),
        (v5(record())[:-1], 0, None),
    ],
)
def test_a_count_that_lies(rows: Rows, datagram: bytes, found: int, flags: tuple[str, ...] | None) -> None:
    """Only whole records that the header vouches for are flows; the lie is flagged, the rest is kept."""
    events = parse(rows, datagram)
    assert [e.get("soc.flags") for e in flows(events)] == [flags] * found
    unread = [e for e in events if e["event.dataset"] == "unparsed"]
    assert bool(unread) == (flags != ("truncated",))


@given(st.lists(st.binary(max_size=200) | st.builds(lambda b: b"\0\5" + b, st.binary(max_size=200)), max_size=4))
def test_every_datagram_is_flows_or_unparsed(parsers: ParserSet, datagrams: list[bytes]) -> None:
    """Nothing vanishes and nothing raises."""
    block = RawBlock.of(datagrams, receipt_ns=RECEIPT_NS, format="netflow")
    batches, _ = parsers.parse(block, ParserState(), RECEIPT_NS)
    places = {e["soc.position"].split(":")[3] for batch in batches for e in batch.rows()}
    assert places == {str(i) for i in range(len(datagrams))}
