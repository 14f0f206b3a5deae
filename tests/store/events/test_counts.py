"""What is counted with the rows: durable with them or not at all, added up over hot and sealed files, once."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from soc.errors import StoreError
from soc.model.clock import FixedClock
from soc.store.events import EventStore
from soc.store.events.hot import HotWriter
from tests.store.events.samples import START_US, frame, upto

EVER = (0, 2**62)
DAY = 86_400_000_000


def opened(root: Path) -> EventStore:
    return EventStore(root, FixedClock(START_US * 1000), writer="w")


def test_counts_add_up_over_hot_and_sealed_files_and_a_restart(tmp_path: Path) -> None:
    """The same key in three frames, one of them sealed; what is asked for is bounded in time."""
    store = opened(tmp_path)
    store.append([frame(1)], upto(1, 4), {(DAY, "a"): 2, (DAY, "b"): 1})
    store.roll()
    store.append([frame(2)], upto(2, 4), {(DAY, "a"): 3})
    assert store.compact().sealed_files == 1
    store.append([frame(3)], upto(3, 4), {(2 * DAY, "a"): 5})
    expected = {(DAY, "a"): 5, (DAY, "b"): 1, (2 * DAY, "a"): 5}
    assert store.counts(*EVER) == expected
    assert store.counts(0, 2 * DAY) == {(DAY, "a"): 5, (DAY, "b"): 1}
    store.close()
    store = opened(tmp_path)
    assert store.counts(*EVER) == expected
    store.roll()
    store.compact()
    assert store.counts(*EVER) == expected
    store.close()


def test_a_write_that_fails_counts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither rows nor counts; tried again, both are there once."""
    store = opened(tmp_path)

    def fails(_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(HotWriter, "_sync", fails)
        with pytest.raises(StoreError):
            store.append([frame(1)], upto(1, 4), {(DAY, "a"): 2})
    assert store.counts(*EVER) == {}
    store.append([frame(1)], upto(1, 4), {(DAY, "a"): 2})
    assert store.counts(*EVER) == {(DAY, "a"): 2}
    store.close()


def test_what_is_appended_again_is_not_counted_again(tmp_path: Path) -> None:
    """The cursor has passed it."""
    store = opened(tmp_path)
    for _ in range(2):
        store.append([frame(1)], upto(1, 4), {(DAY, "a"): 2})
    assert store.counts(*EVER) == {(DAY, "a"): 2}
    store.close()


def test_a_manifest_of_the_version_before_is_taken_on(tmp_path: Path) -> None:
    """A store written before there were counts opens, and counts from now on."""
    store = opened(tmp_path)
    store.append([frame(1)], upto(1, 4))
    store.close()
    db = sqlite3.connect(tmp_path / "manifest.db")
    db.execute("DROP TABLE tally")
    db.execute("PRAGMA user_version = 1")
    db.commit()
    db.close()
    store = opened(tmp_path)
    store.append([frame(2)], upto(2, 4), {(DAY, "a"): 1})
    store.roll()
    store.compact()
    assert store.counts(*EVER) == {(DAY, "a"): 1}
    store.close()
