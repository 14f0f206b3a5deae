"""QUIC handshakes of aioquic (with a Retry, version 2) and quic-go (a hello of two packets), beside tshark."""

from __future__ import annotations

import io
import json
import struct
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc.parsers.decoders import packet_file, packet_quic, packet_tls
from soc.parsers.decoders.packet_file import Packet
from soc.parsers.decoders.packet_quic import VERSIONS, Initial, QuicTalk, crypto, initials, keys_of, opened
from soc.parsers.decoders.packet_sensor import Sensor
from soc.parsers.decoders.packet_tls import Malformed
from tests.parsers.packet_oracles import capture, kind, of, ours, tshark

HELLO, SERVER = "tls.handshake.type == 1", "tls.handshake.type == 2"
FIELDS = (
    "udp.srcport", "tls.handshake.extensions_server_name", "tls.handshake.ciphersuite", "tls.handshake.ja3",
    "tls.handshake.ja3s", "tls.handshake.extensions_alpn_str", "quic.version",
)  # fmt: skip


def payloads() -> list[tuple[Packet, bytes, bool]]:
    """The packets of the capture, the UDP payload of each, whether the server sent it."""
    packets = packet_file.read(io.BytesIO(capture("quic.pcap").read_bytes()))
    return [(p, p.data[42:], p.data[34:36] == b"\x01\xbb") for p in packets if isinstance(p, Packet)]


def test_quic_says_what_tshark_says() -> None:
    """Name, ciphers, fingerprints and protocols; JA4 does not depend on the version of QUIC."""
    path = capture("quic.pcap")
    found = kind(ours(path), "tls")
    assert [(r["quic_version"], r["server_name"]) for r in found] == [
        ("1", "www.haiphong.test"), ("2", "www.haiphong.test"), ("1", "cdn.haiphong.test"),
    ]  # fmt: skip
    hellos = {row["udp.srcport"][0]: row for row in tshark(path, *FIELDS, show=HELLO)}
    answers = {row["udp.dstport"][0]: row for row in tshark(path, "udp.dstport", *FIELDS, show=SERVER)}
    assert len(hellos) == 3
    for record in found:
        row = hellos[str(record["source_port"])]
        assert row["tls.handshake.extensions_server_name"] == [record["server_name"]]
        assert row["tls.handshake.ja3"] == [record["ja3"]]
        assert [packet_tls.cipher_name(int(n, 16)) for n in row["tls.handshake.ciphersuite"]] == record[
            "supported_ciphers"
        ]
        assert row["tls.handshake.extensions_alpn_str"] == record["offered_protocols"] == ["h3"]
        answer = answers[str(record["source_port"])]
        assert answer["tls.handshake.ja3s"] == [record["ja3s"]]
        assert [packet_tls.cipher_name(int(n, 16)) for n in answer["tls.handshake.ciphersuite"]] == [record["cipher"]]
    one, two, _ = found
    assert {key: one[key] for key in ("ja3", "ja4", "ja3s")} == {key: two[key] for key in ("ja3", "ja4", "ja3s")}
    assert all(r["ja4"].startswith("q13d") and r["ja4"][8:10] == "h3" for r in found)
    assert {(r["transport"], r["application"], r["version"]) for r in found} == {("udp", "quic", "1.3")}
    assert [f["application"] for f in kind(ours(path), "flow")] == ["quic"] * 3


def test_the_key_of_an_initial_packet_is_that_of_the_specification() -> None:
    """RFC 9001 appendix A.1: the keys of the connection id 0x8394c8f03e515708; A.4 has no secret of ours."""
    client, server = keys_of(VERSIONS[1], bytes.fromhex("8394c8f03e515708"))
    assert (client.iv.hex(), server.iv.hex()) == ("fa044b2f42a3fd3b46fb255c", "0ac1493ca1905853b0bba03e")
    sample = bytes.fromhex("d1b1c98dd7689fb8ec11d242b123dc9b")
    assert client.mask.encryptor().update(sample)[:5].hex() == "437b9aec36"  # A.2


def hello_of(records: Sequence[dict[str, Any]]) -> tuple[Any, ...]:
    [record] = kind(records, "tls")
    return record.get("server_name"), record.get("cipher"), tuple(record.get("marks", ()))


def sensed(packets: Sequence[Packet]) -> list[dict[str, Any]]:
    """Our records of these packets."""
    sensor = Sensor()
    for packet in packets:
        sensor.take(packet)
    sensor.finish()
    return [json.loads(record) for record in sensor.records()]


@pytest.fixture
def flows() -> list[list[Packet]]:
    """The packets of each connection of the capture."""
    found: dict[bytes, list[Packet]] = {}
    for packet, _, is_server in payloads():
        found.setdefault(packet.data[36:38] if is_server else packet.data[34:36], []).append(packet)
    return list(found.values())


def test_pieces_in_any_order_and_twice(flows: list[list[Packet]]) -> None:
    """quic-go strews its hello over two packets: swapped, sent again, with what is not for us between."""
    first, second, *rest = [p for p in flows[2] if p.data[34:36] != b"\x01\xbb"][:2] + flows[2]
    assert hello_of(sensed(flows[2])) == ("cdn.haiphong.test", packet_tls.cipher_name(0x1302), ())
    assert hello_of(sensed([second, first, second, *rest]))[0] == "cdn.haiphong.test"
    assert hello_of(sensed([first, first, second])) == ("cdn.haiphong.test", None, ())


def test_a_client_that_nobody_answers_is_told_at_the_end(flows: list[list[Packet]]) -> None:
    """Half of a hello says its version alone; without the client's first packet there is no key."""
    [record] = kind(sensed(flows[2][:1]), "tls")
    assert (record["quic_version"], "server_name" in record, "marks" in record) == ("1", False, False)
    [late] = kind(sensed(flows[0][3:]), "tls")
    assert (late["marks"], "server_name" in late) == (["malformed"], False)


def test_an_initial_packet_that_nobody_can_open_says_so(flows: list[list[Packet]]) -> None:
    """A changed connection id, changed cipher text: it is said, and no name is made up."""
    packet = flows[0][0]
    for at in (42 + 8, 42 + 100):
        data = bytearray(packet.data)
        data[at] ^= 1
        [record] = kind(sensed([packet._replace(data=bytes(data))]), "tls")
        assert (record["marks"], "server_name" in record) == (["malformed"], False)
    short = packet._replace(data=packet.data[:200])
    assert kind(sensed([short]), "tls") == []  # its captured octets are no whole datagram of a client
    assert kind(sensed([packet._replace(data=packet.data[: 42 + 1200 - 1])]), "tls") == []


def test_what_may_not_be_in_an_initial_packet_is_told() -> None:
    """Frames of RFC 9000 section 12.4 that only private packets carry."""
    assert crypto(b"\0\1\6\0\2ab\0") == [(0, b"ab")]
    assert crypto(bytes.fromhex("02 40ff 00 01 00 00 01") + b"\6\4\1c") == [(4, b"c")]
    for frames in (b"\x08", b"\6\0\7ab", b"\2\0"):
        with pytest.raises(Malformed):
            crypto(frames)


def test_bounds(flows: list[list[Packet]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Hellos that are too long, too many pieces, too many datagrams, too many keys; what is held is given back."""
    for name, value in (("MAX_HELLO", 500), ("MAX_PIECES", 1), ("MAX_TOTAL", 100)):
        with monkeypatch.context() as patch:
            patch.setattr(packet_quic, name, value)
            sensor = Sensor()
            for packet in flows[2]:
                sensor.take(packet)
            sensor.finish()
            [record] = [r for r in map(json.loads, sensor.records()) if r["kind"] == "tls"]
            assert "handshake_cut" in record["marks"]
            assert sensor.budget.held == 0
            assert sum(sensor.budget.counts.values()) > 0
    talk = QuicTalk(_Flow(), None, Sensor().budget)  # type: ignore[arg-type]
    teller = _Teller()
    [(_, payload, _)] = payloads()[:1]
    for n in range(50):
        changed = bytearray(payload)
        changed[6 + n % 8] ^= n + 1
        if talk._flow.talk is not None:
            talk(teller, _Side(), bytes(changed), len(changed), None)  # type: ignore[arg-type]
    assert (len(talk._tried), talk._datagrams, len(teller.told)) == (
        packet_quic.MAX_KEYS, packet_quic.MAX_DATAGRAMS, 1,
    )  # fmt: skip


class _Flow:
    talk: Any = "it"


class _Side:
    is_reply = False


class _Teller:
    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def tell(self, _kind: str, _flow: Any, _at: Any, values: dict[str, Any], _reply: bool = False) -> None:
        self.told.append(values)


@given(st.data())
def test_any_change_of_a_datagram_is_read_or_refused(data: st.DataObject) -> None:
    """Nothing raises, whatever is changed, cut or put behind; no hello of a damaged packet is believed."""
    _, payload, is_server = data.draw(st.sampled_from(payloads()))
    changed = bytearray(payload)
    for _ in range(data.draw(st.integers(0, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(0, 255))
    cut = bytes(changed[: data.draw(st.integers(1, len(changed)))]) + data.draw(st.binary(max_size=40))
    talk = QuicTalk(_Flow(), None, Sensor().budget)  # type: ignore[arg-type]
    teller, side = _Teller(), _Side()
    side.is_reply = is_server
    talk(teller, side, cut, len(cut), None)  # type: ignore[arg-type]
    talk.finish(teller)  # type: ignore[arg-type]
    name = teller.told[0].get("server_name")
    assert name in (None, "www.haiphong.test", "cdn.haiphong.test")


@given(st.binary(max_size=200), st.sampled_from(list(VERSIONS)))
def test_any_octets_behind_a_head_are_read_or_refused(data: bytes, version: int) -> None:
    """Lengths of every kind that lie."""
    try:
        found = initials(b"\xc0" + struct.pack(">I", version) + data)
    except Malformed:
        return
    keys = keys_of(VERSIONS[1], b"12345678")
    assert all(opened(packet, keys[0]) is None for packet in found if isinstance(packet, Initial))


def test_packets_of_the_flow_are_counted_as_before() -> None:
    """What is read of them changes no count."""
    records = of(capture("quic.pcap").read_bytes())
    counted = Counter(packet.data[34:36] for packet, _, is_server in payloads() if not is_server)
    assert sorted(f["source_packets"] for f in kind(records, "flow")) == sorted(counted.values())
