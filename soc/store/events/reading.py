"""Reading: one consistent view over sealed files and hot rows, asked through DuckDB.

The scope is enforced here and nowhere else: every statement is built by `View.source`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from soc.errors import StoreError
from soc.model.fields import Field, FieldDictionary, FieldType
from soc.model.query import Query
from soc.model.scope import Scope
from soc.store.events.hot import HotCache, concat
from soc.store.events.manifest import Manifest
from soc.store.events.marks import Marks, advance
from soc.store.events.nouns import Segment
from soc.store.events.segment import to_physical
from soc.store.events.sql import Compiler, possible, quote, time_bounds

T = TypeVar("T")
_RETRIES = 5
_SETTINGS = {
    "threads": 2, "memory_limit": "1GB",
    "autoinstall_known_extensions": "false", "autoload_known_extensions": "false",
}  # fmt: skip


class FilesMoved(Exception):
    """A file of the view was merged away or dropped while it was read; take a new view."""


@dataclass
class View:
    """Segments and hot rows of one moment, as one scope may see them, bounded in time (µs, since <= t < until)."""

    connection: Any
    root: Path
    fields: FieldDictionary
    scope: Scope
    segments: Sequence[Segment]
    hot: Any | None
    since_us: int | None = None
    until_us: int | None = None
    marks: Marks = field(default_factory=dict)
    _distinct: dict[str, list[str]] = field(default_factory=dict)

    @property
    def columns(self) -> set[str]:
        """The fields that anything in the view has."""
        names = set(self.hot.column_names) if self.hot is not None else set()
        return names.union(*(segment.columns for segment in self.segments))

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to read at all."""
        return not self.segments and self.hot is None

    def pruned(self, query: Query) -> View:
        """The same view without what cannot match: by time, unit and the columns that the query needs."""
        low, high = time_bounds(query)
        received_from, received_to = time_bounds(query, "event.created")
        since = max((x for x in (self.since_us, low) if x is not None), default=None)
        until = self.until_us
        kept = [
            s
            for s in self.segments
            if (since is None or s.max_event_us >= since)
            and (until is None or s.min_event_us < until)
            and (high is None or s.min_event_us <= high)
            and (received_from is None or s.max_receipt_us >= received_from)
            and (received_to is None or s.min_receipt_us <= received_to)
            and (self.scope.units is None or s.units & self.scope.units)
            and possible(query, s.columns)
        ]
        return self._with(kept, self.hot)

    def _with(self, segments: Sequence[Segment], hot: Any | None) -> View:
        return View(self.connection, self.root, self.fields, self.scope, segments, hot, self.since_us, self.until_us)

    def only_ids(self, ids: Sequence[bytes]) -> View:
        """The same view without the segments whose range of ids holds none of these."""
        hexes = [i.hex() for i in ids]
        return self._with([s for s in self.segments if any(s.min_id <= h <= s.max_id for h in hexes)], self.hot)

    def only_paths(self, paths: set[str]) -> View:
        """The same view with only these files (paths as `filename` gives them; "" keeps the hot rows)."""
        segments = [s for s in self.segments if str(self.root / s.path) in paths]
        return self._with(segments, self.hot if "" in paths else None)

    def compiler(self) -> Compiler:
        """A compiler of queries over this view."""
        return Compiler(self.fields, self.columns, self.distinct_addresses)

    def source(self, query: Query, compiler: Compiler, *, filename: bool = False) -> str:
        """`FROM … WHERE …` over everything in the view that the scope and the time bounds allow and the query takes."""
        conditions = [self._scope_condition(compiler), *self._time_conditions(compiler), compiler.where(query)]
        return f"FROM {self._relation(compiler, filename)} WHERE {' AND '.join(conditions)}"

    def _relation(self, compiler: Compiler, filename: bool) -> str:
        parts = []
        if self.segments:
            files = compiler.bind([str(self.root / s.path) for s in self.segments])
            named = ", filename = true" if filename else ""
            options = f"union_by_name = true, hive_partitioning = false{named}"
            parts.append(f"SELECT * FROM read_parquet({files}, {options})")  # noqa: S608 (placeholders only)
        if self.hot is not None:
            parts.append("SELECT *, '' AS filename FROM hot" if filename else "SELECT * FROM hot")
        return "(" + " UNION ALL BY NAME ".join(parts) + ")"

    def _scope_condition(self, compiler: Compiler) -> str:
        if self.scope.units is None:
            return "true"
        if not self.scope.units or "organization.id" not in self.columns:
            return "false"
        units = ", ".join(compiler.bind(unit) for unit in sorted(self.scope.units))
        return f"{quote('organization.id')} IN ({units})"

    def _time_conditions(self, compiler: Compiler) -> Iterator[str]:
        if self.since_us is not None:
            yield f"{quote('@timestamp')} >= make_timestamptz({compiler.bind(self.since_us)}::BIGINT)"
        if self.until_us is not None:
            yield f"{quote('@timestamp')} < make_timestamptz({compiler.bind(self.until_us)}::BIGINT)"

    def distinct_addresses(self, field: Field) -> list[str]:
        """The distinct values of an address field in the view, for networks to be tested in Python."""
        if field.name not in self._distinct:
            plain = Compiler(self.fields, self.columns, lambda _: ())
            column = f"unnest({quote(field.name)})" if field.many else quote(field.name)
            relation = self._relation(plain, filename=False)
            rows = self.run(f"SELECT DISTINCT {column} AS address FROM {relation}", plain.values)  # noqa: S608
            self._distinct[field.name] = [a for a in rows.column("address").to_pylist() if a is not None]
        return self._distinct[field.name]

    def run(self, sql: str, values: dict[str, Any]) -> Any:
        """The whole result as an Arrow table. Raises FilesMoved when a file went away, StoreError otherwise."""
        try:
            return self._relation_of(sql, values).to_arrow_table()
        except duckdb.IOException as error:
            raise self._io_fault(error) from error
        except duckdb.Error as error:
            raise StoreError(f"the search could not run: {str(error).splitlines()[0]}") from error

    def _relation_of(self, sql: str, values: dict[str, Any]) -> Any:
        if self.hot is not None:
            self.connection.register("hot", to_physical(self.hot))
        return self.connection.sql(sql, params=values)

    def _io_fault(self, error: Exception) -> Exception:
        if any(not (self.root / s.path).exists() for s in self.segments):
            return FilesMoved(str(error))
        return StoreError(
            f"a sealed file cannot be read: {str(error).splitlines()[0]}", hint="soc retention verify shows which"
        )


class Reader:
    """Takes views. Safe for several threads: each call has a DuckDB connection of its own."""

    def __init__(self, root: Path, fields: FieldDictionary, manifest: Manifest, cache: HotCache) -> None:
        self._root, self._fields, self._manifest, self._cache = root, fields, manifest, cache
        self._duckdb = duckdb.connect(":memory:", config=_SETTINGS)

    def read(self, scope: Scope, since_us: int | None, until_us: int | None, work: Callable[[View], T]) -> T:
        """`work` over a view; again over a newer one when a file moved away under it."""
        for _ in range(_RETRIES):
            connection = self._duckdb.cursor()
            try:
                return work(self._view(connection, scope, since_us, until_us))
            except FilesMoved:
                continue
            finally:
                connection.close()
        raise StoreError("sealed files named in the manifest are missing", hint="soc retention verify shows which")

    def _view(self, connection: Any, scope: Scope, since_us: int | None, until_us: int | None) -> View:
        # Hot first, manifest second: what is sealed in between is then left out of hot and found in its segment.
        tables, marks = self._cache.snapshot()
        segments, sealed = self._manifest.snapshot()
        advance(marks, self._manifest.marks())
        rows = [table for name, table in tables.items() if name not in sealed]
        hot = concat(rows) if rows else None
        return View(connection, self._root, self._fields, scope, segments, hot, since_us, until_us, marks)

    def close(self) -> None:
        """Let DuckDB go."""
        self._duckdb.close()


def field_of(name: str, arrow: Any, fields: FieldDictionary) -> Field:
    """The dictionary's entry, or one made of the stored type when another version of the dictionary wrote it."""
    known = fields.get(name)
    if known is not None:
        return known
    text = str(arrow)
    many = text.startswith("list")
    inner = text.partition(": ")[2].rstrip(">") if many else text
    kinds = {"int64": FieldType.LONG, "uint64": FieldType.ULONG, "double": FieldType.DOUBLE, "bool": FieldType.BOOL}
    kind = FieldType.DATE if inner.startswith("timestamp") else FieldType.BINARY if "binary" in inner else None
    return Field(name, kind or kinds.get(inner, FieldType.KEYWORD), many)
