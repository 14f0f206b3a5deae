"""Capture files: byte orders, resolutions, interfaces, comments, and ends that are cut."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import PcapNgWriter, PcapWriter

from soc.parsers.decoders import packet_file
from soc.parsers.decoders.packet_file import Damage, Packet
from tests.parsers.packet_oracles import capture, tshark


def read(data: bytes) -> list[Packet | Damage]:
    return list(packet_file.read(io.BytesIO(data)))


def classic(order: str, magic: int, *packets: tuple[int, int, bytes, int], link: int = 1) -> bytes:
    head = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, link)
    return head + b"".join(struct.pack(order + "IIII", s, f, len(d), n) + d for s, f, d, n in packets)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("magic", "ns"), [(0xA1B2C3D4, 5_000_000_007_000), (0xA1B23C4D, 5_000_000_000_007)])
def test_both_byte_orders_and_both_resolutions(order: str, magic: int, ns: int) -> None:
    """The time is ns since the epoch, whatever the file counts in; a packet that was cut keeps its length."""
    [packet] = read(classic(order, magic, (5000, 7, b"abcd", 60)))
    assert packet == Packet(ns, 1, b"abcd", 60, 24, 1)


@pytest.mark.parametrize(
    "name", ["office.pcap", "nano.pcap", "cooked.pcap", "cooked2.pcap", "multi.pcapng", "snap.pcap"]
)
def test_packets_are_those_of_tshark(name: str) -> None:
    """Number, time to the nanosecond, both lengths and interface of each packet."""
    found = read(capture(name).read_bytes())
    fields = ("frame.number", "frame.time_epoch", "frame.cap_len", "frame.len", "frame.interface_name")
    theirs = [
        (int(r["frame.number"][0]), int(r["frame.time_epoch"][0].replace(".", "")), int(r["frame.cap_len"][0]),
         int(r["frame.len"][0]), "".join(r["frame.interface_name"]))
        for r in tshark(capture(name), *fields)
    ]  # fmt: skip
    assert [(p.number, p.ns, len(p.data), p.length, p.interface) for p in found] == theirs


def test_scapy_reads_and_writes_the_same(tmp_path) -> None:
    """What scapy wrote in both formats, with a comment, comes back octet for octet."""
    frames = [
        Ether(src="02:00:00:00:00:01") / IP(src="192.0.2.1", dst="192.0.2.2") / UDP(dport=p) / b"x" for p in (1, 2)
    ]
    for frame, at in zip(frames, (1.5, 2.25), strict=True):
        frame.time, frame.comments = at, [b"xin ch\xc3\xa0o"]
    with PcapWriter(str(tmp_path / "a.pcap")) as writer:
        writer.write(frames)
    with PcapNgWriter(str(tmp_path / "a.pcapng")) as writer:
        writer.write(frames)
    for name, comment in (("a.pcap", ""), ("a.pcapng", "xin chào")):
        found = read((tmp_path / name).read_bytes())
        assert [(p.ns, p.data, p.comment) for p in found] == [
            (1_500_000_000, bytes(frames[0]), comment), (2_250_000_000, bytes(frames[1]), comment),
        ]  # fmt: skip


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += b"\0" * (-len(body) % 4)
    return struct.pack(order + "II", kind, len(body) + 12) + body + struct.pack(order + "I", len(body) + 12)


def section(order: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(link: int = 1, options: bytes = b"", order: str = "<") -> bytes:
    return block(1, struct.pack(order + "HHI", link, 0, 65535) + options, order)


def enhanced(number: int, stamp: int, data: bytes, order: str = "<", options: bytes = b"") -> bytes:
    head = struct.pack(order + "5I", number, stamp >> 32, stamp & 0xFFFFFFFF, len(data), len(data))
    return block(6, head + data + b"\0" * (-len(data) % 4) + options, order)


@pytest.mark.parametrize("order", ["<", ">"])
def test_interfaces_have_their_own_clocks(order: str) -> None:
    """if_tsresol as powers of 10 and of 2, and if_tsoffset; a second section begins its interfaces anew."""
    nano = struct.pack(order + "HHB3x", 9, 1, 9)
    binary = struct.pack(order + "HHB3xHHq", 9, 1, 0x80 | 10, 14, 8, 100)
    data = section(order) + interface(1, nano, order) + interface(101, binary, order)
    data += enhanced(0, 7_000_000_001, b"a", order) + enhanced(1, 2048, b"b", order)
    data += section(order) + interface(113, b"", order) + enhanced(0, 3_000_001, b"c", order)
    found = read(data)
    assert [(p.ns, p.link, p.data, p.number) for p in found] == [
        (7_000_000_001, 1, b"a", 1), (102_000_000_000, 101, b"b", 2), (3_000_001_000, 113, b"c", 3),
    ]  # fmt: skip


def test_simple_and_obsolete_packets() -> None:
    """Simple packets have no time; the old packet block is read; blocks of other kinds are passed over."""
    old = block(2, struct.pack("<HH4I", 0, 0, 0, 5, 2, 2) + b"hi\0\0")
    data = (
        section() + interface() + block(4, b"") + block(3, struct.pack("<I", 3) + b"abc\0") + old + block(0xBAD, b"z")
    )
    assert [(p.ns, p.data) for p in read(data)] == [(0, b"abc"), (5000, b"hi")]


@pytest.mark.parametrize("name", ["nano.pcap", "multi.pcapng"])
def test_a_cut_file_gives_all_before_the_cut(name: str) -> None:
    """Cut anywhere, a capture gives the packets that are whole and one damage, unless the cut is between records."""
    data = capture(name).read_bytes()
    whole = [p for p in read(data) if isinstance(p, Packet)]
    for end in range(30, len(data), 37):
        found = read(data[:end])
        packets = [p for p in found if isinstance(p, Packet)]
        assert packets == whole[: len(packets)]
        damages = [d for d in found if isinstance(d, Damage)]
        assert len(damages) <= 1
        assert len(packets) + len(damages) > 0 or name.endswith("ng")


def test_lengths_that_lie_are_damage() -> None:
    """A packet of 4 GiB, a block that is no multiple of 4, two lengths that differ, an interface nobody described."""
    huge = classic("<", 0xA1B2C3D4) + struct.pack("<IIII", 1, 1, 0xFFFFFFFF, 60) + b"rest"
    assert [d.reason for d in read(huge)] == ["a packet of 4294967295 octets; what follows is not read"]
    odd = section() + struct.pack("<II", 6, 33) + b"x" * 40
    assert "a block of 33 octets" in read(odd)[0].reason
    torn = bytearray(section() + interface() + enhanced(0, 1, b"abcd"))
    torn[-1] ^= 1
    assert "lengths of a block differ" in read(bytes(torn))[0].reason
    assert "interface 4" in read(section() + interface() + enhanced(4, 1, b"abcd"))[0].reason
    assert read(b"") == []
    assert "no capture file" in read(b"GIF89a..")[0].reason


def test_a_block_that_is_too_long_is_passed_over_unread() -> None:
    """Its packets are missing and told; those behind it are read."""
    size = packet_file.MAX_BLOCK + 4
    long = struct.pack("<II", 0xBAD, size) + b"\0" * (size - 12) + struct.pack("<I", size)
    found = read(section() + interface() + long + enhanced(0, 1, b"abcd"))
    assert "passed over" in found[0].reason
    assert isinstance(found[1], Packet)


class Trickle:
    """A stream that gives a few octets at a time."""

    def __init__(self, data: bytes, step: int) -> None:
        self.data, self.step, self.at = data, step, 0

    def read(self, size: int) -> bytes:
        self.at += self.step
        return self.data[self.at - self.step : self.at]


def test_a_slow_pipe_gives_the_same_packets() -> None:
    """However the octets arrive."""
    for name in ("nano.pcap", "multi.pcapng"):
        data = capture(name).read_bytes()
        assert list(packet_file.read(Trickle(data, 7))) == read(data)


@given(st.binary(max_size=400), st.sampled_from([*packet_file._CLASSIC, packet_file.SECTION]))
def test_no_octets_break_it(tail: bytes, magic: bytes) -> None:
    """Whatever follows the signature, the reader ends, and no packet is longer than the file."""
    for found in read(magic + tail):
        assert len(found.data) <= len(tail) + 4


@given(st.data())
def test_no_damage_to_a_real_file_breaks_it(data: st.DataObject) -> None:
    """Octets changed at random places of a real capture."""
    name = data.draw(st.sampled_from(["nano.pcap", "multi.pcapng"]))
    octets = bytearray(capture(name).read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    for found in read(bytes(octets)):
        assert isinstance(found, Packet | Damage)
