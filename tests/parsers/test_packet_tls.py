"""TLS handshakes, beside tshark on the same octets and the published examples of JA4."""

from __future__ import annotations

import io
import json
import random
import re
import struct
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc.parsers.decoders import packet_file, packet_tls
from soc.parsers.decoders.packet_file import Packet
from soc.parsers.decoders.packet_sensor import Sensor
from soc.parsers.decoders.packet_streams import At
from tests.parsers.packet_oracles import capture, kind, of, ours, tshark

FIELDS = (
    "tcp.stream", "tls.handshake.type", "tls.handshake.ja3", "tls.handshake.ja3s", "tls.handshake.ciphersuite",
    "tls.handshake.extensions_server_name", "tls.handshake.extensions_alpn_str", "x509ce.dNSName",
    "x509sat.uTF8String", "x509af.utcTime", "x509af.serialNumber", "frame.number",
)  # fmt: skip


def test_handshakes_say_what_tshark_says() -> None:
    """Each connection: JA3, JA3S, the name, the chosen cipher, what was offered, and the server's certificate."""
    path = capture("office.pcap")
    found = kind(ours(path), "tls")
    rows = tshark(path, *FIELDS, show="tls.handshake.type in {1,2,11}")
    streams: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        stream = streams.setdefault(row["tcp.stream"][0], {name: [] for name in FIELDS})
        for name in FIELDS:
            stream[name] += row[name]
    theirs = sorted(streams.values(), key=lambda s: int(s["frame.number"][0]))
    assert len(theirs) == len(found) == 5
    for ours_, said in zip(found, theirs, strict=True):
        assert [ours_["ja3"]] == said["tls.handshake.ja3"]
        assert [ours_["ja3s"]] == said["tls.handshake.ja3s"]
        assert [n for n in (ours_.get("server_name"),) if n] == said["tls.handshake.extensions_server_name"]
        assert ours_.get("offered_protocols", []) == said["tls.handshake.extensions_alpn_str"]
        *offered, chosen = [int(n, 16) for n in said["tls.handshake.ciphersuite"]]
        assert ours_["cipher"] == packet_tls.cipher_name(chosen)
        assert ours_["supported_ciphers"] == [packet_tls.cipher_name(n) for n in offered]
        if ours_["version"] == "1.2":
            assert ours_["server_names"] == said["x509ce.dNSName"]
            assert ours_["server_serial"] == said["x509af.serialNumber"][0].replace(":", "").upper()
            begins = datetime.fromisoformat(said["x509af.utcTime"][0][:19]).replace(tzinfo=UTC)
            assert ours_["server_not_before_us"] == begins.timestamp() * 1_000_000
        else:
            assert "server_names" not in ours_
    assert {f["version"] for f in found} == {"1.2", "1.3"}
    assert all(f["established"] for f in found)


CIPHERS = "1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035"
EXTENSIONS = "001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,0015"
ALGORITHMS = "0403,0804,0401,0503,0805,0501,0806,0601"


def numbers(text: str) -> list[int]:
    return [int(n, 16) for n in text.split(",")] if text else []


def test_the_published_example_of_ja4() -> None:
    """The lists and the fingerprints of technical_details/JA4.md, with GREASE strewn in."""
    grease = [0x0A0A, 0xFAFA]
    ciphers, extensions = grease + numbers(CIPHERS), numbers(EXTENSIONS) + grease
    found = packet_tls.ja4(0x0304, ciphers, extensions, [b"h2"], [0x1A1A, *numbers(ALGORITHMS)])
    assert found == "t13d1516h2_8daaf6152771_e5627efa2ab1"
    assert packet_tls.ja4(0x0304, ciphers, extensions, [b"h2"], []).endswith("_6d807ffa2a79")
    assert packet_tls.ja4(0x0303, [], [], [], []) == "t12i000000_000000000000_000000000000"
    assert packet_tls.ja4(0x0305, [1] * 120, [0, 16], [], []).startswith("t00d990200_")


@pytest.mark.parametrize(
    ("name", "shown"),
    [(b"http/1.1", "h1"), (b"h", "hh"), (b"\xab", "ab"), (b"\xab\xcd", "ad"), (b"0\xab", "3b"),
     (b"01\xab\xcd", "3d"), (b"0\xab\xcd1", "01"), (b"", "00")],
)  # fmt: skip
def test_the_published_forms_of_odd_protocols(name: bytes, shown: str) -> None:
    """First and last character of the first ALPN value, or of its hexadecimal form."""
    assert packet_tls.ja4(0x0304, [1], [16], [name], [])[8:10] == shown


class Told:
    """A teller that keeps what it is told."""

    def __init__(self) -> None:
        self.records: list[dict] = []

    def tell(self, kind, flow, at, values, is_reply=False) -> None:
        self.records.append({"kind": kind, "turned": is_reply, **values})

    def quiet(self, side) -> None:
        pass


AT = At(1, 1, 24, "")


def record(body: bytes, kind: int = 22) -> bytes:
    return struct.pack(">BHH", kind, 0x0301, len(body)) + body


def hello(extensions: bytes = b"", ciphers: bytes = b"\x13\x01\x0a\x0a", session: bytes = b"") -> bytes:
    body = (
        b"\x03\x03"
        + b"r" * 32
        + bytes([len(session)])
        + session
        + struct.pack(">H", len(ciphers))
        + ciphers
        + b"\x01\x00"
    )
    body += struct.pack(">H", len(extensions)) + extensions if extensions else b""
    return b"\x01" + len(body).to_bytes(3, "big") + body


def server(random_: bytes = b"s" * 32, version: bytes = b"") -> bytes:
    body = b"\x03\x03" + random_ + b"\x00\x13\x01\x00"
    extensions = b"\x00\x2b\x00\x02" + version if version else b""
    body += struct.pack(">H", len(extensions)) + extensions
    return b"\x02" + len(body).to_bytes(3, "big") + body


def test_a_hello_over_many_records_and_segments() -> None:
    """Records of seven octets, segments of three: the same as in one piece."""
    whole = hello(b"\x00\x00\x00\x08\x00\x06\x00\x00\x03a.b")
    told: list[list[dict]] = []
    for size, step in ((7, 3), (10_000, 10_000)):
        stream = b"".join(record(whole[i : i + size]) for i in range(0, len(whole), size))
        teller = Told()
        talk = packet_tls.TlsTalk(teller, None)  # type: ignore[arg-type]
        for i in range(0, len(stream), step):
            assert talk.data(False, stream[i : i + step], AT)
        talk.finish()
        told.append(teller.records)
    assert told[0] == told[1]
    [found] = told[0]
    assert (found["server_name"], found["supported_ciphers"]) == ("a.b", ["TLS_AES_128_GCM_SHA256"])
    assert found["established"] is False


def test_a_hello_that_is_asked_again() -> None:
    """After HelloRetryRequest and its ChangeCipherSpec the second hello and the answer are still in clear."""
    retry = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
    teller = Told()
    talk = packet_tls.TlsTalk(teller, None)  # type: ignore[arg-type]
    change, data = record(b"\x01", 20), record(b"x" * 20, 23)
    assert talk.data(False, record(hello()), AT)
    assert talk.data(True, record(server(retry, b"\x03\x04")) + change, AT)
    assert talk.data(False, change + record(hello()), AT)
    assert not talk.data(True, record(server(version=b"\x03\x04")) + data, AT)
    assert not talk.data(False, data, AT)
    [found] = teller.records
    assert (found["version"], found["established"], found["is_retried"]) == ("1.3", True, True)


def test_a_refused_handshake_tells_the_alert() -> None:
    """The alert's name; nothing is established."""
    teller = Told()
    talk = packet_tls.TlsTalk(teller, None)  # type: ignore[arg-type]
    talk.data(False, record(hello()), AT)
    talk.data(True, record(b"\x02\x28", 21), AT)
    talk.finish()
    [found] = teller.records
    assert (found["alert"], found["established"]) == ("handshake_failure", False)


def test_a_certificate_that_cannot_be_read_keeps_its_digest() -> None:
    """A damaged certificate is flagged."""
    chain = b"\x00\x00\x05" + b"\x30\x03abc"
    body = len(chain).to_bytes(3, "big") + chain
    teller = Told()
    talk = packet_tls.TlsTalk(teller, None)  # type: ignore[arg-type]
    talk.data(False, record(hello()), AT)
    talk.data(True, record(server() + b"\x0b" + len(body).to_bytes(3, "big") + body), AT)
    talk.finish()
    [found] = teller.records
    assert found["marks"] == ["certificate_unreadable"]
    assert re.fullmatch("[0-9A-F]{64}", found["server_sha256"])


@given(st.binary(max_size=300), st.booleans(), st.integers(1, 50))
def test_no_octets_break_it(tail: bytes, reply: bool, step: int) -> None:
    """Whatever follows a hello."""
    talk = packet_tls.TlsTalk(Told(), None)  # type: ignore[arg-type]
    stream = record(hello()) + tail
    for i in range(0, len(stream), step):
        if not talk.data(reply, stream[i : i + step], AT):
            break
    talk.finish()


@given(st.randoms(use_true_random=False))
def test_a_damaged_hello_is_read_or_flagged(chance: random.Random) -> None:
    """One octet of a real hello changed."""
    packets = [p for p in packet_file.read(io.BytesIO(capture("office.pcap").read_bytes())) if isinstance(p, Packet)]
    first = packets[186]
    data = bytearray(first.data)
    data[chance.randint(66, len(data) - 1)] = chance.randint(0, 255)
    sensor = Sensor()
    sensor.take(first._replace(data=bytes(data)))
    sensor.finish()
    assert sensor.sums()["flow_packets"] == 1


def test_shuffled_packets_of_a_connection_say_the_same() -> None:
    """Segments that arrive in another order within a burst give the same events."""
    data = capture("office.pcap").read_bytes()
    packets = [p for p in packet_file.read(io.BytesIO(data)) if isinstance(p, Packet)]
    wanted = [{k: v for k, v in r.items() if k not in ("number", "offset", "at_us")} for r in kind(of(data), "tls")]
    for seed in range(5):
        chance = random.Random(seed)
        sensor = Sensor()
        for i in range(0, len(packets), 4):
            burst = packets[i : i + 4]
            if not any(p.data[47:48] and p.data[47] & 7 for p in burst):
                chance.shuffle(burst)
            for packet in burst:
                sensor.take(packet)
        sensor.finish()
        found = [json.loads(r) for r in sensor.records()]
        assert [
            {k: v for k, v in r.items() if k not in ("number", "offset", "at_us")} for r in kind(found, "tls")
        ] == wanted
