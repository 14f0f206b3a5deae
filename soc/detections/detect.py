"""`detect`: rules over files of events, one hit a line, for `soc detect` and backtests."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from soc.detections.correlator import Correlator
from soc.detections.detector import Detector
from soc.detections.load import DetectionSet
from soc.detections.profile import Profile
from soc.detections.replay import Replay
from soc.model.batch import EventBatch
from soc.model.fields import FIELDS, FieldDictionary
from soc.model.finding import Finding

Place = tuple[str | None, int | None]


def detect(
    rules: Sequence[Path | str] | DetectionSet,
    batches: Iterable[EventBatch],
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
    for batch in batches:
        for finding, place in _found(detector, batch):
            yield _hit(finding, place, timed)
        documents = detector.wanted(batch)
        if not documents:
            continue
        here = _places(batch, {hit.i for hit in detector.hits(batch)})
        places.update({d["event_id"]: here[d["event_id"]] for d in documents})
        yield from _correlated(replay.take(documents), places, timed)
    yield from _correlated(replay.finish(), places, timed)
    if left_out is not None:
        left_out |= correlator.left_out()


def _correlated(findings: Iterable[Finding], places: Mapping[str, Place], timed: bool) -> Iterator[dict[str, Any]]:
    for finding in findings:
        records = [places[event_id][1] for event_id in finding.event_ids]
        yield {**_hit(finding, places[finding.event_ids[-1]], timed), "records": records}


def _found(detector: Detector, batch: EventBatch) -> list[tuple[Finding, Place]]:
    findings = detector.match(batch)
    here = _places(batch, {hit.i for hit in detector.hits(batch)}) if findings else {}
    return [(finding, here[finding.event_ids[-1]]) for finding in findings]


def _places(batch: EventBatch, rows: Collection[int]) -> dict[str, Place]:
    """File and record of these events by the id in hex."""
    few = batch.pick(sorted(rows))
    ids, files, records = few.values("event.id"), few.values("log.file.path"), few.values("soc.record")
    return {(i.hex() if i else ""): (f, r) for i, f, r in zip(ids, files, records, strict=True)}


def _hit(finding: Finding, place: Place, timed: bool) -> dict[str, Any]:
    return {
        "rule": finding.rule_id,
        "title": finding.title,
        "level": finding.level,
        "file": place[0],
        "record": place[1],
        "matched": [dict(vars(m)) for m in finding.matched],
        **({"group": dict(finding.group)} if finding.group else {}),
        **({"exception": finding.exception} if finding.exception else {}),
        **({"at_us": finding.last_us} if timed else {}),
    }
