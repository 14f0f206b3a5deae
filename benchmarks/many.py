"""A worker when many sources send little each, as a province's do, next to the same events from few that send much.

Windows, sshd, FortiGate and NetFlow (ten flows a datagram), an equal number of events each; `200x5` is two hundred
sources in frames of five events. With SOC_BENCH_DATA also with SigmaHQ's rules (3,700 with ours), real Windows events.
"""

from __future__ import annotations

import itertools
import os
import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from benchmarks.detect import windows_events
from benchmarks.entries import Cost, Entry, Stopwatch, cpu
from benchmarks.traffic import FLOWS, SPEAK
from soc.config import Settings, load
from soc.model.clock import SystemClock
from soc.model.record import RawBlock
from soc.pipeline import Worker, places
from soc.simulate.province import Province, build
from soc.store.queue import DiskLog

SEED, EVENTS = 7, 24_000
CASES = ((200, 5), (200, 50), (20, 5))
"""How many sources, and events in a frame of each."""
FEW = (4, 500)
KINDS = {
    "windows": ("windows", "windows-json"), "sshd": ("syslog", "syslog"), "fortigate": ("syslog", "syslog"),
    "netflow": ("netflow", "netflow"),
}  # fmt: skip
"""Listener and format of each."""
CLOCK = SystemClock()


def run(quick: bool = False) -> list[Entry]:
    """CPU-µs an event; the reference is one source of each kind with frames of 500."""
    data, events = os.environ.get("SOC_BENCH_DATA"), EVENTS // (10 if quick else 1)
    rows = _rows("many", None, events)
    return rows + (_rows("many.sigmahq", Path(data), events) if data else [])


def _rows(name: str, data: Path | None, events: int) -> list[Entry]:
    with tempfile.TemporaryDirectory(dir=os.environ.get("SOC_BENCH_DIR")) as folder:
        home = Path(folder)
        if data is not None:
            (home / "soc.toml").write_text(f'[content]\nrules = ["{data / "sigmahq-rules.zip"}"]\n')
        province = build(SEED, CLOCK)
        settings = replace(load(home=home, environ={}), site_id=province.site)
        province.write_registry(settings.path(places.REGISTRY))
        records = {kind: _records(province, kind, data, events // len(KINDS)) for kind in KINDS}
        log = DiskLog(places.queue(settings), places.RAW, "bench", CLOCK)
        with closing(log), closing(Worker(settings, CLOCK)) as worker:
            _cost(worker, log, settings, records, FEW)  # tables and memories are warm
            few = _cost(worker, log, settings, records, FEW)
            words = f"{FEW[0]} sources, {FEW[1]} events a frame"
            return [
                cpu(f"{name}.{case[0]}x{case[1]}", _cost(worker, log, settings, records, case), words, few)
                for case in CASES
            ]


def _records(province: Province, kind: str, data: Path | None, events: int) -> list[bytes]:
    if kind == "windows" and data is not None:
        return windows_events(data)[:events]
    device = next(device for device in province.devices if device.role == kind)
    rng, now_ns = random.Random(SEED), CLOCK.now_ns()
    return [SPEAK[kind](device, n, now_ns, rng) for n in range(events // (FLOWS if kind == "netflow" else 1))]


def _cost(
    worker: Worker, log: DiskLog, settings: Settings, records: dict[str, list[bytes]], case: tuple[int, int]
) -> Cost:
    for frames in itertools.zip_longest(*(_frames(settings, kind, records[kind], case) for kind in KINDS)):
        log.append([frame for frame in frames if frame is not None])
    before, watch = worker.counts["events"], Stopwatch()
    with watch:
        while worker.step():
            pass
    events = worker.counts["events"] - before
    sent = sum(len(several) * (FLOWS if kind == "netflow" else 1) for kind, several in records.items())
    if events < sent:
        raise RuntimeError(f"{sent} events in the log, {events} stored")
    return watch.cost(events)


def _frames(settings: Settings, kind: str, records: Sequence[bytes], case: tuple[int, int]) -> Iterator[RawBlock]:
    """A kind's part of the sources, in turns."""
    sources, size = case[0] // len(KINDS), max(case[1] // (FLOWS if kind == "netflow" else 1), 1)
    listener, form = KINDS[kind]
    for n, start in enumerate(range(0, len(records), size)):
        yield RawBlock.of(
            records[start : start + size], receipt_ns=CLOCK.now_ns(), site=settings.site_id, listener=listener,
            peer=f"10.40.{list(KINDS).index(kind)}.{n % sources + 1}", format=form,
        )  # fmt: skip
