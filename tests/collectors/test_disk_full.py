"""A disk that runs full: streams are held back, datagrams counted, one sentence said; with room again it goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
# A mount namespace of its own: with a user namespace an ordinary user may mount in it as well.
NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]


@pytest.fixture(scope="module", params=["tmpfs", "limit"])
def seen(request, tmp_path_factory):
    """What one run saw, on a disk of 6 MiB and with a bounded file."""
    folder = tmp_path_factory.mktemp(request.param)
    command = [sys.executable, "-m", "tests.collectors.full_disk_program", str(folder), request.param]
    prefix = NAMESPACE if request.param == "tmpfs" else []
    done = subprocess.run([*prefix, *command], cwd=TOP, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    assert (request.param == "limit") == any(folder.iterdir()), "the disk of the test is not its own"
    return {**json.loads(done.stdout), "mode": request.param}


def test_relp_answers_nothing_while_the_disk_is_full(tmp_path):
    """rsyslogd and a client of ours get no answer before there is room again; then everything is there, once, in
    order, for nobody had a reason to send it again."""
    folder, work = tmp_path / "disk", tmp_path / "work"
    folder.mkdir()
    work.mkdir()
    command = [sys.executable, "-m", "tests.collectors.full_disk_relp_program", str(folder), str(work)]
    done = subprocess.run([*NAMESPACE, *command], cwd=TOP, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    relp = json.loads(done.stdout)
    assert relp["is_full"]
    assert (relp["early"], relp["answer"]) == ("", "2 rsp 6 200 OK\n")
    # librelp sends 128 ahead; what more could wait would be ours to lose.
    assert 0 < relp["held"][0] == relp["held"][1] <= 129
    assert relp["goes_on"]
    assert relp["balances"]
    assert (relp["is_whole"], relp["own"], relp["dropped"]) == (True, 1, 0)


def test_one_clear_sentence_is_said(seen):
    """The log, what is missing, nothing else; once, not with every try."""
    assert seen["is_full"]
    why = "No space left on device" if seen["mode"] == "tmpfs" else "File too large"
    assert seen["fault"].startswith("cannot write the log ")
    assert seen["fault"].endswith(why)
    assert "\n" not in seen["fault"]
    first = [line for line in seen["errors"] if line.startswith("the queue takes nothing")]
    assert set(first) == {f"the queue takes nothing: {seen['fault']}"}
    # Full again after each trim says it again; never with each of the 20 tries a second.
    assert len(first) < 150


def test_streams_are_held_back_and_lose_nothing(seen):
    """TCP is not read while the disk is full; afterwards every line is there, once and in order."""
    assert seen["is_held_back"]
    assert seen["goes_on"]
    assert seen["tcp_is_whole"]
    assert seen["tcp_dropped"] == 0


def test_datagrams_that_find_no_room_are_counted(seen):
    """Each one that was sent is stored or counted as dropped."""
    assert seen["drops_counted"]
    assert seen["sent"] == seen["received"] == seen["queued"] + seen["dropped"]
    assert seen["stored"] == seen["queued"]
    assert seen["is_in_order_once"]


def test_the_accounts_balance_during_and_after(seen):
    """While full, what waits in memory is the only difference, and bounded; afterwards there is none, and no fault."""
    assert seen["balances_while_full"]
    assert seen["balances"]
    assert seen["fault_after"] == ""
