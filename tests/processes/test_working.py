"""What a full disk must not do to compaction."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from soc.errors import DiskFull
from soc.pipeline.states import read_state, state_file
from soc.processes import process, working
from soc.store.events import EventStore
from tests.pipeline.world import settings_of


def test_a_full_disk_neither_ends_compaction_nor_keeps_the_queue_from_shrinking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sealing needs room; trimming gives some back, so it comes first and every time."""
    trimmed: list[str] = []
    rounds, stop, made = 3, threading.Event(), process.Process

    def full(self: EventStore, **_: object) -> None:
        raise DiskFull("no space left")

    def trim(_root: Path, log: str, _upto: object) -> int:
        trimmed.append(log)
        if len(trimmed) == rounds:
            stop.set()
        return 0

    monkeypatch.setattr(EventStore, "compact", full)
    monkeypatch.setattr(working, "trim", trim)
    monkeypatch.setattr(working, "COMPACT_S", 0.01)
    monkeypatch.setattr(process, "Process", lambda *given: made(*given, stop=stop))
    working.compact(settings_of(tmp_path))
    assert trimmed == ["raw"] * rounds
    assert (read_state(state_file(settings_of(tmp_path), "compact")) or {})["state"] == "stopped"
