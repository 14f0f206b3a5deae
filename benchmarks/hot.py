"""Searching rows that are not sealed yet: time, and resident memory of the process that searches while another appends.

With SOC_BENCH_DATA the events are real Windows events, whose hundreds of columns are what memory goes to.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.detect import process_creation, windows_events
from benchmarks.entries import Entry, entry
from benchmarks.live import QUESTIONS, memory
from soc import content
from soc.model.batch import Column, EventBatch
from soc.model.clock import SystemClock
from soc.model.fields import FieldDictionary, FieldType
from soc.model.query import MatchAll
from soc.model.record import RawBlock
from soc.model.scope import Scope
from soc.parsers import ParserSet, ParserState
from soc.processes.supervisor import FRUGAL
from soc.store.events import Aggregate, EventStore
from soc.store.query import parse

RATE, SECONDS, EVENTS, FRAME, APPENDS = 10_000, 30, 40_000, 500, 5
"""Events a second (as many as come of it where the machine is slower); so many seconds of them; distinct events;
records in a block; appends a second."""
PAUSE_S, DONE = 1.0, "done"
CLOCK = SystemClock()


def run(quick: bool = False) -> list[Entry]:
    """What searches of the last hour took, one after the other, and the resident memory of who searches."""
    seconds = 6 if quick else SECONDS
    with tempfile.TemporaryDirectory(dir=os.environ.get("SOC_BENCH_DIR")) as folder:
        command = [sys.executable, "-m", "benchmarks.hot"]
        with subprocess.Popen([*command, "append", folder, str(seconds)], stdout=subprocess.PIPE) as appending:
            assert appending.stdout is not None
            appending.stdout.readline()  # parsed
            search = [*command, "search", folder]
            done = subprocess.run(search, env={**FRUGAL, **os.environ}, check=True, capture_output=True)
    told = json.loads(done.stdout)
    return [
        entry("hot.rows", told["rows"], "rows not sealed at the end", None, None),
        entry("hot.search.p50", statistics.median(told["took_ms"]), "ms", None, None),
        entry("hot.search.max", max(told["took_ms"]), "ms", None, None),
        entry("hot.search.cpu", told["cpu_ms"] / len(told["took_ms"]), "CPU-ms a search", None, None),
        entry("hot.memory.rest", told["rest"], "MiB at rest", None, None),
        entry("hot.memory", told["peak"], "MiB at most", None, None),
    ]


def _append(root: Path, seconds: int) -> None:
    """Store the events at the rate, again and again."""
    fields, batches = _batches()
    store = EventStore(root, CLOCK, fields, writer="bench")
    print("ready", flush=True)
    stream, start, sent = itertools.cycle(batches), time.monotonic(), 0
    for tick in range(1, seconds * APPENDS + 1):
        time.sleep(max(0.0, start + tick / APPENDS - time.monotonic()))
        due, some = round(RATE * tick / APPENDS) - sent, list[EventBatch]()
        while due > 0:
            some.append(_renewed(next(stream)))
            due -= some[-1].n
            sent += some[-1].n
        store.append(some, {})
    (root / DONE).touch()


def _renewed(batch: EventBatch) -> EventBatch:
    """The same events, received now."""
    now = CLOCK.now_ns() // 1000
    times = Column.of(FieldType.DATE, np.arange(now, now + batch.n))
    ids = Column.of(FieldType.BINARY, [os.urandom(16) for _ in range(batch.n)])
    return batch.with_columns({"@timestamp": times, "event.created": times, "event.id": ids})


def _batches() -> tuple[FieldDictionary, list[EventBatch]]:
    parsers = ParserSet.load(content.roots("parsers"))
    now = CLOCK.now_ns()
    made = list[EventBatch]()
    lines = _lines()
    for at in range(0, len(lines), FRAME):
        some = lines[at : at + FRAME]
        block = RawBlock.of(some, receipt_ns=now, site="s", listener="syslog-tcp", peer="10.0.0.1", format="syslog")
        made += parsers.parse(block, ParserState(), now)[0]
    return parsers.fields, made


def _lines() -> list[bytes]:
    data = os.environ.get("SOC_BENCH_DATA")
    if not data:
        rng = random.Random(7)
        return [b"<13>" + process_creation(rng, i).encode() for i in range(EVENTS)]
    return [b"<13>" + line for line in windows_events(Path(data))]


def _search(root: Path) -> None:
    """Ask the questions in turns until all is stored; says what it took."""
    fields = ParserSet.load(content.roots("parsers")).fields
    store = EventStore(root, CLOCK, fields)
    who = Scope.everything("bench", "measure")
    took, rest = list[float](), memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    began_cpu = time.process_time()
    for question in itertools.cycle(QUESTIONS):
        began = time.monotonic()
        since = CLOCK.now_ns() // 1000 - 3_600_000_000
        store.search(who, parse(question, fields), since_us=since, limit=100)
        took.append(1000 * (time.monotonic() - began))
        if (root / DONE).exists():
            break
        time.sleep(PAUSE_S)
    cpu_ms = 1000 * (time.process_time() - began_cpu)
    peak = memory("VmHWM")
    rows = store.aggregate(who, MatchAll(), Aggregate())[0]["count"]
    print(json.dumps({"rows": rows, "took_ms": took, "cpu_ms": cpu_ms, "rest": rest, "peak": peak}))


if __name__ == "__main__":
    if sys.argv[1] == "append":
        _append(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        _search(Path(sys.argv[2]))
