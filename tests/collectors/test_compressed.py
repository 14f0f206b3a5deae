"""Compressed syslog: streams and single messages, and what bombs do to us: nothing."""

import contextlib
import gzip
import os
import resource
import socket
import zlib

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from soc.collectors import compressed
from soc.collectors.compressed import Expander, StreamCut, expand_messages
from soc.collectors.listeners import ListenerSpec
from soc.model.record import INCOMPLETE, OVERSIZE
from tests.collectors.running import MemoryQueue, balances, running, total, until

HOST = "127.7.0.1"
KINDS = ["zlib", "gzip", "zstd"]


def packed(kind, data, level=3):
    if kind == "zlib":
        return zlib.compress(data, level)
    return gzip.compress(data, level) if kind == "gzip" else zstandard.ZstdCompressor(level=level).compress(data)


@contextlib.contextmanager
def expander():
    """One that gives its memory back."""
    with contextlib.closing(Expander()) as made:
        yield made


def drained(expand, data):
    """All it makes of these bytes."""
    expand.put(data)
    while expand.is_behind:
        yield expand.take()


def cut_of(data):
    """What came out before the cut, in bytes, and the cut."""
    seen = b""
    with expander() as expand:
        try:
            for piece in drained(expand, data):
                seen += piece
        except StreamCut as cut:
            return seen, cut
    raise AssertionError("the stream was not cut")


def expanded(chunks):
    """Everything an expander makes of a connection that sends these chunks and closes."""
    found = []
    with expander() as expand:
        for chunk in chunks:
            expand.put(chunk)
            while expand.is_behind:
                found.append(expand.take())
                assert len(found[-1]) <= compressed.PIECE + (128 << 10)
        found.append(expand.finish())
    return b"".join(found)


def spec(protocol="syslog-tcp", **options):
    return ListenerSpec("wire", protocol, HOST, 0, "province", **options)


def send(port, *pieces):
    """Send and close; the peer may hang up first."""
    with socket.create_connection((HOST, port), 30) as sock:
        try:
            for piece in pieces:
                sock.sendall(piece)
        except OSError:
            pass


# the expander ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_splitting_makes_no_difference(kind, data):
    """However a stream is cut into reads, the same bytes come out."""
    text = data.draw(st.lists(st.sampled_from([b"<13>abc\n", b"x" * 300, b"\0", bytes(range(256))])).map(b"".join))
    stream = packed(kind, text)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=8)))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert expanded(chunks) == text == expanded([stream[i : i + 1] for i in range(len(stream))])


@pytest.mark.parametrize("kind", KINDS)
def test_large_streams_come_in_pieces(kind):
    """Ten MiB of text come out whole, in pieces of bounded size, with nothing held back at the end."""
    text = b"".join(b"<13>line %07d %b\n" % (i, os.urandom(20)) for i in range(250_000))
    assert expanded([packed(kind, text)]) == text


@pytest.mark.parametrize("kind", KINDS)
def test_frames_may_follow_frames(kind):
    """A sender that compresses each batch by itself is understood."""
    assert expanded([packed(kind, b"<1>a\n") + packed(kind, b"<1>b\n")]) == b"<1>a\n<1>b\n"


@pytest.mark.parametrize("kind", KINDS)
def test_a_flushed_message_comes_out_at_once(kind):
    """A sender flushes after each message and stays connected: nothing waits for the next one."""
    if kind == "zstd":
        packer = zstandard.ZstdCompressor().compressobj()
        flush = lambda: packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)  # noqa: E731
    else:
        packer = zlib.compressobj(wbits=zlib.MAX_WBITS | (16 if kind == "gzip" else 0))
        flush = lambda: packer.flush(zlib.Z_SYNC_FLUSH)  # noqa: E731
    with expander() as expand:
        for text in (b"<1>first\n", b"<1>second\n"):
            expand.put(packer.compress(text) + flush())
            found = b""
            while expand.is_behind:
                found += expand.take()
            assert found == text


@pytest.mark.parametrize("kind", KINDS)
def test_a_bomb_is_cut(kind):
    """Zeros without end are cut at the ratio, at a bounded size."""
    bomb = packed(kind, b"\0" * (64 << 20), level=9)
    seen, cut = cut_of(bomb)
    assert cut.reason == "expansion"
    assert len(seen) <= compressed.FREE_BYTES + max(compressed.MAX_RATIO * len(bomb), compressed.PIECE)


def test_a_window_that_is_too_large_is_cut():
    """`zstd --long` would have us keep 128 MiB for a connection."""
    params = zstandard.ZstdCompressionParameters.from_level(3, window_log=27)
    packer = zstandard.ZstdCompressor(compression_params=params).compressobj()
    _, cut = cut_of(packer.compress(b"x" * 1000) + packer.flush())
    assert cut.reason == "compression_memory"


def test_a_frame_that_wants_a_dictionary_loses_nothing_and_keeps_no_memory():
    """We have none. As the first frame of a connection it is kept as it came; behind a good one it cuts the stream."""
    words = zstandard.ZstdCompressionDict(b"<13>Nov 20 10:00:00 gw app: " * 40)
    frame = zstandard.ZstdCompressor(dict_data=words).compress(b"<13>Nov 20 10:00:00 gw app: hello\n" * 5)
    assert expanded([frame]) == frame
    found, cut = cut_of(packed("zstd", b"<1>good\n") + frame)
    assert (found, cut.reason) == (b"<1>good\n", "compression_damaged")
    assert compressed._windows._used == 0


def test_windows_of_all_streams_are_bounded_and_given_back():
    """So many zstd streams at once as their windows fit into the bound; a closed one makes room."""
    packer = zstandard.ZstdCompressor(level=19).compressobj()
    start = packer.compress(b"<1>") + packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    full = [Expander() for _ in range(compressed.MAX_WINDOWS // compressed.MAX_WINDOW)]
    for expand in full:
        expand.put(start)
        assert expand.take() == b""
    assert cut_of(start)[1].reason == "compression_memory"
    for expand in full:
        expand.close()
    assert expanded([start]) == b"<1>"


@given(st.lists(st.binary(max_size=60) | st.sampled_from([b"x\x9c", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"]), max_size=6))
def test_any_bytes_end_in_bytes_or_a_cut(chunks):
    """Whatever strangers send, the expander gives bytes or cuts."""
    reason = ""
    try:
        expanded(chunks)
    except StreamCut as cut:
        reason = cut.reason
    assert reason in ("", "expansion", "compression_damaged", "compression_memory")


@pytest.mark.parametrize("text", [b"x^2 + y^2\n", b"x", b"x\x01\n", b"\x28\xb5 no\n", b"x\xda" + b"\xff" * 50])
def test_text_that_begins_like_a_stream_stays_text(text):
    """A plain line must not vanish because of its first bytes."""
    assert expanded([text]) == text
    assert expanded([text[i : i + 1] for i in range(len(text))]) == text


def test_a_damaged_stream_is_cut_behind_its_good_part():
    """What came out before the damage stays."""
    packer = zlib.compressobj()
    found, _ = cut_of(packer.compress(b"<1>good\n") + packer.flush(zlib.Z_SYNC_FLUSH) + b"\xff" * 40)
    assert found == b"<1>good\n"


# single messages ------------------------------------------------------------------------------------------------------


def test_single_messages_are_expanded():
    """omfwd's `z` messages become text; others, and what only looks like one, stay."""
    records = [b"z" + zlib.compress(b"<13>hello", level) for level in range(1, 10)] + [b"<1>z", b"zx\x9cnonsense", b"z"]
    expand_messages(records, {}, 100)
    assert records == [b"<13>hello"] * 9 + [b"<1>z", b"zx\x9cnonsense", b"z"]


def test_a_single_bomb_is_cut_at_the_limit():
    """A message that expands to a gigabyte costs its limit."""
    bomb, flags = [b"z" + zlib.compress(b"<1>" + b"A" * (100 << 20), 9)], {}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    expand_messages(bomb, flags, 65536)
    assert (len(bomb[0]), flags) == (65536, {0: OVERSIZE})
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4096


@pytest.mark.parametrize("protocol", ["syslog-udp", "syslog-tcp"])
def test_single_messages_arrive(tmp_path, protocol):
    """Over UDP, and octet-counted over TCP, beside messages that were too short to be compressed."""
    queue, texts = MemoryQueue(), [b"<13>" + b"long " * 50, b"<13>short"]
    wire = [b"z" + zlib.compress(texts[0]), texts[1]]
    with running([spec(protocol)], queue, tmp_path / "c.json") as (collector, ports):
        if protocol == "syslog-udp":
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                for record in wire:
                    sock.sendto(record, (HOST, ports["wire"]))
        else:
            send(ports["wire"], b"".join(b"%d %b" % (len(record), record) for record in wire))
        assert until(lambda: total(collector, "queued") == 2)
    assert queue.records == texts


def test_a_single_bomb_over_udp_is_flagged(tmp_path):
    """Cut at the listener's limit, flagged, counted."""
    queue = MemoryQueue()
    with running([spec("syslog-udp", max_bytes=1000)], queue, tmp_path / "c.json") as (collector, ports):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"z" + zlib.compress(b"<1>" + b"A" * 5_000_000), (HOST, ports["wire"]))
        assert until(lambda: total(collector, "flagged") == 1)
    assert [(len(block.data), block.flags[0]) for block in queue.blocks] == [(1000, OVERSIZE)]


# connections ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame", [lambda r: b"%d %b" % (len(r), r), lambda r: r + b"\n"], ids=["octet", "lf"])
@pytest.mark.parametrize("kind", KINDS)
def test_compressed_connections_arrive(tmp_path, kind, frame):
    """Streams are told by their first bytes and framed inside like any other."""
    queue, records = MemoryQueue(), [b"<13>number %06d" % i for i in range(100_000)]
    with running([spec()], queue, tmp_path / "c.json") as (collector, ports):
        send(ports["wire"], packed(kind, b"".join(map(frame, records))))
        assert until(lambda: total(collector, "queued") == len(records))
    assert queue.records == records


def test_a_compressed_flood_waits_for_the_queue(tmp_path):
    """What a few compressed bytes expand to goes through the intake's bound piece by piece; nothing is dropped."""
    queue, records = MemoryQueue(), [b"<13>%06d" % i + b"x" * 200 for i in range(100_000)]
    with running([spec()], queue, tmp_path / "c.json", max_waiting=6 << 20) as (collector, ports):
        send(ports["wire"], packed("zlib", b"\n".join(records) + b"\n"))
        assert until(lambda: total(collector, "queued") == len(records))
        assert total(collector, "queue_full") == 0
    assert queue.records == records


def test_the_end_of_the_collector_takes_compressed_bytes(tmp_path):
    """What a compressed client sent before the collector stops is in the queue."""
    queue, records = MemoryQueue(), [b"<13>%06d" % i for i in range(50_000)]
    with running([spec()], queue, tmp_path / "c.json") as (_, ports):
        send(ports["wire"], packed("zstd", b"\n".join(records)))
    assert queue.records == records


@pytest.mark.parametrize("kind", KINDS)
def test_a_bomb_is_cut_counted_and_flagged(tmp_path, kind):
    """The connection ends, one drop and one refusal say why, what had begun is flagged, the next peer is served."""
    queue, bomb = MemoryQueue(), packed(kind, b"<13>good\n" + b"<13>" + b"\0" * (256 << 20), level=9)
    with running([spec()], queue, tmp_path / "c.json") as (collector, ports):
        send(ports["wire"], bomb)
        assert until(lambda: total(collector, "expansion") == 1)
        send(ports["wire"], b"<13>next\n")
        assert until(lambda: total(collector, "queued") == 3)
        rows = collector.counters()
    assert [row["refused_for"] for row in rows] == [{"expansion": 1}]
    assert balances(rows)
    assert [record[:9] for record in queue.records] == [b"<13>good", b"<13>" + b"\0" * 5, b"<13>next"]
    flags = [bits for block in queue.blocks for bits in (block.flags or bytes(block.n))]
    assert flags == [0, OVERSIZE, 0]


def test_a_message_inside_the_cut_is_flagged_incomplete(tmp_path):
    """The message that had begun when a stream is damaged is kept and says that it is not whole."""
    packer, queue = zlib.compressobj(), MemoryQueue()
    start = packer.compress(b"<1>whole\n<1>beg") + packer.flush(zlib.Z_SYNC_FLUSH)
    with (
        running([spec()], queue, tmp_path / "c.json") as (collector, ports),
        socket.create_connection((HOST, ports["wire"]), 30) as sock,
    ):
        sock.sendall(start)
        assert until(lambda: total(collector, "queued") == 1)
        sock.sendall(b"\xff" * 50)
        assert until(lambda: total(collector, "compression_damaged") == 1)
        assert until(lambda: total(collector, "queued") == 2)
    assert queue.records == [b"<1>whole", b"<1>beg"]
    assert queue.blocks[-1].flags[-1] == INCOMPLETE
