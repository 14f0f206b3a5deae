"""Packets per CPU-second out of a capture file, beside tshark and scapy over the same file in the same run."""

from __future__ import annotations

import io
import os
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from scapy.layers.dns import DNS
from scapy.layers.inet import IP, TCP
from scapy.utils import PcapReader

from benchmarks.entries import Entry, child_seconds, entry
from soc.parsers import packets
from soc.parsers.decoders.packet_file import Packet, read

PACKETS = 60_000
SCAPY_PACKETS = 3_000
ROUNDS = 3
CAPTURE = Path(__file__).resolve().parents[1] / "tests" / "parsers" / "captures" / "office.pcap"
UNIT = "packets/CPU-s"
Frames = list[bytes]
FLOW_FIELDS = ("-q", "-z", "conv,tcp", "-z", "conv,udp")
DNS_FIELDS = ("-T", "fields", "-e", "dns.id", "-e", "dns.qry.name", "-e", "dns.flags.rcode", "-e", "dns.a")
TLS_FIELDS = ("-T", "fields", "-e", "tls.handshake.extensions_server_name", "-e", "tls.handshake.ja3",
              "-e", "tls.handshake.ja3s", "-e", "x509ce.dNSName")  # fmt: skip
HTTP_FIELDS = ("-T", "fields", "-e", "http.request.method", "-e", "http.request.uri", "-e", "http.response.code")


def run(quick: bool = False) -> list[Entry]:
    """Two rows a kind of traffic where tshark is installed: against it, and against scapy."""
    n = PACKETS // 10 if quick else PACKETS
    cases: Sequence[tuple[str, Frames, Sequence[str], Callable[[IP], object]]] = (
        ("pcap_flows", _connections(n), FLOW_FIELDS, _flow),
        ("pcap_dns", _questions(n), DNS_FIELDS, _dns),
        ("pcap_tls", _repeated(184, 208, n), TLS_FIELDS, _flow),
        ("pcap_http", _repeated(100, 112, n), HTTP_FIELDS, _flow),
    )
    return [row for case in cases for row in _rows(*case, quick=quick)]


def _rows(
    name: str, frames: Frames, fields: Sequence[str], look: Callable[[IP], object], *, quick: bool
) -> list[Entry]:
    data = _file(frames)
    with tempfile.TemporaryDirectory() as folder:
        path, short = Path(folder) / "a.pcap", Path(folder) / "b.pcap"
        path.write_bytes(data)
        few = frames[: SCAPY_PACKETS // (10 if quick else 1)]
        short.write_bytes(_file(few))
        own, theirs = [], []
        for _ in range(1 if quick else ROUNDS):  # one after the other, so that a slow moment hits both
            own.append(len(frames) / _ours(data))
            if shutil.which("tshark"):
                theirs.append(len(frames) / _tshark(path, fields))
        value = max(own)
        rows = [entry(name, value, UNIT, "tshark" if theirs else None, max(theirs, default=None))]
        return [*rows, entry(f"{name}.scapy", value, UNIT, "scapy", len(few) / _scapy(short, look))]


def _ours(data: bytes) -> float:
    began = time.process_time()
    for _ in packets.records(io.BytesIO(data)):
        pass
    return time.process_time() - began


def _tshark(path: Path, fields: Sequence[str]) -> float:
    process = subprocess.Popen(["tshark", "-n", "-r", str(path), *fields], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)  # fmt: skip
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"tshark ended with {process.returncode}")
    return child_seconds(usage)


def _scapy(path: Path, look: Callable[[IP], object]) -> float:
    began = time.process_time()
    with PcapReader(str(path)) as reader:
        for packet in reader:
            if IP in packet:
                look(packet[IP])
    return time.process_time() - began


def _flow(packet: IP) -> object:
    ports = packet.payload
    return packet.src, packet.dst, packet.len, getattr(ports, "sport", 0), ports.flags if TCP in packet else None


def _dns(packet: IP) -> object:
    message = packet[DNS]
    return message.id, message.qd[0].qname, message.rcode, [record.rdata for record in message.an or ()]


# traffic -------------------------------------------------------------------------------------------------------------


def _file(frames: Frames) -> bytes:
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    times = ((1_795_000_000 + i // 20_000, i % 20_000 * 50) for i in range(len(frames)))
    pack = struct.Struct("<IIII").pack
    return head + b"".join(pack(s, us, len(f), len(f)) + f for (s, us), f in zip(times, frames, strict=True))


def _ethernet(source: bytes, target: bytes, protocol: int, payload: bytes) -> bytes:
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0, source, target)
    return b"\2\0\0\0\0\1\2\0\0\0\0\2\x08\0" + head + payload


def _connections(n: int) -> Frames:
    """TCP connections of 20 packets with 400 octets each, a hundred of them at a time, and their ends."""
    made: Frames = []
    for group in range(n // 2000):
        rows: list[Iterator[bytes]] = [_connection(group * 100 + i) for i in range(100)]
        made += [frame for several in zip(*rows, strict=True) for frame in several]
    return made


def _connection(number: int) -> Iterator[bytes]:
    client, server = struct.pack(">I", 0x0A000000 + number), struct.pack(">I", 0xCB007100 + number % 250)
    ports = (1024 + number % 60_000, 9000)
    sent = [100, 200]
    for step in range(20):
        reply = step % 2
        bits, body = (
            (2, b"") if step == 0 else (18, b"") if step == 1 else (17, b"") if step > 17 else (24, b"\0" * 400)
        )
        source, target = ports[:: -1 if reply else 1]
        segment = struct.pack(">HHIIBBHHH", source, target, sent[reply], sent[1 - reply], 0x50, bits, 65535, 0, 0)
        sent[reply] += len(body) + (step < 2)
        yield _ethernet(server if reply else client, client if reply else server, 6, segment + body)


def _questions(n: int) -> Frames:
    """A question and an answer with two addresses, every name and port another."""
    made: Frames = []
    for i in range(n // 2):
        client, name = struct.pack(">I", 0x0A000000 + i % 5000), f"host{i}".encode()
        asked = bytes([len(name)]) + name + b"\7example\2vn\0\0\1\0\1"
        query = struct.pack(">6H", i & 0xFFFF, 0x0100, 1, 0, 0, 0) + asked
        record = b"\xc0\x0c\0\1\0\1\0\0\1\x2c\0\4" + struct.pack(">I", 0xCB007100 + i % 250)
        answer = struct.pack(">6H", i & 0xFFFF, 0x8180, 1, 2, 0, 0) + asked + record * 2
        port = 1024 + i % 60_000
        for data, ends, ports in (
            (query, (client, b"\x0a\0\0\1"), (port, 53)),
            (answer, (b"\x0a\0\0\1", client), (53, port)),
        ):
            made.append(_ethernet(*ends, 17, struct.pack(">HHHH", *ports, 8 + len(data), 0) + data))
    return made


def _repeated(first: int, last: int, n: int) -> Frames:
    """Packets of one real connection, again and again from other clients."""
    found = [p.data for p in read(io.BytesIO(CAPTURE.read_bytes())) if isinstance(p, Packet)][first - 1 : last - 1]
    client = found[0][26:30]
    made: Frames = []
    for i in range(n // len(found)):
        other = struct.pack(">I", 0x0A000000 + i)
        for frame in found:
            source, target = frame[26:30], frame[30:34]
            ends = (other if source == client else source) + (other if target == client else target)
            made.append(frame[:26] + ends + frame[34:])
    return made
