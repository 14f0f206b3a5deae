"""What a worker says of the rules it holds against events, counted with the events themselves.

The counts travel in the store's own frame, beside the rows and the cursor: they are durable together or not at all, so
that no kill can make the ledger say of an event that rules saw it when it is not even there.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from soc.config import Settings
from soc.detections.anomaly.model import Definition
from soc.detections.backtest import referable, span_us
from soc.detections.correlation.definition import Referable
from soc.detections.detector import Failure
from soc.detections.load import DetectionSet
from soc.model.batch import EventBatch
from soc.store import files

WINDOW_US = 300 * 1_000_000
"""The ledger is kept by so much time of receipt (`event.created`)."""
EVENTS, SKIPPED, FAILED = "events", "skipped", "failed"
"""Events that were stored; those of them that no rule could be held against; those that broke one rule."""
Counts = Counter[tuple[int, str]]
_VERSION = 1


def folder(settings: Settings) -> Path:
    """Where the sets of rules and the backfills are noted."""
    return settings.path("coverage")


def name_of(ruleset: str, what: str, rule: str = "") -> str:
    """The name of a count; the inverse is `str.split(' ', 2)`."""
    return f"{ruleset} {what} {rule}".rstrip()


def stored(batches: Iterable[EventBatch], ruleset: str) -> Counts:
    """How many events of each window these are."""
    counts: Counts = Counter()
    name = name_of(ruleset, EVENTS)
    for batch in batches:
        windows, numbers = np.unique(_windows(batch), return_counts=True)
        for window, n in zip(windows.tolist(), numbers.tolist(), strict=True):
            counts[window, name] += n
    return counts


def skipped(batches: Iterable[EventBatch], ruleset: str) -> Counts:
    """The same of events that no rule was held against."""
    name = name_of(ruleset, SKIPPED)
    return Counter({(window, name): n for (window, _), n in stored(batches, ruleset).items()})


def failed(batch: EventBatch, failures: Sequence[Failure], ruleset: str) -> Counts:
    """How many events of each window broke which rule; an event counts once for a rule."""
    if not failures:
        return Counter()
    windows = _windows(batch)
    return Counter(
        (int(windows[i]), name_of(ruleset, FAILED, rule)) for i, rule in {(each.i, each.rule) for each in failures}
    )


def _windows(batch: EventBatch) -> Any:
    received = batch.columns["event.created"].to_arrow().cast("int64").to_numpy(zero_copy_only=False)
    return received // WINDOW_US * WINDOW_US


def note_rules(settings: Settings, detections: DetectionSet, now_us: int) -> str:
    """Keep which rules a set has, under its digest; the digest. Raises DiskFull, StoreError."""
    each: list[Referable | Definition] = [*referable(detections), *detections.models]
    versions = {one.id: one.version for one in each}
    reach_us = {one.id: span_us(one) for one in detections.correlations}
    told = [versions, reach_us]  # sets of before did not say how far their correlations reach: they get another name
    digest = hashlib.sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
    path = folder(settings) / "sets" / f"{digest}.json"
    if not path.exists():
        document = {
            "version": _VERSION, "digest": digest, "first_us": now_us, "rules": versions,
            "titles": {one.id: [one.title, one.title_vi] for one in each},
            "builds_on": {one.id: list(one.rules) for one in detections.correlations},
            "models": [one.id for one in detections.models], "reach_us": reach_us,
        }  # fmt: skip
        files.replace(path, orjson.dumps(document))
    return digest


def rulesets(settings: Settings) -> dict[str, dict[str, Any]]:
    """Every set of rules that was ever at work here, by digest."""
    found = {}
    for path in (folder(settings) / "sets").glob("*.json"):
        document = files.read_versioned(path, _VERSION, "the set of rules", "it is written anew at the next start")
        if document is not None:
            found[path.stem] = document
    return found
