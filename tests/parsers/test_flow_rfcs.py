"""RFC 5103 (biflows), 6313 (lists), 5477 (packet sampling) and 8158 (NAT) by their sections."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from soc.model.flow_elements import ELEMENTS, REVERSE
from soc.parsers.decoders.flow_lists import MAX_SHORT
from tests.parsers.conftest import Rows
from tests.parsers.flow_bytes import EXPORT_S, Field, a_set, ip, ipfix, options, template
from tests.parsers.test_flow_points import ENDS, PAIR, flow_of, one

pytestmark = pytest.mark.usefixtures("way")

LENGTHS = {
    "unsigned8": 1, "unsigned16": 2, "unsigned32": 4, "unsigned64": 8, "signed8": 1, "signed32": 4, "signed64": 8,
}  # fmt: skip
VARIABLE = 65535

# RFC 5103: biflows ---------------------------------------------------------------------------------------------------

IRREVERSIBLE = (
    148, 145, 149, 137,  # flowId, templateId, observationDomainId, commonPropertiesId
    130, 131, 217, 211, 212, 213, 214, 215, 216, 173,  # RFC 5102 section 5.2
    41, 40, 42, 163, 164, 165, 166, 167, 168,  # section 5.3
    210, 239,
)  # fmt: skip


def test_each_reversible_element_has_the_type_of_its_forward_one() -> None:
    """Section 6.1: the number and the type are those of the public element; all but the named ones have a reverse."""
    for number in IRREVERSIBLE:
        assert (0, number) in ELEMENTS
        assert (REVERSE, number) not in ELEMENTS
    for (enterprise, number), element in ELEMENTS.items():
        if enterprise == REVERSE:
            forward = ELEMENTS[0, number]
            assert (element.name.lower(), element.kind) == (f"reverse{forward.name}".lower(), forward.kind)


def test_a_record_of_all_reverse_numbers(rows: Rows) -> None:
    """Section 6.1: every reverse integer, each in a length of its own, stands under its name."""
    numbers = [e for (enterprise, _), e in ELEMENTS.items() if enterprise == REVERSE and e.kind in LENGTHS]
    assert len(numbers) > 250
    specs: list[Field] = [(e.number, LENGTHS[e.kind], REVERSE) for e in numbers]
    record = b"".join((e.number % 100).to_bytes(LENGTHS[e.kind], "big") for e in numbers)
    flow = one(rows, specs, record)
    assert {e.field: flow.get(e.field) for e in numbers} == {e.field: e.number % 100 for e in numbers}


@pytest.mark.parametrize("number", IRREVERSIBLE)
def test_the_reverse_of_what_has_none_is_kept(rows: Rows, number: int) -> None:
    """Section 6.1: it may be discarded; we keep its octets under its number."""
    flow = one(rows, [(1, 4), (number, 4, REVERSE)], struct.pack(">II", 7, 0xDEADBEEF))
    assert (flow[f"netflow.other.29305.{number}"], flow["source.bytes"]) == ("deadbeef", 7)


def test_a_biflow_without_a_directional_key_is_flagged(rows: Rows) -> None:
    """Section 4: it is illegal and should be logged (there it should be dropped, too; we lose nothing)."""
    specs: list[Field] = [(1, 4), (1, 4, REVERSE)]
    alone = ipfix(template(300, specs), a_set(300, struct.pack(">II", 7, 9), pad=False))
    flow = flow_of(rows([alone], format="netflow"))
    assert (flow["soc.flags"], flow["source.bytes"], flow["destination.bytes"]) == (("biflow_keyless",), 7, 9)
    assert "soc.flags" not in one(rows, specs, struct.pack(">II", 7, 9))


@pytest.mark.parametrize("direction", range(4))
def test_how_the_direction_was_found_is_told(rows: Rows, direction: int) -> None:
    """Section 6.3: the exporter's source and destination stay, whatever it says of them."""
    flow = one(rows, [(239, 1), (1, 4), (1, 4, REVERSE)], struct.pack(">BII", direction, 7, 9))
    assert (flow["netflow.biflowDirection"], flow["source.ip"], flow["destination.bytes"]) == (direction, "10.1.1.9", 9)


# RFC 6313: lists -----------------------------------------------------------------------------------------------------


def listed(rows: Rows, number: int, data: bytes, *before: bytes) -> Any:
    """What is made of the octets of one list."""
    record = b"\xff" + struct.pack(">H", len(data)) + data
    field = {291: "basicList", 292: "subTemplateList", 293: "subTemplateMultiList"}[number]
    return one(rows, [(number, VARIABLE)], record, *before).get(f"netflow.{field}")


@pytest.mark.parametrize(
    ("octet", "semantic"),
    [
        (0, "noneOf"),
        (1, "exactlyOneOf"),
        (2, "oneOrMoreOf"),
        (3, "allOf"),
        (4, "ordered"),
        (255, "undefined"),
        (9, "9"),
    ],
)
def test_what_binds_the_elements_of_a_list(rows: Rows, octet: int, semantic: str) -> None:
    """Section 11.4: in each of the three kinds of lists; a number that nobody assigned stays one."""
    basic = listed(rows, 291, struct.pack(">BHHHH", octet, 14, 2, 1, 2))
    assert basic == {"semantic": semantic, "element": "egressInterface", "values": [1, 2]}
    sub = listed(rows, 292, struct.pack(">BHI", octet, 301, 5), template(301, [(1, 4)]))
    assert sub == {"semantic": semantic, "template": 301, "records": [{"octetDeltaCount": 5}]}
    multi = listed(rows, 293, struct.pack(">BHHI", octet, 301, 8, 5), template(301, [(1, 4)]))
    assert multi == {"semantic": semantic, "lists": [{"template": 301, "records": [{"octetDeltaCount": 5}]}]}


def test_lists_without_elements(rows: Rows) -> None:
    """Sections 4.5.1 to 4.5.3: the head alone; a multi-list then states the length 0, or that of its head."""
    told = template(301, [(1, 4)])
    assert listed(rows, 291, struct.pack(">BHH", 3, 14, 2))["values"] == []
    assert listed(rows, 291, struct.pack(">BHHI", 3, 0x8000 | 1, 4, 9999)) == {
        "semantic": "allOf", "element": "9999.1", "values": [],
    }  # fmt: skip
    assert listed(rows, 292, struct.pack(">BH", 3, 301), told)["records"] == []
    data = struct.pack(">BHHHHHHI", 3, 301, 0, 301, 4, 301, 8, 5)
    empty = {"template": 301, "records": []}
    full = {"template": 301, "records": [{"octetDeltaCount": 5}]}
    assert listed(rows, 293, data, told) == {"semantic": "allOf", "lists": [empty, empty, full]}


def test_elements_of_fewer_than_four_octets(rows: Rows) -> None:
    """Section 4.5.2: records until no data remain, however short they are."""
    told = template(301, [(4, 1)])
    assert listed(rows, 292, struct.pack(">BHBBB", 3, 301, 6, 17, 58), told)["records"] == [
        {"protocolIdentifier": 6}, {"protocolIdentifier": 17}, {"protocolIdentifier": 58},
    ]  # fmt: skip
    words = listed(rows, 292, struct.pack(">BH", 3, 301) + b"\1a\1b\1c\1d", template(301, [(371, VARIABLE)]))
    assert [record["userName"] for record in words["records"]] == list("abcd")
    many = listed(rows, 292, struct.pack(">BH", 3, 301) + bytes(MAX_SHORT + 2), told)
    assert (len(many["records"]), many["hex"]) == (MAX_SHORT, "0000")


def test_padding_inside_a_list(rows: Rows) -> None:
    """Section 5.5: paddingOctets in the template of the list, and nowhere else."""
    sub = listed(
        rows, 292, struct.pack(">BHBBHBBH", 3, 301, 6, 0, 80, 17, 0, 53), template(301, [(4, 1), (210, 1), (11, 2)])
    )
    assert sub["records"] == [
        {"protocolIdentifier": 6, "destinationTransportPort": 80},
        {"protocolIdentifier": 17, "destinationTransportPort": 53},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("number", "data"),
    [
        (291, "03 000e"),  # no length of its elements
        (291, "03 800e 0002 0000"),  # the enterprise is cut
        (291, "03 000e 0000 0102"),  # elements of no octets
        (291, "03 000e 0004 010203"),  # less than one element
        (291, "03 000e ffff 05 0102"),  # a length beyond the list
        (291, "03 000e ffff ff01"),  # a cut length
        (291, "03 0123 ffff 06 04 000e 0009 01"),  # a list inside a list, with elements larger than itself
        (292, "03 01"),  # a cut template number
        (292, "03 012d 0000"),  # less than a record
        (292, "03 0999 00000001"),  # a template that nobody sent
        (293, "03 012d 0003 00"),  # a length shorter than its head
        (293, "03 012d 00ff 00000001"),  # a length beyond the list
        (293, "03 012d 0008 00000001 012d"),  # a cut head behind a whole one
    ],
)
def test_lists_that_lie_keep_their_octets(rows: Rows, number: int, data: str) -> None:
    """What cannot be read stands in hexadecimal, in the list where it stood; the flow itself is read."""
    octets = bytes.fromhex(data)
    told = template(301, [(1, 4)])
    record = bytes([len(octets)]) + octets + struct.pack(">I", 7)
    flow = one(rows, [(number, VARIABLE), (2, 4)], record, told)
    field = {291: "basicList", 292: "subTemplateList", 293: "subTemplateMultiList"}[number]
    assert flow["network.packets"] == 7
    assert '"hex"' in repr(flow[f"netflow.{field}"]).replace("'", '"')


MULTICAST: list[Field] = [(10, 4), (8, 4), (12, 4), (291, VARIABLE)]
FIVE: list[Field] = [(8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (292, VARIABLE)]
SELECTED: list[Field] = [(27, 16), (28, 16), (7, 2), (11, 2), (4, 1), (85, 4), (86, 4), (293, VARIABLE)]
HASHES = (0x91230613, 0x91230650, 0x91230725, 0x91230844, 0x91230978)
MULTICAST_KEY = struct.pack(">I", 9) + ip("192.0.2.201") + ip("233.252.0.1")


@pytest.mark.parametrize(
    ("templates", "record", "length", "field", "expected"),
    [
        ([(256, MULTICAST)], MULTICAST_KEY + struct.pack(">BHBHHIII", 255, 17, 3, 14, 4, 1, 4, 8), 36, "basicList",
         {"semantic": "allOf", "element": "egressInterface", "values": [1, 4, 8]}),
        ([(256, MULTICAST)],
         MULTICAST_KEY + struct.pack(">BHBHH", 255, 25, 3, 82, VARIABLE) + b"\5FE0/0\7FE10/10\5FE2/2", 44, "basicList",
         {"semantic": "allOf", "element": "interfaceName", "values": ["FE0/0", "FE10/10", "FE2/2"]}),
        ([(256, MULTICAST)], MULTICAST_KEY + struct.pack(">BHBHHIII", 255, 17, 1, 14, 4, 1, 4, 8), 36, "basicList",
         {"semantic": "exactlyOneOf", "element": "egressInterface", "values": [1, 4, 8]}),
        ([(257, [(324, 8), (326, 4)]), (258, FIVE)],
         ip("192.0.2.1") + ip("192.0.2.105") + struct.pack(">HHBBHBH", 1025, 80, 6, 255, 63, 3, 257)
         + b"".join(struct.pack(">III", EXPORT_S + 2_208_988_800, 0, value) for value in HASHES), 83, "subTemplateList",
         {"semantic": "allOf", "template": 257, "records": [
             {"observationTimeMicroseconds": "2026-11-20T02:59:58.000000Z", "digestHashValue": value}
             for value in HASHES
         ]}),
        ([(259, [(302, 4), (304, 1)]), (260, [(302, 4), (304, 1), (305, 1), (306, 1)]), (261, SELECTED)],
         bytes.fromhex("20010db8" + "00" * 11 + "01" + "20010db8" + "00" * 11 + "02")
         + struct.pack(">HHBIIBHB", 1025, 80, 6, 108_000, 120, 255, 21, 3)
         + struct.pack(">HHIB", 259, 9, 100, 5) + struct.pack(">HHIBBB", 260, 11, 15, 1, 1, 99), 73,
         "subTemplateMultiList",
         {"semantic": "allOf", "lists": [
             {"template": 259, "records": [{"selectorId": 100, "selectorAlgorithm": 5}]},
             {"template": 260, "records": [
                 {"selectorId": 15, "selectorAlgorithm": 1, "samplingPacketInterval": 1, "samplingPacketSpace": 99}]},
         ]}),
    ],
    ids=["figure 12", "figure 13", "figure 14", "figure 17", "figure 21"],
)  # fmt: skip
def test_the_examples_of_rfc_6313(
    rows: Rows, templates: list[tuple[int, list[Field]]], record: bytes, length: int, field: str, expected: Any
) -> None:
    """Section 9: the values that its figures show, in sets of the lengths that they state."""
    told = [template(number, specs) for number, specs in templates]
    data = a_set(templates[-1][0], record, pad=False)
    assert len(data) == length
    assert flow_of(rows([ipfix(*told, data)], format="netflow"))[f"netflow.{field}"] == expected


# RFC 5477: packet sampling -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "parameters", "octets", "factor"),
    [
        (1, [(305, 4), (306, 4)], struct.pack(">II", 100, 900), 10),
        (2, [(307, 4), (308, 4)], struct.pack(">II", 1000, 9000), 10),
        (3, [(309, 4), (310, 4)], struct.pack(">II", 5, 100), 20),
        (4, [(311, 8)], struct.pack(">d", 0.01), 100),
        (4, [(311, 8)], struct.pack(">d", 0), None),
        (5, [], b"", None),
        *((n, [(329, 8), (330, 8), (331, 8), (332, 8)], struct.pack(">4Q", 0, 9999, 10, 59), 200) for n in (6, 7, 8)),
        (6, [(329, 8), (330, 8), (331, 8), (332, 8)], struct.pack(">4Q", 0, 9, 10, 59), None),
    ],
)
def test_each_way_to_select_packets(
    rows: Rows, algorithm: int, parameters: list[Field], octets: bytes, factor: int | None
) -> None:
    """Section 8.2.1: the parameters of each selector say how many packets one stands for; nonsense says nothing."""
    told = options(301, 1, [(302, 8), (304, 2), *parameters])
    described = a_set(301, struct.pack(">QH", 7, algorithm) + octets)
    flow = one(rows, [(302, 8), (1, 4)], struct.pack(">QI", 7, 1000), told, described)
    assert (flow["network.bytes"], flow.get("flow.sampling_interval")) == (1000 * (factor or 1), factor)


def test_sections_of_packets_are_octets(rows: Rows) -> None:
    """Section 8.5: they vary in length, and are not padded."""
    record = b"".join(bytes([len(part)]) + part for part in (b"E\0", b"\1\2\3", b"", b"\0"))
    flow = one(rows, [(n, VARIABLE) for n in (313, 314, 316, 317)], record)
    names = ("ipHeaderPacketSection", "ipPayloadPacketSection", "mplsLabelStackSection", "mplsPayloadPacketSection")
    assert [flow.get(f"netflow.{name}") for name in names] == ["4500", "010203", None, "00"]


# RFC 8158: logging of NAT events -------------------------------------------------------------------------------------

TIME: list[Field] = [(323, 8), (230, 1)]
INSIDE4, INSIDE6, OUTSIDE = ip("10.1.1.9"), bytes.fromhex("20010db8" + "00" * 11 + "09"), ip("198.51.100.7")
SESSION4: list[Field] = [(8, 4), (225, 4), (4, 1), (7, 2), (227, 2)]
SESSION6: list[Field] = [(27, 16), (225, 4), (4, 1), (7, 2), (227, 2)]
PORTS = struct.pack(">BHH", 6, 51000, 40001)
START, END, INFO = ("connection", "start"), ("connection", "end"), ("info",)
OF4 = {"source.ip": "10.1.1.9", "source.nat.ip": "198.51.100.7"}
OF6 = {"source.ip": "2001:db8::9", "source.nat.ip": "198.51.100.7"}
OF_PORTS = {"source.port": 51000, "source.nat.port": 40001, "network.transport": "tcp"}
QUOTAS = (
    ("maxSessionEntries", 471, "maximum session entries"), ("maxBIBEntries", 472, "maximum BIB entries"),
    ("maxEntriesPerUser", 473, "maximum entries per user"),
    ("maxSubscribers", 474, "maximum active hosts or subscribers"),
    ("maxFragmentsPendingReassembly", 475, "maximum fragments pending reassembly"),
)  # fmt: skip
THRESHOLDS = (
    ("addressPoolHighThreshold", 476, "address pool high threshold"),
    ("addressPoolLowThreshold", 477, "address pool low threshold"),
    ("addressPortMappingHighThreshold", 478, "address and port mapping high threshold"),
    ("addressPortMappingPerUserHighThreshold", 480, "address and port mapping per user high threshold"),
    ("globalAddressMappingHighThreshold", 481, "global address mapping high threshold"),
)  # fmt: skip


def nat_event(rows: Rows, event: int, specs: list[Field], octets: bytes) -> dict[str, Any]:
    """The event of a record with its time, its kind and these fields."""
    record = struct.pack(">QB", EXPORT_S * 1000 - 750, event) + octets
    return flow_of(rows([ipfix(template(300, [*TIME, *specs]), a_set(300, record, pad=False))], format="netflow"))


@pytest.mark.parametrize(
    ("event", "action", "types", "specs", "octets", "expected"),
    [
        (1, "nat_created", START, SESSION4, INSIDE4 + OUTSIDE + PORTS, OF4 | OF_PORTS),
        (2, "nat_deleted", END, SESSION4, INSIDE4 + OUTSIDE + PORTS, OF4 | OF_PORTS),
        (3, "nat_addresses_exhausted", INFO, [(283, 4)], struct.pack(">I", 12), {"netflow.natPoolId": 12}),
        (4, "nat44_session_created", START, SESSION4, INSIDE4 + OUTSIDE + PORTS, OF4 | OF_PORTS),
        (5, "nat44_session_deleted", END, SESSION4, INSIDE4 + OUTSIDE + PORTS, OF4 | OF_PORTS),
        (6, "nat64_session_created", START, SESSION6, INSIDE6 + OUTSIDE + PORTS, OF6 | OF_PORTS),
        (7, "nat64_session_deleted", END, SESSION6, INSIDE6 + OUTSIDE + PORTS, OF6 | OF_PORTS),
        (8, "nat44_bib_created", START, SESSION4[:2], INSIDE4 + OUTSIDE, OF4),
        (9, "nat44_bib_deleted", END, SESSION4[:2], INSIDE4 + OUTSIDE, OF4),
        (10, "nat64_bib_created", START, SESSION6[:2], INSIDE6 + OUTSIDE, OF6),
        (11, "nat64_bib_deleted", END, SESSION6[:2], INSIDE6 + OUTSIDE, OF6),
        (12, "nat_ports_exhausted", INFO, [(225, 4), (4, 1)], OUTSIDE + b"\6",
         {"source.nat.ip": "198.51.100.7", "network.transport": "tcp"}),
        (14, "nat_address_bound", START, SESSION4[:2], INSIDE4 + OUTSIDE, OF4),
        (15, "nat_address_released", END, SESSION6[:2], INSIDE6 + OUTSIDE, OF6),
        (16, "nat_port_block_allocated", START, [*SESSION4[:2], (361, 2), (362, 2)],
         INSIDE4 + OUTSIDE + struct.pack(">HH", 1024, 2047),
         OF4 | {"netflow.portRangeStart": 1024, "netflow.portRangeEnd": 2047}),
        (17, "nat_port_block_released", END, [*SESSION4[:2], (361, 2)], INSIDE4 + OUTSIDE + struct.pack(">H", 1024),
         OF4 | {"netflow.portRangeStart": 1024}),
        *((13, "nat_quota_exceeded", INFO, [(466, 4), (number, 4)], struct.pack(">II", n, 5000),
           {"event.reason": reason, f"netflow.{name}": 5000})
          for n, (name, number, reason) in enumerate(QUOTAS, 1)),
        *((18, "nat_threshold_reached", INFO, [(467, 4), (number, 4)], struct.pack(">II", n, 80),
           {"event.reason": reason, f"netflow.{name}": 80})
          for n, (name, number, reason) in enumerate(THRESHOLDS, 1)),
    ],
)  # fmt: skip
def test_each_nat_event_with_its_mandatory_fields(
    rows: Rows, event: int, action: str, types: tuple[str, ...], specs: list[Field], octets: bytes, expected: Any
) -> None:
    """Sections 4.3 to 4.5 and the templates of 4.6: what must be in them has its ECS name, or the element's own."""
    found = nat_event(rows, event, specs, octets)
    assert (found["event.action"], found["event.type"]) == (action, types)
    assert {key: found.get(key) for key in expected} == expected
    assert found["event.start"] == EXPORT_S * 1_000_000 - 750_000


def test_optional_fields_of_nat_events(rows: Rows) -> None:
    """Section 4.6: instance, VLAN, VRF and the two realms, which are octets."""
    specs: list[Field] = [*SESSION4, (463, 4), (58, 2), (234, 4), (464, VARIABLE), (465, 3)]
    found = nat_event(rows, 4, specs, INSIDE4 + OUTSIDE + PORTS + struct.pack(">IHI", 1, 20, 3) + b"\2in" + b"out")
    assert (found["netflow.natInstanceID"], found["network.vlan.id"], found["netflow.ingressVRFID"]) == (1, "20", 3)
    assert (found["netflow.internalAddressRealm"], found["netflow.externalAddressRealm"]) == ("696e", "6f7574")


@pytest.mark.parametrize("event", [0, 19, 255])
def test_a_nat_event_that_nobody_assigned(rows: Rows, event: int) -> None:
    """Section 4.3: 0 is reserved, and devices that write NAT flows and others alike send it; the number stays."""
    found = nat_event(rows, event, [*ENDS], PAIR)
    assert (found["event.action"], found["event.type"], found["netflow.natEvent"]) == (
        "netflow_flow", ("connection",), event,
    )  # fmt: skip
