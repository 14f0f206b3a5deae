"""Whole columns as text and digests: each must be what one value at a time gives."""

from __future__ import annotations

import hashlib
import ipaddress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc.model.position import event_id, position_prefix
from soc.model.record import RawBlock
from soc.parsers.decoders import flow_text
from soc.parsers.decoders.flow_community import community_id, community_rows
from soc.parsers.decoders.flow_values import ipv6_text
from soc.parsers.decoders.sha1_rows import sha1_rows
from soc.parsers.envelope import Envelope

pytestmark = pytest.mark.usefixtures("way")

ROWS = 70
"""Enough that no short way for a few rows is taken."""


def table(data: bytes, width: int) -> np.ndarray:
    """Rows of octets, as many as there have to be."""
    whole = (data * (ROWS * width // len(data) + 1))[: ROWS * width]
    return np.frombuffer(whole, np.uint8).reshape(ROWS, width)


@given(st.binary(min_size=1, max_size=99))
def test_ipv4_addresses(data: bytes) -> None:
    """Against the standard library."""
    rows = table(data, 4)
    expected = [str(ipaddress.IPv4Address(row.tobytes())) for row in rows]
    assert flow_text.ipv4_texts(rows).to_pylist() == expected
    assert flow_text.ipv4_texts(rows[:3]).to_pylist() == expected[:3]


@given(st.binary(min_size=1, max_size=99))
def test_ipv6_mac_and_hexadecimal(data: bytes) -> None:
    """Against the standard library."""
    six, mac = table(data, 16), table(data, 6)
    assert flow_text.ipv6_texts(six, ipv6_text).to_pylist() == [str(ipaddress.IPv6Address(r.tobytes())) for r in six]
    assert flow_text.plain(flow_text.mac_texts(mac)) == flow_text.plain(flow_text.mac_texts(mac[:3])) + flow_text.plain(
        flow_text.mac_texts(mac[3:])
    )
    assert flow_text.mac_texts(mac).to_pylist() == [r.tobytes().hex("-").upper() for r in mac]
    assert flow_text.hex_texts(mac).to_pylist() == [r.tobytes().hex() for r in mac]
    assert flow_text.fixed_binary(mac).to_pylist() == [r.tobytes() for r in mac]


@given(st.binary(min_size=1, max_size=99), st.integers(1, 55))
def test_digests(data: bytes, width: int) -> None:
    """Against hashlib, every length that fits into one block."""
    rows = table(data, width)
    expected = [hashlib.sha1(row.tobytes(), usedforsecurity=False).digest() for row in rows]
    assert [row.tobytes() for row in sha1_rows(rows)] == expected


PROTOCOLS = st.lists(st.sampled_from([0, 1, 6, 17, 47, 58, 132, 255]), min_size=ROWS, max_size=ROWS)
PORTS = st.lists(st.sampled_from([0, 3, 8, 9, 128, 129, 135, 300, 443, 65535]), min_size=ROWS, max_size=ROWS)


@given(st.binary(min_size=1, max_size=40), st.sampled_from([4, 16]), PROTOCOLS, PORTS, PORTS)
def test_community_ids(data: bytes, width: int, protocols: list[int], first: list[int], second: list[int]) -> None:
    """Against one at a time; that one is held against the specification's examples."""
    both = table(data, 2 * width)
    sources, targets = np.ascontiguousarray(both[:, :width]), np.ascontiguousarray(both[:, width:])
    ports = np.array(first, np.uint16), np.array(second, np.uint16)
    found = community_rows(sources, targets, np.array(protocols, np.uint8), ports).to_pylist()
    expected = [
        community_id(a.tobytes(), b.tobytes(), protocol, x, y)
        for a, b, protocol, x, y in zip(sources, targets, protocols, first, second, strict=True)
    ]
    assert found == expected


@given(st.lists(st.integers(0, 40), min_size=1, max_size=200))
def test_small_numbers_and_their_words(numbers: list[int]) -> None:
    """None is missing; of many, each number is asked for once."""
    asked: list[int] = []

    def word(number: int) -> str | None:
        asked.append(number)
        return None if number % 3 == 0 else str(number)

    found = flow_text.plain(flow_text.coded(np.array(numbers), word))
    assert found == [None if number % 3 == 0 else str(number) for number in numbers]
    assert sorted(asked) == sorted(numbers if len(numbers) < flow_text.FEW else set(numbers))


@pytest.mark.parametrize("repeated", [1, 30])
def test_identities_of_parts(repeated: int) -> None:
    """Whole columns have the identities and positions of single events; what is added may carry."""
    block = RawBlock.of([b"a", b"b", b"c"], receipt_ns=1_795_143_600_000_000_000, format="netflow", node="n", seq=5)
    envelope = Envelope(block, 0)
    rows, parts = np.array([0, 0, 2, 1] * repeated), np.array([0, 7, 1, 3] * repeated)
    prefix = position_prefix("n", block.log)
    expected = [event_id(int(block.receipt_ns[r]), prefix, 5, int(r), int(p)) for r, p in zip(rows, parts, strict=True)]
    assert envelope.ids_of_parts(rows, parts).to_pylist() == expected
    assert len(set(expected)) == 4
    assert envelope.positions_of_parts(rows, parts).to_list()[1] == f"n:{block.log}:5:0:7"
