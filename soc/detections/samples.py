"""The tests that a definition carries: events with times, run through the one engine, and what came of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from soc.content import Document
from soc.detections.anomaly.model import span_us
from soc.detections.correlation.definition import Correlation
from soc.detections.correlator import Correlator
from soc.detections.detector import Detector
from soc.detections.load import DetectionSet
from soc.detections.sigma.header import identity
from soc.detections.sigma.rule import Rule
from soc.model.batch import EventBatch
from soc.model.fields import FieldDictionary
from soc.model.finding import Finding

START_US = 1_780_000_000_000_000
"""Events without `@timestamp` begin here (May 2026), a second apart; `at` counts from here."""
MOST_EVENTS = 100_000
"""Events that one test may make with `repeat`."""
FINDINGS_KEPT = 10
_KEYS = ("event", "events", "hit", "repeat", "every", "wait", "origin", "reference", "comment")
_SECOND_US = 1_000_000


@dataclass(frozen=True)
class Outcome:
    """One test: its name, where it stands (`path`, 1-based `line`), what is wrong ("" when it held), and what spoke.

    `findings` are those of the definition alone, at most `FINDINGS_KEPT`; `hits` counts all of them.
    """

    name: str
    path: str
    line: int
    fault: str = ""
    hits: int = 0
    findings: tuple[Finding, ...] = ()


def carried(document: Document) -> tuple[str, Any]:
    """The key of a definition's own tests (`tests`, or `x-tests` for strict readers), and what is there."""
    key = "tests" if "tests" in document.data else "x-tests"
    return key, document.data.get(key)


def outcomes(document: Document, detections: DetectionSet, fields: FieldDictionary) -> Iterator[Outcome]:
    """What came of each test that stands in the definition; nothing when it carries none."""
    key, tests = carried(document)
    if not isinstance(tests, list):
        return
    alone = only(detections, identity(document))
    for i, test in enumerate(tests):
        yield _outcome(document, alone, fields, test, (key, i))


def only(detections: DetectionSet, id: str) -> DetectionSet:
    """The definition with this id, and what it refers to: the others cost time and say nothing about it."""
    wanted = {id, *_referred(each for each in detections.correlations if each.id == id)}
    return replace(
        detections,
        rules=tuple(each for each in detections.rules if each.id in wanted),
        correlations=tuple(each for each in detections.correlations if each.id in wanted),
        models=tuple(each for each in detections.models if each.id in wanted),
    )


def _referred(some: Iterable[Rule | Correlation]) -> Iterator[str]:
    for each in some:
        yield each.id
        if isinstance(each, Correlation):
            yield from _referred(each.of)


def _outcome(
    document: Document, detections: DetectionSet, fields: FieldDictionary, test: Any, keys: tuple[str | int, ...]
) -> Outcome:
    said = Outcome(f"{keys[0]}[{keys[1]}]", document.path, document.line(*keys))
    if not isinstance(test, dict) or not isinstance(test.get("hit"), bool) or set(test) - set(_KEYS):
        return replace(said, fault=f"a test has 'hit: true|false' and of {', '.join(_KEYS)} what it needs")
    try:
        rows = _rows(test)
    except (TypeError, ValueError) as error:
        return replace(said, fault=str(error))
    if not rows and "wait" not in test:
        return replace(said, fault="a test needs 'event' or 'events'")
    unknown = sorted({name for row in rows for name in row if name not in fields})
    if unknown:
        return replace(said, fault=f"unknown field '{unknown[0]}'")
    id = identity(document)
    found, fired = _run(detections, fields, rows, test)
    own = [finding for finding in found if finding.rule_id == id and not finding.exception]
    wanted, is_hit = test["hit"], bool(own) or id in fired
    fault = "" if is_hit == wanted else f"expected a {'hit' if wanted else 'miss'}"
    return replace(said, fault=fault, hits=len(own), findings=tuple(own[:FINDINGS_KEPT]))


def _rows(test: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of a test; the whole list comes `repeat` times, each event `every` after the one before, or `at`.

    Raises TypeError, ValueError for what is no list of events or no time.
    """
    events = test.get("events") or ([test["event"]] if "event" in test else [])
    repeat = int(test.get("repeat", 1))
    if not isinstance(events, list) or not all(isinstance(event, dict) for event in events):
        raise ValueError("'events' is a list of mappings from field to value")
    if repeat * len(events) > MOST_EVENTS:
        raise ValueError(f"a test makes at most {MOST_EVENTS} events")
    rows = [dict(event) for _ in range(repeat) for event in events]
    step = span_us(str(test.get("every", "1s"))) or _SECOND_US
    for i, row in enumerate(rows):
        row.setdefault("@timestamp", START_US + (i * step if "at" not in row else _after(row.pop("at"))))
        row.setdefault("event.created", row["@timestamp"])
        row.setdefault("event.id", i.to_bytes(16, "big").hex())
        row.setdefault("soc.position", f"test:raw:{i}:0:0")
        row.setdefault("soc.site", "test")
    return rows


def _after(text: Any) -> int:
    found = 0 if str(text) in ("0", "0s") else span_us(str(text))
    if found is None:
        raise ValueError(f"'at: {text}' is no time after the start of the test, such as 90s or 5m")
    return found


def _run(
    detections: DetectionSet, fields: FieldDictionary, rows: list[dict[str, Any]], test: dict[str, Any]
) -> tuple[list[Finding], set[str]]:
    """Everything that was said, and the ids of correlations that fired, also those that only serve another."""
    detector, correlator = Detector(detections), Correlator(detections)
    found: list[Finding] = []
    now_us = START_US
    for row in rows:
        batch = EventBatch.from_rows(_dataset(row), [row], fields)
        now_us = batch.values("event.created")[0]
        found += detector.match(batch)
        found += correlator.feed(detector.project(batch), now_us)
    wait = span_us(str(test["wait"])) if "wait" in test else None
    if wait is not None:
        found += correlator.tick(now_us + wait)
    found += correlator.finish()
    return found, set(correlator.correlations.fired)


def _dataset(row: dict[str, Any]) -> str:
    named = row.get("event.dataset")
    return str(named) if named else "windows.test" if "winlog.channel" in row else ""
