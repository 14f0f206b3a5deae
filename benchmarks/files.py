"""Lines of files to durable records a second of CPU: followed, beside rsyslogd's imfile; imported out of gzip."""

from __future__ import annotations

import gzip
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from benchmarks.entries import Cost, Entry, Stopwatch, child_seconds, cpu, entry
from soc.collectors.uploads import PART_BYTES, Uploads
from soc.model.clock import SystemClock
from soc.store.queue import DiskLog

TOP = Path(__file__).resolve().parents[1]
LINE = b"2026-11-20T03:00:00Z web1 app[4711]: request %07d of 203.0.113.9 for /portal/index took 31 ms, status 200\n"
TAILED, IMPORTED = 1_000_000, 500_000
ROUNDS = 3
UNIT = "durable lines/CPU-second"
SYNCED = 'sync="on" asyncWriting="on" flushOnTXEnd="off" ioBufferSize="1m" flushInterval="1"'
_FOLLOW = """
import sys, threading, time
from pathlib import Path
from soc.collectors.collect import Collector
from soc.collectors.listeners import ListenerSpec
from soc.model.clock import SystemClock
from soc.store.queue import DiskLog
path, root, wanted = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
spec, stop, began = ListenerSpec("app", "file", "", 0, "bench", paths=(path,)), threading.Event(), []
with DiskLog(root, "raw", "n1", SystemClock()) as log:
    collector = Collector([spec], log, SystemClock(), counters_path=root / "counters.json")
    def watch():
        while sum(row["queued"] for row in collector.counters()) < wanted:
            time.sleep(0.05)
        stop.set()
    threading.Thread(target=watch).start()
    collector.run(stop, lambda ports: began.append(time.process_time()))
    print(time.process_time() - began[0])
"""


def run(quick: bool = False) -> list[Entry]:
    """`tail` and `import_gzip`."""
    share, rounds = (10, 1) if quick else (1, ROUNDS)
    with tempfile.TemporaryDirectory(dir=os.environ.get("SOC_BENCH_DIR")) as folder:
        root = Path(folder)
        return [*_tail(root, TAILED // share, rounds), *_import(root, IMPORTED // share)]


def _tail(root: Path, n: int, rounds: int) -> list[Entry]:
    path = root / "app.log"
    path.write_bytes(b"".join(LINE % i for i in range(n)))
    own, other = [], []
    for i in range(rounds):
        own.append(n / _followed(path, root / f"queue{i}", n))
        if shutil.which("rsyslogd"):
            other.append(n / _imfile(path, root / f"rsyslog{i}", n))
    reference = statistics.median(other) if other else None
    words = "rsyslogd imfile, omfile that syncs each MiB or second" if other else None
    return [entry("tail", statistics.median(own), UNIT, words, reference)]


def _followed(path: Path, queue: Path, n: int) -> float:
    """CPU seconds of a collector that follows the file, from the time it is ready."""
    queue.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", _FOLLOW, path, queue, str(n)], cwd=TOP, check=True, capture_output=True, text=True
    )
    shutil.rmtree(queue)
    return float(done.stdout)


def _imfile(path: Path, work: Path, n: int) -> float:
    """CPU seconds of rsyslogd from its start; it is there in milliseconds."""
    work.mkdir()
    out, config = work / "out.log", work / "rsyslog.conf"
    config.write_text(
        f'global(workDirectory="{work}")\nmodule(load="imfile")\n'
        f'input(type="imfile" File="{path}" Tag="app" ruleset="r")\n'
        f'template(name="raw" type="string" string="%msg%\\n")\n'
        f'ruleset(name="r") {{ action(type="omfile" file="{out}" template="raw" {SYNCED}) }}\n'
    )
    process = subprocess.Popen(["rsyslogd", "-n", "-f", config, "-i", work / "pid"], stderr=subprocess.DEVNULL)
    wanted, deadline = path.stat().st_size, time.monotonic() + 120
    while not out.exists() or out.stat().st_size < wanted:
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    found = out.read_bytes().count(b"\n") if out.exists() else 0
    if found != n:
        raise RuntimeError(f"rsyslogd wrote {found} of {n} lines")
    shutil.rmtree(work)
    return child_seconds(usage)


def _import(root: Path, n: int) -> list[Entry]:
    """An upload read into the queue, beside a plain loop over the same file that writes and syncs once."""
    data = gzip.compress(b"".join(LINE % i for i in range(n)), 6)
    own, plain = Stopwatch(), Stopwatch()
    with DiskLog(root / "imports-queue", "raw", "import", SystemClock()) as log:
        uploads = Uploads(root / "imports", log, SystemClock(), site="bench")
        state = uploads.begin("app.log.gz", len(data), "bench")
        for part in range(state["parts"]):
            uploads.put(state["id"], part, data[part * PART_BYTES : (part + 1) * PART_BYTES])
        uploads.commit(state["id"])
        with own:
            read = uploads.read(state["id"], threading.Event())
    if read["records"] != n:
        raise RuntimeError(f"{read['records']} of {n} lines: {read['error']}")
    packed = root / "app.log.gz"
    packed.write_bytes(data)
    with plain, gzip.open(packed) as source, (root / "plain.log").open("wb") as target:
        for line in source:
            target.write(line)
        target.flush()
        os.fsync(target.fileno())
    mine, other = own.cost(n), plain.cost(n)
    words = "a loop over gzip's lines that writes and syncs once"
    return [
        entry("import_gzip", mine.events / mine.cpu_s, UNIT, words, other.events / other.cpu_s),
        cpu("import_gzip", mine, words, Cost(n, other.wall_s, other.cpu_s)),
    ]
