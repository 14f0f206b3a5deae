"""Rules over raw EVTX, beside what the evtx wheel takes to read it, and over parsed batches of network and syslog.

EVTX needs `SOC_BENCH_DATA` with `evtx-attack-samples-part.zip`. The rules are ours, and with `sigmahq-rules.zip` there
SigmaHQ's.
"""

from __future__ import annotations

import os
import random
import statistics
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from evtx import PyEvtxParser

from benchmarks.detect import RECEIPT_NS
from benchmarks.entries import Cost, Entry, Stopwatch, entry
from benchmarks.traffic import blocks, traffic
from soc import content
from soc.detections import DetectionSet, Detector, detect
from soc.model import kernel
from soc.model.batch import EventBatch
from soc.model.clock import FixedClock
from soc.model.joined import Joined
from soc.model.record import RawBlock
from soc.parsers import ParserSet, ParserState
from soc.pipeline import parse_files
from soc.simulate import wire
from soc.simulate.province import build

EVENTS = 100_000
ROUNDS = 3
_ZIP, _RULES = "evtx-attack-samples-part.zip", "sigmahq-rules.zip"
_MESSAGES = 5_000
_ATTACK = wire.rfc3164(
    RECEIPT_NS, 190, "web01", "nginx",
    wire.nginx_line(RECEIPT_NS, "203.0.113.9", "GET /?id=1%20union%20select%20null,version() HTTP/1.1", 200, size=9,
                    referer="-", agent="sqlmap/1.8"),
)  # fmt: skip


def run(quick: bool = False) -> list[Entry]:
    """Events a CPU-second; loading the rules is not counted, building their matchers is."""
    events = EVENTS // 10 if quick else EVENTS
    parsers = ParserSet.load(content.roots("parsers"))
    data = Path(os.environ.get("SOC_BENCH_DATA") or ".")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        given = _unpacked(data / _RULES, root / "rules")
        rows = [_network(parsers, given, events)]
        if (logs := _unpacked(data / _ZIP, root / "logs")) is not None:
            rows += _evtx(parsers, given, logs, events)
        else:
            print(f"sigma_evtx needs {_ZIP} in SOC_BENCH_DATA", file=sys.stderr)
    return rows


def _unpacked(archive: Path, into: Path) -> Path | None:
    if not archive.is_file():
        return None
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(into)
    return into


def _rules(parsers: ParserSet, given: Path | None, *folders: str) -> DetectionSet:
    ours = content.roots("detections")
    found = [p for name in folders for p in given.rglob(f"rules/{name}") if p.is_dir()] if given is not None else []
    return DetectionSet.load([*ours, *found], fields=parsers.fields)


# raw EVTX -------------------------------------------------------------------------------------------------------------


def _evtx(parsers: ParserSet, given: Path | None, logs: Path, events: int) -> list[Entry]:
    """The ten files with most events, again and again; each round of ours beside one of the wheel and one without the
    kernel."""
    sizes = {path: sum(1 for _ in PyEvtxParser(str(path)).records_json()) for path in logs.rglob("*.evtx")}
    files = sorted(sizes, key=lambda path: -sizes[path])[:10]
    files *= events // sum(sizes[path] for path in files) + 1
    rules = _rules(parsers, given, "windows")
    own, pure, reading = [], [], []
    for _ in range(ROUNDS):
        own.append(_searched(parsers, rules, files).cpu_us)
        reading.append(_read(files).cpu_us)
        with mock.patch.object(kernel, "kernel", None):
            pure.append(_searched(parsers, rules, files).cpu_us)
    wheel, rate = "the evtx wheel reading the same files to JSON", 1e6 / statistics.median(reading)
    return [
        entry("sigma_evtx", 1e6 / statistics.median(own), f"events/CPU-s, {kernel.WHICH}", wheel, rate),
        entry("sigma_evtx.pure", 1e6 / statistics.median(pure), "events/CPU-s, pure Python", wheel, rate),
    ]


def _searched(parsers: ParserSet, rules: DetectionSet, files: list[Path]) -> Cost:
    count, watch = 0, Stopwatch()

    def blocks() -> Iterator[Joined]:
        nonlocal count
        for block in parse_files(parsers, files, FixedClock(RECEIPT_NS), lambda *_: None):
            count += sum(batch.n for batch in block.batches)
            yield block

    with watch:
        hits = sum(1 for _ in detect(rules, blocks(), fields=parsers.fields))
    if not hits:
        raise RuntimeError("no rule hit: nothing was measured")
    return watch.cost(count)


def _read(files: list[Path]) -> Cost:
    count, watch = 0, Stopwatch()
    with watch:
        for path in files:
            count += sum(1 for _ in PyEvtxParser(str(path)).records_json())
    return watch.cost(count)


# parsed batches of networks, servers and flows ------------------------------------------------------------------------


def _network(parsers: ParserSet, given: Path | None, events: int) -> Entry:
    rules = _rules(parsers, given, "network", "linux", "web")
    batches = _parsed(parsers, events)
    costs = []
    for _ in range(ROUNDS):
        detector, watch = Detector(rules), Stopwatch()
        with watch:
            hits = sum(len(detector.match(batch)) for batch in batches)
        if not hits:
            raise RuntimeError("no rule hit: nothing was measured")
        costs.append(watch.cost(sum(batch.n for batch in batches)).cpu_s)
    total = sum(batch.n for batch in batches)
    return entry("sigma_network", total / statistics.median(costs), "events/CPU-s", None, None)


def _parsed(parsers: ParserSet, events: int) -> list[EventBatch]:
    """What the devices of a province send, and web attacks among it, parsed beforehand: every column is made."""
    messages = traffic(build(7, FixedClock(RECEIPT_NS)), random.Random(7), lambda: RECEIPT_NS)
    found: list[EventBatch] = []
    count = 0
    while count < events:
        for block in blocks([next(messages) for _ in range(_MESSAGES)], "default", RECEIPT_NS):
            found += parsers.parse(block, ParserState(), RECEIPT_NS)[0]
        attack = RawBlock.of([_ATTACK], receipt_ns=RECEIPT_NS, format="syslog", seq=count)
        found += parsers.parse(attack, ParserState(), RECEIPT_NS)[0]
        count = sum(batch.n for batch in found)
    for batch in found:
        for column in batch.columns.values():
            column.to_list()
    return found
