"""Killed, refused by the disk, out of room: what was acknowledged is there, once, and the ledger holds."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from soc.model.clock import SystemClock
from soc.store.cases import Cases

ROOT = Path(__file__).parents[3]


def child(folder: Path, start: int, count: int, *prefix: str) -> subprocess.Popen[str]:
    command = [*prefix, sys.executable, "-m", "tests.store.cases.writer", str(folder), str(start), str(count)]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def finished(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Its output; a process that does not end is killed with the whole of its session."""
    try:
        return process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise


def acknowledged(stdout: str) -> list[str]:
    """Whole lines only: the last one may have been cut."""
    return [line for line in stdout.split("\n")[:-1] if line != "ready"]


def judge(folder: Path, acked: list[str]) -> list[str]:
    """The ids stored, after checking that all parts of every transaction agree."""
    cases = Cases(folder / "db" / "c.db", SystemClock(), head_path=folder / "head" / "h.json")
    with cases.read("an") as tx:
        ids = [id for id, _ in tx.find("n", keys={"status": "new"}, order="asc", limit=1_000_000)]
        sent = [item.id for item in tx.outbox_items("nc", limit=1_000_000)]
        cursor = tx.cursor("n")
    ledger = [e.object.removeprefix("n:") for e in cases.ledger_entries(0, 1_000_000)]
    changes = [c.id for c in cases.changes_after(0, 1_000_000)]
    verdict = cases.verify_ledger()
    cases.close()
    assert set(acked) <= set(ids)
    assert ids == sent == ledger == changes
    assert cursor == ({"last": ids[-1]} if ids else None)
    assert verdict.ok, verdict.faults
    assert sqlite3.connect(folder / "db" / "c.db").execute("PRAGMA integrity_check").fetchone() == ("ok",)
    return ids


def test_kill_9_while_committing_five_times(tmp_path: Path) -> None:
    """Each life goes on where the one before was cut off; at most one commit a life is there unacknowledged."""
    acked: list[str] = []
    for life in range(5):
        ids = judge(tmp_path, acked)
        process = child(tmp_path, len(ids), 1_000_000)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.15 + 0.07 * life)
        os.killpg(process.pid, signal.SIGKILL)
        acked += acknowledged(process.stdout.read())  # communicate() would pass over what is read ahead already
        process.communicate()
    ids = judge(tmp_path, acked)
    assert len(acked) > 5
    assert len(ids) - len(acked) <= 5


STRACE = shutil.which("strace") or "/usr/bin/strace"
# A commit makes some thirty writes; a fault more often than that would refuse every retry for ever.
INJECTIONS = [
    ("fdatasync,fsync", "error=EIO:when=9+7"),
    ("fdatasync,fsync", "error=ENOSPC:when=8+11"),
    ("pwrite64", "error=EIO:when=40+97"),
    ("pwrite64", "error=ENOSPC:when=41+113"),
]


@pytest.mark.parametrize(("calls", "fault"), INJECTIONS)
def test_a_failing_disk_loses_and_doubles_nothing(tmp_path: Path, calls: str, fault: str) -> None:
    """Refused syscalls reach the caller as StoreError; every retried commit is there exactly once."""
    judge(tmp_path, [])  # made while the disk still worked
    process = child(tmp_path, 0, 40, STRACE, "-f", "-o", str(tmp_path / "trace"), "-e", f"trace={calls}",
                    "-e", f"inject={calls}:{fault}")  # fmt: skip
    out, err = finished(process)
    assert "INJECTED" in (tmp_path / "trace").read_text()
    assert process.returncode == 0, err
    assert len(acknowledged(out)) == 40
    assert len(judge(tmp_path, acknowledged(out))) == 40


@pytest.mark.parametrize("when", [6, 9, 12, 13, 14, 15])
@pytest.mark.parametrize("calls", ["fdatasync,fsync", "pwrite64", "rename"])
def test_death_at_an_exact_syscall(tmp_path: Path, calls: str, when: int) -> None:
    """Killed as it enters the n-th write, sync or rename: between commit and head too."""
    judge(tmp_path, [])
    process = child(tmp_path, 0, 40, STRACE, "-f", "-o", str(tmp_path / "trace"), "-e", f"trace={calls}",
                    "-e", f"inject={calls}:signal=SIGKILL:when={when}")  # fmt: skip
    out, _ = finished(process)
    assert process.returncode != 0
    ids = judge(tmp_path, acknowledged(out))
    assert len(ids) - len(acknowledged(out)) in (0, 1)
