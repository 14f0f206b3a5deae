"""`EventStore`: append, search, scan, aggregate, get, drop and compact on one folder, by many processes at once."""

from __future__ import annotations

import functools
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from soc.errors import Conflict, NotFound, QueryError, StoreError, UnfitEvents
from soc.model.batch import Column, EventBatch
from soc.model.clock import Clock
from soc.model.fields import FIELDS, FieldDictionary, FieldType
from soc.model.position import Partition, Position
from soc.model.query import Equals, MatchAll, Or, Query
from soc.model.said import REST
from soc.model.scope import Scope
from soc.model.values import iso
from soc.store import files
from soc.store.events import proof, segment
from soc.store.events.compaction import Compactor, unlink
from soc.store.events.frame import Counts
from soc.store.events.hot import HotCache, HotWriter
from soc.store.events.manifest import NAME, Manifest, is_lost
from soc.store.events.marks import Marks, advance, fresh
from soc.store.events.nouns import Aggregate, CompactReport, Footer, Page, Segment, StoreFault, Tombstone
from soc.store.events.segment import to_logical
from soc.store.events.sql import Compiler, field_of, quote

if TYPE_CHECKING:
    from soc.store.events.reading import Reader, View

ROLL_ROWS, ROLL_BYTES = 100_000, 32 << 20
ROLL_NS = 60 * 1_000_000_000
MERGE_FILES = 8
MERGE_ROWS = 1_000_000
GRACE_US = 60 * 1_000_000
"""How long the files that a merge replaced stay, for the readers that are in them."""
DROP_WAIT_S = 60.0
"""How long a deletion waits for a compaction to end."""
MEMORY_MIB = 256
"""What all searches of a process may hold together."""
NO_COUNTS: Counts = {}
NEEDED = ("@timestamp", "event.id", "event.created")
_ID, _TIME = quote("event.id"), quote("@timestamp")


class EventStore:
    """The embedded event store in the folder `root`.

    Without `writer` it only reads, drops and compacts; with one, `append` works and no other process may have that
    name. `fields` must hold every field that is appended; all searches together hold `memory_mib` and put the rest on
    the disk. Raises NewerStore, TryAgain (the name is taken), StoreError.
    """

    def __init__(
        self,
        root: Path,
        clock: Clock,
        fields: FieldDictionary = FIELDS,
        *,
        writer: str | None = None,
        memory_mib: int = MEMORY_MIB,
    ) -> None:
        self._root, self._clock, self._fields = root, clock, fields
        try:
            for folder in (root / "hot", root / "seg"):
                files.make_folder(folder)
        except OSError as error:
            raise files.store_error(error, f"creating {root}") from error
        if is_lost(root):
            raise StoreError(
                f"{root / NAME} is gone, and sealed files are there", hint="soc store rebuild makes it anew"
            )
        self._manifest = Manifest(root / NAME)
        self._cache = HotCache(root / "hot")
        self._cursor_cache = HotCache(root / "hot", with_rows=False)
        self._memory_mib = memory_mib
        self._lock = threading.Lock()
        self._marks: Marks = {}
        self._writer: HotWriter | None = None
        self._finish_drops()
        if writer is not None:
            self._writer = HotWriter(
                root / "hot", writer, lambda: self._manifest.last_sealed(writer) + 1, clock.now_ns()
            )
            self._marks = self.cursors()

    @functools.cached_property
    def _reader(self) -> Reader:
        # DuckDB takes 40 MiB, which who only appends or seals is spared.
        from soc.store.events.reading import Reader

        return Reader(self._root, self._fields, self._manifest, self._cache, self._memory_mib)

    # --- writing -------------------------------------------------------------------------------------------------

    def append(
        self, batches: Sequence[EventBatch], upto: Mapping[Partition, Position], counted: Counts = NO_COUNTS
    ) -> int:
        """Store these events, the cursor and what was counted in one frame, durable on return; how many rows were new.

        Rows at or before the remembered mark of their partition are skipped. Raises DiskFull or StoreError, and then
        neither rows nor cursor were taken. Whoever takes over a partition calls `cursors()` first.
        """
        if self._writer is None:
            raise StoreError("this event store was opened without a writer's name")
        with self._lock:
            if any(partition not in self._marks for partition in upto):
                self._marks = self._read_marks()
            tables = [t for batch in batches if (t := self._fresh_table(batch)) is not None]
            news = {k: v for k, v in upto.items() if k not in self._marks or _is_later(v, self._marks[k])}
            if not tables and not news:
                return 0
            self._roll_if_due(self._clock.now_ns())
            self._writer.append(tables, news, counted)
            advance(self._marks, news)
            return sum(table.num_rows for table in tables)

    def _fresh_table(self, batch: EventBatch) -> Any | None:
        keep = fresh(batch, self._marks)
        if keep is not None:
            batch = batch.where(keep)
        if not batch.n:
            return None
        if "event.dataset" not in batch.columns:
            batch = batch.with_columns({"event.dataset": Column.constant(FieldType.KEYWORD, batch.dataset, batch.n)})
        unknown = sorted(name for name in batch.columns if name not in self._fields)
        if unknown:
            raise UnfitEvents(f"fields not in the dictionary: {', '.join(unknown)}", hint="declare them in a parser")
        columns = _with_lists(batch, self._fields).columns
        known = {name: column for name, column in columns.items() if not column.is_missing()}
        table = pa.table({name: _stored(column) for name, column in known.items()})
        for name in NEEDED:
            if name not in table.column_names or table.column(name).null_count:
                raise UnfitEvents(f"events of dataset '{batch.dataset}' without '{name}'")
        return table

    def roll_if_due(self, now_ns: int) -> bool:
        """Close the hot file when it is full or old enough, so that `compact` may seal it."""
        with self._lock:
            return self._roll_if_due(now_ns)

    def _roll_if_due(self, now_ns: int) -> bool:
        if self._writer is None or not self._writer.is_due(now_ns, ROLL_ROWS, ROLL_BYTES, ROLL_NS):
            return False
        self._writer.roll(now_ns)
        return True

    def roll(self) -> None:
        """Close the hot file now, unless it is empty."""
        with self._lock:
            if self._writer is not None and self._writer.rows:
                self._writer.roll(self._clock.now_ns())

    def cursors(self) -> dict[Partition, Position]:
        """The mark of every partition, over all writers; also what `append` skips by from now on."""
        marks = self._read_marks()
        with self._lock:
            advance(self._marks, marks)
        return marks

    def counts(self, since_us: int, until_us: int) -> Counter[tuple[int, str]]:
        """What `append` was told to count, added up by moment (since <= µs < until) and name."""
        hot = self._cursor_cache.counts()  # before the manifest: what is sealed in between is found there, once
        found, sealed = self._manifest.tallies(since_us, until_us)
        for name, counts in hot.items():
            if name not in sealed:
                found.update({key: n for key, n in counts.items() if since_us <= key[0] < until_us})
        return found

    def _read_marks(self) -> Marks:
        _, marks = self._cursor_cache.snapshot()
        advance(marks, self._manifest.marks())
        return marks

    # --- reading -------------------------------------------------------------------------------------------------

    def search(
        self,
        scope: Scope,
        query: Query,
        *,
        limit: int = 100,
        order: str = "desc",
        cursor: str | None = None,
        since_us: int | None = None,
        until_us: int | None = None,
        count: bool = False,
    ) -> Page:
        """The newest (`desc`) or oldest (`asc`) matches by `@timestamp`, then id; since <= t < until.

        `total` is known when everything fits on the first page, or with `count`. Raises QueryError.
        """
        if order not in ("asc", "desc"):
            raise QueryError(f"order '{order}' is neither asc nor desc")
        after = _parse_cursor(cursor)

        def work(view: View) -> Page:
            view = view.pruned(query)
            if view.is_empty:
                return Page([], 0, True, False, None)
            keys, paths = _keys(view, query, limit + 1, order, after)
            truncated = len(keys) > limit
            keys = keys[:limit]
            rows = _full_rows(view, keys, paths, self._fields)
            total: int | None = None if truncated or after else len(keys)
            if total is None and count:
                total = _count(view, query)
            last = f"{keys[-1][0]}:{keys[-1][1].hex()}" if truncated and keys else None
            return Page(rows, total, total is not None, truncated, last)

        return self._reader.read(scope, since_us, until_us, work)

    def scan(
        self,
        scope: Scope,
        query: Query,
        columns: Sequence[str] | None,
        since_us: int | None = None,
        until_us: int | None = None,
    ) -> Iterator[EventBatch]:
        """All matches as batches of one dataset each, oldest file first, with these columns (None: all).

        All of it is read from one view before the first batch is given: memory grows with the matches.
        """
        yield from self._reader.read(scope, since_us, until_us, lambda view: self._scan(view, query, columns))

    def _scan(self, view: View, query: Query, columns: Sequence[str] | None) -> list[EventBatch]:
        view = view.pruned(query)
        if view.is_empty:
            return []
        compiler = view.compiler()
        wanted = sorted(view.columns) if columns is None else [c for c in columns if c in view.columns]
        names = list(dict.fromkeys(["event.dataset", *wanted]))
        listed = ", ".join(map(quote, names))
        sql = f"SELECT {listed} {view.source(query, compiler)} ORDER BY {quote('event.dataset')}"
        return list(_batches(to_logical(view.run(sql, compiler.values)), columns, self._fields))

    def aggregate(
        self,
        scope: Scope,
        query: Query,
        spec: Aggregate,
        since_us: int | None = None,
        until_us: int | None = None,
    ) -> list[dict[str, Any]]:
        """One flat dict per group, see `Aggregate`. Raises QueryError for an unknown field."""
        return self.aggregate_upto(scope, query, spec, since_us, until_us)[0]

    def aggregate_upto(
        self,
        scope: Scope,
        query: Query,
        spec: Aggregate,
        since_us: int | None = None,
        until_us: int | None = None,
    ) -> tuple[list[dict[str, Any]], dict[Partition, Position]]:
        """`aggregate`, and the cursors that stood at that very moment: what lies behind them was not counted."""
        for name in (*spec.group_by, *spec.min, *spec.max, *spec.cardinality, spec.interval_of):
            if name not in self._fields:
                raise QueryError(f"unknown field '{name}'")

        def work(view: View) -> tuple[list[dict[str, Any]], Marks]:
            marks = view.marks
            view = view.pruned(query)
            if view.is_empty:
                return [], marks
            compiler = view.compiler()
            sql = _aggregate_sql(view, query, spec, compiler, self._fields)
            return _aggregate_rows(view.run(sql, compiler.values), spec, self._fields), marks

        return self._reader.read(scope, since_us, until_us, work)

    def get(self, scope: Scope, ids: Sequence[bytes]) -> list[dict[str, Any]]:
        """The events with these ids, as far as the scope may see them, in the order of the ids."""
        if not ids:
            return []

        def work(view: View) -> list[dict[str, Any]]:
            view = view.only_ids(ids)
            if view.is_empty:
                return []
            query = Or(tuple(Equals("event.id", i) for i in ids))
            compiler = view.compiler()
            table = view.run(f"SELECT * {view.source(query, compiler)}", compiler.values, whole=True)
            found = {row["event.id"]: row for row in _json_rows(to_logical(table), self._fields)}
            return [found[i.hex()] for i in dict.fromkeys(ids) if i.hex() in found]

        return self._reader.read(scope, None, None, work)

    # --- keeping -------------------------------------------------------------------------------------------------

    def segments(self) -> list[Segment]:
        """The sealed files (states `sealed` and `dropping`), by receipt day."""
        return self._manifest.segments("sealed", "dropping")

    def tombstones(self) -> list[Tombstone]:
        """What was dropped, oldest first."""
        return self._manifest.tombstones()

    def merged(self) -> list[tuple[Segment, str]]:
        """The files of the last month whose rows live on in another, and the id of that one."""
        return self._manifest.merged()

    def footer(self, found: Segment) -> Footer:
        """What the file says of itself, without its rows. Raises StoreError when it cannot be read."""
        return segment.footer(self._root, found.path)

    def drop(self, segment_id: str, authorisation: str) -> Tombstone:
        """Delete a sealed file for good: noted, unlinked, tombstone. Asked again, it answers the same tombstone.

        Raises NotFound, Conflict when a merge replaced the file, TryAgain when `compact` runs and goes on for a minute.
        """
        if not authorisation:
            raise StoreError("nothing is dropped without an authorisation")
        with files.locked(self._root / "compact.lock", "compaction", wait_s=DROP_WAIT_S):
            found = self._manifest.get(segment_id)
            if found is None or found.state == "writing":
                raise NotFound(f"no segment '{segment_id}'")
            if found.state in ("retired", "merged"):
                raise Conflict(f"segment '{segment_id}' was merged into {self._manifest.merged_into(segment_id)}")
            if found.state != "dropped":
                self._manifest.set_state(segment_id, "dropping", self._now_us(), authorisation)
                self._finish_drop(found)
        return next(t for t in self.tombstones() if t.segment_id == segment_id)

    def _finish_drop(self, found: Segment) -> None:
        # Files that were merged into this one may still wait for their readers: they hold the same events.
        for old in (*self._manifest.retired(merged_into=found.id), found):
            path = self._root / old.path
            unlink(path)
            if path.parent.is_dir():
                files.sync_folder(path.parent)
            if old is not found:
                self._manifest.forget(old.id)
        self._manifest.set_state(found.id, "dropped", self._now_us())

    def _finish_drops(self) -> None:
        begun = self._manifest.segments("dropping")
        lock = files.take_lock(self._root / "compact.lock") if begun else None
        if lock is None:
            return  # nothing to finish, or another process is at it
        with open(lock, "rb"):
            for found in begun:
                self._finish_drop(found)

    def compact(
        self, *, max_files: int = MERGE_FILES, grace_us: int = GRACE_US, max_merge_rows: int = MERGE_ROWS
    ) -> CompactReport:
        """Seal closed hot files, merge (day, level) groups of more than `max_files`, remove replaced files.

        Safe beside writers and readers; raises TryAgain when another process compacts.
        """
        with files.locked(self._root / "compact.lock", "compaction"):
            for found in self._manifest.segments("dropping"):
                self._finish_drop(found)
            run = Compactor(self._root, self._manifest, self._now_us())
            try:
                return run.run(max_files=max_files, grace_us=grace_us, max_merge_rows=max_merge_rows)
            except OSError as error:
                raise files.store_error(error, "compaction") from error

    def content_root(self, found: Segment) -> str:
        """Hex Merkle root over the events in the file as they are now; compare with the segment's own."""
        leaves = proof.Leaves()
        for table in segment.tables(self._root, found.path):
            leaves.add(table)
        return leaves.root()

    def verify_segments(self, *, content: bool = False) -> list[StoreFault]:
        """Compare files and manifest: missing, changed and extra files; with `content` the Merkle roots too."""
        faults = []
        for found in self._manifest.segments("sealed"):
            faults += self._verify(found, content)
        known = {s.path for s in self._manifest.segments("writing", "sealed", "retired", "dropping")}
        for path in sorted((self._root / "seg").rglob("*.parquet")):
            if (relative := str(path.relative_to(self._root))) not in known:
                faults.append(StoreFault("extra", relative, "the manifest does not know this file"))
        return faults

    def _verify(self, found: Segment, content: bool) -> list[StoreFault]:
        path = self._root / found.path
        if not path.is_file():
            return [StoreFault("missing", found.path, "the manifest names this file")]
        digest = files.sha256_of(path)
        if digest != found.sha256:
            detail = {"expected": found.sha256, "found": digest}
            return [StoreFault("changed", found.path, "the file's digest is not the manifest's", detail)]
        if content and self.content_root(found) != found.content_root:
            return [StoreFault("content", found.path, "the events are not those that were sealed")]
        return []

    def _now_us(self) -> int:
        return self._clock.now_ns() // 1000

    def close(self) -> None:
        """Let files and the writer's name go."""
        if self._writer is not None:
            self._writer.close()
        if "_reader" in self.__dict__:
            self._reader.close()
        self._manifest.close()


def _is_later(a: Position, b: Position) -> bool:
    return (a.seq, a.ordinal, a.part) > (b.seq, b.ordinal, b.part)


def _with_lists(batch: EventBatch, fields: FieldDictionary) -> EventBatch:
    """A list in Windows data becomes one text, an element a line; what it was is kept in `soc.rest`, for rules."""
    lists = {name: c for name, c in batch.columns.items() if c.many and (f := fields.get(name)) and not f.many}
    if not lists:
        return batch
    rest = [dict(kept) if kept else {} for kept in batch.values(REST)]
    texts: dict[str, Column] = {}
    for name, column in lists.items():
        values = column.to_list()
        texts[name] = Column.of(column.type, [None if value is None else "\n".join(value) for value in values])
        for kept, value in zip(rest, values, strict=True):
            if value is not None and len(value) > 1:
                kept[name] = list(value)
    return batch.with_columns({**texts, REST: Column.of(FieldType.OBJECT, [kept or None for kept in rest])})


def _stored(column: Column) -> Any:
    array = column.to_arrow()
    if column.type is FieldType.DOUBLE and not column.many:  # NaN is missing, and SQL would think it the largest
        return pc.if_else(pc.is_nan(array), None, array)
    if column.many:  # () is missing
        return pc.if_else(pc.equal(pc.list_value_length(array), 0), None, array)
    return array


def _parse_cursor(cursor: str | None) -> tuple[int, bytes] | None:
    if cursor is None:
        return None
    time, _, event = cursor.partition(":")
    try:
        return int(time), bytes.fromhex(event)
    except ValueError as error:
        raise QueryError("this is not a cursor that a search gave out") from error


def _keys(
    view: View, query: Query, limit: int, order: str, after: tuple[int, bytes] | None
) -> tuple[list[tuple[int, bytes]], set[str]]:
    """The (time, id) of the first matches, and the files they are in: few columns are read to find them."""
    compiler = view.compiler()
    source = view.source(query, compiler, filename=True)
    if after is not None:
        sign = "<" if order == "desc" else ">"
        time, event = f"make_timestamptz({compiler.bind(after[0])}::BIGINT)", compiler.bind(after[1])
        source += f" AND ({_TIME} {sign} {time} OR ({_TIME} = {time} AND {_ID} {sign} {event}))"
    sql = f"SELECT {_TIME} AS t, {_ID} AS i, filename {source} ORDER BY t {order}, i {order} LIMIT {int(limit)}"
    table = view.run(sql, compiler.values)
    times = table.column("t").cast(pa.int64()).to_pylist()
    keys = list(zip(times, table.column("i").to_pylist(), strict=True))
    return keys, set(table.column("filename").to_pylist())


def _full_rows(
    view: View, keys: Sequence[tuple[int, bytes]], paths: set[str], fields: FieldDictionary
) -> list[dict[str, Any]]:
    if not keys:
        return []
    view = view.only_paths(paths)
    view.since_us, view.until_us = min(t for t, _ in keys), max(t for t, _ in keys) + 1
    view = view.pruned(MatchAll())
    compiler = view.compiler()
    source = view.source(MatchAll(), compiler)
    ids = compiler.bind([i for _, i in keys])
    table = view.run(f"SELECT * {source} AND {_ID} IN (SELECT unnest({ids}))", compiler.values, whole=True)
    rows = {row["event.id"]: row for row in _json_rows(to_logical(table), fields)}
    return [rows[i.hex()] for _, i in keys]


def _count(view: View, query: Query) -> int:
    compiler = view.compiler()
    return int(view.run(f"SELECT count(*) AS n {view.source(query, compiler)}", compiler.values).column("n")[0].as_py())


def _batch(table: Any, dataset: str, fields: FieldDictionary) -> EventBatch:
    columns = {}
    for name in table.column_names:
        field = field_of(name, table.schema.field(name).type, fields)
        columns[name] = Column.arrow(field.type, table.column(name), many=field.many)
    return EventBatch(dataset, table.num_rows, columns)


def _json_rows(table: Any, fields: FieldDictionary) -> Iterator[dict[str, Any]]:
    return _batch(table, "", fields).json_rows()


def _batches(table: Any, columns: Sequence[str] | None, fields: FieldDictionary) -> Iterator[EventBatch]:
    datasets = table.column("event.dataset").combine_chunks().dictionary_encode()
    codes = datasets.indices.to_numpy()
    keep = table.column_names if columns is None else [c for c in columns if c in table.column_names]
    for code, dataset in enumerate(datasets.dictionary.to_pylist()):
        rows = table.take(pa.array(np.flatnonzero(codes == code))).select(keep)
        if columns is None:  # of all fields of the view these events have some: which ones tells what kind they are
            rows = rows.select([name for name in keep if rows.column(name).null_count < rows.num_rows])
        yield _batch(rows, dataset, fields) if keep else EventBatch(dataset, int((codes == code).sum()), {})


def _group_key(name: str, view: View, fields: FieldDictionary) -> str:
    if name not in view.columns:
        return "NULL"
    field = fields.get(name)
    return f"unnest(coalesce({quote(name)}, [NULL]))" if field is not None and field.many else quote(name)


def _aggregate_sql(view: View, query: Query, spec: Aggregate, compiler: Compiler, fields: FieldDictionary) -> str:
    inner = [f"{_group_key(name, view, fields)} AS k{i}" for i, name in enumerate(spec.group_by)]
    outer = [f"k{i}" for i in range(len(spec.group_by))]
    if spec.interval_us is not None:
        inner.append(f"epoch_us({quote(spec.interval_of)}) // {int(spec.interval_us)} AS bucket")
        outer.append("bucket")
    measures = ["count(*) AS n"]
    for function, names in (("min", spec.min), ("max", spec.max), ("cardinality", spec.cardinality)):
        for i, name in enumerate(names):
            inner.append(f"{quote(name) if name in view.columns else 'NULL'} AS {function}{i}")
            call = "count(DISTINCT {})" if function == "cardinality" else function + "({})"
            measures.append(f"{call.format(f'{function}{i}')} AS r_{function}{i}")
    groups = f" GROUP BY {', '.join(outer)}" if outer else ""
    first = ["bucket"] if spec.interval_us is not None else []
    orders = [*first, "n DESC", *outer]
    limit = f" LIMIT {int(spec.limit)}" if spec.limit is not None else ""
    source = view.source(query, compiler)
    return (
        f"SELECT {', '.join([*outer, *measures])} FROM (SELECT {', '.join([*inner, '1 AS one'])} {source})"  # noqa: S608
        f"{groups} ORDER BY {', '.join(orders)}{limit}"
    )


def _aggregate_rows(table: Any, spec: Aggregate, fields: FieldDictionary) -> list[dict[str, Any]]:
    names = {f"k{i}": name for i, name in enumerate(spec.group_by)}
    for function, listed in (("min", spec.min), ("max", spec.max)):
        names |= {f"r_{function}{i}": f"{function}({name})" for i, name in enumerate(listed)}
    columns: dict[str, list[Any]] = {}
    for column, shown in names.items():
        field = fields.get(shown if column.startswith("k") else shown[4:-1])
        assert field is not None
        columns[shown] = _plain(table.column(column), field.type)
    for i, name in enumerate(spec.cardinality):
        columns[f"cardinality({name})"] = table.column(f"r_cardinality{i}").to_pylist()
    if spec.interval_us is not None:
        columns["bucket"] = [iso(b * spec.interval_us) for b in table.column("bucket").to_pylist()]
    if spec.count:
        columns["count"] = table.column("n").to_pylist()
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _plain(column: Any, kind: FieldType) -> list[Any]:
    if pa.types.is_timestamp(column.type):
        return [None if v is None else iso(v) for v in column.cast(pa.int64()).to_pylist()]
    values = column.to_pylist()
    return [v.hex() if kind is FieldType.BINARY and v is not None else v for v in values]
