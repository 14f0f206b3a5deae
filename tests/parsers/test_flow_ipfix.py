"""IPFIX (RFC 7011), flows of both directions (RFC 5103) and lists (RFC 6313)."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from scapy.layers.netflow import (
    NetflowDataflowsetV9,
    NetflowFlowsetV9,
    NetflowHeader,
    NetflowHeaderV10,
    NetflowRecordV9,
    NetflowTemplateFieldV9,
    NetflowTemplateV9,
)

from tests.parsers.conftest import Rows
from tests.parsers.flow_bytes import EXPORT_S, PLAIN, Field, a_set, ip, ipfix, options, plain, template

pytestmark = pytest.mark.usefixtures("way")

PAIR = ip("10.1.1.9") + ip("203.0.113.9")
NTP_1900 = 2_208_988_800


def parse(rows: Rows, *datagrams: bytes, **block: Any) -> list[dict[str, Any]]:
    """The events of a NetFlow block."""
    return rows(datagrams, format="netflow", **block)


def flows(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without those about templates and options, and what is unparsed."""
    return [
        e
        for e in events
        if e.get("event.action") not in ("netflow_templates", "netflow_options", "netflow_empty", None)
    ]


def one(rows: Rows, specs: list[Field], record: bytes, *before: bytes) -> dict[str, Any]:
    """The flow of one record of a template."""
    (flow,) = flows(parse(rows, ipfix(*before, template(300, specs), a_set(300, record, pad=False))))
    return flow


def test_scapy_writes_what_we_read(rows: Rows) -> None:
    """A message by another implementation, its sets under the numbers of IPFIX."""
    specs = [NetflowTemplateFieldV9(fieldType=n, fieldLength=4) for n in (8, 12, 1, 2)]
    sets = NetflowFlowsetV9(
        flowSetID=2, templates=[NetflowTemplateV9(template_fields=specs, templateID=257, fieldCount=4)]
    )
    data = NetflowDataflowsetV9(
        templateID=257, records=[NetflowRecordV9(fieldValue=PAIR + struct.pack(">II", 9000, 7))]
    )
    body = bytes(sets / data)
    head = NetflowHeader(version=10) / NetflowHeaderV10(
        length=16 + len(body), ExportTime=EXPORT_S, flowSequence=5, ObservationDomainID=3
    )
    (flow,) = flows(parse(rows, bytes(head) + body))
    assert (flow["network.bytes"], flow["network.packets"], flow["flow.exporter.source_id"]) == (9000, 7, 3)
    assert (flow["event.dataset"], flow["flow.exporter.version"]) == ("netflow.ipfix", 10)


def test_both_directions_of_a_flow(rows: Rows) -> None:
    """Reverse elements count for the destination; all of it is the network's."""
    specs: list[Field] = [(8, 4), (12, 4), (1, 4), (2, 4), (1, 4, 29305), (2, 4, 29305), (150, 4, 29305)]
    flow = one(rows, specs, PAIR + struct.pack(">IIIII", 700, 5, 90_000, 70, EXPORT_S))
    assert (flow["source.bytes"], flow["destination.bytes"], flow["network.bytes"]) == (700, 90_000, 90_700)
    assert (flow["source.packets"], flow["destination.packets"], flow["network.packets"]) == (5, 70, 75)
    assert flow["netflow.reverseFlowStartSeconds"] == EXPORT_S * 1_000_000


def test_variable_lengths(rows: Rows) -> None:
    """One octet, three octets, none at all (RFC 7011 section 7), several records, padding behind."""
    specs: list[Field] = [(8, 4), (371, 65535), (12, 4), (460, 65535), (1, 4)]
    long = b"x" * 300
    records = (
        ip("10.1.1.9") + b"\x02an" + ip("203.0.113.9") + b"\xff" + struct.pack(">H", 300) + long + struct.pack(">I", 1)
        + ip("10.1.1.8") + b"\x00" + ip("203.0.113.8") + b"\xff\0\0" + struct.pack(">I", 2)
    )  # fmt: skip
    first, second = flows(parse(rows, ipfix(template(300, specs), a_set(300, records + b"\0\0", pad=False))))
    assert (first["user.name"], first["netflow.httpRequestHost"]) == ("an", long.decode())
    assert (second["source.ip"], second["network.bytes"], "user.name" in second) == ("10.1.1.8", 2, False)
    assert first["soc.original_bytes"].endswith(long + b"\0\0\0\1")


def test_a_variable_length_that_lies(rows: Rows) -> None:
    """The record that runs over the end is no record; the ones before it are."""
    specs: list[Field] = [(12, 4), (371, 65535)]
    body = ip("203.0.113.9") + b"\x02an" + ip("203.0.113.8") + b"\xc8bn"
    (flow,) = flows(parse(rows, ipfix(template(300, specs), a_set(300, body, pad=False))))
    assert (flow["user.name"], flow["soc.flags"]) == ("an", ("trailing_bytes",))


def test_enterprises(rows: Rows) -> None:
    """Known ones by name, unknown ones in hexadecimal under their number."""
    specs: list[Field] = [
        (8, 4), (12, 4), (12235, 65535, 9), (137, 65535, 2636), (142, 65535, 5951), (33, 2, 6871), (118, 2, 35632),
        (7, 4, 25506), (4321, 65535, 41916),
    ]  # fmt: skip
    record = PAIR + b"\x04curl" + b"\x02cp" + b"\x03a.b" + b"\x01\xbb\x00\x07" + b"\xde\xad\xbe\xef" + b"\x01\x2a"
    flow = one(rows, specs, record)
    assert (flow["netflow.cisco.subApplicationValue"], flow["netflow.juniper.commonPropertiesId"]) == (
        b"curl".hex(), "cp",
    )  # fmt: skip
    assert (flow["netflow.netscaler.httpReqHost"], flow["netflow.cert.silkAppLabel"]) == ("a.b", 443)
    assert flow["netflow.ntop.L7_PROTO"] == 7
    assert (flow["netflow.other.25506.7"], flow["netflow.other.41916.4321"]) == ("deadbeef", "2a")


@pytest.mark.parametrize(
    ("specs", "values"),
    [
        ([(150, 4), (151, 4)], struct.pack(">II", EXPORT_S - 10, EXPORT_S - 5)),
        ([(152, 8), (153, 8)], struct.pack(">QQ", (EXPORT_S - 10) * 1000, (EXPORT_S - 5) * 1000)),
        ([(154, 8), (155, 8)], struct.pack(">IIII", EXPORT_S - 10 + NTP_1900, 0, EXPORT_S - 5 + NTP_1900, 0)),
        ([(156, 8), (157, 8)], struct.pack(">IIII", EXPORT_S - 10 + NTP_1900, 0, EXPORT_S - 5 + NTP_1900, 0)),
        ([(158, 4), (159, 4)], struct.pack(">II", 10_000_000, 5_000_000)),
        ([(160, 8), (22, 4), (21, 4)], struct.pack(">QII", (EXPORT_S - 100) * 1000, 90_000, 95_000)),
        ([(152, 8), (161, 4)], struct.pack(">QI", (EXPORT_S - 10) * 1000, 5000)),
        ([(153, 8), (162, 4)], struct.pack(">QI", (EXPORT_S - 5) * 1000, 5_000_000)),
    ],
)
def test_every_way_to_tell_the_time(rows: Rows, specs: list[Field], values: bytes) -> None:
    """Seconds to nanoseconds, before the export, since boot, with a duration."""
    flow = one(rows, [(8, 4), (12, 4), *specs], PAIR + values)
    assert (flow["event.start"], flow["event.end"], flow["event.duration"]) == (
        (EXPORT_S - 10) * 1_000_000, (EXPORT_S - 5) * 1_000_000, 5_000_000_000,
    )  # fmt: skip


def test_the_start_of_the_exporter_comes_in_options(rows: Rows) -> None:
    """softflowd tells systemInitTimeMilliseconds once and counts flows from it."""
    told = options(400, 1, [(143, 4), (160, 8)]), a_set(400, struct.pack(">IQ", 1, (EXPORT_S - 100) * 1000), pad=False)
    flow = one(rows, [(8, 4), (12, 4), (22, 4), (21, 4)], PAIR + struct.pack(">II", 90_000, 95_000), *told)
    assert flow["event.start"] == (EXPORT_S - 10) * 1_000_000


def test_selectors_scale(rows: Rows) -> None:
    """RFC 5477: selector 7 takes 1 packet and leaves 99 (302, 304–306)."""
    told = (
        options(400, 1, [(302, 4), (304, 2), (305, 4), (306, 4)]),
        a_set(400, struct.pack(">IHII", 7, 1, 1, 99), pad=False),
    )
    flow = one(rows, [(8, 4), (12, 4), (302, 4), (1, 4)], PAIR + struct.pack(">II", 7, 1500), *told)
    assert (flow["network.bytes"], flow["netflow.octetDeltaCount"], flow["soc.flags"]) == (150_000, 1500, ("sampled",))


def test_lists(rows: Rows) -> None:
    """basicList, subTemplateList and subTemplateMultiList (RFC 6313 section 4.5), one inside another."""
    basic = struct.pack(">BHH", 3, 14, 2) + struct.pack(">HH", 1, 2)
    sub = struct.pack(">BH", 4, 301) + struct.pack(">II", 1, 100)
    multi = b"\xff" + struct.pack(">HHII", 301, 12, 3, 300) + struct.pack(">HHH", 999, 6, 0xABCD)
    nested = struct.pack(">BHH", 255, 291, 65535) + bytes([len(basic)]) + basic
    record = PAIR + b"".join(bytes([len(x)]) + x for x in (basic, sub, multi))
    specs: list[Field] = [(8, 4), (12, 4), (291, 65535), (292, 65535), (293, 65535)]
    told = template(301, [(2, 4), (1, 4)])
    flow = one(rows, specs, record, told)
    assert flow["netflow.basicList"] == {"semantic": "allOf", "element": "egressInterface", "values": [1, 2]}
    assert flow["netflow.subTemplateList"] == {
        "semantic": "ordered", "template": 301, "records": [{"packetDeltaCount": 1, "octetDeltaCount": 100}],
    }  # fmt: skip
    assert [found["template"] for found in flow["netflow.subTemplateMultiList"]["lists"]] == [301, 999]
    assert flow["netflow.subTemplateMultiList"]["lists"][1] == {"template": 999, "hex": "abcd"}
    inner = one(rows, [(12, 4), (291, 65535)], ip("203.0.113.9") + bytes([len(nested)]) + nested)
    assert inner["netflow.basicList"]["values"][0]["values"] == [1, 2]


def test_a_withdrawal_over_udp_is_ignored(rows: Rows) -> None:
    """RFC 7011 section 8.4: withdrawals of one or of all (section 8.1) must be ignored over UDP; each is told."""
    first = ipfix(template(256, PLAIN), template(257, PLAIN), a_set(256, plain()))
    one_gone = ipfix(template(256, []), a_set(256, plain(octets=7)), seq=1)
    all_gone = ipfix(template(2, []), a_set(257, plain(octets=8)), seq=2)
    events = parse(rows, first, one_gone, all_gone)
    assert [e["network.bytes"] for e in flows(events)] == [1500, 7, 8]
    told = [e["soc.flags"] for e in events if e.get("event.action") == "netflow_templates"]
    assert told == [("template_new",), ("withdrawal_ignored",), ("withdrawal_ignored",)]


def test_a_template_is_replaced(rows: Rows) -> None:
    """RFC 7011 section 8.4: another template of the same number takes the place of the one before."""
    other = ipfix(template(256, [(8, 4), (12, 4), (1, 8)]), a_set(256, PAIR + struct.pack(">Q", 77)), seq=1)
    events = parse(rows, ipfix(template(256, PLAIN), a_set(256, plain())), other)
    assert [e["network.bytes"] for e in flows(events)] == [1500, 77]
    told = [e["soc.flags"] for e in events if e.get("event.action") == "netflow_templates"]
    assert told == [("template_new",), ("template_redefined",)]


def test_microseconds_have_eleven_bits_that_mean_nothing(rows: Rows) -> None:
    """RFC 7011 section 6.1.9; 0x4000_0000 of 2**32 is a quarter of a second."""
    stamps = struct.pack(">IIII", EXPORT_S + NTP_1900, 0x4000_07FF, EXPORT_S + NTP_1900, 0x4000_07FF)
    flow = one(rows, [(8, 4), (12, 4), (154, 8), (157, 8)], PAIR + stamps)
    assert flow["netflow.flowStartMicroseconds"] == EXPORT_S * 1_000_000 + 250_000
    assert flow["netflow.flowEndNanoseconds"] == EXPORT_S * 1_000_000 + 250_000  # 0x7ff is 476 ns


def test_padding_is_no_lie(rows: Rows) -> None:
    """RFC 7011 sections 3.3.1 and 9.1: up to a multiple of 4 or 8; octets that are not 0 are allowed."""
    (flow,) = flows(parse(rows, ipfix(template(256, PLAIN), a_set(256, plain() + b"\x07\x08", pad=False))))
    assert "soc.flags" not in flow


def test_sequence_counts_records(rows: Rows) -> None:
    """RFC 7011 section 3.1: the number of data records before this message."""
    first = ipfix(template(256, PLAIN), a_set(256, plain() * 3), seq=100)
    events = parse(rows, first, *(ipfix(a_set(256, plain()), seq=seq) for seq in (103, 110, 105, 111)))
    seen = [(e.get("soc.flags"), e.get("flow.sequence_lost")) for e in flows(events)[3:]]
    assert seen == [(None, None), (("sequence_gap",), 6), (("out_of_order",), None), (None, None)]


def test_an_exporter_that_counts_its_own_records(rows: Rows) -> None:
    """softflowd adds a message's records before it sends it: no gap, until there is one."""
    first = ipfix(template(256, PLAIN), a_set(256, plain() * 3), seq=3)
    messages = [ipfix(a_set(256, plain() * n), seq=seq) for n, seq in ((2, 5), (1, 6), (1, 9))]
    seen = [(e.get("soc.flags"), e.get("flow.sequence_lost")) for e in flows(parse(rows, first, *messages))]
    assert seen == [(None, None)] * 6 + [(("sequence_gap",), 2)]


@pytest.mark.parametrize(("length", "flag"), [(9, "trailing_bytes"), (5000, "truncated")])
def test_a_header_length_that_lies(rows: Rows, length: int, flag: str) -> None:
    """Flagged on every event of the message; nothing behind the length is believed."""
    events = parse(rows, ipfix(template(256, PLAIN), a_set(256, plain()), length=length))
    assert all(flag in e["soc.flags"] for e in events)
    assert len(flows(events)) == (1 if flag == "truncated" else 0)


def test_an_address_family_of_zeros_is_not_the_flows(rows: Rows) -> None:
    """Templates with room for both families."""
    six = bytes.fromhex("20010db8000000000000000000000009"), bytes.fromhex("20010db8000000000000000000000010")
    specs: list[Field] = [(8, 4), (12, 4), (27, 16), (28, 16), (4, 1)]
    records = bytes(8) + six[0] + six[1] + b"\x06" + PAIR + bytes(32) + b"\x06"
    first, second = flows(parse(rows, ipfix(template(300, specs), a_set(300, records, pad=False))))
    assert (first["source.ip"], first["network.type"]) == ("2001:db8::9", "ipv6")
    assert (second["source.ip"], second["network.type"]) == ("10.1.1.9", "ipv4")
