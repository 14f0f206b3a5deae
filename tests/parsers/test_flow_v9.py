"""NetFlow version 9 (RFC 3954)."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from scapy.layers.netflow import (
    NetflowDataflowsetV9,
    NetflowFlowsetV9,
    NetflowHeader,
    NetflowHeaderV9,
    NetflowRecordV9,
    NetflowTemplateFieldV9,
    NetflowTemplateV9,
)

from tests.parsers.conftest import Rows
from tests.parsers.flow_bytes import EXPORT_S, PLAIN, Field, a_set, ip, plain, v9, v9_options, v9_template

pytestmark = pytest.mark.usefixtures("way")

DATA = a_set(256, plain())
START_US = (EXPORT_S - 10) * 1_000_000


def parse(rows: Rows, *datagrams: bytes, **block: Any) -> list[dict[str, Any]]:
    """The events of a NetFlow block."""
    return rows(datagrams, format="netflow", **block)


def flows(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without those about templates and options."""
    return [e for e in events if e.get("event.action") not in ("netflow_templates", "netflow_options", None)]


def one(rows: Rows, specs: list[Field], record: bytes) -> dict[str, Any]:
    """The flow of one record of a template."""
    (flow,) = flows(parse(rows, v9(v9_template(300, specs), a_set(300, record))))
    return flow


def test_a_flow_has_ecs_and_its_own_names(rows: Rows) -> None:
    """Both stand beside each other."""
    (flow,) = flows(parse(rows, v9(v9_template(256, PLAIN), DATA)))
    assert (flow["source.ip"], flow["source.port"], flow["destination.ip"]) == ("10.1.1.9", 51000, "203.0.113.9")
    assert (flow["network.bytes"], flow["network.packets"], flow["network.transport"]) == (1500, 3, "tcp")
    assert (flow["netflow.octetDeltaCount"], flow["netflow.sourceIPv4Address"]) == (1500, "10.1.1.9")
    assert (flow["event.start"], flow["event.duration"]) == (START_US, 5_000_000_000)
    assert (flow["flow.tcp_flags"], flow["flow.exporter.source_id"], flow["flow.template_id"]) == ("SA", 7, 256)
    assert flow["@timestamp"] == EXPORT_S * 1_000_000
    assert flow["soc.original_bytes"].endswith(plain())


def test_scapy_writes_what_we_read(rows: Rows) -> None:
    """A message by another implementation."""
    specs = [
        NetflowTemplateFieldV9(fieldType=8, fieldLength=4), NetflowTemplateFieldV9(fieldType=12, fieldLength=4),
        NetflowTemplateFieldV9(fieldType=1, fieldLength=4), NetflowTemplateFieldV9(fieldType=2, fieldLength=4),
    ]  # fmt: skip
    sets = NetflowFlowsetV9(templates=[NetflowTemplateV9(template_fields=specs, templateID=257, fieldCount=4)])
    record = ip("192.0.2.1") + ip("192.0.2.2") + struct.pack(">II", 9000, 7)
    data = NetflowDataflowsetV9(templateID=257, records=[NetflowRecordV9(fieldValue=record)])
    head = NetflowHeader() / NetflowHeaderV9(unixSecs=EXPORT_S, packageSequence=5, SourceID=3)
    (flow,) = flows(parse(rows, bytes(head / sets / data)))
    assert (flow["source.ip"], flow["destination.ip"]) == ("192.0.2.1", "192.0.2.2")
    assert (flow["network.bytes"], flow["network.packets"], flow["flow.exporter.source_id"]) == (9000, 7, 3)


def test_templates_alone_are_an_event(rows: Rows) -> None:
    """Every datagram leaves a trace."""
    (event,) = parse(rows, v9(v9_template(256, PLAIN)))
    assert (event["event.action"], event["flow.template_ids"]) == ("netflow_templates", (256,))
    assert (event["soc.flags"], event["event.type"]) == (("template_new",), ("info",))


def test_a_template_told_again_is_no_news(rows: Rows) -> None:
    """Exporters repeat templates every minute; beside flows that is not worth an event."""
    again = v9(v9_template(256, PLAIN), DATA, seq=2)
    events = parse(rows, v9(v9_template(256, PLAIN), DATA), again)
    assert [e["event.action"] for e in events] == ["netflow_flow", "netflow_templates", "netflow_flow"]


def test_domains_have_templates_of_their_own(rows: Rows) -> None:
    """Template 256 of one source id says nothing about another's (RFC 3954 section 5.1)."""
    other = [(8, 4), (12, 4), (1, 4)]
    record = ip("10.0.0.1") + ip("10.0.0.2") + struct.pack(">I", 77)
    events = parse(
        rows, v9(v9_template(256, PLAIN), domain=1), v9(v9_template(256, other), domain=2),
        v9(DATA, seq=2, domain=1), v9(a_set(256, record), seq=2, domain=2),
    )  # fmt: skip
    assert [e["network.bytes"] for e in flows(events)] == [1500, 77]


def test_a_template_changes_and_changes_back(rows: Rows) -> None:
    """Each record is read by the template of its time; two layouts by turns are two exporters behind one address."""
    short = [(8, 4), (12, 4), (1, 4)]
    record = ip("10.0.0.1") + ip("10.0.0.2") + struct.pack(">I", 77)
    events = parse(
        rows, v9(v9_template(256, PLAIN), DATA), v9(v9_template(256, short), a_set(256, record), seq=2),
        v9(v9_template(256, PLAIN), DATA, seq=3),
    )  # fmt: skip
    assert [e["network.bytes"] for e in flows(events)] == [1500, 77, 1500]
    assert "template_contested" in flows(events)[2]["soc.flags"]
    told = [e["soc.flags"] for e in events if e["event.action"] == "netflow_templates"]
    assert told == [("template_new",), ("template_redefined",), ("template_redefined", "template_contested")]


def test_icmp_has_type_and_code_for_ports(rows: Rows) -> None:
    """Field 32, and without it the destination port."""
    addresses = ip("10.1.1.9") + ip("203.0.113.9")
    joint = one(rows, [(8, 4), (12, 4), (4, 1), (32, 2)], addresses + b"\x01\x08\x00")
    ported = one(rows, [(8, 4), (12, 4), (4, 1), (7, 2), (11, 2)], addresses + b"\x01\x00\x00\x03\x01")
    assert (joint["flow.icmp.type"], joint["flow.icmp.code"], "destination.port" in joint) == (8, 0, False)
    assert (ported["flow.icmp.type"], ported["flow.icmp.code"], "destination.port" in ported) == (3, 1, False)
    assert joint["network.community_id"].startswith("1:")


def test_the_clock_wraps(rows: Rows) -> None:
    """A flow that began before the 32-bit uptime wrapped."""
    record = ip("10.1.1.9") + ip("203.0.113.9") + struct.pack(">II", 2**32 - 995, 2)
    message = v9(v9_template(300, [(8, 4), (12, 4), (22, 4), (21, 4)]), a_set(300, record), uptime=5)
    (flow,) = flows(parse(rows, message))
    assert flow["event.start"] == EXPORT_S * 1_000_000 - 1_000_000
    assert flow["event.end"] == EXPORT_S * 1_000_000 - 3_000


def test_vlan_mac_mpls_nat_and_next_hop(rows: Rows) -> None:
    """Each element goes where an analyst looks for it."""
    specs: list[Field] = [
        (8, 4), (12, 4), (56, 6), (80, 6), (58, 2), (70, 3), (71, 3), (72, 3), (225, 4), (227, 2), (230, 1), (15, 4),
        (61, 1), (16, 4), (89, 1),
    ]  # fmt: skip
    record = (
        ip("10.1.1.9") + ip("203.0.113.9") + bytes.fromhex("02000000000902000000001000643e8020000171000000")
        + ip("198.51.100.7") + struct.pack(">HB", 40001, 4) + ip("192.0.2.254") + b"\x01"
        + struct.pack(">IB", 65550, 0x82)
    )  # fmt: skip
    flow = one(rows, specs, record)
    assert (flow["source.mac"], flow["destination.mac"]) == ("02-00-00-00-00-09", "02-00-00-00-00-10")
    assert (flow["network.vlan.id"], flow["flow.mpls.labels"]) == ("100", (0x3E802, 0x17))
    assert (flow["source.nat.ip"], flow["source.nat.port"]) == ("198.51.100.7", 40001)
    assert (flow["event.action"], flow["netflow.natEvent"]) == ("nat44_session_created", 4)
    assert (flow["netflow.ipNextHopIPv4Address"], flow["network.direction"]) == ("192.0.2.254", "egress")
    assert (flow["source.as.number"], flow["flow.forwarding_status"]) == (65550, "dropped")


@pytest.mark.parametrize(
    ("event", "action", "kind"),
    [(1, "firewall_flow_created", "start"), (2, "firewall_flow_deleted", "end"), (3, "firewall_flow_denied", "denied")],
)
def test_firewall_events_have_names(rows: Rows, event: int, action: str, kind: str) -> None:
    """NSEL: what the ASA did, both directions' octets, who."""
    specs: list[Field] = [(8, 4), (12, 4), (233, 1), (231, 4), (232, 4), (40000, 20)]
    record = ip("10.1.1.9") + ip("203.0.113.9") + struct.pack(">BII", event, 700, 90_000) + b"an".ljust(20, b"\0")
    flow = one(rows, specs, record)
    assert (flow["event.action"], flow["event.type"]) == (action, ("connection", kind))
    assert (flow["source.bytes"], flow["destination.bytes"], flow["network.bytes"]) == (700, 90_000, 90_700)
    assert flow["user.name"] == "an"


SAMPLED: list[Field] = [(8, 4), (12, 4), (48, 1), (1, 4), (2, 4), (10, 2)]


def sampled(number: int, interface: int = 3) -> bytes:
    """A record of `SAMPLED`."""
    return ip("10.1.1.9") + ip("203.0.113.9") + struct.pack(">BIIH", number, 1500, 3, interface)


def test_counts_are_scaled_and_say_so(rows: Rows) -> None:
    """Options name the sampler (fields 48, 34): ECS has the estimate, the exporter's own counts stand unchanged."""
    told = v9_options(257, [(2, 2)], [(48, 1), (34, 4), (35, 1)])
    message = v9(
        told, a_set(257, struct.pack(">HBIB", 3, 1, 100, 2)), v9_template(258, SAMPLED),
        a_set(258, sampled(1) + sampled(0) + sampled(2)),
    )  # fmt: skip
    known, not_sampled, unknown = flows(parse(rows, message))
    assert (known["network.bytes"], known["network.packets"], known["source.bytes"]) == (150_000, 300, 150_000)
    assert (known["netflow.octetDeltaCount"], known["flow.sampling_interval"]) == (1500, 100)
    assert known["soc.flags"] == ("sampled",)
    assert (not_sampled["network.bytes"], "soc.flags" in not_sampled) == (1500, False)
    assert (unknown["network.bytes"], unknown["soc.flags"]) == (1500, ("sampler_unknown",))


@pytest.mark.parametrize(
    ("specs", "values", "bytes_", "interval"),
    [
        ([(34, 4)], struct.pack(">I", 10), 15_000, 10),
        ([(50, 4)], struct.pack(">I", 20), 30_000, 20),
        ([(305, 4), (306, 4)], struct.pack(">II", 2, 6), 6000, 4),
        ([(309, 4), (310, 4)], struct.pack(">II", 2, 3), 2250, 2),
        ([(311, 8)], struct.pack(">d", 0.01), 150_000, 100),
        ([(34, 4)], struct.pack(">I", 0), 1500, None),
        ([(311, 8)], struct.pack(">d", 1e-300), 1500, None),
        ([(311, 8)], struct.pack(">d", float("nan")), 1500, None),
    ],
)
def test_a_flow_states_its_own_rate(
    rows: Rows, specs: list[Field], values: bytes, bytes_: int, interval: int | None
) -> None:
    """Fields 34, 50, 305/306, 309/310 and 311 in the record itself."""
    flow = one(
        rows, [(8, 4), (12, 4), (1, 4), *specs], ip("10.1.1.9") + ip("203.0.113.9") + struct.pack(">I", 1500) + values
    )
    assert (flow["network.bytes"], flow.get("flow.sampling_interval")) == (bytes_, interval)


def test_a_rate_without_a_number_is_for_all(rows: Rows) -> None:
    """Options with the whole system as scope (field 34)."""
    told = v9_options(257, [(1, 4)], [(34, 4), (35, 1)])
    message = v9(told, a_set(257, struct.pack(">IIB", 0, 1000, 1)), v9_template(256, PLAIN), DATA)
    (flow,) = flows(parse(rows, message))
    assert (flow["network.bytes"], flow["soc.flags"]) == (1_500_000, ("sampled",))


def test_interfaces_and_applications_get_names(rows: Rows) -> None:
    """Options tables of names (fields 82 and 96)."""
    told = v9(
        v9_options(257, [(2, 4)], [(82, 8)]), a_set(257, struct.pack(">I", 3) + b"Gi0/3".ljust(8, b"\0")),
        v9_options(259, [(1, 4)], [(95, 4), (96, 8)]),
        a_set(259, bytes(4) + b"\x0d\0\x01\xbb" + b"https".ljust(8, b"\0")),
    )  # fmt: skip
    specs = [(8, 4), (12, 4), (10, 2), (95, 4)]
    record = ip("10.1.1.9") + ip("203.0.113.9") + struct.pack(">H", 3) + b"\x0d\0\x01\xbb"
    (flow,) = flows(parse(rows, told, v9(v9_template(300, specs), a_set(300, record), seq=2)))
    assert (flow["observer.ingress.interface.name"], flow["network.application"]) == ("Gi0/3", "https")


def test_sequence_gaps_are_counted(rows: Rows) -> None:
    """RFC 3954 section 5.1: the number counts messages; what is late, double or new is told apart."""
    first = v9(v9_template(256, PLAIN), seq=10)
    events = parse(rows, first, *(v9(DATA, seq=seq) for seq in (11, 14, 13, 15, 2**31)), v9(DATA, seq=3))
    seen = [(e.get("soc.flags"), e.get("flow.sequence_lost")) for e in flows(events)]
    assert seen[:4] == [(None, None), (("sequence_gap",), 2), (("out_of_order",), None), (None, None)]
    assert seen[5][0] == ("sequence_reset",)
    assert flows(events)[1]["flow.exporter.lost"] == 2


@pytest.mark.parametrize(
    ("datagram", "flags", "count"),
    [
        (v9(v9_template(256, PLAIN), struct.pack(">HH", 256, 4000) + plain()), ("truncated",), 1),
        (v9(v9_template(256, PLAIN), DATA + b"\x01\x02"), ("trailing_bytes",), 1),
        (v9(v9_template(256, PLAIN), a_set(256, plain() + b"\x07" * 9)), ("trailing_bytes",), 1),
        (v9(v9_template(256, PLAIN), a_set(256, plain() + b"\0\0\0"), bytes(8)), None, 1),
        (v9(v9_template(256, PLAIN), DATA, count=99), None, 1),
    ],
)
def test_lengths_that_lie(rows: Rows, datagram: bytes, flags: tuple[str, ...] | None, count: int) -> None:
    """Whole records are read, the lie is flagged; padding is no lie."""
    events = parse(rows, datagram)
    found = flows(events)
    assert (len(found), found[0].get("soc.flags")) == (count, flags)
    kept = [e["error.message"] for e in events if e["event.dataset"] == "unparsed"]
    assert bool(kept) == (flags == ("trailing_bytes",))


@pytest.mark.parametrize(
    ("datagram", "why"),
    [
        (b"\0\x09", "shorter than a NetFlow v9 header"),
        (v9(struct.pack(">HHI", 256, 3, 1)), "a set that says it has 3 octets"),
        (v9(a_set(77, b"abcd")), "set number 77 has no meaning"),
        (v9(a_set(0, struct.pack(">HH", 255, 1) + b"\0\x01\0\x04")), "a template with the number 255"),
        (v9(a_set(0, struct.pack(">HHHH", 256, 9, 1, 4))), "template 256 ends inside its field 2 of 9"),
        (v9(a_set(0, struct.pack(">HH", 256, 0))), "template 256 without fields"),
        (v9(a_set(0, struct.pack(">HH", 256, 600))), "template 256 with 600 fields; at most 512 are read"),
        (v9(v9_template(256, [(4, 1)]), a_set(256, b"\x06\x11\x01\x06")), "no whole record of template 256"),
        (v9(v9_template(256, PLAIN), a_set(256, b"abcd")), "no whole record of template 256"),
        (v9(DATA), "template 256 is not known yet"),
    ],
)
def test_what_cannot_be_read_is_kept(rows: Rows, datagram: bytes, why: str) -> None:
    """An unparsed event with the octets and the reason."""
    unread = [e for e in parse(rows, datagram) if e["event.dataset"] == "unparsed"]
    assert [e["error.message"] for e in unread] == [why]
    assert "unparsed" in unread[0]["soc.flags"]
    assert datagram.startswith(unread[0]["soc.original_bytes"][:20])


def test_odd_lengths_and_unknown_numbers(rows: Rows) -> None:
    """Fewer octets than the type has, no octets, a length no address has, an element twice, one nobody knows."""
    specs: list[Field] = [(1, 3), (2, 8), (96, 0), (8, 3), (10, 2), (10, 2), (5555, 2)]
    record = b"\x01\0\0" + struct.pack(">Q", 2**63 + 5) + b"\x0a\0\x01" + struct.pack(">HH", 3, 4) + b"\xab\xcd"
    flow = one(rows, specs, record)
    assert (flow["netflow.octetDeltaCount"], flow["netflow.packetDeltaCount"]) == (65536, 2**63 + 5)
    assert flow["network.packets"] == 2**63 - 1
    assert (flow["netflow.other.0.8"], flow["netflow.other.0.5555"]) == ("0a0001", "abcd")
    assert (flow["netflow.ingressInterface"], flow["netflow.other.0.10.2"]) == (3, "0004")
    assert "netflow.applicationName" not in flow


def test_versions_share_a_port(rows: Rows) -> None:
    """v5, v9 and what nobody reads, each by its own decoder, in the order in which they came."""
    old = struct.pack(">HHIIIIBBH", 5, 1, 100_000, EXPORT_S, 0, 7, 0, 1, 0) + bytes(48)
    events = parse(rows, v9(v9_template(256, PLAIN), DATA), old, b"\0\x07" + bytes(40), b"")
    datasets = [(e["soc.position"].split(":")[3], e["event.dataset"]) for e in events]
    assert datasets == [
        ("0", "netflow.v9"), ("0", "netflow.v9"), ("1", "netflow.v5"), ("2", "unparsed"), ("3", "unparsed"),
    ]  # fmt: skip
