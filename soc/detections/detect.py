"""`detect`: rules over files of events, one hit a line, for `soc detect` and backtests."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from soc.detections.correlator import Correlator
from soc.detections.detector import Detector
from soc.detections.load import DetectionSet
from soc.detections.profile import Profile
from soc.detections.replay import Replay
from soc.model.batch import EventBatch
from soc.model.fields import FIELDS, FieldDictionary
from soc.model.finding import Finding
from soc.model.joined import Joined

T = TypeVar("T")


class Place(NamedTuple):
    """Where an event stands: its file, its record there, and its row in the batch."""

    file: str | None
    record: int | None
    row: int


def detect(
    rules: Sequence[Path | str] | DetectionSet,
    batches: Iterable[EventBatch | Joined],
    *,
    pipelines: Sequence[Path | str] = (),
    fields: FieldDictionary = FIELDS,
    left_out: dict[str, int] | None = None,
    profile: Profile | None = None,
    timed: bool = False,
) -> Iterator[dict[str, Any]]:
    """Hits as `soc detect` prints them: rule, title, level, file, record, matched; correlations with `records`.
    `timed` adds `at_us`, the time of the event that completed it (µs UTC).

    `record` is 1-based in its file. A hit that an exception takes has its id as `exception`. Anomaly models take part;
    silence needs a clock and does not. In the end `left_out` gets what correlations did not count, by reason, and
    `profile` what matching cost.
    """
    detections = (
        rules if isinstance(rules, DetectionSet) else DetectionSet.load(rules, pipelines=pipelines, fields=fields)
    )
    detector, correlator = Detector(detections, profile), Correlator(detections)
    replay = Replay(correlator)
    places: dict[str, Place] = {}
    for each in batches:
        joined = Joined.of([each]) if isinstance(each, EventBatch) else each
        found = [_Found(detector, batch) for batch in joined.batches]
        for stretch in joined.order:
            findings, documents = found[stretch.batch].until(stretch.stop)
            for finding, place in findings:
                yield _hit(finding, place, timed)
            if documents:
                places.update((document["event_id"], place) for document, place in documents)
                yield from _correlated(replay.take(document for document, _ in documents), places, timed)
    yield from _correlated(replay.finish(), places, timed)
    if left_out is not None:
        left_out |= correlator.left_out()


def _correlated(findings: Iterable[Finding], places: Mapping[str, Place], timed: bool) -> Iterator[dict[str, Any]]:
    for finding in findings:
        records = [places[event_id].record for event_id in finding.event_ids]
        yield {**_hit(finding, places[finding.event_ids[-1]], timed), "records": records}


class _Found:
    """What the rules found in a batch, in the order of its rows, each taken once."""

    def __init__(self, detector: Detector, batch: EventBatch) -> None:
        findings, documents = detector.match(batch), detector.wanted(batch)
        rows = {hit.i for hit in detector.hits(batch)} if findings or documents else set()
        here = _places(batch, sorted(rows))
        self._findings = deque((finding, here[finding.event_ids[-1]]) for finding in findings)
        self._documents = deque((document, here[document["event_id"]]) for document in documents)

    def until(self, stop: int) -> tuple[list[tuple[Finding, Place]], list[tuple[dict[str, Any], Place]]]:
        """Findings, and documents for correlations, of the rows before `stop` that were not taken yet."""
        return _until(self._findings, stop), _until(self._documents, stop)


def _until(found: deque[tuple[T, Place]], stop: int) -> list[tuple[T, Place]]:
    taken = []
    while found and found[0][1].row < stop:
        taken.append(found.popleft())
    return taken


def _places(batch: EventBatch, rows: Sequence[int]) -> dict[str, Place]:
    """Where these events stand, by the id in hex."""
    few = batch.pick(rows)
    ids, files, records = few.values("event.id"), few.values("log.file.path"), few.values("soc.record")
    places = map(Place, files, records, rows)
    return {(i.hex() if i else ""): place for i, place in zip(ids, places, strict=True)}


def _hit(finding: Finding, place: Place, timed: bool) -> dict[str, Any]:
    return {
        "rule": finding.rule_id,
        "title": finding.title,
        "level": finding.level,
        "file": place.file,
        "record": place.record,
        "matched": [dict(vars(m)) for m in finding.matched],
        **({"group": dict(finding.group)} if finding.group else {}),
        **({"exception": finding.exception} if finding.exception else {}),
        **({"at_us": finding.last_us} if timed else {}),
    }
