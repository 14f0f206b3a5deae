"""Reading: one consistent view over sealed files and hot rows, asked through DuckDB.

The scope is enforced here and nowhere else: every statement is built by `View.source`.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from soc.errors import StoreError
from soc.model.fields import Field, FieldDictionary
from soc.model.query import Query
from soc.model.scope import Scope
from soc.store.events.hot import HotCache, Piece
from soc.store.events.manifest import Manifest
from soc.store.events.marks import Marks, advance
from soc.store.events.nouns import Segment
from soc.store.events.segment import physical
from soc.store.events.sql import Compiler, possible, quote, time_bounds

T = TypeVar("T")
_RETRIES = 5
HOT_ROWS = 16_384
"""Hot rows that are handed to DuckDB at once."""
_SETTINGS = {"threads": 2, "autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
SPILL = "8GiB"
"""What does not fit goes to the disk, up to this."""
_NUMBERS = itertools.count(1)


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
    hot: Sequence[Piece]
    since_us: int | None = None
    until_us: int | None = None
    marks: Marks = field(default_factory=dict)
    _distinct: dict[str, list[str]] = field(default_factory=dict)

    @property
    def columns(self) -> set[str]:
        """The fields that anything in the view has."""
        hot = (piece.schema.names for piece in self.hot)
        return set().union(*hot, *(segment.columns for segment in self.segments))

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to read at all."""
        return not self.segments and not self.hot

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
        hot = [
            piece
            for piece in self.hot
            if (since is None or piece.max_us >= since)
            and (until is None or piece.min_us < until)
            and (high is None or piece.min_us <= high)
            and possible(query, piece.schema.names)
        ]
        return self._with(kept, hot)

    def _with(self, segments: Sequence[Segment], hot: Sequence[Piece]) -> View:
        return View(self.connection, self.root, self.fields, self.scope, segments, hot, self.since_us, self.until_us)

    def only_ids(self, ids: Sequence[bytes]) -> View:
        """The same view without the segments whose range of ids holds none of these, and the pieces that have none."""
        hexes, wanted = [i.hex() for i in ids], pa.array(ids, pa.binary())
        hot = [p for p in self.hot if pc.any(pc.is_in(self._read(p, ("event.id",)).column(0), wanted)).as_py()]
        return self._with([s for s in self.segments if any(s.min_id <= h <= s.max_id for h in hexes)], hot)

    def only_paths(self, paths: set[str]) -> View:
        """The same view with only these files (paths as `filename` gives them; "" keeps the hot rows)."""
        segments = [s for s in self.segments if str(self.root / s.path) in paths]
        return self._with(segments, self.hot if "" in paths else ())

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
        if self.hot:
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

    def run(self, sql: str, values: dict[str, Any], *, whole: bool = False) -> Any:
        """The result as an Arrow table; `whole` when it takes all columns (`SELECT *`).

        Raises FilesMoved when a file went away, StoreError otherwise.
        """
        if self.hot:
            wanted = [n for n in sorted(self.columns) if whole or n == "@timestamp" or quote(n) in sql]  # one at least
            self.connection.register("hot", self._stream(wanted))
        try:
            return self.connection.sql(sql, params=values).to_arrow_table()
        except duckdb.IOException as error:
            raise self._io_fault(error) from error
        except duckdb.Error as error:
            if "FilesMoved" in str(error):
                raise FilesMoved(str(error)) from error
            hint = "raise [store] search_mib" if isinstance(error, duckdb.OutOfMemoryException) else ""
            raise StoreError(f"the search could not run: {str(error).splitlines()[0]}", hint=hint) from error

    def _stream(self, names: Sequence[str]) -> Any:
        """The hot rows with these columns, a piece at a time: no more of them is in memory at once."""
        types = {field.name: field.type for piece in self.hot for field in piece.schema}
        schema = pa.schema([(physical(name), types[name]) for name in names if name in types])
        known = [name for name in names if name in types]

        def batches() -> Iterator[Any]:
            for piece in self.hot:
                for batch in self._read(piece, known).to_batches(max_chunksize=HOT_ROWS):
                    columns = [
                        batch.column(name) if name in batch.schema.names else pa.nulls(batch.num_rows, types[name])
                        for name in known
                    ]
                    yield pa.RecordBatch.from_arrays(columns, schema=schema)

        return pa.RecordBatchReader.from_batches(schema, batches())

    @staticmethod
    def _read(piece: Piece, columns: Sequence[str]) -> Any:
        try:
            return piece.read(columns)
        except (OSError, pa.ArrowException) as error:  # a write that failed was rolled back, and its place used again
            raise FilesMoved(f"FilesMoved: {error}") from error

    def _io_fault(self, error: Exception) -> Exception:
        if any(not (self.root / s.path).exists() for s in self.segments):
            return FilesMoved(str(error))
        return StoreError(
            f"a sealed file cannot be read: {str(error).splitlines()[0]}", hint="soc retention verify shows which"
        )


class Reader:
    """Takes views. Safe for several threads: each call has a DuckDB connection of its own."""

    def __init__(
        self, root: Path, fields: FieldDictionary, manifest: Manifest, cache: HotCache, memory_mib: int
    ) -> None:
        self._root, self._fields, self._manifest, self._cache = root, fields, manifest, cache
        self._spill = _spill_folder(root)
        bounds = {
            "memory_limit": f"{memory_mib}MiB", "temp_directory": str(self._spill), "max_temp_directory_size": SPILL,
        }  # fmt: skip
        self._duckdb = duckdb.connect(":memory:", config={**_SETTINGS, **bounds})

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
        hot = [piece for name, several in tables.items() if name not in sealed for piece in several]
        return View(connection, self._root, self._fields, scope, segments, hot, since_us, until_us, marks)

    def close(self) -> None:
        """Let DuckDB go, and what it put aside."""
        self._duckdb.close()
        shutil.rmtree(self._spill, ignore_errors=True)


def _spill_folder(root: Path) -> Path:
    """A name of our own, `<process>-<number>`, in `spill/`; what processes left there that are gone is removed."""
    for left in (root / "spill").glob("*-*"):
        try:
            os.kill(int(left.name.partition("-")[0]), 0)
        except (ProcessLookupError, ValueError):
            shutil.rmtree(left, ignore_errors=True)
        except PermissionError:
            continue  # it runs, as somebody else
    return root / "spill" / f"{os.getpid()}-{next(_NUMBERS)}"
