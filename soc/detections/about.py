"""What findings say of their events: which, when, about whom; of many events column by column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from soc.detections.sigma.evaluate import Columns
from soc.model.batch import EventBatch

# What an alert is about when a rule does not say: the first of these that the event has.
ENTITIES = ("source.ip", "user.name", "host.name", "winlog.computer_name", "winlog.event_data.TargetUserName",
             "soc.source")  # fmt: skip


class About(NamedTuple):
    """One event: its id in hex, its time (µs UTC), the text of its `Position`, the entity (`source.ip=203.0.113.9`)."""

    dataset: str
    event_id: str
    at_us: int
    position: str
    entity: str
    site: str
    system_id: str | None
    organization_id: str | None
    import_id: str | None
    simulated: bool


def abouts(batch: EventBatch) -> list[About]:
    """Of each event of a batch; pick the events that are asked about first, so that no others are looked at."""
    if not batch.n:
        return []
    columns = Columns(batch)

    def first(name: str, default: Any = None) -> list[Any]:
        values = columns.of(name)
        if values is None:
            return [default] * batch.n
        return [default if value is None or value == () else _one(value) for value in values]

    ids = [value.hex() if isinstance(value, bytes) else str(value) for value in first("event.id", "")]
    flags = columns.of("soc.flags") or [None] * batch.n
    told = zip(
        [batch.dataset] * batch.n, ids, first("@timestamp", 0), map(str, first("soc.position", "")),
        _entities(list(map(first, ENTITIES)), batch.n), map(str, first("soc.site", "")), first("soc.system.id"),
        first("organization.id"), first("soc.import.id"), ["simulated" in (marks or ()) for marks in flags],
        strict=True,
    )  # fmt: skip
    return [About(*each) for each in told]


def _entities(columns: Sequence[Sequence[Any]], n: int) -> list[str]:
    found = [""] * n
    for name, values in reversed(list(zip(ENTITIES, columns, strict=True))):
        for i, value in enumerate(values):
            if value is not None:
                found[i] = f"{name}={value}"
    return found


def _one(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) else value
