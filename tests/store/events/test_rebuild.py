"""manifest.db made anew from the sealed files: the same events once, the same facts, the same cursor."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from soc.errors import Conflict, StoreError, TryAgain
from soc.model.clock import FixedClock
from soc.model.query import MatchAll
from soc.retention.certificate import tombstone_document
from soc.store.events import EventStore, compaction
from soc.store.events.manifest import Manifest
from soc.store.events.rebuild import Rebuilding, RebuildPlan
from tests.store.events.samples import ALL, START_US, batch, event, upto

DAY_US = 86_400_000_000
CLOCK = FixedClock(START_US * 1000)


class Died(Exception):
    """The machine went off here."""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[EventStore]:
    """A store with a writer."""
    found = EventStore(tmp_path, CLOCK, writer="w")
    yield found
    found.close()


def append(store: EventStore, seq: int, *, peer: str = "10.0.0.1", **more: Any) -> None:
    """A frame of four events, of two levels, on the day of its number."""
    at = START_US + (seq % 3) * DAY_US
    rows = [
        event(seq, i, peer=peer, at_us=at + i, **{"soc.system.level": 1 + i % 2, "soc.system.id": f"s{i % 2}", **more})
        for i in range(4)
    ]
    store.append([batch(rows)], upto(seq, 3, peer))
    store.roll()


def lose(store: EventStore) -> Path:
    """The catalogue is gone."""
    store.close()
    for path in store._root.glob("manifest.db*"):
        path.unlink()
    return store._root


def rebuilt(root: Path, stones: tuple[dict[str, Any], ...] = ()) -> RebuildPlan:
    """Planned and applied."""
    with Rebuilding(root) as work:
        plan = work.plan()
        work.apply(plan, stones, CLOCK.now_ns() // 1000, lambda *_: None)
    return plan


def ids(store: EventStore) -> list[str]:
    """Of every event that a search finds."""
    return sorted(row["event.id"] for row in store.search(ALL, MatchAll(), limit=1000).rows)


def states(plan: RebuildPlan) -> list[str]:
    """Of the files, in no order."""
    return sorted(file.state for file in plan.files)


def test_everything_is_as_it_was(writer: EventStore) -> None:
    """Segments to the last fact, rows, cursor and tombstones; what goes on being written comes once."""
    for seq in range(1, 7):
        append(writer, seq, peer=f"10.0.0.{seq % 2}")
    writer.compact()
    stone = writer.drop(writer.segments()[-1].id, "plan:x")
    append(writer, 7)  # hot
    segments, found, cursors = writer.segments(), ids(writer), writer.cursors()
    root = lose(writer)
    plan = rebuilt(root, (tombstone_document(stone),))
    assert (states(plan), plan.hot) == (["sealed"] * len(segments), ())
    store = EventStore(root, CLOCK, writer="w")
    assert store.segments() == segments
    assert (ids(store), store.cursors()) == (found, cursors)
    assert store.tombstones() == [dataclasses.replace(stone, content_root="")]
    assert store.verify_segments(content=True) == []
    append(store, 7)  # a replay of what is known
    append(store, 8)
    store.compact()
    assert len(ids(store)) == len(found) + 4
    store.close()


def test_a_store_whose_catalogue_is_lost_does_not_open(writer: EventStore) -> None:
    """It would look empty, and take everything in the queue anew; an empty folder opens."""
    append(writer, 1)
    writer.compact()
    root = lose(writer)
    with pytest.raises(StoreError, match=r"manifest\.db is gone") as told:
        EventStore(root, CLOCK)
    assert told.value.hint == "soc store rebuild makes it anew"
    rebuilt(root)
    EventStore(root, CLOCK).close()


def test_a_damaged_one_is_put_aside_and_a_sound_one_is_left_alone(writer: EventStore) -> None:
    """Nothing is thrown away that somebody may want to look at."""
    append(writer, 1)
    writer.compact()
    found = ids(writer)
    writer.close()
    with pytest.raises(Conflict), Rebuilding(writer._root):
        pass
    (writer._root / "manifest.db").write_bytes(b"no database " * 1000)
    rebuilt(writer._root)
    assert [path.read_bytes()[:11] for path in writer._root.glob("manifest.db.damaged-*")] == [b"no database"]
    store = EventStore(writer._root, CLOCK)
    assert ids(store) == found
    store.close()


def test_nobody_else_may_be_at_it(writer: EventStore) -> None:
    """A worker holds its name."""
    append(writer, 1)
    with pytest.raises(TryAgain), Rebuilding(writer._root):
        pass


def cut_off(
    store: EventStore, patch: pytest.MonkeyPatch, where: Callable[[pytest.MonkeyPatch], None], **how: int
) -> None:
    """A compaction that dies there."""
    with patch.context() as inner:
        where(inner)
        with pytest.raises(Died):
            store.compact(**how)


def dying(*_: Any, **__: Any) -> None:
    """Goes off."""
    raise Died


@pytest.mark.parametrize("committed", [False, True])
def test_a_merge_cut_off_leaves_no_event_twice(
    writer: EventStore, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    """The files that were merged and the merged one lie side by side, before its transaction and after it."""
    for seq in (3, 6, 9):
        append(writer, seq)
        writer.compact()
    found = ids(writer)
    if committed:
        writer.compact(max_files=1)
    else:
        cut_off(writer, monkeypatch, lambda p: p.setattr(Manifest, "swap_merged", dying), max_files=1)
    plan = rebuilt(lose(writer))
    assert states(plan).count("merged") == (6 if committed else 3)
    store = EventStore(writer._root, CLOCK)
    assert ids(store) == found
    assert store.compact(grace_us=0).files_removed == states(plan).count("merged") + 1  # and the writer's empty one
    assert ids(store) == found
    store.close()


@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize("written", [1, 2])
def test_a_sealing_cut_off_leaves_no_event_twice(
    writer: EventStore, monkeypatch: pytest.MonkeyPatch, committed: bool, written: int
) -> None:
    """A hot file and the sealed ones made of it lie side by side: some of them, or all; nobody writes on into it."""
    append(writer, 1)
    found = ids(writer)
    closed = [compaction.segment.Writer.close]

    def close(self: Any) -> Any:
        if len(closed) > written:
            raise Died
        closed.append(close)
        return closed[0](self)

    name = "_retire_hot" if committed else "_seal"
    if written == 1:
        cut_off(writer, monkeypatch, lambda p: p.setattr(compaction.segment.Writer, "close", close))
    elif committed:
        cut_off(writer, monkeypatch, lambda p: p.setattr(compaction.Compactor, name, dying))
    else:
        cut_off(writer, monkeypatch, lambda p: p.setattr(Manifest, "swap_hot", dying))
    plan = rebuilt(lose(writer))
    assert (states(plan), len(plan.hot)) == ((["unfinished"], 0) if written == 1 else (["sealed", "sealed"], 1))
    store = EventStore(writer._root, CLOCK, writer="w")
    assert ids(store) == found
    append(store, 2)
    store.compact()
    assert len(ids(store)) == len(found) + 4
    store.close()


def test_what_cannot_be_read_or_lies_wrong_is_refused_by_name(writer: EventStore) -> None:
    """A torn file, one under another day, one with a strange name: they stay, and are told."""
    for seq in (1, 2, 3):
        append(writer, seq, **{"soc.system.level": 1})
    writer.compact()
    torn, moved, strange = (writer._root / found.path for found in writer.segments())
    root = lose(writer)
    torn.write_bytes(torn.read_bytes()[:-20])
    moved.rename(torn.parent / moved.name)
    strange.rename(strange.with_name("strange.parquet"))
    plan = rebuilt(root)
    assert states(plan) == ["refused"] * 3
    assert {file.why for file in plan.files} >= {
        "this is no place of a sealed file", "its events are of another day or level",
    }  # fmt: skip
    assert all((root / file.path).is_file() for file in plan.files)
