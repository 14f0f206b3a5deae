"""Which rows are past the mark of their partition: the half of *exactly once* that the store owes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from soc.model.batch import CLOSED_BY, EventBatch
from soc.model.position import Partition, Position, partition_of

Marks = dict[Partition, Position]
_PARTS = 5  # node:log:seq:ordinal:part


def later(a: Position, b: Position) -> bool:
    """Whether `a` stands behind `b` (both of one partition)."""
    return (a.seq, a.ordinal, a.part) > (b.seq, b.ordinal, b.part)


def advance(marks: Marks, upto: Mapping[Partition, Position]) -> None:
    """Move every mark forward, never back."""
    for partition, position in upto.items():
        known = marks.get(partition)
        if known is None or later(position, known):
            marks[partition] = position


def _numbers(parts: Any, which: int, n: int) -> np.ndarray[Any, Any]:
    picked = parts.take(pa.array(np.arange(which, n * _PARTS, _PARTS)))
    return pc.cast(picked, pa.int64()).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _partition(key: str) -> Partition:
    site, listener, source, node, log = key.split("\0")
    peer = source[len(site) + len(listener) + 2 :]
    return Partition(node, log, partition_of(site, listener, peer))


def _text(batch: EventBatch, name: str) -> Any:
    column = batch.columns.get(name)
    return pa.repeat("", batch.n) if column is None else pc.fill_null(column.to_arrow(), "")


def fresh(batch: EventBatch, marks: Mapping[Partition, Position]) -> np.ndarray[Any, Any] | None:
    """Which rows are past their mark, or None when all are (the usual case). Rows without a position always are.

    The partition is computed from `soc.site`, `soc.listener` and `soc.source` as the queue computes it.
    """
    column = batch.columns.get("soc.position")
    if column is None or not batch.n or not marks:
        return None
    positions = column.to_arrow()
    if CLOSED_BY in batch.columns:  # it was passed by with its frame; that which completed it counts
        positions = pc.coalesce(batch.columns[CLOSED_BY].to_arrow(), positions)
    if positions.null_count:
        return _fresh_with_gaps(batch, marks, np.asarray(pc.is_valid(positions).to_numpy(zero_copy_only=False)))
    parts = pc.split_pattern(positions, ":").flatten()
    if len(parts) != batch.n * _PARTS:
        raise ValueError("soc.position is not node:log:seq:ordinal:part in every row")
    origin = [parts.take(pa.array(np.arange(i, batch.n * _PARTS, _PARTS))) for i in (0, 1)]
    keys = pc.binary_join_element_wise(
        *(_text(batch, name) for name in ("soc.site", "soc.listener", "soc.source")), *origin, "\0"
    ).dictionary_encode()
    numbers = [_numbers(parts, i, batch.n) for i in (2, 3, 4)]
    codes = keys.indices.to_numpy()
    keep = np.ones(batch.n, bool)
    for code, key in enumerate(keys.dictionary.to_pylist()):
        mark = marks.get(_partition(key))
        if mark is not None:
            rows = codes == code
            keep[rows] = _past(mark, [column[rows] for column in numbers])
    return None if keep.all() else keep


def _past(mark: Position, numbers: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    seq, ordinal, part = numbers
    if seq.min() > mark.seq:
        return np.ones(len(seq), bool)
    same_record = (ordinal == mark.ordinal) & (part > mark.part)
    past: np.ndarray[Any, Any] = (seq > mark.seq) | ((seq == mark.seq) & ((ordinal > mark.ordinal) | same_record))
    return past


def _fresh_with_gaps(
    batch: EventBatch, marks: Mapping[Partition, Position], placed: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any] | None:
    keep = np.ones(batch.n, bool)
    some = fresh(batch.where(placed), marks)
    if some is None:
        return None
    keep[placed] = some
    return keep
