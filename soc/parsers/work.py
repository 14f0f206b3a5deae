"""What one call of `parse` shares between its steps, and how a group of events becomes a batch."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from soc.model.batch import Column, EventBatch, LazyColumns, Picked
from soc.model.fields import FieldDictionary, FieldType
from soc.model.lazy import LazyMapping
from soc.model.said import REST, said
from soc.parsers import times
from soc.parsers.audit import Events
from soc.parsers.envelope import Envelope, Parts
from soc.parsers.mapping import LazilyMapped, Mapped, Rest, over
from soc.parsers.recognise import Index

if TYPE_CHECKING:
    from soc.parsers.decoders.snmp_traps import Reader

UNPARSED = "unparsed"
Flags = dict[int, tuple[str, ...]]


class Crowded(Exception):
    """Several sources that are parsed as one name more than one batch may hold; each alone has room of its own."""


@dataclass(frozen=True)
class Work:
    """The block's envelope, the definitions and the settings; `traps` knows the names of SNMP notifications, `audit`
    the open events of the sources' audit logs."""

    envelope: Envelope
    index: Index
    fields: FieldDictionary
    zone: dt.tzinfo
    traps: Callable[[], Reader]
    audit: Events
    has_neighbours: bool = False
    """Whether sources that know nothing of each other are parsed as one."""

    def spare_neighbours(self) -> None:
        """What has no more room in a batch stays beside. Raises Crowded where that may be another source's doing."""
        if self.has_neighbours:
            raise Crowded


def make_batch(
    work: Work,
    rows: Sequence[int],
    product: str,
    dataset: str,
    *,
    stamps: Sequence[times.Stamp | None],
    layers: Sequence[Mapping[str, Column]],
    mapped: Mapped | None = None,
    rest: Rest | None = None,
    flags: Flags | None = None,
    parts: Sequence[int] | None = None,
    kind: str = "event",
    shape: str | None = None,
) -> EventBatch:
    """Envelope, then each layer over it, then what a definition mapped. `flags` and `rest` go by place in `rows`."""
    flags = dict(flags or {})
    rest = _joined(rest or {}, mapped.misfits if mapped is not None else {})
    if mapped is not None:
        for i in mapped.misfits:
            flags[i] = (*flags.get(i, ()), "type_mismatch")
        if mapped.stamps is not None:
            stamps = [own or header for own, header in zip(mapped.stamps, stamps, strict=True)]
    columns = work.envelope.columns(
        rows, product, dataset, lambda: stamps, lambda: flags, parts=parts, kind=kind, shape=shape
    )  # fmt: skip
    return _whole(dataset, [columns, *layers, mapped.columns if mapped is not None else {}], rest, len(rows))


def make_batch_lazily(
    work: Work,
    rows: Sequence[int],
    product: str,
    dataset: str,
    *,
    stamps: Callable[[Sequence[int]], Sequence[times.Stamp | None]],
    layers: Sequence[Mapping[str, Column]],
    mapped: LazilyMapped,
    rest: Callable[[], Rest],
    said: Callable[[], Iterable[str]],
    shape: str | None = None,
) -> EventBatch:
    """The same, where each column is made when it is asked for: `stamps` of the events at some places; `said` is
    `EventBatch.said`."""

    def flags() -> Flags:
        return dict.fromkeys(mapped.misfits(), ("type_mismatch",))

    def timed() -> Sequence[times.Stamp | None]:
        own, headers = mapped.stamps(), stamps(range(len(rows)))
        return headers if own is None else [a or b for a, b in zip(own, headers, strict=True)]

    def pick(places: Sequence[int]) -> EventBatch:
        return make_batch_lazily(
            work, [rows[k] for k in places], product, dataset,
            stamps=lambda within: stamps([places[k] for k in within]),
            layers=[Picked(layer, places) for layer in layers], mapped=mapped.pick(places),
            rest=lambda: {n: kept for n, kept in enumerate(map(rest().get, places)) if kept}, said=said, shape=shape,
        )  # fmt: skip

    columns = work.envelope.columns(rows, product, dataset, timed, flags, shape=shape)
    found = Layered([columns, *layers, mapped, _Rest(rest, mapped, len(rows))], said, rest, pick)
    return EventBatch(dataset, len(rows), found)


class _Rest(LazyMapping[Column]):
    """`soc.rest`: what no column holds, and what did not fit one."""

    def __init__(self, rest: Callable[[], Rest], mapped: LazilyMapped, n: int) -> None:
        super().__init__()
        self._rest, self._mapped, self._n = rest, mapped, n

    def names(self) -> Iterable[str]:
        return (REST,)

    def make(self, name: str) -> Column | None:
        if name != REST:
            return None
        kept = _joined(self._rest(), self._mapped.misfits())
        return _rest(kept, self._n) if kept else None


def _joined(rest: Rest, more: Rest) -> Rest:
    return rest | {i: rest.get(i, {}) | values for i, values in more.items()}


def make_batch_of_parts(
    work: Work,
    parts: Parts,
    product: str,
    dataset: str,
    *,
    layers: Sequence[Mapping[str, Column]],
    mapped: LazilyMapped,
    flags: Callable[[], Column | None],
) -> EventBatch:
    """The same for records of many events each, whole columns at a time."""

    def marked() -> Column | None:
        own, misfits = flags(), mapped.misfits()
        if not misfits:
            return own
        known = own.to_list() if own is not None else [None] * parts.n
        marks = [(*(mine or ()), *(("type_mismatch",) if k in misfits else ())) or None for k, mine in enumerate(known)]
        return Column.of(FieldType.KEYWORD, marks, many=True)

    columns = work.envelope.columns_of_parts(parts, product, dataset, marked)
    found = Layered([columns, *layers, mapped, _Rest(dict, mapped, parts.n)])
    return EventBatch(dataset, parts.n, found)


class Layered(LazyColumns):
    """Columns of several layers, each over those before it."""

    def __init__(
        self,
        layers: Sequence[Mapping[str, Column]],
        said: Callable[[], Iterable[str]] | None = None,
        left: Callable[[], Rest] = dict,
        pick: Callable[[Sequence[int]], EventBatch] | None = None,
    ) -> None:
        """`said`, `left` and `pick` give what those of `EventBatch` do; without them the layers' names tell, nothing is
        left, and rows are taken from whole columns."""
        super().__init__()
        self._layers, self._said, self._left, self._pick = layers, said, left, pick

    @functools.cached_property
    def _where(self) -> dict[str, list[Mapping[str, Column]]]:
        """The layers that may have a name."""
        where: dict[str, list[Mapping[str, Column]]] = {}
        for layer in self._layers:
            for name in layer.names() if isinstance(layer, LazyMapping) else layer:
                where.setdefault(name, []).append(layer)
        return where

    def names(self) -> Iterable[str]:
        return self._where

    def said(self) -> Iterable[str]:
        return said(self.names()) if self._said is None else self._said()

    def left(self) -> Rest:
        return self._left()

    def pick(self, rows: Sequence[int]) -> Mapping[str, Column]:
        return Picked(self, rows) if self._pick is None else self._pick(rows).columns

    def make(self, name: str) -> Column | None:
        layers = self._where.get(name)
        return None if layers is None else _topmost(layers, name)

    def whole(self) -> dict[str, Column]:
        if self._whole is None:  # in the order of those that are there
            found = ((name, self.get(name)) for name in dict.fromkeys(chain.from_iterable(self._layers)))
            self._whole = {name: column for name, column in found if column is not None}
        return self._whole


def _topmost(layers: Sequence[Mapping[str, Column]], name: str) -> Column | None:
    """The column of the last layer, and of those before it where that has no value."""
    column = None
    for layer in layers:
        later = layer.get(name)
        if later is not None:
            column = later if column is None else over(column, later)
    return column


def _whole(dataset: str, layers: Sequence[Mapping[str, Column]], rest: Rest, n: int) -> EventBatch:
    layers = [*layers, {REST: _rest(rest, n)} if rest else {}]
    found = ((name, _topmost(layers, name)) for name in dict.fromkeys(chain.from_iterable(layers)))
    return EventBatch(dataset, n, {name: column for name, column in found if column is not None})


def _rest(rest: Rest, n: int) -> Column:
    return Column.of(FieldType.OBJECT, [rest.get(k) for k in range(n)])
