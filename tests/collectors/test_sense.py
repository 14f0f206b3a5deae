"""`soc sense` in a network namespace: what tcpreplay sends arrives, is counted, kept, and balances."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from scapy.utils import rdpcap

from soc.collectors.capture import compiled
from soc.collectors.packet_ring import FILE_BYTES, PacketRing, between, files
from soc.config import Sense, load
from soc.errors import ConfigError
from soc.model.clock import SystemClock
from soc.model.query import Equals
from soc.model.scope import Scope
from soc.pipeline import Services, Worker
from soc.processes import starting
from soc.processes.supervisor import Supervisor
from soc.store.queue import DiskLog, LogReader
from tests.parsers.packet_oracles import capture, kind, of, ours, tshark

NAME = f"socpk{os.getpid()}"
IN, OUT = "pkin", "pkout"


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=60)


def inside(*command: str) -> None:
    """Run in the namespace."""
    subprocess.run(["ip", "netns", "exec", NAME, *command], check=True, capture_output=True, timeout=60)


@pytest.fixture
def wire() -> Iterator[None]:
    """A namespace with a cable in it that carries nothing of its own."""
    with contextlib.suppress(subprocess.CalledProcessError):
        ip("netns", "del", NAME)
    ip("netns", "add", NAME)
    try:
        inside("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
        inside("ip", "link", "add", IN, "mtu", "9000", "type", "veth", "peer", "name", OUT, "mtu", "9000")
        inside("ip", "link", "set", IN, "arp", "off", "up")
        inside("ip", "link", "set", OUT, "arp", "off", "up")
        yield
    finally:
        ip("netns", "del", NAME)


@pytest.fixture
def stranger() -> Iterator[Path]:
    """A home that belongs to nobody; not below pytest's folder, which any other run closes to everybody else."""
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, 65534, 65534)
        yield Path(folder)


class Sensor:
    """A running `soc sense`."""

    def __init__(self, home: Path, *arguments: str, prefix: tuple[str, ...] = ()) -> None:
        self.home = home
        (home / "run" / f"sense-{OUT}.state.json").unlink(missing_ok=True)  # as `soc up` does
        command = ["ip", "netns", "exec", NAME, *prefix, sys.executable, "-m", "soc", "--json", "--home", str(home)]
        self.process = subprocess.Popen(
            [*command, "sense", OUT, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def state(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            return dict(json.loads((self.home / "run" / f"sense-{OUT}.state.json").read_bytes()))
        return {}

    def ready(self) -> Sensor:
        assert until(lambda: self.state().get("state") == "running" or self.process.poll() is not None, 90)
        assert self.process.poll() is None, self.process.stderr.read()
        return self

    def stop(self, number: int = signal.SIGTERM) -> dict[str, Any]:
        """What it saw."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, err
        return dict(json.loads(out))

    def durable(self) -> list[bytes]:
        """Records that a kill leaves, while it runs."""
        with contextlib.closing(LogReader(self.home / "queue", "raw")) as reader:
            return [record for block in reader.read({}, None, 1000) for record in block.records()]

    def counted(self) -> list[dict[str, Any]]:
        """Its accounts, a row for each hour."""
        return list(json.loads((self.home / "run" / "sense" / f"{OUT}.json").read_bytes())["counts"])

    def blocks(self) -> list[Any]:
        log = DiskLog(self.home / "queue", "raw", f"sense-{OUT}", SystemClock(), max_bytes=1 << 30)
        try:
            return list(log.frames_after(-1))
        finally:
            log.close()

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(record) for block in self.blocks() for record in block.records()]


def _kept(home: Path) -> int:
    """Packets in the ring's files, as far as they are written."""
    return sum(len(tshark(path, "frame.number")) for path in files(home / "packets" / OUT))


def until(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def replay(path: Path, *options: str) -> None:
    inside("tcpreplay", "-q", "-i", IN, *options, str(path))


@pytest.mark.netns
def test_what_is_replayed_is_what_is_imported(wire: None, tmp_path: Path) -> None:
    """Not one packet is lost; the records are those of the file, the ring has its octets, the accounts balance."""
    path = capture("office.pcap")
    sensor = Sensor(tmp_path).ready()
    replay(path, "--pps", "2000")
    assert until(lambda: sensor.state()["counts"].get("packets") == 345, 90)
    counts = sensor.stop()
    assert (counts["packets"], counts["kernel_packets"], counts["kernel_drops"]) == (345, 345, 0)
    assert counts["flow_packets"] == 345

    def said(records: list[dict[str, Any]]) -> Counter[str]:
        times = {"at_us", "start_us", "end_us", "duration_ns", "number", "offset", "file", "interface", "end_reason"}
        kept = [r for r in records if r["kind"] != "capture"]
        return Counter(json.dumps({k: v for k, v in r.items() if k not in times}, sort_keys=True) for r in kept)

    found = sensor.records()
    assert said(found) == said(ours(path))
    [file] = files(tmp_path / "packets" / OUT)
    fields = ("frame.len", "tcp.seq_raw", "ip.id", "udp.checksum")
    assert tshark(file, *fields) == tshark(path, *fields)
    assert [bytes(p) for p in rdpcap(str(file))] == [bytes(p) for p in rdpcap(str(path))]
    again = of(file.read_bytes())
    assert said(again) == said(found)
    at = {(r["kind"], r["number"]): r for r in again}
    for record in found:
        assert record["kind"] == "capture" or record["file"] == file.name
        assert record["offset"] == at[record["kind"], record["number"]]["offset"]
    rows = sensor.counted()
    assert [sum(row[name] for row in rows) for name in ("received", "queued")] == [len(found)] * 2
    assert [row["dropped"] for row in rows if row["dropped"]] == []
    assert {(b.site, b.listener, b.peer, b.format) for b in sensor.blocks()} == {("default", OUT, OUT, "packet")}


@pytest.mark.netns
def test_the_accounts_balance_from_the_wire_to_the_store(wire: None, tmp_path: Path) -> None:
    """Every record is an event with its id, the source balances, the monitoring point is listed."""
    (tmp_path / "soc.toml").write_text(f'[sense.{OUT}]\ninterface = "{OUT}"\n')
    sensor = Sensor(tmp_path, "--name", OUT).ready()
    replay(capture("office.pcap"), "--pps", "2000")
    assert until(lambda: sensor.state()["counts"].get("packets") == 345, 90)
    sensor.stop()
    records = sensor.records()
    settings, clock = load(environ={}, home=tmp_path), SystemClock()
    worker = Worker(settings, clock)
    while worker.step():
        pass
    worker.close()
    assert worker.counts["records"] == worker.counts["events"] == len(records)
    assert (worker.counts["unparsed"], worker.counts["dead"]) == (0, 0)
    services = Services.open(settings, clock)
    try:
        since = clock.now_ns() // 1000 - 3_600_000_000
        [row] = services.books.sources(since)["sources"]
        assert (row["listener"], row["peer"], row["received"], row["stored"]) == (OUT, OUT, len(records), len(records))
        assert row["balanced"] is True
        [point] = [p for p in services.books.points(since) if p["listener"] == OUT]
        assert (point["protocol"], point["address"]) == ("packets", OUT)
        asked = Equals("dns.question.name", "www.haiphong.test")
        rows = services.store.search(Scope.everything("test", "test"), asked, limit=500).rows
        assert {row["event.dataset"] for row in rows} == {"packet.dns"}
        assert len({row["event.id"] for row in rows}) == len(rows) > 5
    finally:
        services.close()


def test_a_monitoring_point_of_the_settings(tmp_path: Path) -> None:
    """`soc up` starts a sensor for each; faults have their place."""
    (tmp_path / "soc.toml").write_text('[sense.edge]\ninterface = "eth9"\npromiscuous = true\nring_max_bytes = 0\n')
    settings = load(environ={}, home=tmp_path)
    assert settings.sense == (Sense("edge", "eth9", promiscuous=True, ring_max_bytes=0),)
    assert ("sense-edge", ("sense", "eth9", "--name", "edge")) in starting.commands(settings, False)
    wrong = '[listen.edge]\nprotocol = "netflow"\nport = 5\n[sense.edge]\ninterface = "e"\n[sense."a b"]\n'
    (tmp_path / "soc.toml").write_text(wrong + 'interface = "e"\nring_max_bytes = 5\n[sense.c]\n')
    with pytest.raises(ConfigError) as error:
        load(environ={}, home=tmp_path)
    for said in (
        "[sense.edge] the name is taken", "[sense.c]", "'interface' is missing",
        "'sense.a b.ring_max_bytes' should be 0, or 67108864 bytes (64 MiB) or more, not 5",
    ):  # fmt: skip
        assert said in str(error.value)


@pytest.mark.netns
def test_what_the_kernel_drops_is_counted(wire: None, tmp_path: Path) -> None:
    """While the sensor is held its ring overflows; then every packet was either seen or counted as dropped."""
    path = tmp_path / "flood.pcap"
    frame = b"\2\0\0\0\0\1\2\0\0\0\0\2\x08\0" + bytes.fromhex("450022f40001000040110000c0000201c0000202") + bytes(8928)
    head = b"\xd4\xc3\xb2\xa1\2\0\4\0" + bytes(8) + (262_144).to_bytes(4, "little") + (1).to_bytes(4, "little")
    record = (1).to_bytes(4, "little") + bytes(4) + len(frame).to_bytes(4, "little") * 2 + frame
    path.write_bytes(head + record * 100)
    sensor = Sensor(tmp_path / "home").ready()
    sensor.process.send_signal(signal.SIGSTOP)
    replay(path, "--loop", "120", "-K", "--topspeed")
    sensor.process.send_signal(signal.SIGCONT)
    counts = sensor.stop()
    assert counts["kernel_drops"] > 0
    assert counts["packets"] + counts["kernel_drops"] == 12_000 == counts["kernel_packets"]
    dropped = [row["dropped"] for row in sensor.counted() if row["peer"] == "*"]
    assert sum(each.get("kernel", 0) for each in dropped) == counts["kernel_drops"]


@pytest.mark.netns
def test_a_filter_and_a_kill(wire: None, tmp_path: Path) -> None:
    """Only what the filter lets through; after kill -9 the queue and the ring have what was there, and it goes on."""
    path = capture("office.pcap")
    sensor = Sensor(tmp_path, "--filter", "udp port 53").ready()
    replay(path, "--pps", "3000")
    assert until(lambda: len(sensor.durable()) == 22, 90)
    assert until(lambda: _kept(tmp_path) == 22, 90)
    sensor.process.kill()
    sensor.process.wait()
    first = sensor.records()
    assert [r["kind"] for r in first] == ["dns"] * 22
    [kept] = files(tmp_path / "packets" / OUT)
    assert len(tshark(kept, "frame.number")) == 22
    again = Sensor(tmp_path, "--filter", "udp port 53").ready()
    replay(path, "--pps", "3000")
    assert until(lambda: again.state()["counts"].get("packets") == 22, 90)
    again.stop()
    assert len(kind(again.records(), "dns")) == 44
    assert len(files(tmp_path / "packets" / OUT)) == 2
    rows = again.counted()
    assert [sum(row[name] for row in rows) for name in ("received", "queued")] == [len(again.records())] * 2


@pytest.mark.netns
def test_the_right_that_is_needed(wire: None, stranger: Path) -> None:
    """CAP_NET_RAW alone is enough, for an ordinary user too; without it exit 5 and the way out."""
    home = stranger
    drop = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    without = Sensor(home, prefix=(*drop, "--bounding-set=-net_raw", "--"))
    _, err = without.process.communicate(timeout=60)
    assert (without.process.returncode, "CAP_NET_RAW" in err) == (5, True)
    raised = (*drop, "--inh-caps=-all,+net_raw", "--ambient-caps=-all,+net_raw", "--bounding-set=-all,+net_raw", "--")
    sensor = Sensor(home, prefix=raised).ready()
    replay(capture("nano.pcap"), "--pps", "2000")
    assert until(lambda: sensor.state()["counts"].get("packets", 0) > 20, 90)
    assert sensor.stop()["kernel_drops"] == 0


@pytest.mark.netns
def test_an_interface_that_goes_away_ends_it(wire: None, tmp_path: Path) -> None:
    """Down is waited out; deleted is an error, and what was seen is in the queue."""
    sensor = Sensor(tmp_path).ready()
    replay(capture("nano.pcap"), "--pps", "2000")
    assert until(lambda: sensor.state()["counts"].get("packets", 0) > 20, 90)
    inside("ip", "link", "set", OUT, "down")
    time.sleep(0.5)
    inside("ip", "link", "set", OUT, "up")
    time.sleep(0.5)
    assert sensor.process.poll() is None
    inside("ip", "link", "del", IN)
    _, err = sensor.process.communicate(timeout=60)
    assert sensor.process.returncode == 1
    assert f"capturing on {OUT} ended" in err
    assert len(kind(sensor.records(), "flow")) > 5


def test_a_filter_is_refused_with_the_reason() -> None:
    """What libpcap says of it; a filter is never taken for an option."""
    assert compiled("udp port 53", 1, 100)[-2][3] == 100
    with pytest.raises(ConfigError, match=r"filter 'udp prt 53'.*syntax error"):
        compiled("udp prt 53", 1, 100)
    with pytest.raises(ConfigError, match="filter '-w /tmp/x'"):
        compiled("-w /tmp/x", 1, 100)


SECOND = 1_000_000_000


def test_a_ring_stays_within_its_bounds(tmp_path: Path) -> None:
    """By size and by age the oldest files give way, counted; names rise; pointers lead to the packets that are left."""
    ring = PacketRing(tmp_path, 1, max_bytes=4 * FILE_BYTES, max_age_s=3600)
    frame = bytes(10_000)
    places = []
    for i in range(20_000):
        offset = ring.append(10**18 + i * 1_000_000, i.to_bytes(4, "big") + frame, 20_000)
        places.append((ring.name, offset))
        if i % 100 == 0:
            ring.flush()
            assert sum(path.stat().st_size for path in files(tmp_path)) <= 4 * FILE_BYTES
    ring.close()
    left = {path.name: path.read_bytes() for path in files(tmp_path)}
    assert 2 <= len(left) <= 4
    for i, (name, offset) in enumerate(places):
        if name in left:
            assert left[name][offset + 16 : offset + 20] == i.to_bytes(4, "big")
    gone = {name for name, _ in places} - set(left)
    assert ring.counts["ring_overwritten_files"] == len(gone) > 5
    assert ring.counts["ring_overwritten_bytes"] > len(gone) * (FILE_BYTES - 20_000)
    assert len({int.from_bytes(path.read_bytes()[40:44], "big") for path in files(tmp_path)}) == len(left)

    later = PacketRing(tmp_path, 1, max_bytes=4 * FILE_BYTES, max_age_s=3600)
    later.append(10**18 + 5000 * SECOND, b"new", 3)
    later.close()
    assert [path.name for path in files(tmp_path)] == [f"{10**18 + 5000 * SECOND:020d}.pcap"]
    assert later.counts["ring_overwritten_files"] == len(left)


def test_names_of_a_ring_rise_when_the_clock_does_not(tmp_path: Path) -> None:
    """A clock that was set back begins a new file under a new name."""
    ring = PacketRing(tmp_path, 1, max_bytes=4 * FILE_BYTES, max_age_s=3600)
    names = []
    for ns in (10**18, 10**18 - SECOND, 10**18 - 2 * SECOND):
        ring.append(ns, b"x", 1)
        ring.flush()
        names.append(ring.name)
    ring.close()
    assert names == sorted(set(names))
    assert [path.name for path in between(tmp_path, 10**18 - SECOND, 10**18 + 10)] == names


def test_a_full_disk_costs_packets_and_nothing_else(tmp_path: Path) -> None:
    """What cannot be written is counted; the sensor goes on, and the ring when there is room again."""
    folder = tmp_path / "ring"
    ring = PacketRing(folder, 1, max_bytes=4 * FILE_BYTES, max_age_s=3600)
    folder.rmdir()
    ring.append(10**18, b"x", 1)
    ring.append(10**18, b"y", 1)
    ring.flush()
    assert ring.counts["ring_unwritten"] == 2
    folder.mkdir()
    ring.append(10**18 + 1, b"z", 1)
    ring.flush()
    ring.close()
    [path] = files(folder)
    assert path.read_bytes()[24 + 16 :] == b"z"


def test_a_file_that_is_not_durable_still_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a disk with faults would be filled beyond the bound."""

    def fails(_fd: int) -> None:
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(os, "fdatasync", fails)
    ring = PacketRing(tmp_path, 1, max_bytes=2 * FILE_BYTES, max_age_s=3600)
    for i in range(4000):
        ring.append(10**18 + i, bytes(20_000), 20_000)
        if i % 100 == 0:
            ring.flush()
    ring.close()
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 2 * FILE_BYTES


def test_a_sensor_that_cannot_start_keeps_nothing_else_from_running(tmp_path: Path) -> None:
    """`soc up` waits for every process but the sensors; those are tried again while it watches."""
    (tmp_path / "soc.toml").write_text('[sense.edge]\ninterface = "nosuch0"\n')
    settings = load(environ={}, home=tmp_path)
    supervisor = Supervisor(settings, starting.commands(settings, False))
    asked: list[str] = []
    supervisor.watch = lambda: []  # type: ignore[method-assign]
    supervisor.wait_ready = lambda names, stop: asked.extend(names) or []  # type: ignore[method-assign,func-returns-value]
    starting._start(supervisor, False, threading.Event())
    assert {"collect", "serve"} <= set(asked)
    assert "sense-edge" not in asked
    assert "sense-edge" in {child.name for child in supervisor.children}
