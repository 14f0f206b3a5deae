"""Findings that were told: each once, and a correlation that was found by looking back not beside its like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from soc.model.alert import BUCKET_US
from soc.model.canonical import digest
from soc.model.cases import CaseTx as Tx
from soc.model.cases import Stored
from soc.model.finding import Finding

KIND = "finding"
MOST = 5_000
"""Findings of one group within an hour of event time and its neighbours that are looked at."""


def is_told(tx: Tx, finding: Finding) -> bool:
    """Whether it is known, or was told by other events: live, a correlation saw fewer of them than looking back.

    The windows of a group lie apart, live and in each lookback; so one that was told answers for one of each other run
    that shares time with it, whichever came first.
    """
    if tx.get(KIND, finding.id) is not None:
        return True
    if finding.kind != "correlation":
        return False
    first = min(_alike(tx, finding), key=lambda each: (each[1].document["at_us"], each[0]), default=None)
    if first is None:
        return False
    id, stored = first
    answers = {**stored.document["answers"], finding.lookback: finding.id}
    tx.put(KIND, id, {**stored.document, "answers": answers}, stored.version)
    tx.put(KIND, finding.id, {"told_as": id, "rule": finding.rule_id, "at_us": finding.last_us}, None)
    return True


def note(tx: Tx, finding: Finding, what: Mapping[str, Any]) -> None:
    """It is told now; `what` says what became of it."""
    document = {**what, "rule": finding.rule_id, "at_us": finding.last_us}
    if finding.kind != "correlation":
        tx.put(KIND, finding.id, document, None)
        return
    document |= {"first_us": finding.first_us, "answers": {finding.lookback: finding.id}}
    tx.put(KIND, finding.id, document, None, keys={"group": _group(finding, finding.last_us // BUCKET_US)})


def _alike(tx: Tx, finding: Finding) -> list[tuple[str, Stored]]:
    """Told findings of the same group that share time with it and answer for none of its run."""
    span_us = int(finding.explain.get("params", {}).get("seconds", 0)) * 1_000_000
    buckets = range(finding.first_us // BUCKET_US, (finding.last_us + span_us) // BUCKET_US + 1)
    found = tx.find(KIND, keys={"group": [_group(finding, bucket) for bucket in buckets]}, limit=MOST)
    return [
        (id, stored)
        for id, stored in found
        if finding.lookback not in stored.document["answers"]
        and stored.document["first_us"] <= finding.last_us
        and stored.document["at_us"] >= finding.first_us
    ]


def _group(finding: Finding, bucket: int) -> str:
    whose = [finding.site, finding.import_id, finding.simulated]
    return digest([finding.rule_id, *whose, dict(finding.group), bucket])
