"""Sigma rules over generated process creations: the detector against its own plain evaluator, in the same run."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

from sigma.collection import SigmaCollection

from benchmarks.entries import Cost, Entry, Stopwatch, both, entry
from soc.detections import DetectionSet, Detector
from soc.detections.sigma.evaluate import Columns, Row, compiled
from soc.model.batch import Column, EventBatch
from soc.model.fields import FieldType

RULES, EVENTS, PLAIN_EVENTS = 1_000, 20_000, 200
_SYLLABLES = ("net", "cmd", "reg", "sc", "wmi", "cert", "task", "power", "shell", "util", "host", "svc", "exec", "load",
              "dump", "copy", "run", "admin", "user", "key")  # fmt: skip


def word(rng: random.Random, n: int = 3) -> str:
    return "".join(rng.choices(_SYLLABLES, k=n)) + str(rng.randrange(100))


def _rule(rng: random.Random, number: int) -> str:
    return f"""title: r{number}
name: r{number}
logsource: {{product: windows, category: process_creation}}
detection:
  image: {{Image|endswith: ['\\{word(rng)}.exe', '\\{word(rng)}.exe']}}
  line: {{CommandLine|contains: [' {word(rng)} ', '-{word(rng)}']}}
  filter: {{ParentImage|endswith: '\\{word(rng, 1)}.exe'}}
  condition: (image or line) and not filter
"""


def _batch(rng: random.Random, n: int) -> EventBatch:
    def keyword(values: list[Any]) -> Column:
        return Column.of(FieldType.KEYWORD, values)

    images = [rf"C:\Windows\System32\{word(rng, 2)}.exe" for _ in range(200)]
    data = "winlog.event_data."
    columns = {
        "winlog.channel": Column.constant(FieldType.KEYWORD, "Microsoft-Windows-Sysmon/Operational", n),
        "winlog.event_id": Column.constant(FieldType.KEYWORD, "1", n),
        f"{data}Image": keyword(rng.choices(images, k=n)),
        f"{data}ParentImage": keyword(rng.choices(images, k=n)),
        f"{data}CommandLine": keyword([" -".join(word(rng) for _ in range(8)) for _ in range(n)]),
    }
    return EventBatch("windows.sysmon", n, columns)


def write_rules(path: Path, rng: random.Random, rules: int) -> None:
    """A file of generated rules."""
    path.write_text("---\n".join(_rule(rng, n) for n in range(rules)), "utf-8")


def run(quick: bool = False) -> list[Entry]:
    """Seconds to load, then events a second and CPU-µs an event on distinct command lines."""
    rng = random.Random(7)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rules.yml"
        write_rules(path, rng, RULES)
        loading, plainly = Stopwatch(), Stopwatch()
        with loading:
            detections = DetectionSet.load([folder])
        with plainly:
            SigmaCollection.from_yaml(path.read_text("utf-8"))
    events = EVENTS // 10 if quick else EVENTS
    batches = [_batch(rng, 1_000) for _ in range(events // 1_000)]
    detector, matching = Detector(detections), Stopwatch()
    with matching:
        for batch in batches:
            detector.match(batch)
    plain = plain_cost(detections, batches[0])
    unit = f"s for {RULES} rules"
    return [
        entry("sigma.load", loading.cpu_s, unit, "pySigma alone", plainly.cpu_s, less_is_better=True),
        *both("sigma.match", matching.cost(events), PLAIN, plain),
    ]


PLAIN = "plain evaluator, same rules, same run"


def plain_cost(detections: DetectionSet, batch: EventBatch) -> Cost:
    """What evaluating every rule on every event costs, over the first events of a batch."""
    conditions = [compiled(rule.variants[0].node) for rule in detections.rules]
    columns, watch = Columns(batch), Stopwatch()
    events = min(PLAIN_EVENTS, batch.n)
    with watch:
        for i in range(events):
            row = Row(columns, i)
            for condition in conditions:
                condition(row)
    return watch.cost(events)
