"""Key-value text, flat JSON, BER and SNMP."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from scapy.asn1.asn1 import ASN1_OID
from scapy.layers.snmp import SNMP, SNMPtrapv2, SNMPvarbind

from soc.parsers.decoders import flat, keyvalue, snmp, windows

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


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
    for tree in (
        document,
        {"Event": document},
        {"Event": {"System": document, "EventData": document, "UserData": document}},
        {"winlog": {**document, "event_id": 1}},
    ):
        event = windows.decode(tree)
        if event is not None:
            said = [windows.system_text(event.system, name) for name in windows.SYSTEM]
            assert said == [windows.system_texts([event.system], name)[0] for name in windows.SYSTEM]
            values = [*event.data.values(), *event.user.values(), event.message]
            assert all(v is None or isinstance(v, str) for v in (*said, *windows.texts(values)))


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
