"""Notifications read by what earlier ones taught: the same as one by one, faster."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc.model.ber import BadBer, tlv, write_integer, write_oid
from soc.model.snmp_record import SnmpRecord
from soc.parsers.decoders import snmp, snmp_traps
from soc.parsers.decoders.snmp_names import STANDARD
from soc.parsers.decoders.snmp_traps import OPEN, Notifications, Reader

UPTIME, TRAP_OID = "1.3.6.1.2.1.1.3.0", "1.3.6.1.6.3.1.1.4.1.0"
NAMES = (
    UPTIME, TRAP_OID, "1.3.6.1.2.1.2.2.1.1.7", "1.3.6.1.2.1.2.2.1.7.7", "1.3.6.1.2.1.2.2.1.2.7", "1.3.6.1.6.3.18.1.3.0",
    "1.3.6.1.6.3.1.1.4.3.0", "1.3.6.1.4.1.32473.1.0",
)  # fmt: skip
"""Those that mean something to the decoder, and one that nobody knows."""
FLOAT = b"\x9f\x78\x04\x42\x12\0\0"
values = st.one_of(
    st.binary(max_size=3).map(lambda b: tlv(4, b)),
    st.sampled_from(["up", '"', "%s", "cổng", "a\tb"]).map(lambda t: tlv(4, t.encode())),
    st.sampled_from([1, 2, 99, -1, 70_000, 2**40, -(2**63), 2**66]).map(write_integer),
    st.builds(write_integer, st.sampled_from([0, 7, 300, 2**31, 2**64 - 1]), st.sampled_from([0x41, 0x42, 0x43, 0x46])),
    st.sampled_from(["1.3.6.1.6.3.1.1.5.3", "1.3.6.1.6.3.1.1.5.4"]).map(write_oid),
    st.binary(min_size=4, max_size=4).map(lambda b: tlv(0x40, b)),
    st.sampled_from([tlv(0x40, b"abc"), tlv(5), tlv(0x80), tlv(0x44, FLOAT), tlv(0x44, b"x"), tlv(0x47, b"ab")]),
    st.sampled_from([tlv(tag, octets) for tag in (2, 6, 0x41, 0x46, 0x47) for octets in (b"", bytes(10), b"\xff" * 9)]),
    st.sampled_from([b"", b"\xff", b"\xff" * 8, bytes(10)]).map(lambda b: tlv(0x44, b"\x9f" + tlv(0x7A, b))),
)
binds = st.lists(st.builds(lambda n, v: tlv(0x30, write_oid(n), v), st.sampled_from(NAMES), values), max_size=5)
usual = binds.map(
    lambda rest: [
        tlv(0x30, write_oid(UPTIME), write_integer(99, 0x43)),
        tlv(0x30, write_oid(TRAP_OID), write_oid("1.3.6.1.6.3.1.1.5.3")),
        *rest,
    ]
)
numbers = st.sampled_from([1, 2, 200, 70_000])


def v2(request: int, variables: Sequence[bytes]) -> bytes:
    """A v2 PDU."""
    return tlv(0xA7, write_integer(request), write_integer(0), write_integer(0), tlv(0x30, *variables))


def v1(generic: int, variables: Sequence[bytes]) -> bytes:
    """A v1 trap."""
    return tlv(
        0xA4, write_oid("1.3.6.1.4.1.9"), tlv(0x40, bytes((10, 0, 0, generic % 256))), write_integer(generic % 8),
        write_integer(3), write_integer(generic, 0x43), tlv(0x30, *variables),
    )  # fmt: skip


def plain(version: int, inner: bytes) -> bytes:
    """A message of v1 (0) or v2c (1)."""
    return tlv(0x30, write_integer(version), tlv(4, b"public"), inner)


def secured(inner: bytes) -> bytes:
    """A record of format `snmp-v3`."""
    body = tlv(0x30, tlv(4, b"engine"), tlv(4), inner)
    return SnmpRecord(b"as it came", body + bytes(3), b"noc", b"engine", 2).pack()


variables = st.one_of(usual, binds)
datagrams = st.one_of(
    st.builds(lambda n, b: plain(1, v2(n, b)), numbers, variables),
    st.builds(lambda n, b: plain(0, v1(n, b)), numbers, variables),
)
records = st.builds(lambda n, b: secured(v2(n, b)), numbers, variables)


def one_by_one(data: bytes, is_verified: bool) -> dict[str, Any] | str:
    """What the plain reader says, or why it does not."""
    try:
        found = snmp.decode_verified(data)[1] if is_verified else snmp.decode(data)
    except BadBer as error:
        return str(error)
    assert found is not None
    return {name: value for name, value in found.items() if value is not None}


def as_dicts(found: Notifications) -> dict[int, dict[str, Any] | str]:
    """The rows, by record, in the shape of the plain reader."""
    result: dict[int, dict[str, Any] | str] = dict(found.refused)
    for row, fixed, values, shown in zip(found.rows, found.fixed, found.open, found.varbinds, strict=True):
        whole = {**fixed, **dict(zip(OPEN, values, strict=True)), "varbinds": json.loads(shown)}
        result[row] = {name: value for name, value in whole.items() if value is not None}
    return result


@given(st.lists(datagrams, max_size=6))
def test_both_readers_say_the_same_of_datagrams(sent: list[bytes]) -> None:
    """Three times each, so that the second and third are read by what the first taught."""
    reader = Reader(STANDARD)
    for _ in range(3):
        found = as_dicts(reader.read(sent, is_verified=False))
        assert found == {i: one_by_one(data, False) for i, data in enumerate(sent)}


@given(st.lists(records, max_size=6))
def test_both_readers_say_the_same_of_verified_records(sent: list[bytes]) -> None:
    """The plaintext is read, the datagram it came from is kept."""
    reader = Reader(STANDARD)
    for _ in range(3):
        found = reader.read(sent, is_verified=True)
        assert as_dicts(found) == {i: one_by_one(data, True) for i, data in enumerate(sent)}
        assert set(found.originals) <= {b"as it came"}


@given(datagrams, st.data())
def test_a_changed_datagram_is_read_as_the_plain_reader_reads_it(sent: bytes, data: st.DataObject) -> None:
    """Whatever byte differs from the one that taught."""
    reader = Reader(STANDARD)
    reader.read([sent], is_verified=False)
    changed = bytearray(sent)
    changed[data.draw(st.integers(0, len(sent) - 1))] ^= data.draw(st.integers(1, 255))
    found = as_dicts(reader.read([bytes(changed)], is_verified=False))
    assert found[0] == one_by_one(bytes(changed), False)


@given(st.lists(st.binary(max_size=60), max_size=4), st.booleans())
def test_any_bytes_are_read_or_refused(sent: list[bytes], is_verified: bool) -> None:
    """Each record is a row or has its reason and its bytes."""
    found = Reader(STANDARD).read(sent, is_verified=is_verified)
    assert sorted([*found.rows, *found.refused]) == list(range(len(sent)))
    assert found.refused.keys() == found.datagrams.keys()


def test_what_is_known_is_not_decoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another interface description, another time: the second is sliced."""

    def sent(i: int) -> bytes:
        bind = tlv(0x30, write_oid("1.3.6.1.2.1.2.2.1.2.7"), tlv(4, b"port %d" % i))
        return plain(1, v2(i, [tlv(0x30, write_oid(UPTIME), write_integer(i, 0x43)), bind]))

    reader = Reader(STANDARD)
    reader.read([sent(1)], is_verified=False)
    monkeypatch.setattr(snmp, "decode", None)
    found = reader.read([sent(2)], is_verified=False)
    assert found.column("uptime") == (False, [2])
    assert found.column("interface_description") == (False, ["port 2"])
    assert found.column("community") == (True, "public")
    assert found.column("interface_alias") == (True, None)
    assert json.loads(found.varbinds[0])[0]["value"] == "port 2"


def test_strangers_who_never_repeat_themselves_teach_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many of one block are learned, and never more than the bound in all."""
    monkeypatch.setattr(snmp_traps, "MAX_LEARNED", 5)
    monkeypatch.setattr(snmp_traps, "MAX_KNOWN", 12)
    reader = Reader(STANDARD)
    for block in range(4):
        sent = [plain(1, v2(1, [tlv(0x30, write_oid(f"1.3.{block + 1}.{i}"), tlv(5))])) for i in range(20)]
        assert len(reader.read(sent, is_verified=False).rows) == 20
        assert len(reader._known) <= min(12, 5 * (block + 1))
