"""Tells every event of a batch whose it is, column by column, asking once per distinct (site, address, day).

Which system an event belongs to, the first that answers:
1. the log source's own system, when exactly one system names the peer among its `sources`;
2. the system of `destination.ip` (what was attacked), then `host.ip`, then `source.ip`;
3. the system in whose network the peer's address lies;
4. the system that the listener names, when the batch has `soc.system.id` already.
Whose it is goes by the event's time, its level by the day of receipt, because storage and retention go by that.
No system: the columns stay empty and `soc.flags` gains `unregistered`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from soc.model.batch import FLAGS, Column, EventBatch
from soc.model.clock import DAY_US, VIETNAM_US
from soc.model.fields import FieldType
from soc.model.system import InformationSystem

UNREGISTERED = "unregistered"
ADDRESS_FIELDS = ("destination.ip", "host.ip", "source.ip")
_Found = list[InformationSystem | None]


class Answers(Protocol):
    """What enriching asks of the registry; a day is counted in local days since 1970-01-01."""

    def on_day(self, site: str, address: str, day: int) -> InformationSystem | None: ...

    def source_on_day(self, site: str, peer: str, day: int) -> InformationSystem | None: ...

    def get(self, id: str) -> InformationSystem | None: ...


def enrich(registry: Answers, batch: EventBatch) -> EventBatch:
    """The batch with `soc.system.id/name/code/level`, `organization.id/name`; unregistered events are flagged."""
    if batch.n == 0:
        return batch
    received = _days(batch, ("event.created", "@timestamp"))
    found = _owners(registry, batch, _days(batch, ("@timestamp", "event.created")))
    columns = _columns(found, received)
    if None in found:
        columns[FLAGS] = _flagged(batch, found)
    return batch.with_columns(columns)


def _days(batch: EventBatch, names: Iterable[str]) -> list[int]:
    """The local day of each event by the first of these fields it has; 0 when it has none."""
    days: list[int | None] = [None] * batch.n
    for name in names:
        column = batch.columns.get(name)
        if column is None:
            continue
        if column.form == "constant" and column.values is not None and None in days:
            day = (int(column.values) + VIETNAM_US) // DAY_US
            days = [day if d is None else d for d in days]
        elif None in days:
            times = column.to_list()
            days = [
                (t + VIETNAM_US) // DAY_US if d is None and t is not None else d
                for d, t in zip(days, times, strict=True)
            ]
    return [0 if day is None else day for day in days]


def _owners(registry: Answers, batch: EventBatch, days: list[int]) -> _Found:
    sites = [site or "" for site in batch.values("soc.site")]
    peers = _peers(batch)
    found: _Found = [None] * batch.n
    _fill(found, registry.source_on_day, sites, peers, days)
    for name in ADDRESS_FIELDS:
        if name in batch.columns and None in found:
            _fill(found, registry.on_day, sites, batch.columns[name].to_list(), days)
    if None in found:
        _fill(found, registry.on_day, sites, peers, days)
    if None in found and "soc.system.id" in batch.columns:
        named = batch.columns["soc.system.id"].to_list()
        found = [registry.get(id) if system is None and id else system for system, id in zip(found, named, strict=True)]
    return found


def _peers(batch: EventBatch) -> list[str | None]:
    """The peer of `soc.source`, which is `site/listener/peer`."""
    column = batch.columns.get("soc.source")
    if column is None:
        return [None] * batch.n
    names = {source: source.split("/", 2)[-1] for source in set(column.to_list()) if source is not None}
    return [names.get(source) for source in column.to_list()]


def _fill(
    found: _Found,
    ask: Callable[[str, str, int], InformationSystem | None],
    sites: list[str],
    values: list[Any],
    days: list[int],
) -> None:
    """Answer the rows that have no system yet; a multi-valued address answers with its first registered item."""
    known: dict[tuple[str, Any, int], InformationSystem | None] = {}
    for i, key in enumerate(zip(sites, values, days, strict=True)):
        if found[i] is not None or key[1] is None:
            continue
        if key not in known:
            site, value, day = key
            items = value if isinstance(value, tuple) else (value,)
            known[key] = next((s for item in items if (s := ask(site, item, day)) is not None), None)
        found[i] = known[key]


def _columns(found: _Found, received: list[int]) -> dict[str, Column]:
    levels: dict[tuple[str, int], int] = {}

    def level(system: InformationSystem, day: int) -> int:
        key = (system.id, day)
        if key not in levels:
            date = dt.date.fromordinal(min(max(day + _EPOCH, 1), dt.date.max.toordinal()))
            levels[key] = system.level_on(date)
        return levels[key]

    texts: dict[str, Callable[[InformationSystem], str]] = {
        "soc.system.id": lambda s: s.id,
        "soc.system.name": lambda s: s.name,
        "soc.system.code": lambda s: s.code,
        "organization.id": lambda s: s.organization_id,
        "organization.name": lambda s: s.organization_name,
    }
    columns = {name: _column(FieldType.KEYWORD, _each(found, get)) for name, get in texts.items()}
    values = [None if s is None else level(s, day) for s, day in zip(found, received, strict=True)]
    columns["soc.system.level"] = _column(FieldType.LONG, values)
    return columns


_EPOCH = dt.date(1970, 1, 1).toordinal()


def _each(found: _Found, get: Callable[[InformationSystem], str]) -> list[str | None]:
    return [None if system is None else get(system) for system in found]


def _column(kind: FieldType, values: list[Any]) -> Column:
    """A constant where all rows agree, which is the usual case: one source, one system."""
    first = values[0]
    if all(value == first for value in values):
        return Column.constant(kind, first, len(values))
    return Column.of(kind, values)


def _flagged(batch: EventBatch, found: _Found) -> Column:
    old = batch.values(FLAGS)
    flags = [_with_flag(was) if system is None else was for was, system in zip(old, found, strict=True)]
    if all(flag == flags[0] for flag in flags):
        return Column.constant(FieldType.KEYWORD, flags[0], batch.n, many=True)
    return Column.of(FieldType.KEYWORD, flags, many=True)


def _with_flag(was: tuple[str, ...] | None) -> tuple[str, ...]:
    if was is None:
        return (UNREGISTERED,)
    return was if UNREGISTERED in was else (*was, UNREGISTERED)
