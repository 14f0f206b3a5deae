"""What an earlier start left, and what the loss of a terminal means."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from soc.errors import TryAgain
from soc.processes import starting
from soc.processes.home import make_home
from tests.pipeline.world import settings_of


def test_states_of_an_earlier_start_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There was a second worker; now there is one, and `soc status` must not show two."""
    settings = settings_of(tmp_path)
    make_home(settings)
    (tmp_path / "run" / "work1.state.json").write_bytes(orjson.dumps({"name": "work1", "state": "running"}))

    def ends(*_: object) -> None:
        raise TryAgain("enough")

    monkeypatch.setattr(starting, "_start", ends)
    with pytest.raises(TryAgain, match="enough"):
        starting.up(settings)
    assert list((tmp_path / "run").glob("*.state.json")) == []


def test_without_a_terminal_a_hangup_is_a_wish(tmp_path: Path) -> None:
    """A service has no controlling terminal; for who has one, its loss is the end."""
    program = "from soc.processes import starting; print(starting._has_terminal())"
    alone = subprocess.run(
        [sys.executable, "-c", program], start_new_session=True, capture_output=True, text=True, check=False
    )
    assert alone.stdout == "False\n", alone.stderr
    master, slave = pty.openpty()
    inside = f"import os; os.setsid(); os.close(os.open(os.ttyname({slave}), os.O_RDWR)); {program}"
    shown = subprocess.run(
        [sys.executable, "-c", inside], pass_fds=[slave], capture_output=True, text=True, check=False
    )
    os.close(master)
    os.close(slave)
    assert shown.stdout == "True\n", shown.stderr
