"""A store that a newer soc wrote: one sentence with the way out, exit code 2, and not a byte of it is touched."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from soc.collectors.counters import Counters
from soc.errors import EXIT_USAGE, NewerStore
from soc.model.clock import FixedClock
from soc.model.record import RawBlock
from soc.store.cases import Cases
from soc.store.events import EventStore
from soc.store.queue import DiskLog, LogReader
from tests.store.events.samples import START_US, frame, upto

CLOCK = FixedClock(START_US * 1000)


def event_store(root: Path) -> EventStore:
    return EventStore(root, CLOCK, writer="w")


def case_database(root: Path) -> Cases:
    return Cases(root / "cases.db", CLOCK, head_path=root / "head" / "main.json")


def log(root: Path) -> DiskLog:
    return DiskLog(root, "raw", "n1", CLOCK)


def consumer(root: Path) -> LogReader:
    reader = LogReader(root, "raw")
    reader.read({}, None, 10)
    return reader


def fill_events(root: Path) -> None:
    store = event_store(root)
    store.append([frame(1)], upto(1, 4))
    store.close()


def fill_cases(root: Path) -> None:
    cases = case_database(root)
    with cases.begin("an") as tx:
        tx.put("alert", "a", {}, None)
        tx.ledger("alert.raise", "alert:a")
    cases.close()


def fill_log(root: Path) -> None:
    with log(root) as writer:
        writer.append([RawBlock.of([b"one"], receipt_ns=1)])
        writer.append([RawBlock.of([b"two"], receipt_ns=2)])


def fill_counters(root: Path) -> None:
    counters = Counters(root / "counters.json")
    counters.queued([RawBlock.of([b"one"], receipt_ns=1)], 1, waited=False)
    counters.save(1)


def execute(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(statement)
    connection.close()


def newer_manifest(root: Path) -> None:
    execute(root / "manifest.db", "PRAGMA user_version = 99")


def newer_hot_file(root: Path) -> None:
    path = next((root / "hot").glob("*.hot"))
    data = path.read_bytes()
    path.write_bytes(data[:8] + (99).to_bytes(4, "big") + data[12:])


def newer_cases(root: Path) -> None:
    execute(root / "cases.db", "UPDATE alembic_version SET version_num = '0999'")


def newer_frame(root: Path) -> None:
    """The second frame says version 2, with a checksum that fits."""
    (path,) = root.rglob("*.log")
    data = bytearray(path.read_bytes())
    at = len(data) // 2  # two frames of one size
    data[at + 16] = 2
    data[at + 12 : at + 16] = zlib.crc32(data[at + 16 :]).to_bytes(4, "little")
    path.write_bytes(data)


def newer_counters(root: Path) -> None:
    path = root / "counters.json"
    path.write_bytes(path.read_bytes().replace(b'"version":1', b'"version":2'))


STORES: dict[str, tuple[Callable, Callable, Callable, str]] = {
    "event store": (fill_events, newer_manifest, event_store, "manifest.db"),
    "hot file": (fill_events, newer_hot_file, event_store, ".hot"),
    "cases": (fill_cases, newer_cases, case_database, "cases.db"),
    "queue, its writer": (fill_log, newer_frame, log, "raw/n1"),
    "queue, a reader": (fill_log, newer_frame, consumer, "raw/n1"),
    "counters": (fill_counters, newer_counters, lambda root: Counters(root / "counters.json"), "counters.json"),
}


def files(root: Path) -> dict[str, bytes]:
    """What is kept; SQLite's own working files beside a database are not."""
    kept = (path for path in root.rglob("*") if path.is_file() and not path.name.endswith(("-wal", "-shm")))
    return {str(path.relative_to(root)): path.read_bytes() for path in kept}


@pytest.mark.parametrize("kind", STORES)
def test_a_newer_store_is_refused_and_left_alone(tmp_path, kind):
    """Which file, which version, what to do; exit code 2; every byte as before, also when asked twice."""
    fill, make_newer, opened, place = STORES[kind]
    fill(tmp_path)
    make_newer(tmp_path)
    before = files(tmp_path)
    for _ in range(2):
        with pytest.raises(NewerStore) as caught:
            opened(tmp_path)
        assert caught.value.exit_code == EXIT_USAGE == 2
        assert place in str(caught.value)
        assert "\n" not in str(caught.value)
        assert any(word in str(caught.value) for word in ("version 99", "format 99", "version 2", "0999"))
        assert caught.value.hint
    assert files(tmp_path) == before


@pytest.mark.parametrize("kind", STORES)
def test_a_store_of_this_version_opens(tmp_path, kind):
    """The same store before it was made newer."""
    fill, _, opened, _ = STORES[kind]
    fill(tmp_path)
    made = opened(tmp_path)
    assert made is not None
    if hasattr(made, "close"):
        made.close()
