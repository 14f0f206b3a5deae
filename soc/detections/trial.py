"""`trial`: a file of rules as it is at this moment, over events kept in memory; for a person who writes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from soc.detections.detect import detect
from soc.detections.load import DetectionSet
from soc.detections.results import FAILED, results
from soc.detections.sigma.header import identity
from soc.errors import ConfigError
from soc.model.batch import EventBatch
from soc.model.fields import FieldDictionary

SHOWN = 20
"""Hits that are kept whole; all are counted."""


@dataclass
class Trial:
    """What came of it. `faults` are refusals and failed tests with their lines; `hits` counts by rule id.

    `first` are the first hits of each rule, all of them together `SHOWN`, as `soc detect` writes them and with their
    time as `at_us`; `excepted` counts what exceptions took.
    """

    faults: list[str] = field(default_factory=list)
    titles: dict[str, str] = field(default_factory=dict)
    hits: Counter[str] = field(default_factory=Counter)
    excepted: int = 0
    first: list[dict[str, Any]] = field(default_factory=list)


def trial(
    file: Path,
    others: Sequence[Path],
    batches: Sequence[EventBatch],
    fields: FieldDictionary,
    lists: Mapping[str, Sequence[str]] | None = None,
) -> Trial:
    """Run the definitions of `file`; `others` hold what they refer to. That it cannot be read is a fault like any."""
    made = Trial()
    try:
        loaded = DetectionSet.load([*others, file], fields=fields, lists=lists)
    except ConfigError as error:
        made.faults.append(str(error))
        return made
    here = {identity(each) for each in loaded.documents if each.path == str(file)}
    made.faults = [f"{r.path}:{r.line}: {r.reason}" for r in loaded.refused if r.path == str(file)]
    titles = {each.id: each.title for each in loaded.rules}
    titles |= {each.id: each.title for each in loaded.correlations} | {each.id: each.title for each in loaded.models}
    made.titles = {id: title for id, title in titles.items() if id in here}
    made.hits.update(dict.fromkeys(made.titles, 0))
    for result in results(loaded, fields, lambda path, format: iter(())):
        if result.id in here and result.state == FAILED:
            made.faults += [f"{each.path}:{each.line}: {each.fault}" for each in result.outcomes if each.fault]
    for hit in detect(loaded, batches, fields=fields, timed=True):
        if hit["rule"] in here:
            _count(made, hit)
    made.faults = list(dict.fromkeys(made.faults))
    return made


def _count(made: Trial, hit: dict[str, Any]) -> None:
    if "exception" in hit:
        made.excepted += 1
        return
    made.hits[hit["rule"]] += 1
    if made.hits[hit["rule"]] <= max(SHOWN // len(made.titles), 1) and len(made.first) < SHOWN:
        made.first.append(hit)
