"""The whole service, `soc up`, at 10,000 events a second over two connections: latency, and the memory of each process.

From receipt to stored (and held against every single-event rule: a frame's findings are durable before its events)
and from receipt to alert; a person searches beside it. With SOC_BENCH_DATA the rules are those of
SigmaHQ, 3,700, and the events real; without it both are generated. SOC_BENCH_SECONDS says how long,
SOC_BENCH_RATE how many a second.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.detect import process_creation, windows_events
from benchmarks.entries import Entry, entry
from benchmarks.rules import RULES, write_rules
from soc.client import Client
from soc.config import Settings, load
from soc.errors import SocError
from soc.model.clock import SystemClock
from soc.model.position import Partition, Position
from soc.pipeline import places
from soc.pipeline.states import read_states
from soc.store.events import EventStore
from soc.store.queue import LogReader

RATE, SECONDS, CONNECTIONS = 10_000, 60, 2
TICK_S, LOOK_S, SEARCH_S, START_S, DRAIN_S = 0.05, 0.05, 3.0, 180.0, 60.0
EVENTS = 40_000
CLOCK = SystemClock()
QUESTIONS = ("process.name:powershell.exe", "lsass", "event.dataset:windows.sysmon host.name:*")
"""What the person searches for in the last hour, in turns, `SEARCH_S` after each answer."""


def run(quick: bool = False) -> list[Entry]:
    """Percentiles of both latencies, and of each process the peak of its resident memory while events came."""
    rate, seconds = int(os.environ.get("SOC_BENCH_RATE", RATE)), int(os.environ.get("SOC_BENCH_SECONDS", SECONDS))
    rate, seconds = (rate // 10, 6) if quick else (rate, seconds)
    with tempfile.TemporaryDirectory(dir=os.environ.get("SOC_BENCH_DIR")) as folder:
        rules, lines = _given(Path(folder))
        with _service(Path(folder) / "home", rules) as settings:
            return _measured(settings, lines, rate, seconds)


def _given(folder: Path) -> tuple[Path, list[bytes]]:
    data = os.environ.get("SOC_BENCH_DATA")
    if not data:
        rng = random.Random(7)
        write_rules(folder / "rules.yml", rng, RULES)
        return folder / "rules.yml", [process_creation(rng, i).encode() for i in range(EVENTS)]
    return Path(data) / "sigmahq-rules.zip", windows_events(Path(data))


@contextlib.contextmanager
def _service(home: Path, rules: Path) -> Iterator[Settings]:
    """`soc up` in a home of its own, everything ready."""
    home.mkdir()
    (home / "soc.toml").write_text(
        f'[content]\nrules = ["{rules}"]\n[web]\nport = 0\nsocket = "{home / "api.sock"}"\n'
        '[listen.tcp]\nprotocol = "syslog-tcp"\nport = 0\nmax_bytes = 1048576\n'
    )
    environ = {k: v for k, v in os.environ.items() if not k.startswith("SOC_")} | {"SOC_HOME": str(home)}
    settings = load(home=home, environ={})
    with (home / "up.log").open("wb") as log:
        command = (sys.executable, "-m", "soc", "up", "--no-console")
        service = subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + START_S
            while "soc console" not in (home / "up.log").read_text():
                if service.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"soc up did not start: {(home / 'up.log').read_text()}")
                time.sleep(0.2)
            yield settings
        finally:
            service.send_signal(signal.SIGINT)
            service.wait(60)


def _measured(settings: Settings, lines: Sequence[bytes], rate: int, seconds: int) -> list[Entry]:
    states = {state["name"]: state for state in read_states(settings)}
    port = states["collect"]["ports"]["tcp"]
    rest = {name: memory("VmRSS", state["pid"]) for name, state in states.items()}
    for state in states.values():
        _forget_peak(state["pid"])
    cpu_before = {name: _cpu_s(state["pid"]) for name, state in states.items()}
    done = threading.Event()
    follower, searching = _Follower(settings), _Searching(settings, done)
    senders = [_Sender(port, lines[k::CONNECTIONS], rate // CONNECTIONS, seconds) for k in range(CONNECTIONS)]
    for thread in (*senders, searching):
        thread.start()
    while any(sender.is_alive() for sender in senders):
        follower.look()
        time.sleep(LOOK_S)
    sent = sum(sender.sent for sender in senders)
    deadline = time.monotonic() + DRAIN_S
    while follower.stored < sent and time.monotonic() < deadline:
        follower.look()
        time.sleep(LOOK_S)
    done.set()
    searching.join()
    rows = [
        entry("live.offered", sent / seconds, "events/s", None, None),
        entry("live.stored_share", 100 * follower.stored / sent, "% of what was sent", None, None),
        *_percentiles("live.stored", follower.stored_ms), *_percentiles("live.alert", follower.alert_ms),
        *_percentiles("live.search", searching.took_ms),
    ]  # fmt: skip
    for name, state in states.items():
        rows.append(entry(f"live.memory.{name}", memory("VmHWM", state["pid"]), "MiB at most", None, None))
        rows.append(entry(f"live.memory.{name}.rest", rest[name], "MiB at rest", None, None))
        spent_us = 1e6 * (_cpu_s(state["pid"]) - cpu_before[name])
        rows.append(entry(f"live.cpu.{name}", spent_us / sent, "CPU-µs/event", None, None))
    return rows


def _percentiles(name: str, delays_ms: Sequence[float]) -> list[Entry]:
    if len(delays_ms) < 2:
        return []
    cuts = statistics.quantiles(delays_ms, n=100, method="inclusive")
    values = {"p50": cuts[49], "p99": cuts[98], "max": max(delays_ms)}
    return [entry(f"{name}.{which}", value, "ms since receipt", None, None) for which, value in values.items()]


def memory(what: str, pid: int | str = "self") -> float:
    """MiB that a process has (`VmRSS`) or had at most (`VmHWM`)."""
    text = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(what)) / 1024


def _cpu_s(pid: int) -> float:
    """User and system time of all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _forget_peak(pid: int) -> None:
    """The peak of the start, when all rules are read, is not that of the work."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


class _Sender(threading.Thread):
    """One connection, a syslog line for each event, paced by the clock."""

    def __init__(self, port: int, lines: Sequence[bytes], rate: int, seconds: int) -> None:
        super().__init__(daemon=True)
        self._lines = [b"<13>" + line + b"\n" for line in lines]
        self._port, self._rate, self._ticks, self.sent = port, rate, round(seconds / TICK_S), 0

    def run(self) -> None:
        lines = itertools.cycle(self._lines)
        with socket.create_connection(("127.0.0.1", self._port)) as connection:
            start = time.monotonic()
            for tick in range(1, self._ticks + 1):
                time.sleep(max(0.0, start + tick * TICK_S - time.monotonic()))
                due = round(self._rate * TICK_S * tick) - self.sent
                connection.sendall(b"".join(itertools.islice(lines, due)))
                self.sent += due


class _Searching(threading.Thread):
    """A person who searches the last hour."""

    def __init__(self, settings: Settings, done: threading.Event) -> None:
        super().__init__(daemon=True)
        self._settings, self._done, self.took_ms = settings, done, list[float]()

    def run(self) -> None:
        with Client.connect(self._settings) as client:
            for question in itertools.cycle(QUESTIONS):
                began = time.monotonic()
                with contextlib.suppress(SocError):
                    client.get("/v1/events", q=question, since="1h", limit=100)
                    self.took_ms.append(1000 * (time.monotonic() - began))
                if self._done.wait(SEARCH_S):
                    return


class _Follower:
    """Looks how far store and alerts are in the queue; a record's delay is the time from its receipt to that look."""

    def __init__(self, settings: Settings) -> None:
        self.stored, self.stored_ms, self.alert_ms = 0, list[float](), list[float]()
        self._store = EventStore(places.events(settings), CLOCK)
        self._cases = sqlite3.connect(f"file:{settings.path('cases', 'cases.db')}?mode=ro", uri=True)
        self._raw = _Behind(LogReader(places.queue(settings), places.RAW))
        self._findings = _Behind(LogReader(places.queue(settings), places.FINDINGS))

    def look(self) -> None:
        """One look."""
        raw = self._raw.passed(self._store.cursors())
        self.stored += len(raw)
        self.stored_ms += raw
        found = self._cases.execute("SELECT document FROM cursors WHERE name = 'findings'").fetchone()
        cursor = {Partition.parse(k): Position.parse(v) for k, v in (json.loads(found[0]) if found else {}).items()}
        self.alert_ms += self._findings.passed(cursor)


class _Behind:
    """Records of a log that a consumer has not passed yet."""

    def __init__(self, reader: LogReader) -> None:
        self._reader, self._ahead = reader, places.Cursors()
        self._waiting: list[tuple[Partition, int, list[int]]] = []

    def passed(self, cursors: places.Cursors) -> list[float]:
        """The delays (ms) of the records that were passed since the last look."""
        while blocks := self._reader.read(self._ahead, None, 256):
            for block in blocks:
                self._ahead[block.partition] = Position(block.node, block.log, block.seq)
                self._waiting.append((block.partition, block.seq, block.receipt_ns.tolist()))
        now, found, left = CLOCK.now_ns(), list[float](), []
        for partition, seq, receipts in self._waiting:
            if partition in cursors and seq <= cursors[partition].seq:
                found += [(now - ns) / 1e6 for ns in receipts]
            else:
                left.append((partition, seq, receipts))
        self._waiting = left
        return found
