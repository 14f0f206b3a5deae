"""Which rows are past the mark of their partition: the half of *exactly once* that the store owes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
    keep = np.ones(batch.n, bool)
    for key, rows, numbers in _by_partition(positions, [_text(batch, name) for name in _SOURCE]):
        mark = marks.get(_partition(key))
        if mark is not None:
            keep[rows] = _past(mark, numbers)
    return None if keep.all() else keep


_SOURCE = ("soc.site", "soc.listener", "soc.source")


def _by_partition(positions: Any, source: Sequence[Any]) -> Iterator[tuple[str, Any, list[np.ndarray[Any, Any]]]]:
    """Site, listener, source, node and log joined, the rows (a mask), and their seq, ordinal and part."""
    n = len(positions)
    parts = pc.split_pattern(positions, ":").flatten()
    if len(parts) != n * _PARTS:
        raise ValueError("soc.position is not node:log:seq:ordinal:part in every row")
    origin = [parts.take(pa.array(np.arange(i, n * _PARTS, _PARTS))) for i in (0, 1)]
    keys = pc.binary_join_element_wise(*source, *origin, "\0").dictionary_encode()
    numbers = [_numbers(parts, i, n) for i in (2, 3, 4)]
    codes = keys.indices.to_numpy()
    for code, key in enumerate(keys.dictionary.to_pylist()):
        rows = codes == code
        yield key, rows, [column[rows] for column in numbers]


def marks_of(table: Any) -> Marks:
    """The mark of each partition that stored rows (a table with field names) are of: the position of its last one."""
    if "soc.position" not in table.column_names:
        return {}
    names = [name for name in (CLOSED_BY, "soc.position") if name in table.column_names]
    table = table.filter(pc.is_valid(table.column("soc.position")))
    positions = pc.coalesce(*(table.column(name) for name in names)).combine_chunks()
    source = [
        pc.fill_null(table.column(name), "").combine_chunks() if name in table.column_names
        else pa.repeat("", table.num_rows) for name in _SOURCE
    ]  # fmt: skip
    found: Marks = {}
    for key, _, (seq, ordinal, part) in _by_partition(positions, source) if table.num_rows else ():
        last = np.lexsort((part, ordinal, seq))[-1]
        partition = _partition(key)
        position = Position(partition.node, partition.log, int(seq[last]), int(ordinal[last]), int(part[last]))
        advance(found, {partition: position})
    return found


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
