"""Sigma over generated process creations: the detector against its own plain evaluator, in the same run."""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path
from typing import Any

from soc.detections import DetectionSet, Detector
from soc.detections.sigma.evaluate import Columns, Row, compiled
from soc.model.batch import Column, EventBatch
from soc.model.fields import FieldType

RULES, EVENTS, PLAIN_EVENTS = 1_000, 20_000, 200
_SYLLABLES = ("net", "cmd", "reg", "sc", "wmi", "cert", "task", "power", "shell", "util", "host", "svc", "exec", "load",
              "dump", "copy", "run", "admin", "user", "key")  # fmt: skip


def _word(rng: random.Random, n: int = 3) -> str:
    return "".join(rng.choices(_SYLLABLES, k=n)) + str(rng.randrange(100))


def _rule(rng: random.Random, number: int) -> str:
    return f"""title: r{number}
name: r{number}
logsource: {{product: windows, category: process_creation}}
detection:
  image: {{Image|endswith: ['\\{_word(rng)}.exe', '\\{_word(rng)}.exe']}}
  line: {{CommandLine|contains: [' {_word(rng)} ', '-{_word(rng)}']}}
  filter: {{ParentImage|endswith: '\\{_word(rng, 1)}.exe'}}
  condition: (image or line) and not filter
"""


def _batch(rng: random.Random, n: int) -> EventBatch:
    def keyword(values: list[Any]) -> Column:
        return Column.of(FieldType.KEYWORD, values)

    images = [rf"C:\Windows\System32\{_word(rng, 2)}.exe" for _ in range(200)]
    data = "winlog.event_data."
    columns = {
        "winlog.channel": Column.constant(FieldType.KEYWORD, "Microsoft-Windows-Sysmon/Operational", n),
        "winlog.event_id": Column.constant(FieldType.KEYWORD, "1", n),
        f"{data}Image": keyword(rng.choices(images, k=n)),
        f"{data}ParentImage": keyword(rng.choices(images, k=n)),
        f"{data}CommandLine": keyword([" -".join(_word(rng) for _ in range(8)) for _ in range(n)]),
    }
    return EventBatch("windows.sysmon", n, columns)


def run() -> list[dict[str, Any]]:
    """Rows of results.json: seconds to load, and events a second on distinct command lines."""
    rng = random.Random(7)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "rules.yml").write_text("---\n".join(_rule(rng, n) for n in range(RULES)))
        start = time.perf_counter()
        detections = DetectionSet.load([folder])
        load_s = time.perf_counter() - start
    batches = [_batch(rng, 1_000) for _ in range(EVENTS // 1_000)]
    detector = Detector(detections)
    start = time.perf_counter()
    for batch in batches:
        detector.match(batch)
    rate = EVENTS / (time.perf_counter() - start)
    plain = _plain_rate(detections, batches[0])
    return [
        {"name": "sigma.load", "value": load_s, "unit": f"s for {RULES} rules", "reference": None,
         "reference_value": None, "ratio": None},
        {"name": "sigma.match", "value": rate, "unit": "events/s", "reference": "plain evaluator, same rules",
         "reference_value": plain, "ratio": rate / plain},
    ]  # fmt: skip


def _plain_rate(detections: DetectionSet, batch: EventBatch) -> float:
    conditions = [compiled(rule.variants[0].node) for rule in detections.rules]
    columns = Columns(batch)
    start = time.perf_counter()
    for i in range(PLAIN_EVENTS):
        row = Row(columns, i)
        for condition in conditions:
            condition(row)
    return PLAIN_EVENTS / (time.perf_counter() - start)
