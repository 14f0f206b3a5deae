"""Reads the coverage ledger of a home: counts of the store, sets of rules, what waits, what was made up for."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import orjson

from soc.config import Settings
from soc.model.clock import DAY_US
from soc.model.fields import FieldType
from soc.model.query import Between
from soc.model.scope import Scope
from soc.model.values import one
from soc.pipeline import places
from soc.pipeline.coverage.counting import WINDOW_US, folder, rulesets
from soc.pipeline.coverage.late import notes
from soc.pipeline.coverage.report import Backfill, Coverage, Known
from soc.store import files
from soc.store.events import Aggregate, EventStore
from soc.store.queue import LogReader

_VERSION = 1
_MOST_US = 400 * DAY_US
"""Counts older than that are not asked for."""


def coverage(settings: Settings, store: EventStore, since_us: int, until_us: int) -> tuple[Coverage, int | None]:
    """The ledger of that time (µs UTC of receipt), and where it begins at all; None while nothing was counted."""
    waiting_us, matched_us = _waiting(settings, store)
    counts = store.counts(until_us - _MOST_US, until_us)
    begins_us = min((at_us for at_us, _ in counts), default=None)
    # Before the ledger's first window there is nothing to answer for.
    since_us = max(since_us, begins_us if begins_us is not None else until_us)
    mine = {key: n for key, n in counts.items() if key[0] + WINDOW_US > since_us}
    sets = _with_last_use(rulesets(settings), counts)
    found = Coverage(
        Known(
            since_us, until_us, sets, mine, in_store(store, since_us, until_us),
            _backfills(settings, since_us, until_us), waiting_us, matched_us, notes(settings, since_us),
        )
    )  # fmt: skip
    return found, begins_us


def _with_last_use(sets: dict[str, dict[str, Any]], counts: Any) -> dict[str, dict[str, Any]]:
    """When each set was at work last: in the window of its last events, or when it was first noted."""
    last = {name: int(each["first_us"]) for name, each in sets.items()}
    for at_us, name in counts:
        ruleset = name.partition(" ")[0]
        if ruleset in last:
            last[ruleset] = max(last[ruleset], at_us)
    return {name: {**each, "last_us": last[name]} for name, each in sets.items()}


def _waiting(settings: Settings, store: EventStore) -> tuple[int | None, int | None]:
    """The receipt (µs UTC) of the oldest record that waits for the worker, and of the oldest for the correlations."""
    root = places.queue(settings)
    raw, matched = LogReader(root, places.RAW), LogReader(root, places.MATCHED)
    try:
        passed = places.passed(store.cursors(), places.RAW)
        oldest = (raw.lag(passed), matched.lag(places.correlated(settings)))
    finally:
        raw.close()
        matched.close()
    first, second = (None if lag["oldest_receipt_ns"] is None else lag["oldest_receipt_ns"] // 1000 for lag in oldest)
    return first, second


def in_store(store: EventStore, since_us: int, until_us: int) -> dict[int, int]:
    query = Between("event.created", low=since_us // WINDOW_US * WINDOW_US, high=until_us, high_strict=True)
    spec = Aggregate(interval_us=WINDOW_US, interval_of="event.created")
    rows = store.aggregate(Scope.everything("engine", "coverage"), query, spec)
    return {int(one(FieldType.DATE, row["bucket"])): row["count"] for row in rows}


def note_backfill(settings: Settings, made: Backfill) -> None:
    """Keep what was made up for; durable on return, told twice it is the same."""
    document = {"version": _VERSION, **asdict(made), "rules": sorted(made.rules)}
    files.replace(folder(settings) / "backfills" / f"{made.id}.json", orjson.dumps(document))


def _backfills(settings: Settings, since_us: int, until_us: int) -> list[Backfill]:
    """Those that touch this time."""
    found = []
    for path in sorted((folder(settings) / "backfills").glob("*.json")):
        document = files.read_versioned(path, _VERSION, "the backfill", "move it away: its gap is told again then")
        if document is not None and document["since_us"] < until_us and document["until_us"] > since_us:
            del document["version"]
            found.append(Backfill(**{**document, "rules": frozenset(document["rules"])}))
    return found
