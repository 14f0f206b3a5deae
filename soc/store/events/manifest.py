"""manifest.db: which sealed files there are, what is in them, and what was dropped; one SQLite file in WAL mode."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from soc.errors import DiskFull, NewerStore, StoreError
from soc.model.position import Partition, Position
from soc.store.events.frame import Counts
from soc.store.events.hot import parse_name
from soc.store.events.marks import Marks, advance
from soc.store.events.nouns import Segment, Tombstone

NAME = "manifest.db"
VERSION = 2
_TALLY = """CREATE TABLE tally (
    at_us INTEGER NOT NULL, name TEXT NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (at_us, name)
) WITHOUT ROWID"""
_UPGRADES = {1: (_TALLY,)}
"""What makes a manifest of this version one of the next."""
_SCHEMA = (
    """CREATE TABLE segment (
        id TEXT PRIMARY KEY, state TEXT NOT NULL, path TEXT NOT NULL, day TEXT NOT NULL, level TEXT NOT NULL,
        systems TEXT NOT NULL, units TEXT NOT NULL, columns TEXT NOT NULL, rows INTEGER NOT NULL,
        bytes INTEGER NOT NULL, min_event_us INTEGER NOT NULL, max_event_us INTEGER NOT NULL,
        min_receipt_us INTEGER NOT NULL, max_receipt_us INTEGER NOT NULL, min_id TEXT NOT NULL, max_id TEXT NOT NULL,
        sha256 TEXT NOT NULL, content_root TEXT NOT NULL, authorisation TEXT, changed_us INTEGER, merged_into TEXT
    )""",
    "CREATE INDEX segment_state ON segment (state)",
    "CREATE TABLE sealed_hot (name TEXT PRIMARY KEY, sealed_us INTEGER NOT NULL)",
    "CREATE TABLE mark (partition TEXT PRIMARY KEY, position TEXT NOT NULL)",
    _TALLY,
    "CREATE TABLE writer (name TEXT PRIMARY KEY, last_sealed INTEGER NOT NULL)",
)
# States of a segment: writing → sealed → (retired → merged | dropping → dropped). A reader sees `sealed` only.
_NAMES = (
    "id", "day", "level", "rows", "bytes", "min_event_us", "max_event_us", "min_receipt_us", "max_receipt_us",
    "sha256", "state", "path", "min_id", "max_id", "content_root",
)  # fmt: skip


def _sqlite_error(error: sqlite3.Error, path: Path) -> StoreError:
    if "full" in str(error):
        return DiskFull(f"{path}: {error}", hint="free space; nothing was acknowledged")
    return StoreError(f"{path}: {error}")


def is_lost(root: Path) -> bool:
    """Whether there are sealed files in a store, and no `manifest.db` that would know them."""
    return not (root / NAME).exists() and next((root / "seg").rglob("*.parquet"), None) is not None


class Manifest:
    """The catalogue. Every change is one transaction, durable on return (synchronous = FULL)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._cached: tuple[int, list[Segment], frozenset[str]] | None = None
        with self._errors():
            self._db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._open()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise _sqlite_error(error, self._path) from error

    def _open(self) -> None:
        version = self._version()
        if version > VERSION:
            raise NewerStore(f"{self._path}: version {version}, this soc reads up to {VERSION}", hint="upgrade soc")
        if version < VERSION:
            with self.change():
                version = self._version()  # somebody may have been quicker
                for statement in _SCHEMA if version == 0 else _UPGRADES.get(version, ()):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {VERSION}")

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    @contextlib.contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it or nothing."""
        with self._lock, self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            finally:
                self._cached = None

    def _rows(self, sql: str, *values: Any) -> list[Any]:
        with self._lock, self._errors():
            return self._db.execute(sql, values).fetchall()

    def snapshot(self) -> tuple[list[Segment], frozenset[str]]:
        """The readable segments and the names of the hot files they already hold, of one moment."""
        with self._lock, self._errors():
            seen = self._db.execute("PRAGMA data_version").fetchone()[0]  # moves when another connection commits
            if self._cached is None or self._cached[0] != seen:
                self._db.execute("BEGIN")
                try:
                    segments = self._select("state = 'sealed'")
                    sealed = frozenset(name for (name,) in self._db.execute("SELECT name FROM sealed_hot"))
                finally:
                    self._db.execute("COMMIT")
                self._cached = (seen, segments, sealed)
            return self._cached[1], self._cached[2]

    def _select(self, where: str, *values: Any) -> list[Segment]:
        # `where` is one of this module's own constants; values are bound.
        sql = f"SELECT {', '.join(_NAMES)}, systems, units, columns FROM segment WHERE {where} ORDER BY day, id"  # noqa: S608
        return [_segment(row) for row in self._db.execute(sql, values)]

    def segments(self, *states: str) -> list[Segment]:
        """The segments in these states, by day."""
        marks = ", ".join("?" * len(states))
        with self._lock, self._errors():
            return self._select(f"state IN ({marks})", *states)

    def get(self, segment_id: str) -> Segment | None:
        """One segment in any state."""
        with self._lock, self._errors():
            found = self._select("id = ?", segment_id)
        return found[0] if found else None

    def retired(self, *, before_us: int | None = None, merged_into: str | None = None) -> list[Segment]:
        """Files whose rows live on in a merged one: those retired before a moment, or merged into this segment."""
        with self._lock, self._errors():
            if merged_into is not None:
                return self._select("state = 'retired' AND merged_into = ?", merged_into)
            return self._select("state = 'retired' AND changed_us <= ?", before_us)

    def merged(self) -> list[tuple[Segment, str]]:
        """Files whose rows live on in another, and which that is; as long as they are remembered."""
        with self._lock, self._errors():
            found = self._select("state IN ('retired', 'merged')")
            into = dict(self._db.execute("SELECT id, merged_into FROM segment WHERE state IN ('retired', 'merged')"))
        return [(segment, into[segment.id]) for segment in found if segment.id in into]

    def merged_into(self, segment_id: str) -> str | None:
        """The segment that took this one's rows over, if any."""
        rows = self._rows("SELECT merged_into FROM segment WHERE id = ?", segment_id)
        return rows[0][0] if rows else None

    def marks(self) -> Marks:
        """The cursor of everything sealed."""
        return {Partition.parse(p): Position.parse(q) for p, q in self._rows("SELECT partition, position FROM mark")}

    def tallies(self, since_us: int, until_us: int) -> tuple[Counter[tuple[int, str]], frozenset[str]]:
        """What was counted with sealed rows, and the hot files whose counts are in it, of one moment."""
        with self._lock, self._errors():
            self._db.execute("BEGIN")
            try:
                rows = self._db.execute(
                    "SELECT at_us, name, n FROM tally WHERE at_us >= ? AND at_us < ?", (since_us, until_us)
                )
                found = Counter({(at_us, name): n for at_us, name, n in rows})
                return found, frozenset(name for (name,) in self._db.execute("SELECT name FROM sealed_hot"))
            finally:
                self._db.execute("COMMIT")

    def last_sealed(self, writer: str) -> int:
        """The highest number of this writer's sealed hot files, or 0."""
        rows = self._rows("SELECT last_sealed FROM writer WHERE name = ?", writer)
        return int(rows[0][0]) if rows else 0

    def intend(self, segments: Sequence[tuple[str, str, str, str]]) -> None:
        """Note files about to be written (id, day, level, path), so that a crash leaves nothing unknown."""
        with self.change() as db:
            db.executemany(
                "INSERT INTO segment VALUES (?, 'writing', ?, ?, ?, '[]', '[]', '[]', 0, 0, 0, 0, 0, 0, '', '', '', '',"
                " NULL, NULL, NULL)",
                [(i, path, day, level) for i, day, level, path in segments],
            )

    def swap_hot(
        self, names: Sequence[str], segments: Sequence[Segment], marks: Marks, counts: Counts, now_us: int
    ) -> None:
        """Hot files become segments: one transaction, with the marks and counts they carried."""
        with self.change() as db:
            db.executemany(
                "INSERT INTO tally VALUES (?, ?, ?) ON CONFLICT (at_us, name) DO UPDATE SET n = n + excluded.n",
                [(at_us, name, n) for (at_us, name), n in counts.items()],
            )
            merged = self.marks()
            advance(merged, marks)
            for segment in segments:
                _finish(db, segment)
            for name in names:
                parsed = parse_name(name)
                assert parsed is not None
                db.execute("INSERT INTO sealed_hot VALUES (?, ?)", (name, now_us))
                db.execute(
                    "INSERT INTO writer VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET"
                    " last_sealed = max(last_sealed, excluded.last_sealed)",
                    parsed,
                )
            db.executemany("INSERT OR REPLACE INTO mark VALUES (?, ?)", [(str(k), str(v)) for k, v in merged.items()])

    def swap_merged(self, old: Sequence[Segment], new: Segment, now_us: int) -> None:
        """Several segments become one; the old files wait for their readers."""
        with self.change() as db:
            _finish(db, new)
            db.executemany(
                "UPDATE segment SET state = 'retired', changed_us = ?, merged_into = ?"
                " WHERE id = ? AND state = 'sealed'",
                [(now_us, new.id, segment.id) for segment in old],
            )

    def restore(
        self,
        sealed: Sequence[Segment],
        merged: Sequence[tuple[Segment, str]],
        unfinished: Sequence[tuple[str, str, str, str]],
        tombstones: Sequence[Mapping[str, Any]],
        hot: Sequence[str],
        marks: Marks,
        now_us: int,
    ) -> None:
        """Fill an empty one: files, those merged into another, those to be removed (id, day, level, path), tombstones
        as certificates have them, hot files that are sealed, and the cursor."""
        entries = [*sealed, *(segment for segment, _ in merged)]
        self.intend([*((e.id, e.day, e.level, e.path) for e in entries), *unfinished])
        self.swap_hot(hot, entries, marks, {}, now_us)
        with self.change() as db:
            db.executemany(
                "UPDATE segment SET state = 'retired', changed_us = ?, merged_into = ? WHERE id = ?",
                [(now_us, into, segment.id) for segment, into in merged],
            )
            db.executemany(
                "INSERT OR IGNORE INTO segment VALUES (?, 'dropped', '', ?, ?, ?, '[]', '[]', ?, ?, 0, 0, 0, 0, '', '',"
                " ?, '', ?, ?, NULL)",
                [
                    (s["segment_id"], s["day"], str(s["level"]), json.dumps(s["systems"]), s["rows"], s["bytes"],
                     s["sha256"], s["authorisation"], s["dropped_us"])
                    for s in tombstones
                ],
            )  # fmt: skip

    def set_state(self, segment_id: str, state: str, now_us: int, authorisation: str | None = None) -> None:
        """Move a segment on; the first authorisation stays."""
        with self.change() as db:
            db.execute(
                "UPDATE segment SET state = ?, changed_us = ?, authorisation = coalesce(authorisation, ?) WHERE id = ?",
                (state, now_us, authorisation, segment_id),
            )

    def forget(self, segment_id: str) -> None:
        """Remove the row of a file that was never finished; of one that a merge replaced its facts stay."""
        with self.change() as db:
            db.execute("DELETE FROM segment WHERE id = ? AND state = 'writing'", (segment_id,))
            db.execute(
                "UPDATE segment SET state = 'merged', units = '[]', columns = '[]' WHERE id = ? AND state = 'retired'",
                (segment_id,),
            )

    def forget_merged(self, before_us: int) -> None:
        """Remove the rows of files that were merged before a moment: the signed manifests have them."""
        with self.change() as db:
            db.execute("DELETE FROM segment WHERE state = 'merged' AND changed_us < ?", (before_us,))

    def forget_hot(self, before_us: int) -> None:
        """Remove the names of sealed hot files that no reader can still be looking at."""
        with self.change() as db:
            db.execute("DELETE FROM sealed_hot WHERE sealed_us < ?", (before_us,))

    def tombstones(self) -> list[Tombstone]:
        """Everything dropped so far, oldest first."""
        rows = self._rows(
            "SELECT id, day, level, systems, rows, bytes, sha256, changed_us, authorisation, content_root"
            " FROM segment WHERE state = 'dropped' ORDER BY changed_us, id"
        )
        return [Tombstone(r[0], r[1], r[2], frozenset(json.loads(r[3])), *r[4:]) for r in rows]

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()


def _segment(row: Sequence[Any]) -> Segment:
    known = dict(zip(_NAMES, row, strict=False))
    systems, units, columns = (frozenset(json.loads(text)) for text in row[-3:])
    return Segment(**known, systems=systems, units=units, columns=columns)


def _finish(db: sqlite3.Connection, segment: Segment) -> None:
    sets = [name for name in _NAMES if name != "id"]
    listed = [json.dumps(sorted(v)) for v in (segment.systems, segment.units, segment.columns)]
    db.execute(
        f"UPDATE segment SET {', '.join(f'{n} = ?' for n in sets)}, systems = ?, units = ?, columns = ? WHERE id = ?",  # noqa: S608
        (*(getattr(segment, n) for n in sets), *listed, segment.id),
    )
