"""Events for the store's tests: every one with a position, an id and a receipt time of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from soc.model.batch import EventBatch
from soc.model.position import Partition, Position, event_id_at, partition_of
from soc.model.scope import Scope

START_US = 1_795_600_800_000_000  # 2026-11-25T10:00:00Z
ALL = Scope.everything("test", "test")
SITE, LISTENER, PEER = "hue", "syslog", "10.0.0.1"
NODE = "n1"


def partition(peer: str = PEER) -> Partition:
    """The partition of a peer's records."""
    return Partition(NODE, "raw", partition_of(SITE, LISTENER, peer))


def upto(seq: int, ordinal: int, peer: str = PEER) -> dict[Partition, Position]:
    """A cursor behind record `ordinal` of frame `seq`."""
    return {partition(peer): Position(NODE, "raw", seq, ordinal)}


def event(seq: int, ordinal: int = 0, *, peer: str = PEER, at_us: int | None = None, **more: Any) -> dict[str, Any]:
    """One row. Its text names its position, so that a lost or doubled one can be told."""
    position = Position(NODE, "raw", seq, ordinal)
    time = START_US + seq * 1000 + ordinal if at_us is None else at_us
    return {
        "@timestamp": time,
        "event.created": time,
        "event.id": event_id_at(time * 1000, position),
        "event.original": f"record {seq} {ordinal}",
        "soc.position": str(position),
        "soc.site": SITE,
        "soc.listener": LISTENER,
        "soc.source": f"{SITE}/{LISTENER}/{peer}",
        **more,
    }


def batch(rows: Sequence[Mapping[str, Any]], dataset: str = "test") -> EventBatch:
    """A batch of rows."""
    return EventBatch.from_rows(dataset, rows)


def frame(seq: int, n: int = 5, **more: Any) -> EventBatch:
    """The events of one queue frame."""
    return batch([event(seq, i, **more) for i in range(n)])
