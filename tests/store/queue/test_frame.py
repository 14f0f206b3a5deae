"""The frame codec."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soc.errors import NewerStore
from soc.model.record import OVERSIZE, RawBlock
from soc.store.queue import frame
from soc.store.queue.frame import MAX_FRAME, Damage, FrameRef, decode, encode, scan, split

NAMES = st.text(max_size=20).filter(lambda s: s.isprintable())


@st.composite
def blocks(draw):
    records = draw(st.lists(st.binary(max_size=40) | st.just(frame.MAGIC), min_size=1, max_size=8))
    times = draw(st.lists(st.integers(0, 2**62), min_size=len(records), max_size=len(records)))
    flags = draw(st.just(b"") | st.binary(min_size=len(records), max_size=len(records)))
    origin = draw(st.dictionaries(NAMES, NAMES, max_size=2))
    return RawBlock.of(
        records, receipt_ns=times, site=draw(NAMES), listener=draw(NAMES), peer=draw(NAMES), origin=origin, flags=flags
    )


def same(a, b):
    return (
        list(a.records()) == list(b.records())
        and a.receipt_ns.tolist() == b.receipt_ns.tolist()
        and (a.source, a.format, dict(a.origin)) == (b.source, b.format, dict(b.origin))
        and (a.flags or bytes(a.n)) == (b.flags or bytes(b.n))
    )


def frames(data, **options):
    return [item for item in scan(data, final=True, **options) if isinstance(item, FrameRef)]


@given(blocks(), st.integers(0, 2**62))
def test_round_trip(block, seq):
    """A block comes back from its frame with every field, under the node and log it was read from."""
    back = decode(encode(block, seq), node="n1", log="raw")
    assert same(back, block)
    assert (back.node, back.log, back.seq) == ("n1", "raw", seq)


@given(st.lists(blocks(), min_size=1, max_size=4), st.data())
def test_a_torn_end_hides_only_the_frames_it_cut(some, data):
    """Of a stream cut anywhere, exactly the whole frames are found and no error is raised."""
    encoded = [encode(block, i) for i, block in enumerate(some)]
    cut = data.draw(st.integers(0, sum(map(len, encoded))))
    whole = [i for i in range(len(encoded)) if sum(map(len, encoded[: i + 1])) <= cut]
    assert [item.seq for item in scan(b"".join(encoded)[:cut], final=False)] == whole


@settings(max_examples=200)
@given(st.lists(blocks(), min_size=2, max_size=5), st.data())
def test_damage_costs_only_the_frame_it_hit(some, data):
    """A changed byte loses the frame that has it; the others are found and the place is reported."""
    encoded = [encode(block, i) for i, block in enumerate(some)]
    hit = data.draw(st.integers(0, len(encoded) - 1))
    at = data.draw(st.integers(0, len(encoded[hit]) - 1))
    broken = bytearray(encoded[hit])
    broken[at] ^= data.draw(st.integers(1, 255))
    items = list(scan(b"".join([*encoded[:hit], bytes(broken), *encoded[hit + 1 :]]), final=True))
    assert [item.seq for item in items if isinstance(item, FrameRef)] == [i for i in range(len(encoded)) if i != hit]
    assert [item.size for item in items if isinstance(item, Damage)] == [len(broken)]


def test_a_frame_forged_inside_a_message_is_not_believed():
    """A damaged frame whose record holds a valid frame is skipped as a whole."""
    forged = encode(RawBlock.of([b"forged"], receipt_ns=1), 7)
    outer = bytearray(encode(RawBlock.of([forged], receipt_ns=1), 0))
    outer[30] ^= 1
    good = encode(RawBlock.of([b"good"], receipt_ns=1), 9)
    assert [ref.seq for ref in frames(bytes(outer) + good)] == [9]


def test_a_newer_version_is_refused():
    """A frame of a later version raises NewerStore instead of being skipped as damage."""
    import struct
    import zlib

    data = bytearray(encode(RawBlock.of([b"x"], receipt_ns=1), 0))
    data[16] = frame.VERSION + 1
    data[12:16] = struct.pack("<I", zlib.crc32(data[16:]))
    with pytest.raises(NewerStore, match="version 2"):
        list(scan(bytes(data), final=True))


def test_a_large_block_is_split_into_frames_that_fit():
    """No frame exceeds 4 MiB, no record is lost, and `first_record` counts on."""
    records = [bytes([i % 256]) * 60_000 for i in range(200)]
    block = RawBlock.of(records, receipt_ns=list(range(200)), origin={"first_record": "1"}, flags=bytes(199) + b"\1")
    pieces = list(split(block))
    assert [r for p in pieces for r in p.records()] == records
    assert np.concatenate([p.receipt_ns for p in pieces]).tolist() == list(range(200))
    assert b"".join(p.flags for p in pieces) == block.flags
    assert max(len(encode(p, 2**63 - 1)) for p in pieces) <= MAX_FRAME
    assert [p.origin["first_record"] for p in pieces] == ["1", str(1 + pieces[0].n), str(1 + pieces[0].n + pieces[1].n)]


def test_many_small_records_are_split_by_their_overhead_too():
    """Empty records have a cost of their own."""
    block = RawBlock.of([b""] * 500_000, receipt_ns=1, flags=b"\1" * 500_000)
    assert max(len(encode(p, 1)) for p in split(block)) <= MAX_FRAME


def test_a_record_larger_than_a_frame_is_cut_and_flagged():
    """The one record that cannot fit is cut, and says so."""
    pieces = list(split(RawBlock.of([b"a", b"x" * (5 << 20), b"b"], receipt_ns=1)))
    assert [p.is_oversize(0) for p in pieces] == [False, True, False]
    assert pieces[1].flags[0] == OVERSIZE
    assert len(encode(pieces[1], 1)) <= MAX_FRAME
