"""JSON documents whose names are ECS already: what the dictionary knows becomes columns, the rest is kept beside."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from soc.model.batch import Column, EventBatch
from soc.model.fields import ALWAYS
from soc.parsers import times
from soc.parsers.mapping import Rest
from soc.parsers.work import UNPARSED, Flags, Work

DATASET = "generic.json"
"""The dataset of documents that claim none, or none that we let them have."""
MAX_DATASETS = 64
"""Datasets that the documents of one block may name."""
MAX_COLUMNS = 600
"""More names than this in one batch stay in `soc.rest`, so that a stranger cannot widen the store."""
STAMPS = ("@timestamp", "timestamp", "time", "ts", "datetime", "eventTime")
CLAIMS = ("event.dataset", "data_stream.dataset")
_NAME = re.compile(r"[A-Za-z_@][\w@.-]{0,255}", re.ASCII)
_DATASET = re.compile(r"[a-z][a-z0-9]*(?:[._-][a-z0-9]+){0,7}")
_ENGINE = ("windows.", "netflow.", "snmp.", "soc.")
# Whoever sends has nothing to say about these; `log.file.path` only where the file is ours.
_OURS = frozenset((*ALWAYS, "event.original"))


def claimed(names: Mapping[str, Any], extra: str = "") -> str:
    """The dataset a document may have: what it says of itself, or `extra`, else `generic.json`.

    A name is at most 64 characters of `a-z0-9` with `.`, `_`, `-` between them, and none that our own decoders make.
    """
    for value in (*(names.get(name) for name in CLAIMS), extra):
        if not isinstance(value, str) or not 0 < len(value) <= 64:
            continue
        name = value.lower()
        if _DATASET.fullmatch(name) and name != UNPARSED and not name.startswith(_ENGINE):
            return name
    return DATASET


def grouped(work: Work, datasets: Sequence[str]) -> dict[str, list[int]]:
    """Places in `datasets` by dataset; beyond `MAX_DATASETS` all are `generic.json`."""
    groups: dict[str, list[int]] = {}
    for k, name in enumerate(datasets):
        key = name
        if name not in groups and len(groups) >= MAX_DATASETS:
            work.spare_neighbours()
            key = DATASET
        groups.setdefault(key, []).append(k)
    return groups


def stamp(names: Mapping[str, Any], work: Work) -> tuple[times.Stamp | None, str]:
    """The time that a document states, and the name it stands under."""
    for name in STAMPS:
        value = names.get(name)
        if value is None or isinstance(value, bool | list | dict):
            continue
        is_text = isinstance(value, str) and not value.isdigit()
        found = times.iso(value, work.zone) if is_text else times.epoch(value)
        if found[0] is not None:
            return found, name
    return None, ""


def columns(work: Work, dataset: str, documents: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Column], Rest, Flags]:
    """Columns of what the dictionary knows, the rest and the flags by place; the documents are flat."""
    is_file = work.envelope.is_file
    fields, verdicts = work.fields, dict[str, bool]()
    known_rows: list[dict[str, Any]] = []
    rest: Rest = {}
    for k, document in enumerate(documents):
        known: dict[str, Any] = {}
        left: dict[str, Any] = {}
        for name, value in document.items():
            verdict = verdicts.get(name)
            if verdict is None:
                verdict = name in fields and _NAME.fullmatch(name) is not None and not is_ours(name, is_file)
                if len(verdicts) < MAX_COLUMNS:
                    verdicts[name] = verdict
                else:
                    work.spare_neighbours()
                    verdict = False
            if verdict:
                known[name] = value
            elif name != "event.dataset" or value != dataset:
                left[name] = value
        known_rows.append(known)
        if left:
            rest[k] = left
    typed = EventBatch.from_rows(dataset, known_rows, fields)
    result = dict(typed.columns)
    misfits, flags = result.pop("soc.rest", None), result.pop("soc.flags", None)
    for k, values in enumerate(misfits.to_list() if misfits else ()):
        if values:
            rest[k] = rest.get(k, {}) | values
    return result, rest, {k: v for k, v in enumerate(flags.to_list()) if v} if flags else {}


def is_ours(name: str, is_file: bool) -> bool:
    """A document may not claim what the engine states: whose event it is, where it came from, when it was received."""
    return name in _OURS or name.startswith(("soc.", "organization.")) or (name == "log.file.path" and is_file)
