"""Correlations: 100 rules over 100,000 groups, beside a loop that only counts, in the same run."""

from __future__ import annotations

import gc
import random
import tempfile
from collections import deque
from pathlib import Path
from typing import Any

import orjson

from benchmarks.entries import Entry, Stopwatch, both, entry
from soc.detections import Correlator, DetectionSet

RULES, ADDRESSES, EVENTS = 100, 1_000, 400_000
SPAN_US, STEP_US, THRESHOLD = 300_000_000, 5_000, 20
A_SECOND = 10_000
BEGIN_US = 1_764_000_000_000_000
_RULE = """title: r{n}
name: r{n}
logsource: {{product: linux, service: sshd}}
detection:
  s: {{event.action: a{n}}}
  condition: s
---
title: c{n}
name: c{n}
correlation:
  type: event_count
  rules: [r{n}]
  group-by: [source.ip]
  timespan: 5m
  condition: {{gte: 20}}
"""


def _documents(rng: random.Random, rules: list[str], n: int) -> list[dict[str, Any]]:
    whose = {"site": "s", "system_id": None, "organization_id": None, "import_id": None, "simulated": False}
    return [
        {
            "kind": "event", "rules": [rng.choice(rules)], "position": f"work0:raw:{i}:0:0", "event_id": f"{i:032x}",
            "at_us": BEGIN_US + i * STEP_US, "receipt_us": BEGIN_US + i * STEP_US, "dataset": "linux.sshd",
            "fields": {"source.ip": f"10.0.{rng.randrange(ADDRESSES) // 250}.{rng.randrange(250)}"}, **whose,
        }
        for i in range(n)
    ]  # fmt: skip


def run(quick: bool = False) -> list[Entry]:
    """Matched events a second, bytes a group keeps, and what it costs to save all of them, or what a second changed."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "rules.yml").write_text("---\n".join(_RULE.format(n=n) for n in range(RULES)), "utf-8")
        detections = DetectionSet.load([folder])
    events = EVENTS // 10 if quick else EVENTS
    documents = _documents(random.Random(7), [rule.id for rule in detections.rules], events + A_SECOND)
    correlator = Correlator(detections)
    correlating, saving, changing, plainly = Stopwatch(), Stopwatch(), Stopwatch(), Stopwatch()
    before = _resident()
    gc.freeze()  # the collector's passes over our documents are not the correlator's
    with correlating:
        for i in range(0, events, 1_000):
            correlator.feed(documents[i : i + 1_000], BEGIN_US + i * STEP_US)
    groups = correlator.correlations.groups
    kept = (_resident() - before) / groups
    with saving:
        whole = orjson.dumps(correlator.state())
    for i in range(events, events + A_SECOND, 100):  # a frame each, with a receipt of its own
        correlator.feed(documents[i : i + 100], BEGIN_US + i * STEP_US)
    with changing:
        changes = orjson.dumps(correlator.changes())
    with plainly:
        _count(documents[:events])
    return [
        *both("correlation", correlating.cost(events), "deques per group, in order only", plainly.cost(events)),
        entry("correlation.group", kept, f"bytes, {groups} groups", "the target", 1024, less_is_better=True),
        entry("correlation.snapshot", saving.cpu_s, f"s for {groups} groups, {len(whole)} bytes", None, None),
        entry(
            "correlation.changes",
            changing.cpu_s,
            f"s for what {A_SECOND} events touched, {len(changes)} bytes",
            "the whole state each time",
            saving.cpu_s,
            less_is_better=True,
        ),
    ]


def _count(documents: list[dict[str, Any]]) -> int:
    """The least that a sliding count needs: no late events, no repetitions, no findings."""
    groups: dict[tuple[str, str], deque[int]] = {}
    fired = 0
    for document in documents:
        times = groups.setdefault((document["rules"][0], document["fields"]["source.ip"]), deque())
        times.append(document["at_us"])
        while times[0] <= document["at_us"] - SPAN_US:
            times.popleft()
        fired += len(times) >= THRESHOLD
    return fired


def _resident() -> int:
    gc.collect()
    pages = Path("/proc/self/statm").read_text("ascii").split()[1]
    return int(pages) * 4096
