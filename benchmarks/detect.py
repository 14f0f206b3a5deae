"""`soc detect` as a person starts it, over a file: start, rules, reading, parsing and matching included.

The default data set is generated. `SOC_BENCH_DATA=FOLDER` adds one with `sigmahq-rules.zip` and
`windows-events-40k.jsonl.xz`, whose rows carry its name.
"""

from __future__ import annotations

import json
import lzma
import os
import random
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from benchmarks.entries import Cost, Entry, Stopwatch, both, child_seconds
from benchmarks.rules import RULES, plain_cost, word, write_rules
from soc import content
from soc.detections import DetectionSet
from soc.model.record import RawBlock
from soc.parsers import ParserSet, ParserState

EVENTS = 50_000
RECEIPT_NS = 1_795_143_600_000_000_000
_RULES_ZIP, _EVENTS_XZ = "sigmahq-rules.zip", "windows-events-40k.jsonl.xz"


def run(quick: bool = False) -> list[Entry]:
    """Events a second and CPU-µs an event of the command; the reference is the plain evaluator alone."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        rng = random.Random(7)
        (root / "rules").mkdir()
        write_rules(root / "rules" / "rules.yml", rng, RULES)
        events = EVENTS // 10 if quick else EVENTS
        path = root / "events.jsonl"
        with path.open("w", encoding="utf-8") as file:
            file.writelines(process_creation(rng, i) + "\n" for i in range(events))
        rows = _command("detect.generated", root / "rules", path, events)
        if data := os.environ.get("SOC_BENCH_DATA"):
            rows += _given(Path(data), root)
        return rows


def process_creation(rng: random.Random, i: int) -> str:
    system = {
        "Provider": {"#attributes": {"Name": "Microsoft-Windows-Sysmon"}}, "EventID": 1, "Computer": f"PC{i % 50}",
        "Channel": "Microsoft-Windows-Sysmon/Operational", "EventRecordID": i,
        "TimeCreated": {"#attributes": {"SystemTime": f"2026-11-20T02:{i % 60:02d}:57.559Z"}},
    }  # fmt: skip
    data = {
        "UtcTime": "2026-11-20 02:50:57.113", "ProcessId": str(i), "User": f"EX\\u{i % 300}",
        "Image": rf"C:\Windows\System32\{word(rng, 2)}.exe", "ParentImage": rf"C:\Windows\{word(rng, 2)}.exe",
        "CommandLine": " -".join(word(rng) for _ in range(8)), "CurrentDirectory": "C:\\", "LogonId": hex(i),
    }  # fmt: skip
    return json.dumps({"Event": {"System": system, "EventData": data}})


def _command(name: str, rules: Path, events_path: Path, events: int) -> list[Entry]:
    hits, watch = events_path.with_suffix(".hits"), Stopwatch()
    command = [sys.executable, "-m", "soc", "detect", "--rules", str(rules), str(events_path)]
    with hits.open("wb") as out, watch:
        process = subprocess.Popen(command, stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or not hits.stat().st_size:
        raise RuntimeError(
            f"{name}: soc detect ended with {process.returncode} and {hits.stat().st_size} bytes of hits"
        )
    own = Cost(events, watch.wall_s, child_seconds(usage))
    return both(name, own, "plain evaluator alone, same rules and events", _plain(rules, events_path))


def _plain(rules: Path, path: Path) -> Cost:
    """The plain evaluator over the first events of the file, which is read and parsed outside the stopwatch."""
    parsers = ParserSet.load(content.roots("parsers"))
    with path.open("rb") as file:
        lines = [line.rstrip(b"\n") for line, _ in zip(file, range(200), strict=False)]
    block = RawBlock.of(lines, receipt_ns=RECEIPT_NS, format="json")
    batches, _ = parsers.parse(block, ParserState(), RECEIPT_NS)
    return plain_cost(DetectionSet.load([rules], fields=parsers.fields), max(batches, key=lambda batch: batch.n))


def windows_events(data: Path) -> list[bytes]:
    """The real Windows events of `SOC_BENCH_DATA`, a JSON object each."""
    with lzma.open(data / _EVENTS_XZ) as file:
        return file.read().splitlines()


def _given(data: Path, root: Path) -> list[Entry]:
    with zipfile.ZipFile(data / _RULES_ZIP) as archive:
        archive.extractall(root / "given-rules")
    events, path = 0, root / "given.jsonl"
    with lzma.open(data / _EVENTS_XZ) as source, path.open("wb") as out:
        for line in source:
            out.write(line)
            events += 1
    return _command("detect.sigmahq_windows_40k", root / "given-rules", path, events)
