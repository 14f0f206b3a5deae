"""Sealing, merging and reading hold a bounded part of the rows in memory, and lose none of them."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from soc.model.clock import FixedClock
from soc.model.query import Equals, MatchAll, Word
from soc.store.events import EventStore, hot, proof, segment
from soc.store.events.nouns import Aggregate
from soc.store.frames import scan
from tests.store.events.samples import ALL, START_US, batch, event, upto

DAY_US = 86_400_000_000
DATASETS = ("apache.access", "linux.sshd", "windows.sysmon")


@pytest.fixture
def clock() -> FixedClock:
    """A clock that stands."""
    return FixedClock(START_US * 1000)


@pytest.fixture
def store(tmp_path: Path, clock: FixedClock) -> Iterator[EventStore]:
    """A store with a writer."""
    found = EventStore(tmp_path, clock, writer="w")
    yield found
    found.close()


def filled(store: EventStore, frames: range, *, roll: bool = True) -> list[dict[str, Any]]:
    """Frames of several datasets, levels and days, their events' times in no order; the rows."""
    rng, rows = random.Random(frames.start), []
    for seq in frames:
        several = []
        for n, dataset in enumerate(DATASETS):
            more = {"user.name": f"u{seq}"} if n == 1 else {"process.name": "lsass.exe"} if n == 2 else {}
            several.append([
                event(seq, 10 * n + i, **more, **{
                    "@timestamp": START_US + rng.randrange(DAY_US), "event.dataset": dataset,
                    "event.created": START_US + (seq % 2) * DAY_US, "soc.system.level": 1 + i % 2,
                })
                for i in range(3)
            ])  # fmt: skip
        store.append([batch(some, name) for some, name in zip(several, DATASETS, strict=True)], upto(seq, 29))
        rows += [row for some in several for row in some]
        if roll:
            store.roll()
    return rows


def ids(store: EventStore) -> list[str]:
    """Of every event that a search finds."""
    return sorted(row["event.id"] for row in store.search(ALL, MatchAll(), limit=10_000).rows)


def pieces_of(store: EventStore) -> list[hot.Piece]:
    """Of all hot files."""
    return [piece for pieces in store._cache.snapshot()[0].values() for piece in pieces]


def of(rows: list[dict[str, Any]]) -> list[str]:
    """Their ids."""
    return sorted(row["event.id"].hex() for row in rows)


@pytest.mark.parametrize(("rows", "size"), [(7, 1 << 20), (50_000, 2_000), (1, 1), (50_000, 1 << 20)])
def test_row_groups_are_small_sorted_and_complete(
    store: EventStore, monkeypatch: pytest.MonkeyPatch, rows: int, size: int
) -> None:
    """Whatever ends a row group; files go by day and level, datasets lie together, and the root is that of all."""
    monkeypatch.setattr(segment, "ROW_GROUP", rows)
    monkeypatch.setattr(segment, "GROUP_BYTES", size)
    monkeypatch.setattr(segment, "SMALL_GROUP", min(rows, 5))
    given = filled(store, range(1, 13))
    for _ in range(2):  # sealed, then merged
        store.compact(max_files=1, grace_us=0)
        assert ids(store) == of(given)
        for found in store.segments():
            with pq.ParquetFile(store._root / found.path) as file:
                groups = [file.read_row_group(n) for n in range(file.num_row_groups)]
            assert all(group.num_rows <= rows for group in groups)
            keys = [list(zip(*(g.column(c).to_pylist() for c in ("event.dataset", "@timestamp")), strict=True))
                    for g in groups]  # fmt: skip
            assert all(some == sorted(some) for some in keys)
            names = [name for some in keys for name, _ in some]
            assert names == sorted(names)
            mine = [r for r in given if (r["event.created"] >= START_US + DAY_US, str(r["soc.system.level"]))
                    == (found.day == "2026-11-26", found.level)]  # fmt: skip
            wanted = proof.root_of((r["event.id"], r["event.original"].encode()) for r in mine).hex()
            assert (found.rows, found.content_root, store.content_root(found)) == (len(mine), wanted, wanted)
            assert [found.min_id, found.max_id] == [of(mine)[0], of(mine)[-1]]
            assert "process.name" in found.columns
        given += filled(store, range(13, 16)) if len(given) == 108 else []


def test_no_more_than_the_bound_is_held(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all segments that are written at once; a segment ends where its rows end."""
    monkeypatch.setattr("soc.store.events.compaction.HELD_BYTES", 3_000)
    held: list[int] = []
    flush = segment.Writer.flush

    def watched(self: segment.Writer) -> None:
        held.append(self.held)
        flush(self)

    monkeypatch.setattr(segment.Writer, "flush", watched)
    given = filled(store, range(1, 21))
    store.compact(grace_us=0)
    assert ids(store) == of(given)
    assert len([size for size in held if size]) > 4
    assert max(held) < 3_000 + 2_000  # and the piece that came last


@pytest.mark.parametrize(("coalesce", "gathered", "kept"), [(2, 4_096, 3), (100, 4_096, 24), (2, 6, 12), (2, 2, 24)])
def test_small_pieces_are_read_the_same_when_put_together(
    store: EventStore, monkeypatch: pytest.MonkeyPatch, coalesce: int, gathered: int, kept: int
) -> None:
    """Put together or not, whole or with some columns: every question has the same answer."""
    monkeypatch.setattr(hot, "COALESCE", coalesce)
    monkeypatch.setattr(hot, "SMALL", gathered)
    monkeypatch.setattr(hot, "GATHERED", gathered)
    given: list[dict[str, Any]] = []
    for start in range(1, 9, 2):  # it is looked at while it grows
        given += filled(store, range(start, start + 2), roll=False)
        assert ids(store) == of(given)
    assert len(pieces_of(store)) == kept
    assert len(store.search(ALL, Equals("user.name", "u3"), limit=100).rows) == 3
    assert len(store.search(ALL, Word("record"), limit=100).rows) == 72
    assert {row["process.name"] for row in store.get(ALL, [r["event.id"] for r in given if "process.name" in r])} == {
        "lsass.exe"
    }
    counted = store.aggregate(ALL, MatchAll(), Aggregate(group_by=("event.dataset",)))
    assert {row["event.dataset"]: row["count"] for row in counted} == dict.fromkeys(DATASETS, 24)
    assert sorted(found.n for found in store.scan(ALL, MatchAll(), ["user.name"])) == [24, 24, 24]


def test_what_is_put_together_takes_no_memory(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It lies in a file without a name: no Arrow buffer stays, and no name is left in the folder."""
    monkeypatch.setattr(hot, "COALESCE", 2)
    names = set(os.listdir(store._root / "hot"))
    before = pa.total_allocated_bytes()
    filled(store, range(1, 9), roll=False)
    assert [piece.rows for piece in pieces_of(store)] == [24, 24, 24]
    assert pa.total_allocated_bytes() <= before
    assert set(os.listdir(store._root / "hot")) == names


def test_on_a_full_disk_small_pieces_are_read_where_they_lie(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search needs no room on the disk."""

    def full(fd: int, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "full")

    given = filled(store, range(1, 9), roll=False)
    monkeypatch.setattr(hot, "COALESCE", 2)
    monkeypatch.setattr(hot.files, "write_all", full)
    assert ids(store) == of(given)
    assert len(pieces_of(store)) == 24


def test_frames_behind_a_damaged_one_are_read(store: EventStore) -> None:
    """A file is read frame by frame; where one does not begin or does not hold, the rest is looked through."""
    filled(store, range(1, 6), roll=False)
    [path] = (store._root / "hot").glob("*.hot")
    data = bytearray(path.read_bytes())
    starts = [found.start for found in scan(bytes(data), 0)]
    data[starts[1] + 40] ^= 1  # its checksum does not hold
    data[starts[3]] ^= 1  # it has no magic
    path.write_bytes(data)
    file = hot.HotFile(path)
    file.refresh()
    assert (file.rows, file.damaged, file.end) == (27, 2, len(data))


def test_a_hot_file_that_is_sealed_meanwhile_is_still_read(store: EventStore) -> None:
    """A view holds it open: what was in it when the view was taken is answered."""
    given = filled(store, range(1, 4))
    with_rows, _ = store._cache.snapshot()
    store.compact(grace_us=0)
    assert not list((store._root / "hot").glob("*.hot"))[1:]
    found = [
        i for pieces in with_rows.values() for piece in pieces for i in piece.read(["event.id"])["event.id"].to_pylist()
    ]
    assert sorted(i.hex() for i in found) == of(given)


def test_a_piece_that_was_overwritten_makes_a_new_view(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that failed was rolled back and its place used again: the reader looks anew and answers from that."""
    given = filled(store, range(1, 4))
    read, broken = hot.Piece.read, iter([True])

    def overwritten(self: hot.Piece, columns: Any = None) -> Any:
        if next(broken, False):
            raise pa.ArrowInvalid("not an IPC stream")
        return read(self, columns)

    monkeypatch.setattr(hot.Piece, "read", overwritten)
    assert ids(store) == of(given)


def test_a_full_file_is_not_written_anew_for_each_small_one(store: EventStore) -> None:
    """Merging goes by how many small ones there are; else each that comes would rewrite the large."""
    filled(store, range(2, 12, 2))
    store.compact(max_files=1, grace_us=0, max_merge_rows=20)
    large = {found.id for found in store.segments() if found.rows > 10}
    assert large
    filled(store, range(12, 14, 2))
    store.compact(max_files=1, grace_us=0, max_merge_rows=20)
    assert large <= {found.id for found in store.segments()}


def test_what_does_not_fit_goes_to_a_folder_that_nobody_else_uses(tmp_path: Path, clock: FixedClock) -> None:
    """Searches have the memory they were given; what dead processes left is removed, our own at the end."""
    left, lives = (tmp_path / "spill" / name for name in ("999999999-1", "1-1"))
    for folder in (left, lives):
        folder.mkdir(parents=True)
    stores = [EventStore(tmp_path, clock, memory_mib=64) for _ in range(2)]
    assert stores[0]._reader._spill != stores[1]._reader._spill
    assert (left.exists(), lives.exists()) == (False, True)
    for store in stores:
        duckdb, spill = store._reader._duckdb, store._reader._spill
        settings = duckdb.sql("SELECT current_setting('memory_limit'), current_setting('temp_directory')").fetchall()
        assert settings == [("64.0 MiB", str(spill))]
        duckdb.sql("CREATE TABLE t AS SELECT range AS n, md5(range::VARCHAR) AS x FROM range(2_000_000)")
        assert list(spill.glob("*.tmp"))
        store.close()
        assert not spill.exists()
