"""Append, search, scan, aggregate, get, seal, merge and drop."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import Counter
from pathlib import Path

import pytest

from soc.errors import Conflict, NewerStore, NotFound, QueryError, StoreError, TryAgain
from soc.model.batch import Column, EventBatch
from soc.model.clock import FixedClock
from soc.model.fields import FIELDS, FieldType
from soc.model.query import And, Between, Equals, Exists, InNetwork, MatchAll, Not, Query, Word
from soc.model.scope import Scope
from soc.store import files
from soc.store.events import Aggregate, EventStore, proof
from soc.store.events.reading import View
from soc.store.query import parse
from tests.store.events.samples import ALL, START_US, batch, event, frame, partition, upto

DAY_US = 86_400_000_000


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(START_US * 1000)


@pytest.fixture
def store(tmp_path: Path, clock: FixedClock):
    store = EventStore(tmp_path, clock, writer="w")
    yield store
    store.close()


def texts(store: EventStore, query=MatchAll(), scope: Scope = ALL, **more) -> list[str]:  # noqa: B008
    return [row["event.original"] for row in store.search(scope, query, limit=10_000, **more).rows]


def seal(store: EventStore, **more):
    store.roll()
    return store.compact(**more)


def test_appended_rows_are_found(store: EventStore) -> None:
    """What was acknowledged is found at once, newest first."""
    assert store.append([frame(1, 3)], upto(1, 2)) == 3
    assert texts(store) == ["record 1 2", "record 1 1", "record 1 0"]


def test_replay_adds_nothing(store: EventStore) -> None:
    """Rows at or before the mark are skipped, row by row."""
    store.append([frame(1, 3)], upto(1, 2))
    assert store.append([frame(1, 5)], upto(1, 4)) == 2
    assert Counter(texts(store)).most_common(1)[0][1] == 1


def test_the_mark_is_that_of_the_row_s_own_partition(store: EventStore) -> None:
    """Another source of the same log has a mark of its own."""
    assert partition("10.0.0.1") != partition("10.0.0.2")
    store.append([frame(5, 1, peer="10.0.0.1")], upto(5, 0, "10.0.0.1"))
    assert store.append([frame(2, 1, peer="10.0.0.2")], upto(2, 0, "10.0.0.2")) == 1


def test_a_batch_of_two_sources_is_skipped_row_by_row(store: EventStore) -> None:
    """In a mixed batch only the source that was stored before is skipped."""
    store.append([frame(5, 1, peer="10.0.0.1")], upto(5, 0, "10.0.0.1"))
    mixed = batch([event(5, 0, peer="10.0.0.1"), event(4, 0, peer="10.0.0.2")])
    assert store.append([mixed], upto(4, 0, "10.0.0.2")) == 1


def test_marks_outlive_the_process(tmp_path: Path, clock: FixedClock) -> None:
    """A writer that opens again skips what its predecessor stored, hot or sealed."""
    for _ in range(3):
        store = EventStore(tmp_path, clock, writer="w")
        store.append([frame(1, 3)], upto(1, 2))
        assert len(texts(store)) == 3
        seal(store)
        store.close()


def test_cursors_of_all_writers(tmp_path: Path, clock: FixedClock) -> None:
    """A writer that takes a partition over knows the other writer's mark."""
    a, b = EventStore(tmp_path, clock, writer="a"), EventStore(tmp_path, clock, writer="b")
    a.append([frame(1, 3)], upto(1, 2))
    assert b.cursors() == upto(1, 2)
    assert b.append([frame(1, 3)], upto(1, 2)) == 0


def test_an_empty_append_moves_the_cursor(store: EventStore) -> None:
    """Records that made no event still move the mark."""
    assert store.append([], upto(9, 0)) == 0
    assert store.cursors() == upto(9, 0)


def test_one_writer_a_name(store: EventStore, tmp_path: Path, clock: FixedClock, monkeypatch) -> None:
    """A second writer of the same name is refused."""
    monkeypatch.setattr("soc.store.events.hot.WRITER_WAIT_S", 0.1)
    with pytest.raises(TryAgain):
        EventStore(tmp_path, clock, writer="w")


def test_a_writer_that_begins_anew_waits_while_what_it_left_is_sealed(tmp_path: Path, clock: FixedClock) -> None:
    """Compaction holds its lock meanwhile: `soc up` gave up on a worker that was refused three times."""
    EventStore(tmp_path, clock, writer="w").close()
    held = files.take_lock(tmp_path / "hot" / "w.lock")
    assert held is not None
    threading.Timer(0.3, os.close, [held]).start()
    EventStore(tmp_path, clock, writer="w").close()


def test_a_writer_never_takes_the_number_of_a_file_that_was_sealed(
    tmp_path: Path, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compaction may end just before the writer has its name: under a sealed number its rows would be thrown away."""
    before = EventStore(tmp_path, clock, writer="w")
    before.append([frame(1)], upto(1, 4))
    before.close()
    take_lock = files.take_lock

    def taken(path: Path, **more: bool) -> int | None:
        if path.name == "w.lock":
            monkeypatch.setattr(files, "take_lock", take_lock)
            other = EventStore(tmp_path, clock)
            other.compact(grace_us=0)
            other.close()
        return take_lock(path, **more)

    monkeypatch.setattr(files, "take_lock", taken)
    after = EventStore(tmp_path, clock, writer="w")
    after.append([frame(2)], upto(2, 4))
    after.compact(grace_us=0)
    found = len(texts(after))
    after.close()
    assert found == 2 * frame(1).n


def test_a_reader_takes_no_name(store: EventStore, tmp_path: Path, clock: FixedClock) -> None:
    """Readers come and go beside the writer, and cannot append."""
    reader = EventStore(tmp_path, clock)
    store.append([frame(1, 1)], upto(1, 0))
    assert texts(reader) == ["record 1 0"]
    with pytest.raises(StoreError):
        reader.append([frame(2, 1)], upto(2, 0))


def test_an_unknown_field_is_refused(store: EventStore) -> None:
    """A column outside the dictionary is an error that names it, and nothing is stored."""
    bad = batch([event(1)]).with_columns({"no.such": batch([event(1)]).columns["soc.site"]})
    with pytest.raises(StoreError, match=r"no\.such"):
        store.append([bad], upto(1, 0))
    assert texts(store) == []


def test_sealing_keeps_every_row(store: EventStore) -> None:
    """Hot and sealed rows are one store."""
    store.append([frame(1)], upto(1, 4))
    report = seal(store)
    store.append([frame(2)], upto(2, 4))
    assert report.sealed_rows == 5
    assert sorted(Counter(texts(store)).values()) == [1] * 10


def test_sealed_files_are_by_receipt_day_and_level(store: EventStore) -> None:
    """The folder says day and level; unregistered is level 0."""
    rows = [
        event(1, 0, **{"soc.system.level": 3, "soc.system.id": "s", "organization.id": "u"}),
        event(1, 1),
        event(1, 2, **{"event.created": START_US + DAY_US}),
    ]
    store.append([batch(rows)], upto(1, 2))
    seal(store)
    found = {(s.day, s.level, s.systems, s.rows) for s in store.segments()}
    assert found == {
        ("2026-11-25", "3", frozenset({"s"}), 1), ("2026-11-25", "0", frozenset(), 1),
        ("2026-11-26", "0", frozenset(), 1),
    }  # fmt: skip
    assert (store._root / "seg/day=2026-11-25/level=3").is_dir()


def test_the_hot_file_rolls_by_age(store: EventStore, clock: FixedClock) -> None:
    """After sixty seconds the file is closed by the next append, and compact seals it beside the live writer."""
    store.append([frame(1)], upto(1, 4))
    clock.advance(61)
    store.append([frame(2)], upto(2, 4))
    assert store.compact().sealed_rows == 5
    assert len(texts(store)) == 10


def test_the_file_in_use_is_not_sealed(store: EventStore) -> None:
    """Compaction leaves the file of a live writer alone."""
    store.append([frame(1)], upto(1, 4))
    assert store.compact().sealed_files == 0


def test_numbers_of_hot_files_never_return(tmp_path: Path, clock: FixedClock) -> None:
    """A sealed file's name is not used again, or its successor would be taken for sealed."""
    store = EventStore(tmp_path, clock, writer="w")
    store.append([frame(1)], upto(1, 4))
    store.close()
    reader = EventStore(tmp_path, clock)
    assert reader.compact().sealed_rows == 5
    again = EventStore(tmp_path, clock, writer="w")
    again.append([frame(2)], upto(2, 4))
    assert len(texts(reader)) == 10


def test_merging(store: EventStore) -> None:
    """Many small files of a day and level become one; the old ones go when their grace is over."""
    for seq in range(1, 5):
        store.append([frame(seq)], upto(seq, 4))
        seal(store, max_files=100)
    store.compact(max_files=3)
    assert [s.rows for s in store.segments()] == [20]
    assert len(list(store._root.rglob("*.parquet"))) == 5
    store.compact(grace_us=0)
    assert len(list(store._root.rglob("*.parquet"))) == 1
    assert sorted(Counter(texts(store)).values()) == [1] * 20


def test_a_merge_keeps_the_content_root(store: EventStore) -> None:
    """The root over the events of a merged file is that of all its events, whatever the files were."""
    for seq in (1, 2):
        store.append([frame(seq)], upto(seq, 4))
        seal(store, max_files=1)
    (only,) = store.segments()
    rows = [event(seq, i) for seq in (1, 2) for i in range(5)]
    expected = proof.root_of((r["event.id"], r["event.original"].encode()) for r in rows)
    assert (only.content_root, store.content_root(only)) == (expected.hex(), expected.hex())


def test_drop(store: EventStore) -> None:
    """A dropped segment is gone from the disk and from searches; its tombstone stays."""
    store.append([frame(1)], upto(1, 4))
    seal(store)
    (only,) = store.segments()
    stone = store.drop(only.id, "approval 7")
    assert (stone.rows, stone.sha256, stone.authorisation) == (5, only.sha256, "approval 7")
    assert (texts(store), store.segments(), store.tombstones()) == ([], [], [stone])
    assert list(store._root.rglob("*.parquet")) == []


def test_drop_again_answers_the_same(store: EventStore) -> None:
    """Dropping is idempotent."""
    store.append([frame(1)], upto(1, 4))
    seal(store)
    (only,) = store.segments()
    assert store.drop(only.id, "a") == store.drop(only.id, "b")


def test_drop_waits_for_a_compaction_to_end(store: EventStore, tmp_path: Path, monkeypatch) -> None:
    """Whoever approved a deletion need not know that files are merged every few seconds; a minute of it is said."""
    store.append([frame(1)], upto(1, 4))
    seal(store)
    (found,) = store.segments()
    held = files.take_lock(tmp_path / "compact.lock")
    assert held is not None
    with monkeypatch.context() as patch:
        patch.setattr("soc.store.events.store.DROP_WAIT_S", 0.1)
        with pytest.raises(TryAgain, match="compaction"):
            store.drop(found.id, "plan:x")
    assert [s.id for s in store.segments()] == [found.id]
    threading.Timer(0.3, os.close, [held]).start()
    assert store.drop(found.id, "plan:x").segment_id == found.id


def test_drop_takes_the_merged_files_too(store: EventStore) -> None:
    """Files that wait for their readers hold the same events: they go with the segment that replaced them."""
    for seq in (1, 2):
        store.append([frame(seq)], upto(seq, 4))
        seal(store, max_files=1)
    (only,) = store.segments()
    store.drop(only.id, "a")
    assert list(store._root.rglob("*.parquet")) == []


def test_drop_of_a_merged_segment_is_a_conflict(store: EventStore) -> None:
    """An approval for a file that a merge replaced does not reach other events."""
    store.append([frame(1)], upto(1, 4))
    seal(store)
    (old,) = store.segments()
    store.append([frame(2)], upto(2, 4))
    seal(store, max_files=1)
    with pytest.raises(Conflict, match="merged"):
        store.drop(old.id, "a")
    with pytest.raises(NotFound):
        store.drop("nothing", "a")


def test_opening_finishes_a_drop(store: EventStore, tmp_path: Path, clock: FixedClock) -> None:
    """A drop that a crash interrupted is finished by the next that opens the store."""
    store.append([frame(1)], upto(1, 4))
    seal(store)
    (only,) = store.segments()
    store._manifest.set_state(only.id, "dropping", 1, "approval 7")
    again = EventStore(tmp_path, clock)
    assert [t.authorisation for t in again.tombstones()] == ["approval 7"]
    assert list(tmp_path.rglob("*.parquet")) == []


def test_verify_names_every_disagreement(store: EventStore) -> None:
    """A changed, a missing and a foreign file are each told."""
    for seq in (1, 2):
        store.append([frame(seq)], upto(seq, 4))
        seal(store)
    assert store.verify_segments(content=True) == []
    first, second = store.segments()
    path = store._root / first.path
    path.write_bytes(path.read_bytes()[:-1] + b"X")
    foreign = path.with_name("foreign.parquet")
    (store._root / second.path).rename(foreign)
    assert sorted(f.kind for f in store.verify_segments()) == ["changed", "extra", "missing"]


def test_scope_is_enforced(store: EventStore) -> None:
    """A unit sees its own events only, by whatever door; unregistered ones belong to nobody."""
    rows = [event(1, 0, **{"organization.id": "a"}), event(1, 1, **{"organization.id": "b"}), event(1, 2)]
    store.append([batch(rows)], upto(1, 2))
    mine = Scope.of_units("p", {"a"}, "test")
    everything = [r["event.id"] for r in rows]
    for _ in ("hot", "sealed"):
        assert texts(store, scope=mine) == ["record 1 0"]
        assert texts(store, Not(Equals("organization.id", "a")), mine) == []
        assert [r["event.original"] for r in store.get(mine, everything)] == ["record 1 0"]
        assert [b.n for b in store.scan(mine, MatchAll(), None)] == [1]
        assert store.aggregate(mine, MatchAll(), Aggregate()) == [{"count": 1}]
        assert texts(store, scope=Scope.of_units("p", set(), "test")) == []
        seal(store)


def test_pages(store: EventStore) -> None:
    """Pages follow each other without gap or overlap, also over equal times."""
    store.append([batch([event(1, i, at_us=START_US + i // 3) for i in range(10)])], upto(1, 9))
    for order in ("asc", "desc"):
        seen, cursor = [], None
        while True:
            page = store.search(ALL, MatchAll(), limit=3, cursor=cursor, order=order)
            seen += [r["event.id"] for r in page.rows]
            cursor = page.cursor
            if not page.truncated:
                break
        assert len(seen) == len(set(seen)) == 10
    with pytest.raises(QueryError):
        store.search(ALL, MatchAll(), cursor="nonsense")


def test_total_is_known_or_none(store: EventStore) -> None:
    """A page that holds everything knows the total; a cut one counts only when asked."""
    store.append([frame(1)], upto(1, 4))
    assert store.search(ALL, MatchAll()).total == 5
    assert store.search(ALL, MatchAll(), limit=2).total is None
    assert store.search(ALL, MatchAll(), limit=2, count=True).total == 5


def test_time_bounds(store: EventStore) -> None:
    """since is inside, until is not, in hot and sealed rows."""
    store.append([frame(1)], upto(1, 4))
    for _ in range(2):
        found = texts(store, since_us=START_US + 1001, until_us=START_US + 1003)
        assert found == ["record 1 2", "record 1 1"]
        seal(store)


def test_bounds_of_receipt_pass_over_files(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks by receipt reads only the files of that time, and finds the same as in hot rows."""
    read: list[int] = []
    pruned = View.pruned

    def counted(view: View, query: Query) -> View:
        kept = pruned(view, query)
        read.append(len(kept.segments))
        return kept

    monkeypatch.setattr(View, "pruned", counted)
    late = [event(2, 0, **{"event.created": START_US + 7_200_000_000})]
    store.append([frame(1)], upto(1, 4))
    query = Between("event.created", low=START_US + 3_600_000_000)
    store.append([batch(late)], upto(2, 0))
    before = texts(store, query)
    for number in (3, 4):
        seal(store)
        store.append([frame(number)], upto(number, 4))
    assert before == texts(store, query) == ["record 2 0"]
    assert texts(store, Between("event.created", high=START_US - 1)) == []
    assert read[-1] == 0


def test_values_leave_as_json(store: EventStore) -> None:
    """Dates are ISO 8601, ids hexadecimal, `many` fields lists, missing fields are not there."""
    row = event(1, 0, **{"event.category": ["a", "b"], "soc.rest": {"k": 1}, "source.port": 22})
    store.append([batch([row])], upto(1, 0))
    for _ in range(2):
        (found,) = store.search(ALL, MatchAll()).rows
        assert found["@timestamp"] == "2026-11-25T10:00:00.001000Z"
        assert found["event.id"] == row["event.id"].hex()
        assert (found["event.category"], found["soc.rest"], found["source.port"]) == (["a", "b"], {"k": 1}, 22)
        assert "source.ip" not in found
        seal(store)


def test_names_that_differ_by_case_stay_apart(store: EventStore) -> None:
    """Windows writes ProcessId and ProcessID; SQL would take them for one."""
    rows = [event(1, 0, **{"winlog.event_data.ProcessId": "1"}), event(1, 1, **{"winlog.event_data.ProcessID": "1"})]
    store.append([batch(rows)], upto(1, 1))
    for _ in range(2):
        assert texts(store, Equals("winlog.event_data.ProcessID", "1")) == ["record 1 1"]
        seal(store)


def test_scan_gives_batches_by_dataset(store: EventStore) -> None:
    """Each batch is of one dataset and equals what went in."""
    one, two = batch([event(1, 0)], "a"), batch([event(1, 1)], "b")
    store.append([one, two], upto(1, 1))
    for _ in range(2):
        found = {b.dataset: b for b in store.scan(ALL, MatchAll(), ["event.id", "soc.site"])}
        expected = EventBatch("a", 1, {k: one.columns[k] for k in ("event.id", "soc.site")})
        assert found["a"] == expected
        assert set(found) == {"a", "b"}
        seal(store)


def test_aggregate(store: EventStore) -> None:
    """Groups by the items of a `many` field, with measures, largest first."""
    rows = [
        event(1, i, **{"event.category": ["x", "y"] if i else ["x"], "source.port": i, "user.name": f"u{i % 2}"})
        for i in range(4)
    ]
    store.append([batch(rows)], upto(1, 3))
    spec = Aggregate(("event.category",), max=("source.port",), cardinality=("user.name",))
    for _ in range(2):
        assert store.aggregate(ALL, MatchAll(), spec) == [
            {"event.category": "x", "max(source.port)": 3, "cardinality(user.name)": 2, "count": 4},
            {"event.category": "y", "max(source.port)": 3, "cardinality(user.name)": 2, "count": 3},
        ]
        seal(store)


def test_aggregate_by_interval(store: EventStore) -> None:
    """Buckets begin at multiples of the interval, oldest first."""
    store.append([batch([event(1, i, at_us=START_US + i * 40_000_000) for i in range(3)])], upto(1, 2))
    rows = store.aggregate(ALL, MatchAll(), Aggregate(interval_us=60_000_000))
    assert [(r["bucket"][11:19], r["count"]) for r in rows] == [("10:00:00", 2), ("10:01:00", 1)]


def test_a_field_nobody_has_is_false(store: EventStore) -> None:
    """A comparison with an absent field is false and its negation true."""
    store.append([frame(1, 1)], upto(1, 0))
    for query in (Equals("user.name", "x"), Exists("user.name"), InNetwork("source.ip", "10.0.0.0/8")):
        assert (len(texts(store, query)), len(texts(store, Not(query)))) == (0, 1)


def test_a_field_only_some_files_have(store: EventStore) -> None:
    """Files without the field are skipped by a comparison and kept by its negation."""
    store.append([frame(1, 1, **{"user.name": "a"})], upto(1, 0))
    seal(store)
    store.append([frame(2, 1)], upto(2, 0))
    seal(store)
    assert texts(store, Equals("user.name", "a")) == ["record 1 0"]
    assert texts(store, Not(Equals("user.name", "a"))) == ["record 2 0"]


@pytest.mark.parametrize("text", ["'; DROP TABLE hot; --", '"', "$v0", "%", "\\", "\0"])
def test_values_are_only_values(store: EventStore, text: str) -> None:
    """Whatever a stranger searches for is bound, never part of the statement."""
    store.append([frame(1, 1, **{"user.name": text})], upto(1, 0))
    assert len(texts(store, And((Equals("user.name", text), Between("user.name", low=text))))) == 1
    assert texts(store, Word(text + " nothing such")) == []


def test_a_newer_manifest_is_refused(tmp_path: Path, clock: FixedClock) -> None:
    """A store of a later version is not touched."""
    EventStore(tmp_path, clock).close()
    with sqlite3.connect(tmp_path / "manifest.db") as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(NewerStore):
        EventStore(tmp_path, clock)


def test_a_newer_hot_file_is_refused(tmp_path: Path, clock: FixedClock) -> None:
    """A hot file of a later version is not touched."""
    EventStore(tmp_path, clock, writer="w").close()
    path = next((tmp_path / "hot").glob("*.hot"))
    path.write_bytes(b"SOC-HOT\0" + (99).to_bytes(4, "big") + bytes(4) + b"whatever")
    with pytest.raises(NewerStore):
        EventStore(tmp_path, clock, writer="w")


def test_the_search_text_reaches_the_store(store: EventStore) -> None:
    """A person's text, end to end."""
    store.append([frame(1, 3, **{"source.ip": "10.1.2.3"})], upto(1, 2))
    assert texts(store, parse('source.ip:10.0.0.0/8 and "Record 1" and not "1 2"', FIELDS)) == [
        "record 1 1", "record 1 0",
    ]  # fmt: skip


def test_a_list_in_windows_data_is_kept_as_one_text(store: EventStore) -> None:
    """An element a line, for the field has one value by the dictionary; hot and sealed rows say the same."""
    name = "winlog.event_data.F"
    made = frame(1, 2).with_columns({name: Column.of(FieldType.KEYWORD, [("a", "b"), None], many=True)})
    store.append([made], upto(1, 1))
    store.append([frame(2, 1).with_columns({name: Column.of(FieldType.KEYWORD, ["c"])})], upto(2, 0))
    for _ in range(2):
        rows = store.search(ALL, MatchAll(), limit=10).rows
        assert Counter(row.get(name) for row in rows) == {"a\nb": 1, None: 1, "c": 1}
        seal(store)
