"""What every process says of itself, also when it fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from soc.processes import process
from tests.pipeline.world import settings_of


def state_of(home: Path, name: str) -> dict[str, Any]:
    """What a process said of itself."""
    return dict(orjson.loads((home / "run" / f"{name}.state.json").read_bytes()))


def test_any_failure_is_the_last_word(tmp_path: Path) -> None:
    """A process that ended with a traceback does not go on being 'running' in `soc status`."""

    def breaks() -> None:
        with process.running(settings_of(tmp_path), "work0") as me:
            me.ready()
            assert state_of(tmp_path, "work0")["state"] == "running"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        breaks()
    assert state_of(tmp_path, "work0")["state"] == "failed"


def test_a_process_says_what_it_holds_and_what_it_should_stay_below(tmp_path: Path) -> None:
    """In its state file, for `soc status`; workers share one budget whatever their number."""
    with process.running(settings_of(tmp_path), "work12") as me:
        me.ready()
        said = state_of(tmp_path, "work12")
    assert 20 << 20 < said["memory"] < 4 << 30
    assert said["memory_budget"] == process.BUDGETS_MIB["work"] << 20
