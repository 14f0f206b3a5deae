"""`results`: every definition of a set with what came of its tests, ours and SigmaHQ's, for `soc rule test`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from soc.content import Document
from soc.detections import regression, samples
from soc.detections.load import NAMELESS, DetectionSet
from soc.detections.sigma.header import SILENT_KINDS, identity
from soc.model.fields import FieldDictionary

HELD, FAILED, UNTESTED, REFUSED = "held", "failed", "untested", "refused"


@dataclass(frozen=True)
class RuleResult:
    """One definition. `state`: held | failed | untested | refused (it cannot run, and carries no test to fail). What
    cannot be read at all has failed.

    `reason` says why it is untested or refused.
    """

    id: str
    title: str
    path: str
    line: int
    state: str
    reason: str = ""
    outcomes: tuple[samples.Outcome, ...] = ()

    def to_document(self) -> dict[str, Any]:
        """Plain data for `--json`: matches as selection, field, value, pattern; correlations as their group."""
        return {
            "id": self.id, "title": self.title, "path": self.path, "line": self.line, "state": self.state,
            "reason": self.reason, "tests": [_plain(each) for each in self.outcomes],
        }  # fmt: skip


def _plain(outcome: samples.Outcome) -> dict[str, Any]:
    matched = dict.fromkeys(matched for finding in outcome.findings for matched in finding.matched)
    groups = [dict(finding.group) for finding in outcome.findings if finding.group]
    return {
        "name": outcome.name, "path": outcome.path, "line": outcome.line, "held": not outcome.fault,
        "fault": outcome.fault, "hits": outcome.hits, "matched": [vars(each) for each in matched], "groups": groups,
    }  # fmt: skip


def results(detections: DetectionSet, fields: FieldDictionary, read: regression.Read) -> Iterator[RuleResult]:
    """In the order of the files; then what could not be read, or not beside another: a file with tests may be there.

    `detections` must be loaded without a cache: tests stand in the documents alone.
    """
    refused = {(each.id, each.path): each for each in detections.refused}
    here = {(identity(document), document.path) for document in detections.documents}
    for document in detections.documents:
        if not document.data.keys().isdisjoint(SILENT_KINDS):
            continue
        refusal = refused.get((identity(document), document.path))
        if refusal is None:
            yield _result(document, detections, fields, read)
        elif samples.carried(document)[1] or document.data.get(regression.KEY):
            fault = samples.Outcome("load", refusal.path, refusal.line, refusal.reason)
            yield _of(document, FAILED, outcomes=(fault,))
        else:
            yield _of(document, REFUSED, refusal.reason)
    for lost in detections.refused:
        if (lost.id, lost.path) not in here:
            fault = samples.Outcome("load", lost.path, lost.line, lost.reason)
            state = REFUSED if lost.reason == NAMELESS else FAILED
            said = (lost.reason, ()) if state == REFUSED else ("", (fault,))
            yield RuleResult(lost.id, lost.id or lost.path, lost.path, lost.line, state, *said)


def _result(document: Document, detections: DetectionSet, fields: FieldDictionary, read: regression.Read) -> RuleResult:
    found = list(samples.outcomes(document, detections, fields))
    reason = ""
    try:
        found += regression.outcomes(document, detections, read)
    except regression.NotHere as error:
        reason = str(error)
    if not found:
        return _of(document, UNTESTED, reason)
    return _of(document, FAILED if any(each.fault for each in found) else HELD, reason, tuple(found))


def _of(document: Document, state: str, reason: str = "", outcomes: tuple[samples.Outcome, ...] = ()) -> RuleResult:
    title = str(document.data.get("title") or identity(document))
    return RuleResult(identity(document), title, document.path, document.first_line, state, reason, outcomes)
