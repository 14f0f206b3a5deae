"""Which pieces of time a lookback reads one after another, each with about so many events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from soc.model.fields import FieldType
from soc.model.query import And, Between, Query
from soc.model.scope import Scope
from soc.model.values import one
from soc.store.events import Aggregate, EventStore

ROWS = 50_000
"""Events of one slice: what memory has to hold of them."""
MINUTE_US = 60 * 1_000_000
BUCKETS = 50_000
"""A longer time is counted in coarser steps than a minute."""
Slice = tuple[int, int, int]
"""From (µs UTC), until, events."""


def between(query: Query, axis: str, since_us: int, until_us: int) -> Query:
    """What matches with `since_us <= axis < until_us`."""
    return And((query, Between(axis, low=since_us, high=until_us, high_strict=True)))


def plan(
    store: EventStore, scope: Scope, query: Query, axis: str, since_us: int, until_us: int, *, rows: int = ROWS
) -> list[Slice]:
    """The slices of this time that have events, in order; `axis` is a date field."""
    step = max(MINUTE_US, -(-(until_us - since_us) // BUCKETS))
    spec = Aggregate(interval_us=step, interval_of=axis)
    counted = store.aggregate(scope, between(query, axis, since_us, until_us), spec)
    buckets = ((int(one(FieldType.DATE, row["bucket"])), row["count"]) for row in counted)
    cut = ((max(start, since_us), min(start + step, until_us), n) for start, n in buckets)
    return list(joined((piece for each in cut for piece in split(each, rows)), rows))


def split(slice: Slice, rows: int) -> Iterator[Slice]:
    """Pieces of equal length, with about so many events each when they are spread evenly."""
    since_us, until_us, n = slice
    parts = min(max(1, -(-n // rows)), until_us - since_us)
    edges = [since_us + (until_us - since_us) * i // parts for i in range(parts + 1)]
    for i in range(parts):
        yield edges[i], edges[i + 1], n * (i + 1) // parts - n * i // parts


def joined(slices: Iterable[Slice], rows: int) -> Iterator[Slice]:
    """Neighbours become one while they hold fewer events together; the time between two of them is empty."""
    held: Slice | None = None
    for each in slices:
        if held is not None and held[2] + each[2] <= rows:
            held = (held[0], each[1], held[2] + each[2])
            continue
        if held is not None:
            yield held
        held = each
    if held is not None:
        yield held
