"""Captures of packets through `soc parse` and through an upload."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

from soc.collectors.uploads import Uploads
from soc.model.clock import SystemClock
from soc.parsers import packets
from soc.store.queue import DiskLog
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
        return Uploads(tmp_path / "imports", log, SystemClock(), site="s", packets=packets.records)

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
