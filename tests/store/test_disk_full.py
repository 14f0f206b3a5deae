"""The stores on a full disk: each refuses with one sentence and keeps what it had; with room again the work goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
# A mount namespace of its own: with a user namespace an ordinary user may mount in it as well.
NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What the program saw on a disk of 4 MiB."""
    folder = tmp_path_factory.mktemp("disk")
    command = [*NAMESPACE, sys.executable, "-m", "tests.store.full_disk_program", str(folder)]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert not any(folder.iterdir()), "the disk of the test is not its own"
    return json.loads(done.stdout)


@pytest.mark.parametrize("what", ["queue", "events", "sealing", "cases", "new queue", "new events", "new cases"])
def test_a_full_disk_is_one_sentence(seen, what):
    """DiskFull, exit code 75 (try again), and the file that found no room."""
    kind, exit_code, sentence = seen["full"][what]
    assert (kind, exit_code) == ("DiskFull", 75)
    assert "\n" not in sentence
    assert any(word in sentence.lower() for word in ("no space left", "no room", "disk is full"))


def test_with_room_again_the_same_work_is_done(seen):
    """Nothing has to be restarted or repaired."""
    assert set(seen["freed"].values()) == {None}


def test_what_was_refused_is_there_once_and_nothing_else_was_lost(seen):
    """One frame, one batch and one alert before, one of each after; the sealed file and the ledger hold."""
    assert (seen["frames"], seen["rows"], seen["alerts"]) == (2, 2100, ["a", "b"])
    assert (seen["faults"], seen["ledger"]) == (0, [True, 2])
