"""The whole way of an event through one worker: parse, enrich, detect, store; at full speed and at 1,000 a second.

The worker is the one of `soc work`. Sealing is `soc compact`'s and is measured in `store`.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

from benchmarks.entries import Cost, Entry, Stopwatch, both, cpu, entry
from benchmarks.traffic import Sent, blocks, traffic
from soc.config import Settings
from soc.detections import Detector
from soc.model.clock import SystemClock
from soc.model.position import Partition, Position
from soc.model.record import RawBlock
from soc.parsers import ParserSet
from soc.pipeline import places
from soc.pipeline.worker import Worker
from soc.processes.process import STEP_S
from soc.registry import Registry
from soc.simulate.province import Province, build
from soc.store.events import EventStore
from soc.store.queue import DiskLog, LogReader

SEED, EVENTS, PER_FRAME_SET = 7, 100_000, 5_000
OFFERED, OFFERED_S, TICK_S = 1_000, 20, 0.05
PLAIN = "plain loop: header regex, JSON lines, fdatasync"
CLOCK = SystemClock()
ROOMS = (
    ("parse", ParserSet, "parse"), ("enrich", Registry, "enrich"), ("detect", Detector, "match"),
    ("project", Detector, "project"), ("logs", DiskLog, "append"), ("store", EventStore, "append"),
)  # fmt: skip
"""The calls of a worker whose share is shown."""


class Taker(Protocol):
    """What empties the log `raw` step by step."""

    def step(self) -> int:
        """How many frames were made durable."""
        ...


Make = Callable[[Settings, ExitStack], Taker]


def _worker(settings: Settings, stack: ExitStack) -> Worker:
    return stack.enter_context(closing(Worker(settings, CLOCK)))


class Plain:
    """The least that keeps lines searchable by `grep` and survives a power cut: no fields, no owner, no rules."""

    _HEADER = re.compile(r"<(\d+)>(?:1 )?(\w+ +\d+ (?:\d{4} )?\S+|\S+) (\S+) (.*)", re.S)

    def __init__(self, settings: Settings, stack: ExitStack) -> None:
        self.file = stack.enter_context(settings.path("plain.jsonl").open("ab"))
        self.reader = stack.enter_context(closing(LogReader(places.queue(settings), places.RAW)))
        self.cursors: dict[Partition, Position] = {}

    def step(self) -> int:
        taken = self.reader.read(self.cursors, None, 512)
        self.cursors |= {block.partition: Position(block.node, block.log, block.seq) for block in taken}
        if not taken:
            return 0
        lines = [self._line(block, record) for block in taken for record in block.records()]
        self.file.write(b"".join(lines))
        self.file.flush()
        os.fdatasync(self.file.fileno())
        return len(taken)

    def _line(self, block: RawBlock, record: bytes) -> bytes:
        if block.format != "syslog":
            return json.dumps({"peer": block.peer, "hex": record.hex()}).encode() + b"\n"
        match = self._HEADER.match(record.decode("utf-8", "replace"))
        parts = match.groups() if match else ("", "", "", "")
        names = ("priority", "time", "host", "message")
        return json.dumps({"peer": block.peer, **dict(zip(names, parts, strict=True))}).encode() + b"\n"


def run(quick: bool = False) -> list[Entry]:
    """Full speed with the share of each room, then 1,000 events a second offered."""
    return [*_full(EVENTS // 10 if quick else EVENTS), *_offered(4 if quick else OFFERED_S)]


@contextmanager
def _site() -> Iterator[tuple[Settings, Province, DiskLog, ExitStack]]:
    """An empty home with the province's registry, and the log a collector would write."""
    province = build(SEED, CLOCK)
    with tempfile.TemporaryDirectory(dir=os.environ.get("SOC_BENCH_DIR")) as folder, ExitStack() as stack:
        settings = Settings(home=Path(folder), site_id=province.site, simulated=True)
        province.write_registry(settings.path(places.REGISTRY))
        log = stack.enter_context(DiskLog(places.queue(settings), places.RAW, "bench", CLOCK))
        yield settings, province, log, stack


# at full speed --------------------------------------------------------------------------------------------------------


def _full(events: int) -> list[Entry]:
    with _site() as (settings, province, log, stack):
        sent = _fill(log, province, events)
        worker = _worker(settings, stack)
        with _rooms() as shares:
            own = _drain(worker, sent)
        if worker.counts["events"] != sent:
            raise RuntimeError(f"{sent} events in the log, {worker.counts['events']} stored")
        other = _drain(Plain(settings, stack), sent)
    rows = both("chain.full", own, PLAIN, other)
    rows += [cpu(f"chain.full.{name}", watch.cost(sent), "the whole chain", own) for name, watch in shares.items()]
    return rows


def _fill(log: DiskLog, province: Province, events: int) -> int:
    """Put at least so many events into the log; how many they are."""
    stream, total = traffic(province, random.Random(SEED), CLOCK.now_ns), 0
    while total < events:
        sent = _until(stream, PER_FRAME_SET)
        log.append(blocks(sent, province.site, CLOCK.now_ns()))
        total += sum(message.events for message in sent)
    return total


def _until(stream: Iterable[Sent], events: int) -> list[Sent]:
    sent: list[Sent] = []
    for message in stream:
        sent.append(message)
        events -= message.events
        if events <= 0:
            break
    return sent


def _drain(taker: Taker, events: int) -> Cost:
    watch = Stopwatch()
    with watch:
        while taker.step():
            pass
    return watch.cost(events)


@contextmanager
def _rooms() -> Iterator[dict[str, Stopwatch]]:
    """A stopwatch around each room's call while this is open."""
    watches = {name: Stopwatch() for name, _, _ in ROOMS}
    with ExitStack() as stack:
        for name, owner, method in ROOMS:
            call = getattr(owner, method)
            setattr(owner, method, _watched(watches[name], call))
            stack.callback(setattr, owner, method, call)
        yield watches


def _watched(watch: Stopwatch, call: Callable[..., Any]) -> Callable[..., Any]:
    def timed(*arguments: Any, **named: Any) -> Any:
        with watch:
            return call(*arguments, **named)

    return timed


# at a given pace ------------------------------------------------------------------------------------------------------


def _offered(seconds: int) -> list[Entry]:
    own, own_ms = _paced(_worker, seconds)
    other, other_ms = _paced(Plain, seconds)
    name = f"chain.offered_{OFFERED}"
    share, plain_share = (100 * cost.cpu_s / cost.wall_s for cost in (own, other))
    rows = [
        entry(f"{name}.stored", own.rate, "events/s", "offered", float(OFFERED)),
        cpu(name, own, PLAIN, other),
        entry(f"{name}.cpu_share", share, "% of a core", PLAIN, plain_share, less_is_better=True),
    ]
    for percent in (50, 99):
        values = (_percentile(own_ms, percent), "ms receipt to stored", PLAIN, _percentile(other_ms, percent))
        rows.append(entry(f"{name}.latency_p{percent}", *values, less_is_better=True))
    return rows


def _percentile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def _paced(make: Make, seconds: int) -> tuple[Cost, list[float]]:
    """CPU of the worker alone (the feeder's thread is taken off), and ms from receipt to durable of each record."""
    with _site() as (settings, province, log, stack):
        taker = make(settings, stack)
        feeder, watch, delays = _Feeder(log, province, seconds), Stopwatch(), []
        with watch:
            feeder.start()
            frames = 0
            while True:
                is_last, began = not feeder.is_alive(), time.monotonic()
                if handled := taker.step():
                    delays += feeder.delays_ms(frames, frames + handled)
                    frames += handled
                elif is_last:
                    break
                # As `soc work` does: small steps are gathered.
                time.sleep(max(STEP_S - (time.monotonic() - began), 0.0) if handled < 64 else 0.0)
        return Cost(feeder.sent, watch.wall_s, watch.cpu_s - feeder.cpu_s), delays


class _Feeder(threading.Thread):
    """A collector's group commits: every 50 ms what arrived in it, stamped with the middle of the interval."""

    def __init__(self, log: DiskLog, province: Province, seconds: int) -> None:
        super().__init__(daemon=True)
        self.log, self.province, self.ticks = log, province, round(seconds / TICK_S)
        self.sent, self.cpu_s = 0, 0.0
        self._frames: list[tuple[int, int]] = []

    def run(self) -> None:
        stream = traffic(self.province, random.Random(SEED), CLOCK.now_ns)
        start = time.monotonic()
        for tick in itertools.count(1):
            time.sleep(max(0.0, start + tick * TICK_S - time.monotonic()))
            due = round(OFFERED * TICK_S * tick) - self.sent
            sent = _until(stream, due) if due > 0 else []
            if sent:
                self._append(blocks(sent, self.province.site, CLOCK.now_ns() - round(TICK_S / 2 * 1e9)))
            self.sent += sum(message.events for message in sent)
            if tick >= self.ticks:
                break
        self.cpu_s = time.thread_time()

    def _append(self, arrived: list[RawBlock]) -> None:
        self._frames += [(int(block.receipt_ns[0]), block.n) for block in arrived]
        self.log.append(arrived)

    def delays_ms(self, first: int, end: int) -> list[float]:
        """For each record of these frames, counted in the order of the log, the time since its receipt."""
        now = CLOCK.now_ns()
        return [(now - at) / 1e6 for at, n in self._frames[first:end] for _ in range(n)]
