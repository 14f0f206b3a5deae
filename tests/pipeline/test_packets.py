"""Captures of packets through `soc parse` and through an upload."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

from scapy.layers.inet import IP, TCP, UDP, fragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, PadN, fragment6
from scapy.layers.l2 import Ether
from scapy.utils import PcapWriter

from soc.collectors.uploads import Uploads
from soc.model.clock import SystemClock
from soc.parsers import packets
from soc.pipeline.files import CAPTURES
from soc.store.queue import DiskLog
from tests.parsers.flow_bytes import a_set, v9, v9_template
from tests.parsers.packet_oracles import capture
from tests.pipeline.test_files import soc


def test_parse_reads_a_capture() -> None:
    """By its first octets, by name, and from standard input: the same events, each with its place in the file."""
    path = capture("office.pcap")
    told = soc("parse", str(path))
    command = [sys.executable, "-m", "soc", "parse", "--format", "pcap", "-"]
    named = subprocess.run(command, input=path.read_bytes(), capture_output=True, check=False)
    assert (told.returncode, named.returncode) == (0, 0)
    events = [json.loads(line) for line in told.stdout.splitlines()]
    assert len(events) == len(named.stdout.splitlines())
    assert [event["soc.record"] for event in events] == list(range(1, len(events) + 1))
    assert {"packet.flow", "packet.dns", "packet.capture"} <= {event["event.dataset"] for event in events}
    assert all("packet.offset" in event for event in events if event["event.dataset"] != "packet.capture")
    assert "unparsed" not in {event["event.dataset"] for event in events}


def test_a_cut_capture_gives_what_is_whole(tmp_path: Path) -> None:
    """The cut is an unparsed event with its reason, its octets and its place; the packets before it are there."""
    path = tmp_path / "cut.pcap"
    path.write_bytes(capture("nano.pcap").read_bytes()[:-9])
    events = [json.loads(line) for line in soc("parse", str(path)).stdout.splitlines()]
    [cut] = [event for event in events if event["event.dataset"] == "unparsed"]
    assert (cut["error.message"], cut["event.kind"]) == ("the last packet is cut", "pipeline_error")
    data = path.read_bytes()
    assert bytes.fromhex(cut["soc.original_bytes"]) == data[cut["packet.offset"] :]
    assert sum(event["event.dataset"] == "packet.flow" for event in events) > 5


def test_an_upload_that_was_interrupted_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """The same file gives the same records: what the queue has already is not read into it again."""
    log = DiskLog(tmp_path / "queue", "raw", "serve", SystemClock(), max_bytes=1 << 30)
    data = capture("office.pcap").read_bytes()

    def uploads() -> Uploads:
        return Uploads(tmp_path / "imports", log, SystemClock(), site="s", captures=CAPTURES)

    state = uploads().begin("office.pcap", len(data), "lan", format="pcap")
    uploads().put(state["id"], 0, data)
    uploads().commit(state["id"])
    path = tmp_path / "imports" / state["id"] / "state.json"
    before = path.read_bytes()
    kept = (path.parent / "file").read_bytes()
    done = uploads().read(state["id"], threading.Event())
    assert (done["state"], done["records"]) == ("done", len(list(packets.records(capture("office.pcap").open("rb")))))
    path.write_bytes(before.replace(b'"queued"', b'"reading"'))
    (path.parent / "file").write_bytes(kept)
    again = uploads().read(state["id"], threading.Event())
    assert again["records"] == done["records"]
    assert sum(block.n for block in log.frames_after(-1)) == done["records"]
    log.close()


def _exporters(path: Path) -> Path:
    """Two exporters whose templates have one number and other fields; the second's datagram comes in fragments."""
    link = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    told = {
        "192.0.2.1": [
            v9(v9_template(256, [(8, 4), (12, 4), (1, 4)])),
            v9(a_set(256, b"\n\0\0\1\n\0\0\2" + b"\0\0\0\7"), seq=1),
        ],
        "192.0.2.2": [v9(v9_template(256, [(12, 4), (8, 4)])), v9(a_set(256, b"\n\0\0\3\n\0\0\4" * 40), seq=1)],
    }
    packets = [IP(src=peer, dst="192.0.2.9", id=n) / UDP(sport=9, dport=2055) / data
               for n in range(2) for peer, all_of in told.items() for data in all_of[n : n + 1]]  # fmt: skip
    frames = [link / piece for packet in packets for piece in fragment(packet, 200)] + [link / IP() / TCP()]
    with PcapWriter(str(path)) as out:
        for n, frame in enumerate(frames):
            frame.time = 1_700_000_000 + n
            out.write(frame)
    return path


def test_what_exporters_sent_is_read_out_of_a_capture(tmp_path: Path) -> None:
    """As their collector would have: by sender, in order, at the time of the packet; the rest is counted."""
    path = _exporters(tmp_path / "two.pcap")
    for option in (("--format", "netflow"), ("--as", "netflow.v9")):
        done = soc("parse", *option, str(path))
        events = [json.loads(line) for line in done.stdout.splitlines()]
        flows = [event for event in events if event["event.dataset"] == "netflow.v9" and "source.ip" in event]
        assert [(f["source.ip"], f["destination.ip"], f["soc.source"]) for f in flows] == [
            ("10.0.0.1", "10.0.0.2", "default/file/192.0.2.1"),
            *[("10.0.0.4", "10.0.0.3", "default/file/192.0.2.2")] * 40,
        ]
        assert {f["event.created"][:10] for f in flows} == {"2023-11-14"}
        assert flows[0]["soc.record"] == 3
        assert b"1 packets" in done.stderr


def test_other_datagrams_of_a_capture(tmp_path: Path) -> None:
    """Syslog of two hosts; a file that is one datagram; one that is more than a datagram is refused with a way out."""
    path = tmp_path / "syslog.pcap"
    with PcapWriter(str(path)) as out:
        for n in range(2):
            line = b"<38>Nov 20 10:00:0%d gw%d sshd[7]: Accepted password for an from 203.0.113.9 port 4 ssh2" % (n, n)
            out.write(
                Ether(dst="02:00:00:00:00:02")
                / IP(src=f"192.0.2.{n}", dst="192.0.2.9")
                / UDP(sport=9, dport=514)
                / line
            )
    events = [json.loads(line) for line in soc("parse", "--format", "syslog", str(path)).stdout.splitlines()]
    assert [(e["host.name"], e["event.dataset"]) for e in events] == [("gw0", "linux.sshd"), ("gw1", "linux.sshd")]
    alone = tmp_path / "one.dat"
    alone.write_bytes(v9(v9_template(256, [(8, 4), (12, 4)]), a_set(256, b"\n\0\0\n\n\r\n\2")))
    events = [json.loads(line) for line in soc("parse", "--as", "netflow.v9", str(alone)).stdout.splitlines()]
    assert [e["source.ip"] for e in events if "source.ip" in e] == ["10.0.0.10"]
    alone.write_bytes(bytes(70_000))
    done = soc("parse", "--as", "netflow.v9", str(alone))
    assert done.returncode == 1
    assert b"no capture" in done.stderr


def test_options_before_the_datagram_travel_in_the_fragments(tmp_path: Path) -> None:
    """IPv6 has its destination options behind the fragment header: they are passed over when it is whole again."""
    path = tmp_path / "six.pcap"
    line = b"<38>Nov 20 10:00:00 gw sshd[7]: Accepted password for an from 203.0.113.9 port 4 ssh2"
    options = IPv6ExtHdrFragment() / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)])
    packet = IPv6(src="2001:db8::1", dst="2001:db8::9") / options / UDP(sport=9, dport=514) / line
    with PcapWriter(str(path)) as out:
        pieces = fragment6(packet, 104)
        assert len(pieces) > 1
        for piece in pieces:
            out.write(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / piece)
    done = soc("parse", "--format", "syslog", str(path))
    [event] = [json.loads(line) for line in done.stdout.splitlines()]
    assert (event["soc.source"], event["user.name"], done.stderr) == ("default/file/2001:db8::1", "an", b"")
