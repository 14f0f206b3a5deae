"""Key-value text, flat JSON, NetFlow v5, BER and SNMP."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.asn1.asn1 import ASN1_OID
from scapy.layers.snmp import SNMP, SNMPtrapv2, SNMPvarbind

from soc.parsers.decoders import flat, keyvalue, netflow_v5, snmp, windows

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


def flows(count: int, records: int, *, version: int = 5, extra: bytes = b"") -> bytes:
    """A datagram that claims `count` flows and holds `records`."""
    head = struct.pack(">HHIIIIBBH", version, count, 100_000, 1_795_143_598, 0, 7, 0, 1, 0)
    record = struct.pack(
        ">IIIHHIIIIHHBBBBHHBBH", 1, 2, 0, 1, 2, 10, 4096, 85_000, 95_000, 5, 6, 0, 2, 6, 0, 0, 0, 0, 0, 0
    )
    return head + record * records + extra


def test_quoted_text_cannot_overrule_a_key() -> None:
    """A value in quotes may look like another pair; the first of a key wins."""
    pairs = keyvalue.decode('srcip=1.1.1.1 user="x srcip=2.2.2.2 \\" y" srcip=3.3.3.3 empty= z=""')
    assert pairs == {"srcip": "1.1.1.1", "user": 'x srcip=2.2.2.2 " y', "empty": "", "z": ""}


@given(st.text())
def test_any_text_is_pairs(text: str) -> None:
    """Hostile text never raises."""
    assert len(keyvalue.decode(text)) <= keyvalue.MAX_PAIRS


def test_nested_and_dotted_names_are_one() -> None:
    """`{"a": {"b": 1}}` is `a.b`."""
    assert flat.flatten({"a": {"b": 1, "c": {}}, "d.e": [1], "f": None}) == {"a.b": 1, "a.c": {}, "d.e": [1]}


@given(st.dictionaries(st.text(), JSON))
def test_any_document_is_flat_and_perhaps_windows(document: dict[str, Any]) -> None:
    """Hostile documents never raise, also where a Windows event is expected."""
    assert isinstance(flat.flatten(document), dict)
    for tree in (document, {"Event": document}, {"Event": {"System": document, "EventData": document}}):
        event = windows.decode(tree)
        assert event is None or isinstance(event, windows.WindowsEvent)
    event = windows.decode({"winlog": {**document, "event_id": 1}})
    assert event is not None
    assert all(v is None or isinstance(v, str) for v in (*event.system, *event.data.values()))


@pytest.mark.parametrize(
    ("count", "records", "extra", "found", "flags"),
    [
        (2, 2, b"", 2, None),
        (30, 2, b"", 2, ("truncated",)),
        (1, 2, b"", 1, ("trailing_bytes",)),
        (1, 1, b"x", 1, ("trailing_bytes",)),
    ],
)
def test_a_count_that_lies(count: int, records: int, extra: bytes, found: int, flags: tuple[str, ...] | None) -> None:
    """Only whole records that the header vouches for are flows; the lie is flagged."""
    result = netflow_v5.decode([flows(count, records, extra=extra)])
    assert (len(result.rows), result.flags.get(0)) == (found, flags)


def test_a_clock_that_wrapped_does_no_harm() -> None:
    """`first` may be larger than the uptime: both are 32-bit counters."""
    data = bytearray(flows(1, 1))
    struct.pack_into(">I", data, 4, 5)  # uptime 5 ms, just wrapped
    struct.pack_into(">I", data, 24 + 24, 2**32 - 995)  # a second before
    first = netflow_v5.decode([bytes(data)]).values["first_us"].tolist()
    assert first == [1_795_143_598_000_000 - 1_000_000]


@given(st.lists(st.binary(max_size=200) | st.builds(lambda b: b"\0\5" + b, st.binary(max_size=200)), max_size=4))
def test_every_datagram_is_flows_or_refused(datagrams: list[bytes]) -> None:
    """Nothing vanishes and nothing raises."""
    result = netflow_v5.decode(datagrams)
    assert set(result.rows) | set(result.refused) == set(range(len(datagrams)))


def test_snmp_reads_what_scapy_writes() -> None:
    """A v2c trap by another implementation."""
    binds = [
        SNMPvarbind(oid=ASN1_OID("1.3.6.1.2.1.1.3.0"), value=100),
        SNMPvarbind(oid=ASN1_OID("1.3.6.1.6.3.1.1.4.1.0"), value=ASN1_OID("1.3.6.1.6.3.1.1.5.4")),
        SNMPvarbind(oid=ASN1_OID("1.3.6.1.4.1.9999.1.300.4294967295"), value="chào"),
    ]
    data = bytes(SNMP(version=1, community="public", PDU=SNMPtrapv2(id=77, varbindlist=binds)))
    values = snmp.decode(data)
    assert values["trap_oid"] == "1.3.6.1.6.3.1.1.5.4"
    assert (values["version"], values["community"], values["request_id"]) == ("2c", "public", 77)
    assert values["varbinds"][0]["oid"] == "1.3.6.1.4.1.9999.1.300.4294967295"


TRAP = bytes.fromhex(
    "304b02010104067075626c6963a73e0201010201000201003033300d06082b060102010103004301643017060a2b060106030101040100"
    "06092b0601060301010503300906042b060102020102"
)


@given(st.binary(max_size=120) | st.tuples(st.integers(0, len(TRAP) - 1), st.integers(0, 255)).map(
    lambda change: TRAP[: change[0]] + bytes([change[1]]) + TRAP[change[0] + 1 :]
))  # fmt: skip
def test_hostile_ber_is_refused_not_raised(data: bytes) -> None:
    """A trap with any byte changed is read or refused with BadBer, nothing else."""
    try:
        kind = snmp.decode(data)["pdu_type"]
    except snmp.BadBer:
        kind = "refused"
    assert kind in ("trap", "inform", "refused")
