"""GELF over UDP, in chunks and compressed, and over TCP."""

import gzip
import json
import socket
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc.collectors import gelf
from soc.collectors.gelf import Assembly, GelfFramer, expanded
from soc.collectors.listeners import ListenerSpec
from soc.model.record import INCOMPLETE, OVERSIZE
from tests.collectors.running import MemoryQueue, balances, running, total, until

HOST = "127.7.4.2"
MESSAGE = b'{"version":"1.1","host":"app01","short_message":"\xc4\x91\xc4\x83ng nh\xe1\xba\xadp"}'


def chunks(payload, size, identity=b"12345678"):
    parts = [payload[i : i + size] for i in range(0, len(payload), size)]
    return [gelf.CHUNK + identity + bytes([i, len(parts)]) + part for i, part in enumerate(parts)]


def spec(protocol, **options):
    return ListenerSpec("g", protocol, HOST, 0, "s", **options)


def send(port, datagrams):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for datagram in datagrams:
            sock.sendto(datagram, (HOST, port))


# datagrams ------------------------------------------------------------------------------------------------------------


def test_datagrams_of_every_kind(tmp_path):
    """Plain, zlib, gzip, and in chunks out of order, compressed as a whole."""
    queue = MemoryQueue()
    parts = chunks(zlib.compress(MESSAGE), 20)
    with running([spec("gelf-udp")], queue, tmp_path / "c.json") as (collector, ports):
        send(ports["g"], [MESSAGE, zlib.compress(MESSAGE), gzip.compress(MESSAGE), *reversed(parts), parts[0]])
        assert until(lambda: total(collector, "queued") == 4)
        assert balances(collector.counters())
    assert queue.records[:4] == [MESSAGE] * 4
    assert queue.blocks[0].format == "gelf"
    # The doubled last datagram began a message of its own; at the end it is kept as it came.
    assert queue.records[4:] == [parts[0]]


def test_what_stays_incomplete_is_kept_and_counted(tmp_path, monkeypatch):
    """After its time each chunk is a record, flagged."""
    monkeypatch.setattr(gelf, "WHOLE_S", 0.2)
    queue = MemoryQueue()
    parts = chunks(MESSAGE, 10)
    with running([spec("gelf-udp")], queue, tmp_path / "c.json") as (collector, ports):
        send(ports["g"], parts[:-1])
        assert until(lambda: total(collector, "flagged") == len(parts) - 1)
    assert queue.records == parts[:-1]
    assert set(queue.blocks[0].flags) == {INCOMPLETE}


def test_strangers_and_bombs(tmp_path):
    """Who is not allowed is counted; what expands too far is cut and flagged."""
    queue = MemoryQueue()
    with running([spec("gelf-udp", max_bytes=1000)], queue, tmp_path / "c.json") as (collector, ports):
        send(
            ports["g"],
            [zlib.compress(b"x" * 10_000_000), gzip.compress(MESSAGE)[:-9], b"\x1e\x0f", b"\x1e\x0fabcdefgh\x05\x02x"],
        )
        assert until(lambda: total(collector, "queued") == 4)
    flags = [bit for block in queue.blocks for bit in block.flags]
    assert (max(map(len, queue.records)), sorted(flags)) == (
        1000,
        sorted([OVERSIZE, INCOMPLETE, INCOMPLETE, INCOMPLETE]),
    )
    with running([spec("gelf-udp", allow=("192.0.2.1",))], queue, tmp_path / "d.json") as (collector, ports):
        send(ports["g"], chunks(MESSAGE, 10))
        assert until(lambda: total(collector, "not_allowed") == len(chunks(MESSAGE, 10)))


@given(st.binary(min_size=1, max_size=400), st.integers(4, 60), st.data())
def test_chunks_in_any_order(payload, size, data):
    """With doubles among them, and another sender's and another message's in between: the payload, once."""
    parts = chunks(payload, size)
    noise = [("b", chunk) for chunk in chunks(payload[::-1], size)[:-1]] + [
        ("a", chunk) for chunk in chunks(b"z" * 9, 3, b"otherids")[1:]
    ]
    order = data.draw(st.permutations([("a", chunk) for chunk in parts] + noise))
    assembly, whole = Assembly(), []
    for peer, chunk in order:
        found, given_up = assembly.add(peer, chunk, 0.0)
        assert given_up == []
        whole += [found] if found is not None else []
    assert payload in whole
    assert len(whole) == 1 + (len(parts) == 1 and 0)
    left = assembly.expired(10.0)
    assert len(left) == len(noise) if len(parts) > 1 else True
    assert (assembly.size, len(assembly)) == (0, 0)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.binary(max_size=14).map(lambda b: gelf.CHUNK + b)), max_size=60))
def test_no_chunk_is_lost(datagrams):
    """Whatever the heads say: each chunk is in a message, doubled, or given back."""
    assembly, back, wholes = Assembly(), [], 0
    for peer, chunk in datagrams:
        found, given_up = assembly.add(peer, chunk, 0.0)
        wholes += found is not None
        back += given_up
    back += assembly.expired(float("inf"))
    assert set(back) <= set(datagrams)
    assert wholes or set(back) == set(datagrams)
    assert (assembly.size, len(assembly)) == (0, 0)


def test_the_bounds_hold(monkeypatch):
    """One sender pushes out its own; all together stay below the bytes; what goes is given back."""
    monkeypatch.setattr(gelf, "MAX_BYTES", 20_000)
    assembly, back = Assembly(), []
    assembly.add("quiet", chunks(b"ab", 1, b"quiet001")[0], 0.0)
    for n in range(2000):
        back += assembly.add("loud", gelf.CHUNK + n.to_bytes(8, "big") + b"\0\2x", 1.0)[1]
        assert assembly.size <= 20_000 + 200
        assert len(assembly) <= gelf.MAX_OF_PEER + 1
    assert len(back) + len(assembly) == 2001
    monkeypatch.undo()
    assembly, back = Assembly(), []
    assembly.add("quiet", chunks(b"ab", 1, b"quiet001")[0], 0.0)
    for n in range(1000):
        back += assembly.add("loud", gelf.CHUNK + n.to_bytes(8, "big") + b"\0\2x", 1.0)[1]
    assert assembly.add("quiet", chunks(b"ab", 1, b"quiet001")[1], 2.0)[0] == b"ab"


@given(st.binary(max_size=200) | st.binary(max_size=60).map(zlib.compress) | st.binary(max_size=60).map(gzip.compress))
def test_any_payload_expands_within_the_bound(payload):
    """Never more than asked for, never an error."""
    text, bits = expanded(payload, 50)
    assert len(text) <= 50
    assert bits in (0, OVERSIZE, INCOMPLETE)


# streams --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["gelf-tcp"])
@pytest.mark.parametrize("end", [b"\0", b"\n", b"\r\n"])
def test_streams_end_their_messages(tmp_path, protocol, end):
    """With NUL as the specification says, or with a line end as some do."""
    queue = MemoryQueue()
    with running([spec(protocol)], queue, tmp_path / "c.json") as (collector, ports):
        with socket.create_connection((HOST, ports["g"]), 30) as sock:
            sock.sendall(MESSAGE + end + MESSAGE + end + MESSAGE)
        assert until(lambda: total(collector, "queued") == 3)
    assert queue.records == [MESSAGE] * 3


TEXTS = st.dictionaries(st.text(max_size=4), st.text(max_size=8) | st.integers(0, 9), max_size=3)


@given(st.lists(TEXTS, min_size=1, max_size=5), st.sampled_from(["nul", "line", "pretty"]), st.data())
def test_the_split_of_a_stream_makes_no_difference(values, kind, data):
    """JSON over several lines stays one message when NUL ends it."""
    indent = 2 if kind == "pretty" else None
    texts = [json.dumps({"short_message": "m", **value}, indent=indent).encode() for value in values]
    end = b"\n" if kind == "line" else b"\0"
    stream = b"".join(text + end for text in texts)
    framer, found, at = GelfFramer(), [], 0
    while at < len(stream):
        step = data.draw(st.integers(1, len(stream)))
        found += framer.feed(stream[at : at + step])[0]
        at += step
    assert found + framer.close()[0] == texts


@given(st.lists(st.binary(max_size=60) | st.just(b"\0") | st.just(b"{}\n"), max_size=12))
def test_framing_noise(pieces):
    """No error, no record over the limit, nothing kept beyond it."""
    framer = GelfFramer(20)
    for piece in [*pieces, b""]:
        records, flags = framer.feed(piece)
        assert all(0 < len(record) <= 20 for record in records)
        assert set(flags.values()) <= {OVERSIZE}
        assert len(framer._rest) <= 21
