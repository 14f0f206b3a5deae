"""Sealed files: a table of events becomes one Parquet file and its manifest entry."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from soc.errors import StoreError
from soc.store import files
from soc.store.events import proof
from soc.store.events.nouns import Segment

ROW_GROUP = 50_000
_NEEDLES = (
    "event.id", "source.ip", "destination.ip", "source.nat.ip", "user.name", "host.name", "host.hostname",
    "file.hash.sha256", "process.hash.sha256", "dns.question.name", "url.domain", "network.community_id",
)  # fmt: skip
_ALL_UPPER = re.compile(r"[A-Z^]")


@functools.lru_cache(maxsize=8192)
def physical(name: str) -> str:
    """The column's name in Parquet and SQL: a capital gets `^` before it, as SQL takes `ProcessId` for `ProcessID`."""
    return _ALL_UPPER.sub(r"^\g<0>", name)


@functools.lru_cache(maxsize=8192)
def logical(name: str) -> str:
    """The inverse of `physical`."""
    return re.sub(r"\^([A-Z^])", r"\1", name)


def to_physical(table: Any) -> Any:
    """The same table under physical names."""
    return table.rename_columns([physical(name) for name in table.column_names])


def to_logical(table: Any) -> Any:
    """The same table under field names."""
    return table.rename_columns([logical(name) for name in table.column_names])


def split(table: Any) -> dict[tuple[str, str], Any]:
    """The rows of each (receipt day UTC, level); level `0` is of unregistered systems."""
    days = pc.strftime(table.column("event.created"), "%Y-%m-%d")
    levels = (
        pc.fill_null(table.column("soc.system.level"), 0).cast(pa.string())
        if "soc.system.level" in table.column_names
        else pa.chunked_array([pa.repeat("0", table.num_rows)])
    )
    keys = pc.binary_join_element_wise(days, levels, "/").combine_chunks().dictionary_encode()
    codes = keys.indices.to_numpy()
    found = {}
    for code, key in enumerate(keys.dictionary.to_pylist()):
        day, level = key.split("/")
        found[day, level] = table.take(pa.array(np.flatnonzero(codes == code)))
    return found


def relative_path(segment_id: str, day: str, level: str) -> str:
    """`seg/day=2026-11-20/level=3/<id>.parquet`."""
    return f"seg/day={day}/level={level}/{segment_id}.parquet"


def write(root: Path, segment_id: str, day: str, level: str, table: Any) -> Segment:
    """Write the file durably (temporary name, fsync, rename, fsync of the folder). Raises DiskFull or StoreError."""
    path = root / relative_path(segment_id, day, level)
    temporary = path.with_suffix(".tmp")
    table = _without_empty(table).sort_by([("event.dataset", "ascending"), ("@timestamp", "ascending")])
    try:
        files.make_folder(path.parent)
        pq.write_table(
            to_physical(table), temporary, compression="zstd", row_group_size=ROW_GROUP,
            bloom_filter_options=_blooms(table), store_schema=False,
        )  # fmt: skip
        files.sync_file(temporary)
        os.rename(temporary, path)
        files.sync_folder(path.parent)
        return _entry(root, path, segment_id, (day, level), table)
    except OSError as error:
        raise files.store_error(error, f"writing {path.name}") from error


def _without_empty(table: Any) -> Any:
    keep = [name for name in table.column_names if table.column(name).null_count < table.num_rows]
    return table.select(keep)


def _blooms(table: Any) -> dict[str, dict[str, Any]]:
    distinct = min(table.num_rows, ROW_GROUP)
    return {name: {"ndv": distinct, "fpp": 0.01} for name in _NEEDLES if name in table.column_names}


def _range(column: Any) -> tuple[int, int]:
    found = pc.min_max(column.cast(pa.int64()))
    return found["min"].as_py(), found["max"].as_py()


def _distinct(table: Any, name: str) -> frozenset[str]:
    if name not in table.column_names:
        return frozenset({""})
    return frozenset(v or "" for v in pc.unique(table.column(name)).to_pylist())


def _entry(root: Path, path: Path, segment_id: str, place: tuple[str, str], table: Any) -> Segment:
    ids = table.column("event.id").to_pylist()
    event, receipt = _range(table.column("@timestamp")), _range(table.column("event.created"))
    return Segment(
        id=segment_id, day=place[0], level=place[1], systems=_distinct(table, "soc.system.id") - {""},
        units=_distinct(table, "organization.id"), rows=table.num_rows, bytes=path.stat().st_size,
        min_event_us=event[0], max_event_us=event[1], min_receipt_us=receipt[0], max_receipt_us=receipt[1],
        sha256=files.sha256_of(path), state="sealed", path=str(path.relative_to(root)),
        columns=frozenset(table.column_names), min_id=min(ids).hex(), max_id=max(ids).hex(),
        content_root=proof.table_root(table),
    )  # fmt: skip


def read(root: Path, segment: Segment) -> Any:
    """The whole table of a segment, field names restored; raises StoreError when it cannot be read."""
    try:
        return to_logical(pq.ParquetFile(root / segment.path).read())
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{segment.path}: {error}") from error
