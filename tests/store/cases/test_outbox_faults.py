"""Every write, sync and rename of an alert with its message fails, or is the last of the process: all or nothing."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests import programs
from tests.store.cases.outbox_program import FIRST, SECOND, STATES, WHEN, opened, step

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
INJECTED = {
    "EIO": f"error=EIO:when={WHEN}",
    "ENOSPC": f"error=ENOSPC:when={WHEN}",
    "FULL": f"error=ENOSPC:when={WHEN}+",
    "KILL": f"signal=SIGKILL:when={WHEN}",
}


def take_all_the_way(folder: Path, id: str) -> None:
    """An alert raised, sent and acknowledged, as far as it was not."""
    cases = opened(folder)
    for state in STATES:
        with cases.begin("an") as tx:
            step(tx, id, state)
    cases.close()


def sweep(folder: Path, call: str, fault: str, mutant: str = "") -> list[Path]:
    """The folders of all children whose work met the fault, the first call first."""
    strace = programs.program("strace")
    take_all_the_way(folder / "base", FIRST)
    program = [sys.executable, "-m", "tests.store.cases.outbox_program", str(folder), call, fault, mutant]
    options = ["-f", "-qq", "-o", os.devnull, "-e", f"trace={call}"]
    if fault != "KILL":  # strace 6.1 injects no signal with it
        options.append("--seccomp-bpf")
    subprocess.run(
        [strace, *options, "-e", f"inject={call}:{INJECTED[fault]}", *program], cwd=ROOT, check=True, timeout=100
    )
    found = sorted((path for path in folder.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
    assert "unreached" in said(found[-1]), "the sweep did not come to the end of the work"
    return found[:-1]


def said(folder: Path) -> list[str]:
    return (folder / "said").read_text().split("\n")[:-1]


def judge(folder: Path) -> str | None:
    """The state the alert is in after a restart (None: not there), once everything was found to agree."""
    lines = said(folder)
    cases = opened(folder)
    with cases.read("an") as tx:
        alerts = {id: stored.document["state"] for id, stored in tx.find("alert", order="asc")}
        by_key = {id for state in STATES for id, _ in tx.find("alert", keys={"state": state})}
        items = {item.id: item for item in tx.outbox_items("nc")}
    entries = [(entry.object.removeprefix("alert:"), entry.act) for entry in cases.ledger_entries()]
    notices = [(change.id, change.what) for change in cases.changes_after(0)]
    verdict = cases.verify_ledger()
    cases.close()
    assert not [line for line in lines if line.startswith("crashed")], lines
    state = alerts.get(SECOND)
    passed = STATES[: STATES.index(state) + 1] if state else []
    lost = [line for line in lines if line.startswith("committed") and line.split()[1] not in passed]
    assert not lost, f"reported as committed and lost: {lost}"
    expected = [(FIRST, name) for name in STATES] + [(SECOND, name) for name in passed]
    assert notices == expected
    assert entries == [(id, "alert.raise" if name == "new" else f"alert.{name}") for id, name in expected]
    assert by_key == set(alerts)
    assert sorted(items) == sorted(alerts)
    assert items[FIRST].sequence == 1
    if state:
        item = items[SECOND]
        assert (item.sequence, item.state) == (2, {"new": "pending"}.get(state, state))
        assert (item.tries, item.receipt) == (len(passed) > 1, {"ref": f"r-{SECOND}"} if state == "acked" else None)
    assert verdict.ok, verdict.faults
    with sqlite3.connect(folder / "db" / "c.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    return state


# A fault of a kind of call that the work makes only now and then needs few children, pwrite64 many.
MANY = ("pwrite64", "ENOSPC")
"""`test_a_disk_that_stays_full…` has this one at each call."""
LEAST = {"pwrite64": 40, "fdatasync": 3, "write": 3, "fsync": 6, "rename": 3}


@pytest.mark.parametrize(
    ("call", "fault"), [(call, fault) for call in LEAST for fault in ("EIO", "ENOSPC") if (call, fault) != MANY]
)
def test_one_failing_call_loses_and_doubles_nothing(tmp_path, call, fault):
    """The fault is told in our words and the work tried again: everything is there, once, or reported as refused."""
    met = sweep(tmp_path, call, fault)
    assert len(met) >= LEAST[call]
    for folder in met:
        assert judge(folder) == "acked", said(folder)
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("call", LEAST)
def test_death_at_any_call_leaves_all_or_nothing(tmp_path, call):
    """kill -9 at each call: a whole step or none of it, and at most one more than was reported."""
    met = sweep(tmp_path, call, "KILL")
    assert len(met) >= LEAST[call]
    for folder in met:
        state = judge(folder)
        reported = [line for line in said(folder) if line.startswith("committed")]
        found = STATES.index(state) + 1 if state else 0
        assert found - len(reported) in (0, 1), said(folder)
    shutil.rmtree(tmp_path)


def test_a_disk_that_stays_full_refuses_with_one_sentence(tmp_path):
    """From each write on no room: what was committed before stays, the rest is refused with DiskFull, exit code 75."""
    refusals = set()
    for n, folder in enumerate(sweep(tmp_path, "pwrite64", "FULL")):
        judge(folder)
        refusals.update(line for line in said(folder) if line.startswith("refused"))
        if n % 9 == 0:  # and once there is room again, the work goes on
            take_all_the_way(folder, SECOND)
            assert judge(folder) == "acked"
    # Opening fails in SQLite's shared memory; with room on the disk that is no more than "disk I/O error".
    said_of = {(line.split()[1], line.split()[2]) for line in refusals}
    assert said_of == {("DiskFull", "75"), ("StoreError", "1")}
    assert all("no room" in line or "disk I/O error" in line for line in refusals)
    shutil.rmtree(tmp_path)


def test_the_assertion_sees_a_promise_made_before_the_commit(tmp_path):
    """The mutant says `committed` inside the transaction: the same sweep finds a lost alert."""
    met = sweep(tmp_path, "fdatasync", "KILL", "mutant")
    with pytest.raises(AssertionError, match="reported as committed and lost"):
        judge_all(met)


def judge_all(folders: list[Path]) -> list[str | None]:
    return [judge(folder) for folder in folders]
