"""SNMP v1, v2c and v3 notifications as events, against scapy and by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.asn1.asn1 import ASN1_IPADDRESS, ASN1_OID
from scapy.layers.snmp import SNMP, SNMPtrapv1, SNMPvarbind

from soc.model import ber
from soc.model.ber import BadBer, tlv, write_integer, write_oid
from soc.model.record import UNVERIFIED
from soc.model.snmp_record import SnmpRecord, unpack
from soc.parsers.decoders import snmp, snmp_names
from tests.parsers.conftest import Rows


def bind(oid: str, value: bytes) -> bytes:
    """One variable."""
    return tlv(0x30, write_oid(oid), value)


BINDS = (
    bind("1.3.6.1.2.1.1.3.0", write_integer(100, 0x43)),
    bind("1.3.6.1.6.3.1.1.4.1.0", write_oid("1.3.6.1.6.3.1.1.5.3")),
    bind("1.3.6.1.2.1.2.2.1.1.7", write_integer(7)),
    bind("1.3.6.1.2.1.2.2.1.2.7", tlv(4, "cổng 7".encode())),
    bind("1.3.6.1.2.1.2.2.1.8.7", write_integer(2)),
)


def pdu(tag: int = 0xA7, binds: tuple[bytes, ...] = BINDS) -> bytes:
    """A v2 notification."""
    return tlv(tag, write_integer(77), write_integer(0), write_integer(0), tlv(0x30, *binds))


def scoped(inner: bytes) -> bytes:
    """A ScopedPDU of engine 80 00 00 00 01."""
    return tlv(0x30, tlv(4, b"\x80\0\0\0\1"), tlv(4, b"vrf1"), inner)


def trap(generic: int, specific: int = 0, binds: tuple[Any, ...] = ()) -> bytes:
    """A v1 trap as scapy writes it."""
    inner = SNMPtrapv1(
        enterprise=ASN1_OID("1.3.6.1.4.1.9.1.1"), agent_addr=ASN1_IPADDRESS("10.1.2.3"), generic_trap=generic,
        specific_trap=specific, time_stamp=55, varbindlist=list(binds),
    )  # fmt: skip
    return bytes(SNMP(version=0, community="public", PDU=inner))


@pytest.mark.parametrize(
    ("generic", "specific", "oid", "name"),
    [
        (0, 0, "1.3.6.1.6.3.1.1.5.1", "coldStart"),
        (2, 0, "1.3.6.1.6.3.1.1.5.3", "linkDown"),
        (5, 0, "1.3.6.1.6.3.1.1.5.6", "egpNeighborLoss"),
        (6, 17, "1.3.6.1.4.1.9.1.1.0.17", None),
    ],
)
def test_a_v1_trap_has_the_name_of_its_v2_form(
    rows: Rows, generic: int, specific: int, oid: str, name: str | None
) -> None:
    """RFC 3584 section 3.1, rules 2 and 3; what scapy writes."""
    (event,) = rows([trap(generic, specific)], format="snmp")
    assert (event["snmp.trap_oid"], event.get("snmp.trap_name"), event["snmp.uptime"]) == (oid, name, 55)
    assert (event["snmp.version"], event["snmp.agent_address"]) == ("1", "10.1.2.3")


def test_a_v1_trap_keeps_all_its_variables() -> None:
    """Also those that name a notification in v2: in v1 the header does."""
    binds = [SNMPvarbind(oid=ASN1_OID("1.3.6.1.2.1.1.3.0"), value=9)]
    values = snmp.decode(trap(3, binds=tuple(binds)))
    assert (values["uptime"], [b["name"] for b in values["varbinds"]]) == (55, ["sysUpTime"])


def test_a_proxied_v1_trap_goes_back_to_its_v1_names() -> None:
    """RFC 3584 section 3.1: snmpTrapAddress.0 and snmpTrapEnterprise.0."""
    more = (
        bind("1.3.6.1.6.3.18.1.3.0", tlv(0x40, bytes((10, 9, 8, 7)))),
        bind("1.3.6.1.6.3.1.1.4.3.0", write_oid("1.3.6.1.4.1.9.1.1")),
    )
    values = snmp.decode(tlv(0x30, write_integer(1), tlv(4, b"c"), pdu(binds=(*BINDS, *more))))
    assert (values["agent_address"], values["enterprise"]) == ("10.9.8.7", "1.3.6.1.4.1.9.1.1")


@pytest.mark.parametrize("generic", [7, -1, 300])
def test_a_generic_trap_that_does_not_exist_is_refused(generic: int) -> None:
    """No name is made up for it."""
    with pytest.raises(BadBer, match="generic"):
        snmp.decode(trap(generic))


def test_standard_objects_have_names_and_labels(rows: Rows) -> None:
    """IF-MIB (RFC 2863): the interface of a linkDown is in fields of its own."""
    (event,) = rows([tlv(0x30, write_integer(1), tlv(4, b"public"), pdu())], format="snmp")
    assert event["snmp.interface.index"] == 7
    assert event["snmp.interface.description"] == "cổng 7"
    assert event["snmp.interface.oper_status"] == "down"
    assert event["snmp.varbinds"][-1] == {
        "oid": "1.3.6.1.2.1.2.2.1.8.7", "type": "integer", "value": 2, "name": "ifOperStatus", "index": "7",
        "label": "down",
    }  # fmt: skip


def test_a_name_is_of_a_whole_identifier() -> None:
    """1.3.6.1.2.1.1.55 only begins like sysContact's 1.3.6.1.2.1.1.5; what is unknown has no name."""
    found = snmp_names.STANDARD.named(ber.write_oid("1.3.6.1.2.1.1.55.0")[2:])
    assert (found.name, found.instance) == (None, None)


def test_the_memory_of_names_is_bounded() -> None:
    """An agent that never repeats an identifier does not fill the memory."""
    for i in range(snmp_names._MAX_CACHED + 10):
        snmp_names.STANDARD.named(ber.write_oid(f"1.3.6.1.4.1.{i}")[2:])
    assert len(snmp_names.STANDARD._cached) <= snmp_names._MAX_CACHED


def test_a_verified_message_is_an_event_with_its_user(rows: Rows) -> None:
    """The plaintext is read, the original datagram is kept, both from one record."""
    record = SnmpRecord(b"0original", scoped(pdu(0xA6)), b"noc", b"\x80\0\0\0\1", 2)
    (event,) = rows([record.pack()], format="snmp-v3")
    assert event["soc.original_bytes"] == b"0original"
    assert {k: v for k, v in event.items() if k.startswith("snmp.") and "interface" not in k} == {
        "snmp.version": "3", "snmp.user": "noc", "snmp.security_level": "authPriv", "snmp.is_verified": True,
        "snmp.engine_id": "8000000001", "snmp.context_engine_id": "8000000001", "snmp.context_name": "vrf1",
        "snmp.pdu_type": "inform", "snmp.request_id": 77, "snmp.uptime": 100, "snmp.trap_name": "linkDown",
        "snmp.trap_oid": "1.3.6.1.6.3.1.1.5.3", "snmp.varbinds": event["snmp.varbinds"],
    }  # fmt: skip


def test_a_message_that_was_not_believed_is_unparsed_and_says_why(rows: Rows) -> None:
    """Nothing in it is taken for true; the bytes are kept."""
    record = SnmpRecord(b"0original", b"", b"noc", b"\x80\0\0\0\1", 1, "a wrong digest")
    (event,) = rows([record.pack()], format="snmp-v3", flags=bytes((UNVERIFIED,)))
    assert event["event.dataset"] == "unparsed"
    assert set(event["soc.flags"]) == {"unverified", "unparsed"}
    assert event["error.message"] == "SNMPv3 authNoPriv: a wrong digest (user 'noc', engine 8000000001)"
    assert event["soc.original_bytes"] == b"0original"


def v3(flags: int, body: bytes) -> bytes:
    """A message without authentication, or one that claims to be in cipher text."""
    head = tlv(0x30, write_integer(1), write_integer(65507), tlv(4, bytes((flags,))), write_integer(3))
    security = tlv(
        0x30, tlv(4, b"\x80\0\0\0\1"), write_integer(0), write_integer(0), tlv(4, b"noc"), tlv(4), tlv(4)
    )  # fmt: skip
    return tlv(0x30, write_integer(3), head, tlv(4, security), body)


def test_a_clear_message_that_nobody_verified_says_so(rows: Rows) -> None:
    """From a listener without users, or a capture: read, and marked as not verified."""
    (event,) = rows([v3(0, scoped(pdu()))], format="snmp")
    assert (event["snmp.is_verified"], event["snmp.user"], event["snmp.trap_name"]) == (False, "noc", "linkDown")


def test_cipher_text_without_users_is_unparsed(rows: Rows) -> None:
    """The way out is named."""
    (event,) = rows([v3(3, tlv(4, b"secret"))], format="snmp")
    assert event["error.message"] == "an SNMPv3 message in cipher text; its listener has no users"


def test_a_record_in_a_record_is_not_believed(rows: Rows) -> None:
    """A stranger's datagram that looks like the collector's own record is no SNMP message."""
    forged = SnmpRecord(b"", scoped(pdu()), b"root", b"", 2).pack()
    (event,) = rows([forged], format="snmp")
    assert event["event.dataset"] == "unparsed"


@given(
    st.builds(
        SnmpRecord, st.binary(max_size=99), st.binary(max_size=99), st.binary(max_size=32), st.binary(max_size=32),
        st.integers(0, 2), st.text(max_size=20),
    )
)  # fmt: skip
def test_a_record_survives_the_queue(record: SnmpRecord) -> None:
    """`unpack` is the inverse of `pack`."""
    assert unpack(record.pack()) == record


SEEDS = (
    trap(6, 5), tlv(0x30, write_integer(1), tlv(4, b"c"), pdu()), v3(0, scoped(pdu())), v3(3, tlv(4, b"12345678")),
    SnmpRecord(b"0", scoped(pdu()), b"noc", b"\x80\0\0\0\1", 2).pack(),
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A message with bytes changed, cut or put in; or anything."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(data)


@given(damaged() | st.binary(max_size=200))
def test_damaged_messages_are_refused_not_raised(data: bytes) -> None:
    """BadBer is all that comes out of each way in."""
    for read in (snmp.decode, snmp.decode_verified):
        try:
            found: Any = read(data)
        except BadBer:
            found = {}
        assert isinstance(found, dict | tuple)


@given(st.lists(damaged() | st.binary(max_size=200), min_size=1, max_size=5), st.sampled_from(["snmp", "snmp-v3"]))
def test_each_damaged_message_is_an_event(rows: Rows, records: list[bytes], form: str) -> None:
    """Nothing vanishes, whatever a variable holds."""
    assert len(rows(records, format=form)) == len(records)


@given(st.integers(-(2**63), 2**63 - 1))
def test_integers_are_written_as_they_are_read(value: int) -> None:
    """In the shortest form."""
    data = write_integer(value)
    assert ber.integer(data, 2, len(data)) == value


@given(st.lists(st.integers(0, 2**32 - 1), max_size=20))
def test_identifiers_are_written_as_they_are_read(rest: list[int]) -> None:
    """Up to 32 bits a part."""
    dotted = ".".join(map(str, (1, 3, *rest)))
    data = write_oid(dotted)
    start, stop = ber.expect(data, 0, len(data), 6)
    assert ber.oid(data, start, stop) == dotted


@pytest.mark.parametrize(
    "data", [b"0", b"0\x80", b"0\x85\0\0\0\0\1", b"0\x02\0", b"\x1f\1\0", b"0\x84\xff\xff\xff\xff", b"\x06\0", b""]
)
def test_lengths_that_lie_are_refused(data: bytes) -> None:
    """Indefinite, too long, beyond the data; tags of several bytes."""
    with pytest.raises(BadBer):
        ber.expect(data, 0, len(data), 0x30)
