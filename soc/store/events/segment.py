"""Sealed files: a table of events becomes one Parquet file and its manifest entry."""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from soc.errors import StoreError
from soc.store import files
from soc.store.events import proof
from soc.store.events.frame import concat
from soc.store.events.nouns import Footer, Segment

ROW_GROUP, GROUP_BYTES, SMALL_GROUP = 50_000, 24 << 20, 10_000
"""A row group ends with so many rows or bytes in memory, or with its dataset when that brought enough."""
READ_ROWS = 4_096
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


PLACED_BY = ("event.created", "soc.system.level")
"""The columns that `split` reads."""


def split(table: Any) -> dict[tuple[str, str], Any]:
    """The rows of each (receipt day UTC, level); level `0` is of unregistered systems."""
    days = pc.strftime(table.column("event.created"), "%Y-%m-%d")
    levels = (
        pc.fill_null(table.column("soc.system.level"), 0).cast(pa.string())
        if "soc.system.level" in table.column_names
        else pa.chunked_array([pa.repeat("0", table.num_rows)])
    )
    keys = pc.binary_join_element_wise(days, levels, "/").combine_chunks().dictionary_encode()
    if len(keys.dictionary) == 1:
        day, level = keys.dictionary[0].as_py().split("/")
        return {(day, level): table}
    codes = keys.indices.to_numpy()
    found = {}
    for code, key in enumerate(keys.dictionary.to_pylist()):
        day, level = key.split("/")
        found[day, level] = table.take(pa.array(np.flatnonzero(codes == code)))
    return found


def relative_path(segment_id: str, day: str, level: str) -> str:
    """`seg/day=2026-11-20/level=3/<id>.parquet`."""
    return f"seg/day={day}/level={level}/{segment_id}.parquet"


class Writer:
    """Writes one segment row group by row group, in a bounded memory; use as a context.

    Give it tables by dataset and in the order of receipt. A row group has at most `ROW_GROUP` rows and about
    `GROUP_BYTES`, and is sorted by dataset and time. `rows` are those to come, `schema` has all their columns.
    Raises DiskFull or StoreError.
    """

    def __init__(self, root: Path, segment_id: str, place: tuple[str, str], schema: Any, rows: int) -> None:
        self._root, self._id, self._place = root, segment_id, place
        self._path = root / relative_path(segment_id, *place)
        self._temporary = self._path.with_suffix(".tmp")
        self._schema = schema
        self._tables: list[Any] = []
        self._dataset = ""
        self.rows = self.held = 0
        self._stats = Stats()
        with self._told():
            files.make_folder(self._path.parent)
            self._file = pq.ParquetWriter(
                self._temporary, _physical_schema(schema), compression="zstd", store_schema=False,
                bloom_filter_options=_blooms(schema.names, min(rows, ROW_GROUP)),
            )  # fmt: skip

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise files.store_error(error, f"writing {self._path.name}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError, pa.ArrowException):  # the next run removes what was not finished
            self._file.close()

    def add(self, dataset: str, table: Any) -> None:
        """Rows of one dataset."""
        if dataset != self._dataset and self.rows >= SMALL_GROUP:
            self.flush()  # a large dataset has row groups of its own, small ones share
        self._dataset = dataset
        for start in range(0, table.num_rows, ROW_GROUP):
            some = table.slice(start, ROW_GROUP)
            self._tables.append(some)
            self.rows += some.num_rows
            self.held += some.nbytes
            if self.rows >= ROW_GROUP or self.held >= GROUP_BYTES:
                self.flush()

    def flush(self) -> None:
        """Write what is held."""
        while self.rows:
            table = concat(self._tables)
            whole = table.slice(0, ROW_GROUP).sort_by([("event.dataset", "ascending"), ("@timestamp", "ascending")])
            rest = table.slice(ROW_GROUP)
            self._stats.add(whole)
            with self._told():
                self._file.write_table(to_physical(_filled(whole, self._schema)), row_group_size=ROW_GROUP)
            self._tables, self.rows, self.held = [rest], rest.num_rows, rest.nbytes

    def close(self) -> Segment:
        """Make it durable (fsync, rename, fsync of the folder)."""
        self.flush()
        with self._told():
            self._file.close()
            files.sync_file(self._temporary)
            os.rename(self._temporary, self._path)
            files.sync_folder(self._path.parent)
            return self._stats.entry(self._root, self._path, self._id, self._place)


def _physical_schema(schema: Any) -> Any:
    return pa.schema([field.with_name(physical(field.name)) for field in schema])


def _filled(table: Any, schema: Any) -> Any:
    """All columns of the schema, those that the table lacks without a value; they share their memory by type."""
    nulls: dict[Any, Any] = {}
    names = set(table.column_names)
    columns = []
    for field in schema:
        if field.name in names:
            columns.append(table.column(field.name))
        else:
            columns.append(nulls.setdefault(field.type, pa.nulls(table.num_rows, field.type)))
    return pa.table(columns, schema=schema)


def _without_empty(table: Any) -> Any:
    keep = [name for name in table.column_names if table.column(name).null_count < table.num_rows]
    return table.select(keep)


def _blooms(names: Sequence[str], distinct: int) -> dict[str, dict[str, Any]]:
    return {name: {"ndv": distinct, "fpp": 0.01} for name in _NEEDLES if name in names}


def _range(column: Any) -> tuple[int, int]:
    found = pc.min_max(column.cast(pa.int64()))
    return found["min"].as_py(), found["max"].as_py()


def _distinct(table: Any, name: str) -> frozenset[str]:
    if name not in table.column_names:
        return frozenset({""})
    return frozenset(v or "" for v in pc.unique(table.column(name)).to_pylist())


class Stats:
    """What the manifest says of a segment, gathered row group by row group."""

    def __init__(self) -> None:
        self._leaves = proof.Leaves()
        self._rows = 0
        self._columns: set[str] = set()
        self._systems: set[str] = set()
        self._units: set[str] = set()
        self._event: list[int] = []
        self._receipt: list[int] = []

    def add(self, table: Any) -> None:
        """Some rows of it."""
        self._leaves.add(table)
        self._rows += table.num_rows
        self._columns.update(_without_empty(table).column_names)
        self._systems |= _distinct(table, "soc.system.id")
        self._units |= _distinct(table, "organization.id")
        self._event += _range(table.column("@timestamp"))
        self._receipt += _range(table.column("event.created"))

    def entry(self, root: Path, path: Path, segment_id: str, place: tuple[str, str]) -> Segment:
        """What is to be said of the file, whose rows all were added; place is day and level."""
        first, last = self._leaves.ids()
        return Segment(
            id=segment_id, day=place[0], level=place[1], systems=frozenset(self._systems - {""}),
            units=frozenset(self._units), rows=self._rows, bytes=path.stat().st_size,
            min_event_us=min(self._event), max_event_us=max(self._event),
            min_receipt_us=min(self._receipt), max_receipt_us=max(self._receipt),
            sha256=files.sha256_of(path), state="sealed", path=str(path.relative_to(root)),
            columns=frozenset(self._columns), min_id=first, max_id=last, content_root=self._leaves.root(),
        )  # fmt: skip


def _metadata(root: Path, path: str) -> Any:
    try:
        with pq.ParquetFile(root / path, pre_buffer=False) as file:
            return file.metadata
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{path}: {error}") from error


def id_range(root: Path, path: str) -> tuple[bytes, bytes]:
    """The least and the largest id of a file's events, by its footer. Raises StoreError."""
    found = _extremes(_metadata(root, path), "event.id")
    return min(found), max(found)


def ids(root: Path, path: str) -> Any:
    """The ids of a file's events, as one array. Raises StoreError."""
    try:
        with pq.ParquetFile(root / path, pre_buffer=False) as file:
            return file.read(["event.id"]).column(0).combine_chunks()
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{path}: {error}") from error


def footer(root: Path, path: str) -> Footer:
    """What the file's footer says; raises StoreError when it cannot be read."""
    data = _metadata(root, path)
    events, receipts = (_span(data, name) for name in ("@timestamp", "event.created"))
    has_level = "soc.system.level" in data.schema.names
    levels = _extremes(data, "soc.system.level") if has_level else []
    if not has_level or _nulls(data, "soc.system.level"):
        levels.append(0)
    return Footer(data.num_rows, *events, *receipts, frozenset(levels))


def _chunks(data: Any, name: str) -> Iterator[Any]:
    """The statistics of a column, row group by row group."""
    at = data.schema.names.index(name)
    return (data.row_group(n).column(at).statistics for n in range(data.num_row_groups))


def _extremes(data: Any, name: str) -> list[Any]:
    return [value for found in _chunks(data, name) if found.has_min_max for value in (found.min, found.max)]


def _nulls(data: Any, name: str) -> int:
    return sum(found.null_count for found in _chunks(data, name))


def _span(data: Any, name: str) -> tuple[int, int]:
    found = _extremes(data, name)
    low, high = (
        pa.scalar(moment, pa.timestamp("us", "UTC")).cast(pa.int64()).as_py() for moment in (min(found), max(found))
    )
    return low, high


def pieces(root: Path, segment: Segment) -> Iterator[tuple[str, Any]]:
    """The rows of a segment in their order, a few thousand of one dataset at a time, without the columns that have no
    value in them; raises StoreError when it cannot be read."""
    for table in tables(root, segment.path):
        names = table.column("event.dataset").combine_chunks()
        ends = np.flatnonzero(np.append(pc.not_equal(names[1:], names[:-1]).to_numpy(zero_copy_only=False), True)) + 1
        start = 0
        for end in ends.tolist():
            yield names[start].as_py(), table.slice(start, end - start)
            start = end


def tables(root: Path, path: str) -> Iterator[Any]:
    """The same without regard to the dataset."""
    try:
        with pq.ParquetFile(root / path, pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size=READ_ROWS, use_threads=False):
                yield _without_empty(to_logical(pa.Table.from_batches([batch])))
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{path}: {error}") from error


def unified(schemas: Sequence[Any]) -> Any:
    """All columns that any of them has, by name."""
    whole = pa.unify_schemas([each.remove_metadata() for each in schemas], promote_options="default")
    return pa.schema(sorted(whole, key=lambda field: field.name))


def schema(root: Path, segment: Segment) -> Any:
    """Its columns and their types; raises StoreError when it cannot be read."""
    try:
        found = pq.read_schema(root / segment.path)
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{segment.path}: {error}") from error
    return pa.schema([field.with_name(logical(field.name)).remove_metadata() for field in found])
