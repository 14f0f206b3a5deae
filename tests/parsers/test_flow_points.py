"""What exporters do besides plain flows, each point with the text that asks for it."""

from __future__ import annotations

import ipaddress
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc.parsers import ParserSet
from soc.parsers.decoders.flow_lists import MAX_DEPTH
from tests.parsers.conftest import Rows
from tests.parsers.flow_bytes import (
    EXPORT_S,
    PLAIN,
    Field,
    a_set,
    ip,
    ipfix,
    plain,
    template,
    v9,
    v9_options,
    v9_template,
)

pytestmark = pytest.mark.usefixtures("way")

Event = dict[str, Any]
PAIR = ip("10.1.1.9") + ip("203.0.113.9")
ENDS: list[Field] = [(8, 4), (12, 4)]


def flow_of(events: list[Event]) -> Event:
    """The only event that is no template and no option."""
    (flow,) = [e for e in events if e.get("event.action") not in ("netflow_templates", "netflow_options", None)]
    return flow


def one(rows: Rows, specs: list[Field], record: bytes, *before: bytes) -> Event:
    """The flow of one IPFIX record."""
    message = ipfix(*before, template(300, [*ENDS, *specs]), a_set(300, PAIR + record, pad=False))
    return flow_of(rows([message], format="netflow"))


def test_a_random_sampler_is_told_in_options(rows: Rows) -> None:
    """RFC 3954 section 8: fields 48 (id), 49 (mode: 2 is random), 50 (interval at which to sample)."""
    told = v9_options(257, [(1, 4)], [(48, 1), (49, 1), (50, 4)])
    message = v9(
        told, a_set(257, struct.pack(">IBBI", 0, 5, 2, 64)), v9_template(258, [*ENDS, (48, 1), (1, 4), (2, 4)]),
        a_set(258, PAIR + struct.pack(">BII", 5, 1000, 4)),
    )  # fmt: skip
    flow = flow_of(rows([message], format="netflow"))
    assert (flow["network.bytes"], flow["network.packets"], flow["netflow.octetDeltaCount"]) == (64_000, 256, 1000)
    assert (flow["flow.sampling_interval"], flow["soc.flags"]) == (64, ("sampled",))


def test_sampling_of_an_interface(rows: Rows) -> None:
    """RFC 3954 section 6.1: scope 2 is an interface; its rate holds for what came in there (fields 34, 35)."""
    told = v9_options(257, [(2, 4)], [(34, 4), (35, 1)])
    record = struct.pack(">II", 3, 1000), struct.pack(">II", 4, 1000)
    message = v9(
        told, a_set(257, struct.pack(">IIB", 3, 10, 1)), v9_template(258, [*ENDS, (10, 4), (1, 4)]),
        a_set(258, PAIR + record[0] + PAIR + record[1]),
    )  # fmt: skip
    events = [e for e in rows([message], format="netflow") if e.get("event.action") == "netflow_flow"]
    assert [e["network.bytes"] for e in events] == [10_000, 1000]


@pytest.mark.parametrize(
    ("event", "action"),
    [(4, "nat44_session_created"), (5, "nat44_session_deleted"), (6, "nat64_session_created"),
     (8, "nat44_bib_created"), (12, "nat_ports_exhausted"), (13, "nat_quota_exceeded"), (18, "nat_threshold_reached")],
)  # fmt: skip
def test_nat_events(rows: Rows, event: int, action: str) -> None:
    """RFC 8158: natEvent (230) with its time (323), both addresses, ports and protocol."""
    specs: list[Field] = [(323, 8), (230, 1), (225, 4), (226, 4), (4, 1), (7, 2), (227, 2), (11, 2), (228, 2), (234, 4)]
    stamp = struct.pack(">QB", (EXPORT_S - 1) * 1000 + 250, event)
    record = stamp + ip("198.51.100.7") + ip("203.0.113.9") + struct.pack(">BHHHHI", 6, 51000, 40001, 443, 443, 12)
    flow = one(rows, specs, record)
    assert (flow["event.action"], flow["netflow.natEvent"]) == (action, event)
    assert (flow["source.ip"], flow["source.port"], flow["source.nat.ip"], flow["source.nat.port"]) == (
        "10.1.1.9", 51000, "198.51.100.7", 40001,
    )  # fmt: skip
    assert flow["destination.nat.port"] == 443
    assert flow["event.start"] == (EXPORT_S - 1) * 1_000_000 + 250_000
    assert flow["netflow.ingressVRFID"] == 12


def test_a_block_of_ports(rows: Rows) -> None:
    """RFC 8158: portRangeStart 361 to portRangeEnd 362, step 363, number of ports 364."""
    flow = one(rows, [(230, 1), (225, 4), (361, 2), (362, 2), (363, 2), (364, 2)],
               b"\x10" + ip("198.51.100.7") + struct.pack(">HHHH", 1024, 2047, 1, 1024))  # fmt: skip
    assert flow["event.action"] == "nat_port_block_allocated"
    assert (flow["netflow.portRangeStart"], flow["netflow.portRangeEnd"], flow["netflow.portRangeNumPorts"]) == (
        1024, 2047, 1024,
    )  # fmt: skip


def test_ipv6(rows: Rows) -> None:
    """Addresses 27 and 28, flow label 31, next hop 62, extension headers 64 in fewer octets, ICMPv6 139."""
    a, b, hop = (ipaddress.IPv6Address(x).packed for x in ("2001:db8::9", "2001:db8::10", "fe80::1"))
    specs: list[Field] = [(27, 16), (28, 16), (31, 4), (62, 16), (64, 2), (4, 1), (139, 2), (1, 8)]
    message = ipfix(
        template(300, specs),
        a_set(300, a + b + struct.pack(">I", 0xABCDE) + hop + struct.pack(">HBHQ", 3, 58, 128 << 8, 104), pad=False),
    )
    flow = flow_of(rows([message], format="netflow"))
    assert (flow["source.ip"], flow["destination.ip"], flow["network.type"]) == ("2001:db8::9", "2001:db8::10", "ipv6")
    assert (flow["netflow.flowLabelIPv6"], flow["netflow.ipNextHopIPv6Address"]) == (0xABCDE, "fe80::1")
    assert (flow["flow.icmp.type"], flow["flow.icmp.code"], flow["network.transport"]) == (128, 0, "ipv6-icmp")


@given(st.integers(1, 8), st.data())
def test_numbers_in_fewer_octets(rows: Rows, length: int, data: st.DataObject) -> None:
    """RFC 7011 section 6.2: an unsigned64 may be sent in 1 to 8 octets, a signed32 in 1 to 4 (434)."""
    number = data.draw(st.integers(0, 256**length - 1))
    short = min(length, 4)
    signed = data.draw(st.integers(-(256**short) // 2, 256**short // 2 - 1))
    flow = one(rows, [(1, length), (434, short)], number.to_bytes(length) + signed.to_bytes(short, signed=True))
    assert (flow["netflow.octetDeltaCount"], flow["netflow.mibObjectValueInteger"]) == (number, signed)
    assert flow["network.bytes"] == min(number, 2**63 - 1)


def test_a_float64_as_a_float32(rows: Rows) -> None:
    """RFC 7011 section 6.2: 0.25 has both forms."""
    assert one(rows, [(311, 4), (1, 4)], struct.pack(">fI", 0.25, 10))["network.bytes"] == 40


def test_truth_is_one_and_lie_is_two(rows: Rows) -> None:
    """RFC 7011 section 6.1.5."""
    assert one(rows, [(276, 1), (333, 1)], b"\x01\x02")["netflow.dataRecordsReliability"] is True
    flow = one(rows, [(333, 1), (276, 1)], b"\x02\x07")
    assert (flow["netflow.hashDigestOutput"], "netflow.dataRecordsReliability" in flow) == (False, False)


@pytest.mark.parametrize("length", [0, 1, 254, 255, 256, 4000])
def test_each_variable_length_at_its_border(rows: Rows, length: int) -> None:
    """RFC 7011 section 7: one octet up to 254, the escape 255 and two octets beyond (and allowed below)."""
    text = b"u" * length
    escaped = b"\xff" + struct.pack(">H", length) + text
    for record in ([bytes([length]) + text] if length < 255 else []) + [escaped]:
        flow = one(rows, [(371, 65535), (1, 4)], record + struct.pack(">I", 7))
        assert (flow.get("netflow.userName"), flow["network.bytes"]) == (text.decode() or None, 7)


def test_lists_inside_lists_end_somewhere(rows: Rows) -> None:
    """RFC 6313 lets lists nest; deeper than `MAX_DEPTH` stays hexadecimal."""
    inner = struct.pack(">BHH", 3, 4, 1) + b"\x06\x11"
    for _ in range(MAX_DEPTH + 1):
        inner = struct.pack(">BHH", 4, 291, 65535) + bytes([len(inner)]) + inner
    found = one(rows, [(291, 65535)], bytes([len(inner)]) + inner)["netflow.basicList"]
    for _ in range(MAX_DEPTH - 1):
        assert (found["semantic"], found["element"]) == ("ordered", "basicList")
        (found,) = found["values"]
    assert list(found["values"][0]) == ["hex"]


def test_sequences_of_domains_are_apart(rows: Rows) -> None:
    """RFC 3954 section 5.1 and RFC 7011 section 3.1: each observation domain counts for itself."""
    told = v9_template(256, PLAIN)
    events = rows(
        [v9(told, seq=10, domain=1), v9(told, seq=900, domain=2), v9(a_set(256, plain()), seq=11, domain=1),
         v9(a_set(256, plain()), seq=903, domain=2)],
        format="netflow",
    )  # fmt: skip
    assert [e.get("flow.sequence_lost") for e in events] == [None, None, None, 2]


def test_a_sequence_number_wraps(rows: Rows) -> None:
    """Modulo 2**32."""
    told = v9_template(256, PLAIN)
    events = rows([v9(told, seq=2**32 - 1), v9(told, seq=0), v9(told, seq=2)], format="netflow")
    assert [(e.get("flow.sequence_lost"), "sequence_gap" in (e.get("soc.flags") or ())) for e in events] == [
        (None, False), (None, False), (1, True),
    ]  # fmt: skip


def test_every_element_has_one_name_and_one_type(parsers: ParserSet) -> None:
    """A name stands for one element and is in the dictionary."""
    from soc.model.flow_elements import ELEMENTS

    assert len({element.field for element in ELEMENTS.values()}) == len(ELEMENTS)
    assert all(element.field in parsers.fields for element in ELEMENTS.values())
