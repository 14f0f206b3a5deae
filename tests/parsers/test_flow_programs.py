"""Flows of real exporters over packets that are known, and the same octets read by nfdump and Wireshark."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from scapy.packet import Packet
from scapy.utils import wrpcap

from soc.collectors.listeners import ListenerSpec
from soc.model.record import RawBlock
from soc.parsers import ParserSet, ParserState
from tests.collectors.running import MemoryQueue, running, until
from tests.parsers import flow_programs
from tests.parsers.flow_programs import Key, nfdump, records, truth, tshark

Event = dict[str, Any]
MS, SECOND = 1_000, 1_000_000
WRAP_US = (1 << 32) * MS
SOFTFLOWD = {"softflowd v5": 5, "softflowd v9": 9, "softflowd ipfix": 10}
EXPORTERS = (*SOFTFLOWD, "pmacctd v9", "pmacctd ipfix")
TOLERANCE = {"softflowd v9": SECOND}
"""NetFlow v9 states its export time in whole seconds (RFC 3954 section 5.1): what counts from it is as coarse."""


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packets as a file."""
    path = tmp_path_factory.mktemp("capture") / "in.pcap"
    wrpcap(str(path), flow_programs.packets())
    return path


@pytest.fixture(scope="module")
def exported(capture: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[bytes]]:
    """The datagrams of each exporter over the same packets."""
    probes = flow_programs.pmacctd(capture, tmp_path_factory.mktemp("pmacct"))
    return {
        **{name: flow_programs.softflowd(capture, version) for name, version in SOFTFLOWD.items()},
        **{f"pmacctd {name}": datagrams for name, datagrams in probes.items()},
    }


def parse(parsers: ParserSet, datagrams: Sequence[bytes], form: str = "netflow") -> list[Event]:
    """Our events, in order, without those about templates."""
    now = int(dt.datetime.now(dt.UTC).timestamp()) * 1_000_000_000
    batches, _ = parsers.parse(RawBlock.of(datagrams, receipt_ns=now, format=form), ParserState(), now)
    events = [row for batch in batches for row in batch.rows()]
    assert not [e for e in events if e["event.dataset"] == "unparsed"]
    events.sort(key=lambda e: [int(x) for x in e["soc.position"].split(":")[2:]])
    return [e for e in events if e["event.action"] != "netflow_templates"]


def flows(events: Sequence[Event]) -> list[Event]:
    """Without options."""
    return [e for e in events if e["event.action"] == "netflow_flow"]


def key(event: Event) -> Key:
    """As `truth` names flows."""
    ports = event.get("source.port", 0), event.get("destination.port", 0)
    return (event["source.ip"], event["destination.ip"], int(event["network.iana_number"]), *ports)


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_flows_are_what_the_packets_were(
    parsers: ParserSet, exported: dict[str, list[bytes]], capture: Path, exporter: str
) -> None:
    """Octets, packets and times of each flow, counted from the packets; NetFlow v5 has no IPv6."""
    expected = truth(flow_programs.packets())
    if exporter == "softflowd v5":
        expected = {k: v for k, v in expected.items() if ":" not in k[0]}
    found = {key(e): e for e in flows(parse(parsers, exported[exporter]))}
    assert found.keys() == expected.keys()
    moments = flow_programs.both_ways(expected)
    for k, flow in expected.items():
        began, ended = moments[k]
        event = found[k]
        assert (event["network.bytes"], event["network.packets"]) == (flow["octets"], flow["packets"])
        slack = TOLERANCE.get(exporter, 2 * MS)
        assert abs(event["event.start"] - began) <= slack
        assert abs(event["event.end"] - ended) <= slack
        assert abs(event["event.end"] - event["event.start"] - (ended - began)) <= 2 * MS


NFDUMP = {
    "in_bytes": "network.bytes", "in_packets": "network.packets", "proto": "network.iana_number",
    "src_tos": "flow.tos", "input_snmp": "flow.input_interface", "output_snmp": "flow.output_interface",
}  # fmt: skip


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_nfdump_reads_the_same(
    parsers: ParserSet, exported: dict[str, list[bytes]], tmp_path: Path, exporter: str
) -> None:
    """Record by record and field by field.

    Two things nfdump 1.7.1 does otherwise, and the packets say who is right (the test above). It does not unwrap the
    32-bit clock (RFC 3954 section 8: sysUpTime is 32 bits of ms), so flows that began before softflowd's boot lie
    2**32 ms in the future. And of softflowd's IPFIX it takes element 22 for the end and 21 for the start, which IANA
    has the other way round.
    """
    ours = flows(parse(parsers, exported[exporter]))
    theirs = nfdump(exported[exporter], tmp_path / "nf")
    assert len(theirs) == len(ours)
    for event, flow in zip(ours, theirs, strict=True):
        both = NFDUMP.keys() & flow.keys()
        assert {"in_bytes", "in_packets", "proto"} <= both
        assert {name: int(event[NFDUMP[name]]) for name in both} == {name: flow[name] for name in both}
        assert event["source.ip"] == flow.get("src4_addr", flow.get("src6_addr"))
        assert event["destination.ip"] == flow.get("dst4_addr", flow.get("dst6_addr"))
        if flow["proto"] in (6, 17):
            assert (event["source.port"], event["destination.port"]) == (flow["src_port"], flow["dst_port"])
        if flow["proto"] == 6:
            assert event["flow.tcp_flags"] == nfdump_flags(flow["tcp_flags"])
        moments = [microseconds(flow["first"]), microseconds(flow["last"])]
        if exporter == "softflowd ipfix":
            moments.reverse()
        for us, name in zip(moments, ("event.start", "event.end"), strict=True):
            off = us - event[name] // MS * MS
            assert off in ((0,) if "pmacctd" in exporter or "v5" in exporter else (0, WRAP_US))


def microseconds(text: str) -> int:
    """µs UTC of nfdump's times (TZ=UTC)."""
    return round(dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp() * 1000) * MS


def nfdump_flags(text: str) -> str:
    """`...AP.SF` (CWR first) to `FSPA`."""
    return "".join(letter for letter in reversed(text) if letter != ".")


SHARK = {
    "cflow.srcaddr": "source.ip", "cflow.dstaddr": "destination.ip", "cflow.srcaddrv6": "source.ip",
    "cflow.dstaddrv6": "destination.ip", "cflow.srcport": "source.port", "cflow.dstport": "destination.port",
    "cflow.octets": "network.bytes", "cflow.packets": "network.packets", "cflow.protocol": "network.iana_number",
    "cflow.tcpflags": "flow.tcp_control_bits", "cflow.tos": "flow.tos", "cflow.inputint": "flow.input_interface",
    "cflow.outputint": "flow.output_interface", "cflow.srcmac": "source.mac", "cflow.dstmac": "destination.mac",
    "cflow.sampling_interval": "netflow.samplingInterval", "cflow.if_name": "netflow.interfaceName",
    "cflow.sampling_algorithm": "netflow.samplingAlgorithm", "cflow.exporter_addr": "netflow.exporterIPv4Address",
    "cflow.sampling_packet_interval": "netflow.samplingPacketInterval", "cflow.ip_version": "netflow.ipVersion",
    "cflow.sampling_packet_space": "netflow.samplingPacketSpace", "cflow.mp_id": "netflow.meteringProcessId",
    "cflow.selector_algorithm": "netflow.selectorAlgorithm", "cflow.flow_end_reason": "netflow.flowEndReason",
}  # fmt: skip


COUNTED = {"network.bytes": "netflow.octetDeltaCount", "network.packets": "netflow.packetDeltaCount"}


def plain(shown: Any) -> Any:
    """A number where tshark prints one, addresses as ECS writes them."""
    if shown.count(":") == 5 and len(shown) == 17:
        return shown.upper().replace(":", "-")
    try:
        return int(shown, 0)
    except ValueError:
        return shown


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_wireshark_reads_the_same(
    parsers: ParserSet, exported: dict[str, list[bytes]], tmp_path: Path, exporter: str
) -> None:
    """Options and flows, record by record, every field that both name."""
    same_as_wireshark(parsers, exported[exporter], tmp_path, least=8)


def same_as_wireshark(parsers: ParserSet, datagrams: Sequence[bytes], folder: Path, *, least: int) -> None:
    """Compares every field that both name, at least so many a flow."""
    ours = parse(parsers, datagrams)
    theirs = [flow for tree in tshark(datagrams, "cflow", folder) for flow in records(tree)]
    assert len(theirs) == len(ours)
    compared = 0
    for event, flow in zip(ours, theirs, strict=True):
        is_icmp = event.get("network.iana_number") in ("1", "58")
        for name, shown in flow.items():
            field = SHARK.get(name)
            if field is None or not isinstance(shown, str) or (is_icmp and field.endswith(".port")):
                continue
            if "sampled" in event.get("soc.flags", ()):  # ECS has the estimate, the element what was counted
                field = COUNTED.get(field, field)
            value = event.get(field)
            value = int(value) if field == "network.iana_number" else value
            assert value == plain(shown), (name, event)
            compared += 1
    assert compared >= least * len(flows(ours))


SCAPY = {
    "IPV4_SRC_ADDR": "source.ip", "IPV6_SRC_ADDR": "source.ip", "IPV4_DST_ADDR": "destination.ip",
    "IPV6_DST_ADDR": "destination.ip", "IN_BYTES": "network.bytes", "IN_PKTS": "network.packets",
    "L4_SRC_PORT": "source.port", "L4_DST_PORT": "destination.port", "PROTOCOL": "network.iana_number",
    "TCP_FLAGS": "flow.tcp_control_bits", "TOS": "flow.tos", "IP_PROTOCOL_VERSION": "netflow.ipVersion",
    "FIRST_SWITCHED": "netflow.flowStartSysUpTime", "LAST_SWITCHED": "netflow.flowEndSysUpTime",
    "DIRECTION": "netflow.flowDirection", "INPUT_SNMP": "flow.input_interface",
}  # fmt: skip


def test_scapy_reads_the_same(parsers: ParserSet, exported: dict[str, list[bytes]]) -> None:
    """softflowd's NetFlow v9 by scapy's layers, record by record and field by field."""
    ours = flows(parse(parsers, exported["softflowd v9"]))
    theirs = flow_programs.scapy_records(exported["softflowd v9"])
    assert len(theirs) == len(ours)
    for event, record in zip(ours, theirs, strict=True):
        is_icmp = event["network.iana_number"] in ("1", "58")
        names = [n for n in record if n in SCAPY and not (is_icmp and n.startswith("L4"))]
        assert len(names) >= 11
        assert {n: str(event[SCAPY[n]]) for n in names} == {n: str(record[n]) for n in names}


@pytest.mark.parametrize("client", ["softflowd v5", "softflowd v9", "softflowd ipfix", "nfreplay v5", "nfreplay v9"])
def test_a_real_client_and_our_listener(
    parsers: ParserSet, exported: dict[str, list[bytes]], capture: Path, tmp_path: Path, client: str
) -> None:
    """From the client's socket through the collector's queue to events: octets and packets of each flow."""
    queue = MemoryQueue()
    spec = ListenerSpec("wire", "netflow", "127.7.0.1", 0, "province")
    with running([spec], queue, tmp_path / "counters.json") as (_, ports):
        if client.startswith("softflowd"):
            flow_programs.softflowd_to(capture, SOFTFLOWD[client], f"127.7.0.1:{ports['wire']}")
        else:
            address = "127.7.0.1", ports["wire"]
            flow_programs.nfreplay_to(exported["pmacctd v9"], int(client[-1]), address, tmp_path / "nf")
        assert until(lambda: len(queue.records) > 0)
        until(lambda: False, 0.5)
    expected = truth(flow_programs.packets())
    if client.endswith("v5"):
        expected = {k: v for k, v in expected.items() if ":" not in k[0]}
    assert {block.format for block in queue.blocks} == {"netflow"}
    found = {key(e): (e["network.bytes"], e["network.packets"]) for e in flows(parse(parsers, queue.records))}
    assert found == {k: (flow["octets"], flow["packets"]) for k, flow in expected.items()}


SAMPLES = {"netflow-v9": "cflow", "ipfix": "cflow", "netflow": "cflow"}


@pytest.mark.parametrize("form", SAMPLES)
def test_wireshark_reads_the_same_shipped_samples(parsers: ParserSet, tmp_path: Path, form: str) -> None:
    """The samples of the definitions: those that were made by hand have an independent reader too."""
    (definition,) = [d for d in parsers.definitions.values() if d.recognise.format == form]
    for i, case in enumerate(definition.cases):
        folder = tmp_path / str(i)
        folder.mkdir()
        same_as_wireshark(parsers, [bytes.fromhex(case.text)], folder, least=2)


def test_samples_are_the_packets(parsers: ParserSet, exported: dict[str, list[bytes]]) -> None:
    """sFlow of pmacct, every packet of IP taken: addresses, ports, flags and length of each, in order."""
    events = [e for e in parse(parsers, exported["pmacctd sflow"], "sflow") if e["event.action"] == "sflow_flow"]
    sent = flow_programs.packets()
    assert len(events) == len(sent)
    for event, packet in zip(events, sent, strict=True):
        (k,) = truth([packet])
        assert key(event) == k
        assert event["sflow.frame_length"] == len(packet) + 4  # with the frame check sequence, which was stripped
        assert (event["flow.sampling_interval"], event["network.packets"]) == (1, 1)
        assert "flow.input_interface" not in event  # 0x3fffffff: of the device itself
    tcp = [e["flow.tcp_flags"] for e in events if e["network.transport"] == "tcp"]
    assert tcp == ["S", "SA", "A", "PA", "PA", "FA", "FA", "A", "S", "RA"]


SAMPLE = {
    "sflow.flow_sample.sequence_number": "sflow.sample_sequence", "sflow.flow_sample.index": "sflow.source_id_index",
    "sflow.flow_sample.sampling_rate": "sflow.sampling_rate", "sflow.flow_sample.sample_pool": "sflow.sample_pool",
    "sflow.flow_sample.dropped_packets": "sflow.drops", "sflow_245.header.frame_length": "sflow.frame_length",
    "sflow_245.header.payload_stripped": "sflow.stripped", "sflow_245.vlan.in": "sflow.src_vlan",
    "sflow_245.header.sampled_header_length": "sflow.header_length", "sflow_245.vlan.out": "sflow.dst_vlan",
    "ip.src": "source.ip", "ip.dst": "destination.ip", "ipv6.src": "source.ip", "ipv6.dst": "destination.ip",
    "tcp.srcport": "source.port", "udp.dstport": "destination.port", "ip.ttl": "sflow.ttl", "ipv6.hlim": "sflow.ttl",
}  # fmt: skip


def leaves(tree: dict[str, Any]) -> dict[str, str]:
    """Every plain field of a tree."""
    found: dict[str, str] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            found |= {k: v for k, v in leaves(value).items() if k not in found}
        elif isinstance(value, str):
            found.setdefault(name, value)
    return found


@pytest.mark.parametrize("of", ["pmacctd", "the definition"])
def test_wireshark_reads_the_same_samples(
    parsers: ParserSet, exported: dict[str, list[bytes]], tmp_path: Path, of: str
) -> None:
    """Every sample, field by field: of pmacct's agent and of the definition's own tests."""
    cases = [bytes.fromhex(case.text) for case in parsers.definitions["sflow.v5"].cases]
    datagrams = exported["pmacctd sflow"] if of == "pmacctd" else cases
    ours = [e for e in parse(parsers, datagrams, "sflow") if e["event.action"] == "sflow_flow"]
    trees = tshark(datagrams, "sflow", tmp_path)
    theirs = [leaves(v) for tree in trees for name, v in tree.items() if "low sample" in name]
    assert len(theirs) == len(ours) > 0
    for event, sample in zip(ours, theirs, strict=True):
        seen = {name: (event.get(field), plain(sample[name])) for name, field in SAMPLE.items() if name in sample}
        assert len(seen) >= 9
        assert not {name: pair for name, pair in seen.items() if pair[0] != pair[1]}


def test_the_capture_holds_the_packets(capture: Path) -> None:
    """The oracle is over what we think it is over."""
    sent: list[Packet] = flow_programs.packets()
    assert capture.stat().st_size == 24 + sum(16 + len(p) for p in sent)
    assert sum(flow["packets"] for flow in truth(sent).values()) == 20
