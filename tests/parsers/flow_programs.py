"""Programs nobody here wrote: exporters (softflowd, pmacct), collectors and dissectors (nfdump, tshark)."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether
from scapy.layers.netflow import NetflowDataflowsetV9, NetflowHeader, NetflowRecordV9, netflowv9_defragment
from scapy.packet import Packet, Raw
from scapy.utils import wrpcap

from tests.ports import free_port

BEGIN_US = 1_795_140_000_250_000  # 2026-11-20T02:00:00.25Z
UTC = {**os.environ, "TZ": "UTC"}
_MAC = Ether(src="02:00:00:00:00:09", dst="02:00:00:00:00:10")
_MAC_BACK = Ether(src="02:00:00:00:00:10", dst="02:00:00:00:00:09")
_A, _B, _A6, _B6 = "203.0.113.9", "192.0.2.10", "2001:db8::9", "2001:db8::10"
Key = tuple[str, str, int, int, int]
"""Source, destination, protocol, source port, destination port (0 for ICMP)."""


def packets() -> list[Packet]:
    """A TCP connection, a UDP question and its answer, pings, refused and silent IPv6: one packet each 100 ms."""
    there, back = IP(src=_A, dst=_B, tos=0xB8), IP(src=_B, dst=_A)
    web, answer = TCP(sport=51000, dport=443), TCP(sport=443, dport=51000)
    there6, back6 = IPv6(src=_A6, dst=_B6), IPv6(src=_B6, dst=_A6)
    made: list[Packet] = [
        _MAC / there / _tcp(web, "S"), _MAC_BACK / back / _tcp(answer, "SA"), _MAC / there / _tcp(web, "A"),
        _MAC / there / _tcp(web, "PA") / Raw(b"GET / HTTP/1.0\r\n\r\n"),
        _MAC_BACK / back / _tcp(answer, "PA") / Raw(b"x" * 1200),
        _MAC / there / _tcp(web, "FA"), _MAC_BACK / back / _tcp(answer, "FA"), _MAC / there / _tcp(web, "A"),
        _MAC / IP(src=_A, dst=_B) / UDP(sport=51001, dport=53) / Raw(b"q" * 30),
        _MAC_BACK / back / UDP(sport=53, dport=51001) / Raw(b"r" * 90),
    ]  # fmt: skip
    for i in range(3):
        made.append(_MAC / IP(src=_A, dst=_B) / ICMP(type=8, id=1, seq=i) / Raw(b"p" * 56))
        made.append(_MAC_BACK / back / ICMP(type=0, id=1, seq=i) / Raw(b"p" * 56))
    made += [
        _MAC / there6 / TCP(sport=51002, dport=8080, flags="S"),
        _MAC_BACK / back6 / TCP(sport=8080, dport=51002, flags="RA"),
        _MAC / there6 / ICMPv6EchoRequest(data=b"z" * 20),
        _MAC / there6 / UDP(sport=5353, dport=5353) / Raw(b"m" * 40),
    ]
    for i, packet in enumerate(made):
        packet.time = (BEGIN_US + 100_000 * i) / 1e6
    return [_stamped(Ether(bytes(packet)), packet.time) for packet in made]


def _tcp(segment: TCP, flags: str) -> TCP:
    return TCP(sport=segment.sport, dport=segment.dport, flags=flags)


def _stamped(packet: Packet, moment: float) -> Packet:
    packet.time = moment
    return packet


def both_ways(flows: Mapping[Key, Mapping[str, int]]) -> dict[Key, tuple[int, int]]:
    """When each flow began and ended if its answers count, as softflowd and pmacct's probes (made of it) keep time.

    ICMP has no answers for them: type and code are the ports.
    """
    result: dict[Key, tuple[int, int]] = {}
    for (a, b, protocol, one, other), flow in flows.items():
        answer = flows.get((b, a, protocol, other, one), flow) if protocol in (6, 17) else flow
        result[a, b, protocol, one, other] = min(flow["first"], answer["first"]), max(flow["last"], answer["last"])
    return result


def truth(several: Sequence[Packet]) -> dict[Key, dict[str, int]]:
    """What the packets say of each flow: octets from the IP header on, packets, first and last in µs."""
    result: dict[Key, dict[str, int]] = defaultdict(lambda: {"octets": 0, "packets": 0})
    for packet in several:
        layer = packet[IP] if IP in packet else packet[IPv6]
        protocol = layer.proto if IP in packet else layer.nh
        ports = (layer.sport, layer.dport) if protocol in (6, 17) else (0, 0)
        flow = result[layer.src, layer.dst, protocol, *ports]
        flow["octets"] += len(layer)
        flow["packets"] += 1
        us = round(float(packet.time) * 1e6)
        flow.setdefault("first", us)
        flow["last"] = us
    return dict(result)


class Sink:
    """A UDP port of 127.0.0.1 that keeps what comes."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"

    def take(self) -> list[bytes]:
        """Everything that waits."""
        self._socket.settimeout(0.5)
        result: list[bytes] = []
        with suppress(TimeoutError):
            while True:
                result.append(self._socket.recv(65535))
        self._socket.close()
        return result


def softflowd(pcap: Path, version: int) -> list[bytes]:
    """The datagrams that softflowd exports of a capture."""
    sink = Sink()
    softflowd_to(pcap, version, sink.address)
    return sink.take()


def softflowd_to(pcap: Path, version: int, address: str) -> None:
    """softflowd over a capture, to the port that somebody listens on."""
    command = ["softflowd", "-d", "-r", str(pcap), "-v", str(version), "-n", address, "-T", "full"]
    subprocess.run(command, capture_output=True, timeout=120, check=True, env=UTC)


def nfreplay_to(datagrams: Sequence[bytes], version: int, address: tuple[str, int], folder: Path) -> None:
    """What nfcapd stored of these datagrams, sent once more by nfreplay in a version of its choice."""
    nfdump(datagrams, folder)
    (stored,) = folder.glob("nfcapd.2*")
    command = ["nfreplay", "-r", str(stored), "-H", address[0], "-p", str(address[1]), "-v", str(version)]
    subprocess.run(command, capture_output=True, timeout=120, check=True, env=UTC)


def scapy_records(datagrams: Sequence[bytes]) -> list[dict[str, Any]]:
    """The flow records that scapy's layers read of NetFlow v9 messages, by the names they have there."""
    frames = [_MAC / IP(src="192.0.2.1", dst="192.0.2.2") / UDP(sport=9000, dport=2055) / NetflowHeader(d) for d in
              datagrams]  # fmt: skip
    found: list[dict[str, Any]] = []
    for packet in netflowv9_defragment(frames):
        for layer in packet.iterpayloads():
            if isinstance(layer, NetflowDataflowsetV9):
                found += [
                    {field.name: record.getfieldval(field.name) for field in record.fields_desc}
                    for record in layer.records
                    if isinstance(record, NetflowRecordV9)
                    and any(field.name == "PROTOCOL" for field in record.fields_desc)
                ]
    return found


_PROBES = {
    "v9": "plugins: nfprobe\nnfprobe_version: 9\nnfprobe_receiver: {}\n",
    "ipfix": "plugins: nfprobe\nnfprobe_version: 10\nnfprobe_receiver: {}\n",
    "sflow": "plugins: sfprobe\nsfprobe_agentip: 192.0.2.1\nsfprobe_receiver: {}\n",
}
_FIELDS = "aggregate: src_host,dst_host,src_port,dst_port,proto,tos,tcpflags,src_mac,dst_mac\n"


def pmacctd(pcap: Path, folder: Path) -> dict[str, list[bytes]]:
    """The datagrams of pmacct's probes over a capture: `v9`, `ipfix` and `sflow` (every packet is a sample)."""
    sinks = {name: Sink() for name in _PROBES}
    with ExitStack() as stack:
        programs = []
        for name, plugin in _PROBES.items():
            config = folder / f"{name}.conf"
            fields = "" if name == "sflow" else _FIELDS
            config.write_text(
                f"pcap_savefile: {pcap}\ndaemonize: false\n" + fields + plugin.format(sinks[name].address)
            )
            program = subprocess.Popen(
                ["pmacctd", "-f", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=UTC
            )
            programs.append(stack.enter_context(program))
        for program in programs:
            program.wait(timeout=120)  # about four seconds; told to end before, it reads the capture a second time
    return {name: sink.take() for name, sink in sinks.items()}


def nfdump(datagrams: Sequence[bytes], folder: Path) -> list[dict[str, Any]]:
    """What nfcapd stores of these datagrams, as nfdump prints it."""
    folder.mkdir()
    port = free_port(socket.SOCK_DGRAM)
    command = ["nfcapd", "-w", str(folder), "-p", str(port), "-b", "127.0.0.1", "-t", "3600"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=UTC) as program:
        assert program.stdout is not None
        for line in program.stdout:
            if "Startup nfcapd" in line:
                break
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.connect(("127.0.0.1", port))
            for data in datagrams:
                sender.send(data)
        while _waiting(port):
            time.sleep(0.02)
        time.sleep(0.4)
        program.terminate()
        program.communicate(timeout=60)
    shown = subprocess.run(
        ["nfdump", "-R", str(folder), "-o", "json"], capture_output=True, text=True, check=True, env=UTC
    )
    return [flow for flow in json.loads(shown.stdout or "[]") if flow["type"] == "FLOW"]


def _waiting(port: int) -> bool:
    """Whether a UDP socket of 127.0.0.1 has octets that its program has not read."""
    lines = [line.split() for line in Path("/proc/net/udp").read_text().splitlines()]
    return any(words[1] == f"0100007F:{port:04X}" and not words[4].endswith(":00000000") for words in lines)


def tshark(datagrams: Sequence[bytes], protocol: str, folder: Path) -> list[dict[str, Any]]:
    """What Wireshark's dissector (`cflow`, `sflow`) says of these datagrams, one tree each."""
    pcap = folder / f"{protocol}-{len(datagrams)}.pcap"
    if protocol == "cflow":
        # tshark reads no more sets than the header's count says; RFC 3954 section 5.1 has it count records.
        datagrams = [d[:2] + b"\x7f\xff" + d[4:] if d[:2] == b"\0\x09" else d for d in datagrams]
    frames = [_MAC / IP(src="192.0.2.1", dst="192.0.2.2") / UDP(sport=9000, dport=9001) / Raw(d) for d in datagrams]
    wrpcap(str(pcap), frames)
    command = [
        "tshark", "-r", str(pcap), "-d", f"udp.port==9001,{protocol}", "-T", "json", "-J", protocol,
        "--no-duplicate-keys",
    ]  # fmt: skip
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env=UTC)
    return [frame["_source"]["layers"][protocol] for frame in json.loads(shown.stdout)]


def records(tree: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The flow records of a `cflow` tree, in order."""
    for name, value in tree.items():
        if not isinstance(value, dict):
            continue
        if name.startswith(("Flow ", "pdu ")):
            yield value
        else:
            yield from records(value)
