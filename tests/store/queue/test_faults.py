"""Every system call the log relies on fails once: nothing acknowledged is lost, nothing is doubled."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from soc.model.clock import SystemClock
from soc.store.queue import DiskLog, LogReader
from tests import programs
from tests.store.queue.append_program import GROUPS

TOP = Path(__file__).parents[3]
PROGRAM = [sys.executable, "-m", "tests.store.queue.append_program"]
FAULTS = [
    *[("fdatasync", error, when) for error in ("EIO", "ENOSPC") for when in (1, 2, 5)],
    *[("pwritev,pwritev2", error, when) for error in ("EIO", "ENOSPC") for when in (1, 2, 3, 6)],
    ("pwrite64", "EIO", 1),  # of the mark
    *[("fsync", "EIO", when) for when in (1, 2, 3, 4, 5)],
    *[("ftruncate", "EIO", when) for when in (1, 2)],
]


def run(root, *injections):
    """The program under strace with these faults; (acknowledged numbers, what it said about refusals)."""
    strace = programs.program("strace")
    calls = ",".join(spec.partition(":")[0] for spec in injections)
    faults = [option for spec in injections for option in ("-e", f"inject={spec}")]
    done = subprocess.run(
        [strace, "-f", "-qq", "-o", os.devnull, "-e", f"trace={calls}", *faults, *PROGRAM, str(root)],
        capture_output=True, text=True, cwd=TOP, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [int(line) for line in done.stdout.split()], done.stderr


def stored(root):
    """The groups in the log, by a reader without the writer, and again after the next writer opened it."""
    with DiskLog(root, "raw", "n1", SystemClock()):
        pass
    found = [b.data.decode() for b in LogReader(root, "raw").read({}, None, 1000)]
    return found


def expected(numbers):
    return [f"{number}.{i}" * 20 for number in numbers for i in range(2)]


@pytest.mark.parametrize(("call", "error", "when"), FAULTS, ids=str)
def test_one_failing_call_loses_and_doubles_nothing(tmp_path, call, error, when):
    """The caller learns of the fault, tries again, and every group is in the log exactly once, in order."""
    acknowledged, said = run(tmp_path, f"{call}:error={error}:when={when}")
    assert "refused" in said
    assert acknowledged == list(range(GROUPS))
    assert stored(tmp_path) == expected(acknowledged)


@pytest.mark.parametrize("second", ["ftruncate:error=EIO:when=2", "fsync:error=EIO:when=5"])
def test_a_roll_back_that_fails_too_is_made_good_first(tmp_path, second):
    """When even the roll-back fails, nothing is written until it has succeeded."""
    acknowledged, said = run(tmp_path, "fdatasync:error=EIO:when=1", second)
    assert said.count("refused") >= 1
    assert acknowledged == list(range(GROUPS))
    assert stored(tmp_path) == expected(acknowledged)


def test_a_disk_that_stays_broken_acknowledges_nothing(tmp_path):
    """When no fdatasync succeeds, no group is acknowledged and none is seen."""
    acknowledged, _ = run(tmp_path, "fdatasync:error=EIO:when=1+")
    assert acknowledged == []
    assert LogReader(tmp_path, "raw").read({}, None, 10) == []
