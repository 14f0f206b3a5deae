"""Rules against rsigma, the strongest open peer (Rust): matching alone, whole commands, first verdicts.

The peer is built once with cargo into `~/.cache/soc-bench` (about 15 minutes; SOC_BENCH_NO_PEERS=1 leaves it out);
without cargo the reference is the plain evaluator, and the rows say so. With SOC_BENCH_DATA the rules are SigmaHQ's
for Windows and the events real ones, three times over; without it both are generated.
"""

from __future__ import annotations

import gc
import json
import lzma
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.detect import RECEIPT_NS, process_creation
from benchmarks.entries import Entry, Stopwatch, child_seconds, entry
from benchmarks.rules import RULES, plain_cost, write_rules
from soc import content
from soc.detections import DetectionSet, Detector
from soc.model.batch import EventBatch
from soc.model.kernel import WHICH
from soc.model.record import RawBlock
from soc.parsers import ParserSet, ParserState

PEER_VERSION = "0.21.0"
EVENTS = 100_000
TIMES = 3
"""The real events are 40,293, each once; more than 100,000 are asked for, so that they come so many times over."""
ROUNDS = 5
_BLOCK = 2_000


@dataclass(frozen=True)
class Job:
    """Rules and events of one measurement; `flat` are the events as the peer reads them."""

    name: str
    rules: Path
    events: Path
    flat: Path
    n: int


def run(quick: bool = False) -> list[Entry]:
    """Events a CPU-second while matching and of the whole command, and CPU-seconds to the first verdict."""
    peer = _peer()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        jobs = [_generated(root, EVENTS // 10 if quick else EVENTS)]
        if data := os.environ.get("SOC_BENCH_DATA"):
            jobs.append(_real(Path(data), root))
        os.environ["XDG_CACHE_HOME"] = str(root / "cache")
        return [row for job in jobs for row in _measured(job, peer)]


def _measured(job: Job, peer: Path | None) -> list[Entry]:
    parsers = ParserSet.load(content.roots("parsers"))
    detections = DetectionSet.load([job.rules], fields=parsers.fields)
    batches = _batches(parsers, job.events)
    gc.collect()
    gc.freeze()  # that so many events wait in memory is no part of matching
    first, one = _first_of(job.events), _first_of(job.flat)

    def cold() -> float:
        shutil.rmtree(os.environ["XDG_CACHE_HOME"], ignore_errors=True)
        return _whole(job.rules, first)

    def warm() -> float:
        return _whole(job.rules, first)

    def whole() -> float:
        return _whole(job.rules, job.events)

    def pure() -> float:
        return _whole(job.rules, job.events, SOC_KERNEL="off")

    jobs = [lambda: _match(detections, batches), cold, warm, whole, pure]
    if peer is not None:
        jobs += [lambda: _peer_cost(peer, job.rules, one), lambda: _peer_cost(peer, job.rules, job.flat)]
    alone_s, cold_s, warm_s, whole_s, pure_s, *peers_s = _taking_turns(jobs)
    if peers_s:
        name, (peer_first, peer_whole) = f"rsigma {PEER_VERSION}, its reading of JSON included", peers_s
        other = peer_whole - peer_first
    else:
        plain = plain_cost(detections, max(batches, key=lambda batch: batch.n))
        name, other = "the plain evaluator (no rsigma here)", job.n * plain.cpu_us / 1e6
        peer_whole = peer_first = None
    unit, rsigma = "events/CPU-s", f"rsigma {PEER_VERSION}"
    whole_rate = peer_whole and job.n / peer_whole
    return [
        entry(f"sigma_{job.name}", job.n / alone_s, unit, name, job.n / other),
        entry(f"sigma_{job.name}_whole", job.n / whole_s, f"{unit}, {WHICH}", rsigma, whole_rate),
        entry(f"sigma_{job.name}_whole.pure", job.n / pure_s, f"{unit}, pure Python", rsigma, whole_rate),
        entry(f"sigma_{job.name}_first", warm_s, "CPU-s, warm", rsigma, peer_first, less_is_better=True),
        entry(f"sigma_{job.name}_first_yaml", cold_s, "CPU-s, from YAML", rsigma, peer_first, less_is_better=True),
    ]


def _taking_turns(jobs: Sequence[Callable[[], float]]) -> list[float]:
    """The median of each: what slows the machine for a while slows all of them."""
    rounds = [[job() for job in jobs] for _ in range(ROUNDS)]
    return [statistics.median(costs) for costs in zip(*rounds, strict=True)]


def _first_of(path: Path) -> Path:
    """A file of its first line alone."""
    first = path.with_name(f"first-{path.name}")
    with path.open("rb") as lines:
        first.write_bytes(lines.readline())
    return first


def _match(detections: DetectionSet, batches: list[EventBatch]) -> float:
    """CPU-seconds of a new detector: building its matchers and its first look at every value are in it."""
    detector, watch = Detector(detections), Stopwatch()
    with watch:
        hits = sum(len(detector.match(batch)) for batch in batches)
    if not hits:
        raise RuntimeError("no rule hit: nothing was measured")
    return watch.cpu_s


def _batches(parsers: ParserSet, path: Path) -> list[EventBatch]:
    found: list[EventBatch] = []
    lines: list[bytes] = []
    state = ParserState()
    with path.open("rb") as file:
        for line in [*file, b""]:
            if line:
                lines.append(line.rstrip(b"\n"))
            if lines and (not line or len(lines) == _BLOCK):
                block = RawBlock.of(lines, receipt_ns=RECEIPT_NS, format="json")
                batches, state = parsers.parse(block, state, RECEIPT_NS)
                found += map(_made, batches)
                lines = []
    for batch in found:
        len(batch.columns)  # all are made, so that matching alone is measured
    return found


def _made(batch: EventBatch) -> EventBatch:
    """With every column made: that belongs to parsing, whoever asks for it."""
    made = batch.with_columns({})
    for column in made.columns.values():
        column.to_list()
    return made


def _whole(rules: Path, events: Path, **environment: str) -> float:
    command = [sys.executable, "-m", "soc", "detect", "--rules", str(rules), str(events)]
    return _cpu_s(command, **environment)


def _peer_cost(peer: Path, rules: Path, events: Path) -> float:
    return _cpu_s([str(peer), "engine", "eval", "--quiet", "--rules", str(rules), "--event", f"@{events}"])


def _cpu_s(command: list[str], **environment: str) -> float:
    """CPU-seconds of a child that ends well. Raises RuntimeError."""
    given = {**os.environ, **environment}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=given)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}")
    return child_seconds(usage)


def _generated(root: Path, n: int) -> Job:
    rng = random.Random(7)
    (root / "rules").mkdir()
    write_rules(root / "rules" / "rules.yml", rng, RULES)
    events = root / "process_creation.jsonl"
    events.write_text("".join(process_creation(rng, i) + "\n" for i in range(n)), "utf-8")
    return Job("process_creation", root / "rules", events, _flattened(events), n)


def _real(data: Path, root: Path) -> Job:
    with zipfile.ZipFile(data / "sigmahq-rules.zip") as archive:
        archive.extractall(root / "sigmahq")
    [rules] = [path for path in (root / "sigmahq").rglob("rules/windows") if path.is_dir()]
    events = root / "windows.jsonl"
    lines = lzma.decompress((data / "windows-events-40k.jsonl.xz").read_bytes())
    events.write_bytes(lines * TIMES)
    return Job("windows", rules, events, _flattened(events), lines.count(b"\n") * TIMES)


def _flattened(path: Path) -> Path:
    """The same events as one flat object each, with Sigma's own field names."""
    flat = path.with_suffix(".flat")
    with path.open(encoding="utf-8") as source, flat.open("w", encoding="utf-8") as out:
        for line in source:
            event = json.loads(line)["Event"]
            system, data = event["System"], event.get("EventData") or {}
            row: dict[str, Any] = {name: value for name, value in data.items() if not isinstance(value, dict | list)}
            row |= {"EventID": system["EventID"], "Channel": system["Channel"], "Computer": system.get("Computer")}
            row["Provider_Name"] = system["Provider"]["#attributes"]["Name"]
            out.write(json.dumps(row) + "\n")
    return flat


def _peer() -> Path | None:
    """The peer's program, built when it is not there yet; None without cargo, or when it is not wanted."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "soc-bench" / f"rsigma-{PEER_VERSION}"
    program = root / "bin" / "rsigma"
    if os.environ.get("SOC_BENCH_NO_PEERS"):
        return None
    if not program.exists() and (cargo := shutil.which("cargo")):
        print(f"building rsigma {PEER_VERSION} once, about 15 minutes …", file=sys.stderr, flush=True)
        command = [cargo, "install", "rsigma", "--version", PEER_VERSION, "--locked", "--quiet", "--root", str(root)]
        subprocess.run(command, check=False)
    return program if program.exists() else None
