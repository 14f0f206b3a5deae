"""`check`: runs the tests that rules, correlations and models carry, for `soc check`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from soc.content import Document
from soc.detections.load import DetectionSet
from soc.detections.samples import carried, outcomes
from soc.detections.sigma.header import SILENT_KINDS, identity, lacking
from soc.model.check import CheckResult
from soc.model.fields import FIELDS, FieldDictionary


def check(folders: Sequence[Path], fields: FieldDictionary = FIELDS) -> list[CheckResult]:
    """One result per test, one per refused definition, and one for a definition without a hit or without a miss."""
    detections = DetectionSet.load(folders, fields=fields)
    results = [CheckResult(r.path, r.line, r.id, False, r.reason) for r in detections.refused]
    refused = {(r.id, r.path) for r in detections.refused}
    for document in detections.documents:
        is_silent = not document.data.keys().isdisjoint(SILENT_KINDS)
        if not is_silent and (identity(document), document.path) not in refused:
            results.extend(_check(document, detections, fields))
    return sorted(results)


def _check(document: Document, detections: DetectionSet, fields: FieldDictionary) -> Iterator[CheckResult]:
    key, tests = carried(document)
    if not isinstance(tests, list):
        yield _result(document, "has no tests", document.line("id"))
        return
    for each in outcomes(document, detections, fields):
        yield _result(document, each.fault, each.line)
    for word in lacking(tests):
        yield _result(document, f"has no test that is a {word}", document.line(key))


def _result(document: Document, message: str, line: int) -> CheckResult:
    return CheckResult(document.path, line, identity(document), not message, message)
