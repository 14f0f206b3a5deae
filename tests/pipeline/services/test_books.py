"""Accounts of sources: bounded in memory and time, and they balance."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from soc.model.record import RawBlock
from soc.pipeline import Services
from soc.pipeline.services import books
from soc.store.queue import LogReader
from tests.pipeline.world import NOW_NS, World, failures


def test_many_waiting_frames_are_not_all_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An import of gigabytes waits: the accounts read it a few frames at a time."""
    world = World.make(tmp_path)
    for peer in range(200):
        world.receive(failures(1), peer=f"127.1.2.{peer}")
    asked: list[int] = []
    read = LogReader.read

    def watched(self: LogReader, after: Any, partitions: Any, max_frames: int) -> list[RawBlock]:
        asked.append(max_frames)
        return read(self, after, partitions, max_frames)

    monkeypatch.setattr(LogReader, "read", watched)
    opened = Services.open(world.settings, world.clock)
    totals = opened.books.sources(NOW_NS // 1000)["totals"]
    opened.close()
    assert (totals["pending"], totals["balanced"]) == (200, True)
    assert max(asked) <= 64


def test_what_was_not_counted_is_not_said_to_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind the bound nobody knows: `balanced` is null and not false."""
    world = World.make(tmp_path)
    for _ in range(9):
        world.receive(failures(1))
    monkeypatch.setattr(books, "MAX_PENDING_FRAMES", 5)
    opened = Services.open(world.settings, world.clock)
    found = opened.books.sources(NOW_NS // 1000)
    opened.close()
    assert found["totals"]["balanced"] is None
    assert [row["balanced"] for row in found["sources"]] == [None]


def test_accounts_reach_no_further_back_than_the_counters(tmp_path: Path) -> None:
    """Events of last month are in the store, what the collector counted then is forgotten."""
    world = World.make(tmp_path)
    world.receive(failures(3))
    world.work()
    world.clock.advance(8 * 86_400)
    opened = Services.open(world.settings, world.clock)
    totals = opened.books.sources(0)["totals"]
    opened.close()
    assert (totals["stored"], totals["balanced"]) == (0, True)


def test_an_import_that_crosses_the_hour_balances(tmp_path: Path) -> None:
    """It was announced before the span of the account and read inside it."""
    world = World.make(tmp_path)
    opened = Services.open(world.settings, world.clock)
    data = b"".join(line + b"\n" for line in failures(5))
    id = opened.uploads.begin("auth.log", len(data), "lan", format="lines")["id"]
    opened.uploads.put(id, 0, data)
    opened.uploads.commit(id)
    world.clock.advance(3600)
    opened.uploads.read(id, threading.Event())
    world.work()
    totals = opened.books.sources(world.clock.now_ns() // 1000)["totals"]
    opened.close()
    assert (totals["received"], totals["stored"], totals["balanced"]) == (5, 5, True)
