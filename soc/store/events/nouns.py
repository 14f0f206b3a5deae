"""What the event store hands out: segments, tombstones, pages and the shape of an aggregate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Segment:
    """One sealed Parquet file: the events of one receipt day (UTC) and one level (0 = unregistered).

    `units` are the owner units inside ("" when unregistered events are inside); all times are µs UTC and inclusive;
    `sha256` is that of the file; `path` is relative to the store's root; `state` is `sealed` or `dropping`;
    `content_root` is the Merkle root over its events (`soc.store.events.proof`).
    """

    id: str
    day: str
    level: str
    systems: frozenset[str]
    units: frozenset[str]
    rows: int
    bytes: int
    min_event_us: int
    max_event_us: int
    min_receipt_us: int
    max_receipt_us: int
    sha256: str
    state: str
    path: str
    columns: frozenset[str] = frozenset()
    min_id: str = ""
    max_id: str = ""
    content_root: str = ""


@dataclass(frozen=True)
class Footer:
    """What a sealed file says of itself: rows, least and largest times (µs UTC), and the levels of its events."""

    rows: int
    min_event_us: int
    max_event_us: int
    min_receipt_us: int
    max_receipt_us: int
    levels: frozenset[int]


@dataclass(frozen=True)
class Tombstone:
    """What is left of a dropped segment; `dropped_us` is µs UTC, `authorisation` is the caller's own reference."""

    segment_id: str
    day: str
    level: str
    systems: frozenset[str]
    rows: int
    bytes: int
    sha256: str
    dropped_us: int
    authorisation: str
    content_root: str = ""


@dataclass(frozen=True)
class Page:
    """Rows of a search, each a flat dict ready for JSON.

    `total` counts all matches and is None when it was not counted; `exact` says whether it was; `truncated` says that
    more rows match, `cursor` then asks for the next page.
    """

    rows: list[dict[str, Any]]
    total: int | None
    exact: bool
    truncated: bool
    cursor: str | None


@dataclass(frozen=True)
class Aggregate:
    """What to compute per group: keys (each item of a `many` field is one), and the measures.

    The result has the group fields by name, `count`, `min(<field>)`, `max(<field>)`, `cardinality(<field>)` and, with
    `interval_us`, `bucket` (start of the interval of the date field `interval_of`, ISO 8601). Without an interval the
    largest count comes first; with one, the oldest bucket.
    """

    group_by: tuple[str, ...] = ()
    count: bool = True
    min: tuple[str, ...] = ()
    max: tuple[str, ...] = ()
    cardinality: tuple[str, ...] = ()
    interval_us: int | None = None
    interval_of: str = "@timestamp"
    limit: int | None = None


@dataclass(frozen=True)
class CompactReport:
    """What one `compact` did: hot files sealed, segments written and merged, rows sealed, old files removed."""

    sealed_files: int = 0
    sealed_rows: int = 0
    segments_written: int = 0
    segments_merged: int = 0
    files_removed: int = 0
    damaged: int = 0


@dataclass(frozen=True)
class StoreFault:
    """One disagreement between the manifest and the files: `missing`, `changed`, `extra` or `content`."""

    kind: str
    path: str
    message: str
    detail: Mapping[str, str] = field(default_factory=dict)
