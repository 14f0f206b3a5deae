"""`check`: runs the tests that rules, correlations and models carry, for `soc check`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from soc.content import Document
from soc.detections.anomaly.model import span_us
from soc.detections.correlator import Correlator
from soc.detections.detector import Detector
from soc.detections.load import DetectionSet
from soc.detections.sigma.read import identity
from soc.model.batch import EventBatch
from soc.model.check import CheckResult
from soc.model.fields import FIELDS, FieldDictionary

START_US = 1_780_000_000_000_000
"""Events without `@timestamp` begin here (May 2026), a second apart."""
_KEYS = ("event", "events", "hit", "repeat", "every", "wait", "origin", "reference", "comment")


def check(folders: Sequence[Path], fields: FieldDictionary = FIELDS) -> list[CheckResult]:
    """One result per test, one per refused definition, and one for a definition without a hit or without a miss."""
    detections = DetectionSet.load(folders, fields=fields)
    results = [CheckResult(r.path, r.line, r.id, False, r.reason) for r in detections.refused]
    refused = {(r.id, r.path) for r in detections.refused}
    for document in detections.documents:
        if (identity(document), document.path) not in refused:
            results.extend(_check(document, detections, fields))
    return sorted(results)


def _check(document: Document, detections: DetectionSet, fields: FieldDictionary) -> list[CheckResult]:
    key = "tests" if "tests" in document.data else "x-tests"
    tests = document.data.get(key)
    if not isinstance(tests, list):
        return [_result(document, "has no tests", "id")]
    results = [_run(document, detections, fields, test, (key, i)) for i, test in enumerate(tests)]
    hits = {bool(test.get("hit")) for test in tests if isinstance(test, dict)}
    missing = [word for word, flag in (("hit", True), ("miss", False)) if flag not in hits]
    return results + [_result(document, f"has no test that is a {word}", key) for word in missing]


def _result(document: Document, message: str, *keys: str | int) -> CheckResult:
    return CheckResult(document.path, document.line(*keys), identity(document), not message, message)


def _run(
    document: Document, detections: DetectionSet, fields: FieldDictionary, test: Any, keys: tuple[str | int, ...]
) -> CheckResult:
    if not isinstance(test, dict) or not isinstance(test.get("hit"), bool) or set(test) - set(_KEYS):
        return _result(document, f"a test has 'hit: true|false' and of {', '.join(_KEYS)} what it needs", *keys)
    rows = _rows(test)
    if not rows and "wait" not in test:
        return _result(document, "a test needs 'event' or 'events'", *keys)
    unknown = sorted({name for row in rows for name in row if name not in fields})
    if unknown:
        return _result(document, f"unknown field '{unknown[0]}'", *keys)
    found = identity(document) in _found(detections, fields, rows, test)
    wanted = test["hit"]
    return _result(document, "" if found == wanted else f"expected a {'hit' if wanted else 'miss'}", *keys)


def _rows(test: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of a test; the whole list comes `repeat` times, each event `every` after the one before."""
    events = test.get("events") or ([test["event"]] if "event" in test else [])
    rows = [dict(event) for _ in range(int(test.get("repeat", 1))) for event in events]
    step = span_us(str(test.get("every", "1s"))) or 1_000_000
    for i, row in enumerate(rows):
        row.setdefault("@timestamp", START_US + i * step)
        row.setdefault("event.created", row["@timestamp"])
        row.setdefault("event.id", i.to_bytes(16, "big").hex())
        row.setdefault("soc.position", f"test:raw:{i}:0:0")
        row.setdefault("soc.site", "test")
    return rows


def _found(
    detections: DetectionSet, fields: FieldDictionary, rows: list[dict[str, Any]], test: dict[str, Any]
) -> set[str]:
    """The ids of everything that spoke; a rule that only serves correlations counts when it matched."""
    detector, correlator = Detector(detections), Correlator(detections)
    ids: set[str] = set()
    now_us = START_US
    for row in rows:
        batch = EventBatch.from_rows(_dataset(row), [row], fields)
        now_us = batch.values("event.created")[0]
        ids.update(finding.rule_id for finding in detector.match(batch))
        documents = detector.project(batch)
        models = {model.id for model in detections.models}
        ids.update(rule for d in documents for rule in d.get("rules", ()) if rule not in models)
        ids.update(finding.rule_id for finding in correlator.feed(documents, now_us))
    ids.update(correlator.correlations.fired)  # also those that only serve another correlation
    wait = span_us(str(test["wait"])) if "wait" in test else None
    if wait is not None:
        ids.update(finding.rule_id for finding in correlator.tick(now_us + wait))
    return ids


def _dataset(row: dict[str, Any]) -> str:
    named = row.get("event.dataset")
    return str(named) if named else "windows.test" if "winlog.channel" in row else ""
