"""The compiled kernel gives what the pure code gives, octet by octet, and refuses what would lead it astray."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import zlib
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc.model import kernel as compiled_kernel
from soc.model.record import RawBlock
from soc.parsers import ParserSet, ParserState, envelope, mapping
from soc.parsers.decoders import flow_community, flow_text, flow_values, ipfix, netflow_v5, netflow_v9
from soc.parsers.decoders.flow_runs import Before, Records, gather
from soc.parsers.decoders.flow_values import Number, cell_format, number_at
from tests.parsers.conftest import RECEIPT_NS, without_kernel
from tests.parsers.flow_bytes import PLAIN, Field, a_set, plain, template, v5_of, v9, v9_options, v9_template
from tests.parsers.flow_bytes import ipfix as ipfix_of

kernel: Any = compiled_kernel.kernel
PLAINS = {5: netflow_v5.DIALECT.plain, 9: netflow_v9.DIALECT.plain, 10: ipfix.DIALECT.plain}
NUMBERS = [f"{sign}{bits}" for sign in ("unsigned", "signed") for bits in (8, 16, 32, 64)]
SPEC = st.tuples(st.integers(1, 400), st.sampled_from([1, 2, 3, 4, 6, 8, 8, 16, 20, 65535]))
SPECS: st.SearchStrategy[list[Field]] = st.lists(SPEC, max_size=8).map(list)


@st.composite
def messages(draw: st.DrawFn) -> list[bytes]:
    """What exporters of both kinds send: templates, then data that mostly follow each other; some octets are wrong."""
    specs = [*(PLAIN if draw(st.booleans()) else ()), *draw(SPECS)] or list(PLAIN)
    size = sum(spec[1] for spec in specs if spec[1] < 65535) or 4
    version, seq = draw(st.sampled_from([5, 9, 10])), draw(st.sampled_from([0, 7, 2**32 - 5]))
    result = [v9(v9_template(256, specs), seq=seq), v9(v9_options(257, [(1, 4)], [(34, 4)]), seq=seq)]
    result += [ipfix_of(template(256, specs), seq=seq)]
    for _ in range(draw(st.integers(1, 8))):
        n = draw(st.sampled_from([1, 2, 2, 2, 3]))
        if version == 9:
            seq += 1
        seq = (seq + draw(st.sampled_from([0, 0, 0, 0, 1]))) % 2**32
        padding = draw(st.sampled_from([b"", b"", b"\0\0\0", b"abc", bytes(9)]))
        body = draw(st.binary(min_size=n * size, max_size=n * size)) + padding
        data = a_set(draw(st.sampled_from([256, 256, 256, 256, 257, 300])), body, pad=False)
        made = {5: v5_of(n, n, seq=seq, extra=padding), 9: v9(data, seq=seq), 10: ipfix_of(data, seq=seq)}[version]
        if version != 9:
            seq = (seq + n) % 2**32
        if draw(st.integers(0, 9)) == 0:
            at = draw(st.integers(0, len(made) - 1))
            made = draw(st.sampled_from([made[:at], made[:at] + b"\xff" + made[at + 1 :], made + b"\1"]))
        result.append(made)
    return result


def events(parsers: ParserSet, datagrams: list[bytes]) -> tuple[list[dict[str, Any]], bytes]:
    """Of two blocks, the second read with what the first taught; and the state behind them."""
    state, rows = ParserState(), []
    for seq, several in enumerate((datagrams[:5], datagrams[5:])):
        block = RawBlock.of(several, receipt_ns=RECEIPT_NS, format="netflow", peer="192.0.2.1", seq=seq)
        batches, state = parsers.parse(block, state, RECEIPT_NS)
        rows += [(batch.dataset, row) for batch in batches for row in batch.rows()]
    return rows, state.snapshot()


@given(messages(), st.sampled_from([0, 64]))
def test_both_give_the_same_events(parsers: ParserSet, datagrams: list[bytes], few: int) -> None:
    """Any template, any octets, in order or not, cut or with octets changed: events and memory are the same."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((flow_text, "FEW"), (mapping, "FEW"), (envelope, "FEW"), (flow_community, "_FEW")):
            patch.setattr(module, name, few)
        compiled = events(parsers, datagrams)
        with without_kernel():
            assert events(parsers, datagrams) == compiled


def test_a_changed_octet_is_seen(parsers: ParserSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison above would see a kernel that reads a number wrongly."""
    told = [v9(v9_template(256, PLAIN), seq=1), *(v9(a_set(256, plain() * 2), seq=n) for n in range(2, 6))]
    with without_kernel():
        expected = events(parsers, told)

    def wrong(fixed: bytes, size: int, cells: Any, out: Any) -> Any:
        fits = kernel.flow_columns(fixed, size, cells, out)
        out[0, -1] ^= 1
        return fits

    broken = SimpleNamespace(**vars(kernel) | {"flow_columns": wrong})
    monkeypatch.setattr(compiled_kernel, "kernel", broken)
    assert events(parsers, told) != expected


@pytest.mark.parametrize("name", ["flow_run", "flow_columns", "ipv4_texts", "position_texts", "community_texts"])
def test_where_it_fails_the_pure_code_does_the_work(
    parsers: ParserSet, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """And it is counted."""
    flows = [plain(f"10.1.1.{n}", f"10.1.2.{n}") * 40 for n in range(2, 120)]
    told = [v9(v9_template(256, PLAIN), seq=1), *(v9(a_set(256, some), seq=n) for n, some in enumerate(flows, 2))]
    expected = events(parsers, told)
    counted = compiled_kernel.failures[name]

    def fails(*arguments: Any) -> Any:
        raise RuntimeError("the kernel panicked")

    monkeypatch.setattr(compiled_kernel, "kernel", SimpleNamespace(**vars(kernel) | {name: fails}))
    assert events(parsers, told) == expected
    assert compiled_kernel.failures[name] > counted


@given(
    st.sampled_from([5, 9, 10]), st.lists(messages(), min_size=1, max_size=2), st.integers(1, 60), st.integers(0, 7),
    st.sampled_from(["before", "after", "messages", ""]), st.integers(0, 2**32 - 1) | st.sampled_from([0, 6, 7]),
    st.none() | st.integers(0, 4),
)  # fmt: skip
def test_runs_are_the_same(
    version: int, several: list[list[bytes]], size: int, padding: int, counts: str, sequence: int, count: int | None
) -> None:
    """Whatever stands before them and wherever one begins to read."""
    datagrams = [one for each in several for one in each]
    block = RawBlock.of(datagrams, receipt_ns=RECEIPT_NS)
    records, before = Records.of(block.data, block.end), Before(version, size, padding, counts, sequence, count)
    rows = np.flatnonzero([int.from_bytes(one[:2], "big") == version for one in datagrams])
    for at in range(len(rows)):
        found = gather(records, rows, at, before, PLAINS[version])
        with without_kernel():
            expected = gather(records, rows, at, before, PLAINS[version])
        assert [np.asarray(part).tolist() for part in found[:4]] == [np.asarray(part).tolist() for part in expected[:4]]
        assert found[4:] == expected[4:]


@given(st.sampled_from([*NUMBERS, "dateTimeSeconds", "dateTimeMilliseconds"]), st.integers(1, 8), st.data())
def test_numbers_are_the_same(kind: str, length: int, data: st.DataObject) -> None:
    """Each kind in each length that it may have, also where an int64 ends."""
    form = cell_format(kind, length)
    number = number_at(kind, length, 3) if form else None
    if form is None or number is None:
        return
    edge = st.sampled_from([b"\0" * length, b"\xff" * length, b"\x7f" + b"\xff" * (length - 1)])
    pieces = data.draw(st.lists(edge | st.binary(min_size=length, max_size=length), min_size=1, max_size=600))
    fixed = b"".join(b"abc" + piece + b"d" for piece in pieces)
    found = flow_values.numbers(fixed, length + 4, [(kind, number)])
    expected = flow_values.column(kind, np.frombuffer(b"".join(pieces), form))
    if isinstance(expected, list):  # too large for an int64: left to the pure code
        assert found == {}
    else:
        assert (found[0].dtype, found[0].tolist()) == (expected.dtype, expected.tolist())


@given(st.lists(st.binary(min_size=4, max_size=4), max_size=300))
def test_addresses_are_the_same(addresses: list[bytes]) -> None:
    """Dotted, as Python's own library writes them."""
    found = flow_text.text_array(*kernel.ipv4_texts(b"".join(addresses))).to_pylist()
    assert found == [str(ipaddress.IPv4Address(one)) for one in addresses]


def test_every_octet_is_written() -> None:
    """In each of the four places."""
    octets = [bytes(value if place == k else 7 for k in range(4)) for place in range(4) for value in range(256)]
    found = flow_text.text_array(*kernel.ipv4_texts(b"".join(octets))).to_pylist()
    assert found == [".".join(map(str, one)) for one in octets]


@given(st.integers(1, 80), st.binary(max_size=800), st.integers(0, 2**32 - 1))
def test_digests_are_the_same(size: int, data: bytes, start: int) -> None:
    """Of community ids and of frames."""
    whole = data[: len(data) // size * size]
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
    digests = (base64.b64encode(hashlib.sha1(piece, usedforsecurity=False).digest()) for piece in pieces)
    assert kernel.community_texts(whole, size) == b"".join(b"1:" + digest for digest in digests)
    assert kernel.crc32(data, start) == zlib.crc32(data, start)


@pytest.mark.parametrize(
    "call",
    [
        lambda end, rows, out: kernel.flow_run(b"abc", end + 9, rows, 0, Before(9, 4, 3, "after", 0, 1)),
        lambda end, rows, out: kernel.flow_run(b"abc", end[::-1].copy(), rows, 1, Before(9, 4, 3, "after", 0, 1)),
        lambda end, rows, out: kernel.flow_run(b"abc", end, rows - 5, 0, Before(9, 4, 3, "after", 0, 1)),
        lambda end, rows, out: kernel.flow_run(b"abc", end, rows + 5, 0, Before(9, 4, 3, "after", 0, 1)),
        lambda end, rows, out: kernel.flow_run(b"abc", end, rows, 0, Before(9, 0, 3, "after", 0, 1)),
        lambda end, rows, out: kernel.flow_columns(b"abcd", 3, [Number(0, 1, False, 1, 9)], out),
        lambda end, rows, out: kernel.flow_columns(b"abcd", 0, [Number(0, 1, False, 1, 9)], out),
        lambda end, rows, out: kernel.flow_columns(b"abcd", 4, [Number(3, 2, False, 1, 9)], out),
        lambda end, rows, out: kernel.flow_columns(b"abcd", 4, [Number(2**64 - 1, 2, False, 1, 9)], out),
        lambda end, rows, out: kernel.flow_columns(b"abcd", 4, [Number(0, 9, False, 1, 9)], out),
        lambda end, rows, out: kernel.flow_columns(b"abcd", 4, [Number(0, 0, False, 1, 9)], out),
        lambda end, rows, out: kernel.flow_columns(b"abcd", 4, [Number(0, 1, False, 1, 9)] * 2, out),
        lambda end, rows, out: kernel.position_texts(["a:"], rows + 1, rows),
        lambda end, rows, out: kernel.position_texts(["a:"], rows - 9, rows),
        lambda end, rows, out: kernel.position_texts(["a:"] * 2, rows, rows - 9),
        lambda end, rows, out: kernel.position_texts(["a:"] * 2, rows, rows[:1]),
        lambda end, rows, out: kernel.community_texts(b"abc", 2),
        lambda end, rows, out: kernel.community_texts(b"abc", 0),
    ],
)
def test_what_leads_astray_is_refused(call: Any) -> None:
    """Ends behind the octets, rows that are not there, arrays of another size: an error, no panic and no wild read."""
    with pytest.raises(ValueError, match=r"record|octets|element|array|event"):
        call(np.array([1, 3], np.uint32), np.arange(2), np.empty((1, 1), np.int64))


def test_a_read_only_array_stays_as_it_is() -> None:
    """Also one whose octets somebody else holds."""
    out = np.zeros((1, 1), np.int64)
    out.flags.writeable = False
    with pytest.raises((BufferError, ValueError)):
        kernel.flow_columns(b"abcd", 4, [Number(0, 4, False, 1, 2**32)], out)
    assert out.tolist() == [[0]]
