"""A whole and the changes after it: what was saved is read again, whatever call failed or was cut short."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from soc.errors import StoreError
from soc.store import journal
from soc.store.journal import Journal
from tests import programs
from tests.store.journal_program import SAVES

TOP = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-m", "tests.store.journal_program"]


def opened(path: Path) -> Journal:
    return Journal(path, "the state", "move it away")


def read(path: Path) -> list[bytes]:
    """What the next writer finds."""
    found = opened(path)
    payloads = found.read()
    found.close()
    return payloads


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A whole and two changes."""
    path = tmp_path / "x.state"
    state = opened(path)
    assert state.read() == []
    state.replace(b"whole")
    state.append(b"one")
    state.append(b"two")
    state.close()
    return path


def test_changes_come_behind_the_whole(saved: Path) -> None:
    """In the order in which they were saved, and the next writer goes on there."""
    state = opened(saved)
    assert state.read() == [b"whole", b"one", b"two"]
    state.append(b"three")
    assert read(saved) == [b"whole", b"one", b"two", b"three"]


def test_a_new_whole_takes_the_place_of_all(saved: Path) -> None:
    """By rename: there is never a file without a whole."""
    state = opened(saved)
    state.read()
    state.replace(b"again")
    state.append(b"more")
    assert read(saved) == [b"again", b"more"]


def test_changes_that_outgrow_the_whole_want_a_new_one(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading them would cost more than reading it."""
    state = opened(saved)
    assert state.wants_whole
    state.read()
    assert not state.wants_whole
    monkeypatch.setattr(journal, "LEAST_BYTES", 10)
    assert state.wants_whole


def test_a_torn_tail_is_cut_off(saved: Path) -> None:
    """Whatever part of the last append reached the disk; what is saved next stands in its place."""
    whole = saved.read_bytes()
    before = len(whole) - len(b"two") - 12
    for length in range(before, len(whole)):
        saved.write_bytes(whole[:length])
        state = opened(saved)
        assert state.read() == [b"whole", b"one"]
        state.append(b"II")
        state.close()
        assert read(saved) == [b"whole", b"one", b"II"]


@pytest.mark.parametrize("place", [0, 14, 20])
def test_damage_before_the_end_is_told(saved: Path, place: int) -> None:
    """A state with a hole in it is none; the error names the file and the way out."""
    data = bytearray(saved.read_bytes())
    data[place] ^= 1
    saved.write_bytes(data)
    with pytest.raises(StoreError, match=r"x\.state is damaged at byte") as caught:
        read(saved)
    assert caught.value.hint == "move it away"


def run(path: Path, *injections: str) -> tuple[list[int], str, int]:
    """The program under strace with these faults: numbers that were saved, what was refused, how it ended."""
    strace = programs.program("strace")
    calls = ",".join(spec.partition(":")[0] for spec in injections)
    faults = [option for spec in injections for option in ("-e", f"inject={spec}")]
    done = subprocess.run(
        [strace, "-f", "-qq", "-o", os.devnull, "-P", str(path), "-P", f"{path}.new", "-P", str(path.parent),
         "-e", f"trace={calls}", *faults, *PROGRAM, str(path)],
        capture_output=True, text=True, cwd=TOP, timeout=60, check=False,
    )  # fmt: skip
    numbers = [int(line) for line in done.stdout.split("\n")[1:-1]]
    return numbers, done.stderr, done.returncode


def last(path: Path) -> int:
    """The number that was saved last, by what is read."""
    return int(read(path)[-1].decode().split(":")[-1])


FAULTS = [
    *[("fdatasync", error, when) for error in ("EIO", "ENOSPC") for when in (1, 2)],
    *[("fsync", error, when) for error in ("EIO", "ENOSPC") for when in (1, 2, 3)],
    *[("write", error, when) for error in ("EIO", "ENOSPC") for when in (1, 2, 3)],
    ("rename", "EIO", 1), ("rename", "EIO", 2),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "when"), FAULTS, ids=str)
def test_one_failing_call_loses_nothing(tmp_path: Path, call: str, error: str, when: int) -> None:
    """The caller learns of it and saves again; then everything that was said to be saved is there."""
    numbers, said, code = run(tmp_path / "x.state", f"{call}:error={error}:when={when}")
    assert (code, numbers) == (0, list(range(SAVES)))
    assert "refused" in said
    assert last(tmp_path / "x.state") == SAVES - 1


@pytest.mark.parametrize(
    ("call", "when"), [("fdatasync", 2), ("fdatasync", 4), ("fsync", 3), ("fsync", 4), ("rename", 2), ("write", 4)]
)
def test_a_kill_at_any_call_loses_nothing_that_was_saved(tmp_path: Path, call: str, when: int) -> None:
    """The next writer finds the last number that was told, or the one that was on its way."""
    numbers, _, code = run(tmp_path / "x.state", f"{call}:signal=KILL:when={when}")
    assert code != 0
    assert last(tmp_path / "x.state") in (numbers[-1], numbers[-1] + 1)
    assert run(tmp_path / "x.state", "fsync:delay_enter=0")[0] == list(range(SAVES))
