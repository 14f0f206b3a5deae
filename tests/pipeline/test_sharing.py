"""Several `soc correlate` share the groups, in changing numbers, killed and started again: as one undisturbed."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from soc.errors import ConfigError, TryAgain
from soc.pipeline import places
from soc.pipeline.correlate import state_path
from soc.pipeline.sharing import Shard, opened
from tests.pipeline.test_correlate_kill import documents, home, program, receive, run_out, started, until, world

__all__ = ["home"]
CHANGING = "2,3,1"


def alike(one: dict[str, Any]) -> tuple[Any, ...]:
    """What may not differ: groups that were touched at the same time may be in another order."""
    snapshot = one["snapshot"]
    windows = {id: [version, sorted(groups), n] for id, (version, groups, n) in snapshot["windows"].items()}
    return one["findings"], {**snapshot, "windows": windows}, one["cursors"], one["counts"]


def test_any_number_and_a_kill_at_any_lasting_call_change_nothing(home: Path) -> None:
    """Findings, state, offsets and counts are those of one process that nobody disturbed."""
    [alone] = program(home, 0)
    points = sorted(random.Random(5).sample(range(1, 120), 10))
    undisturbed, *others = program(home, 0, *points, correlators=CHANGING)
    assert alike(undisturbed) == alike(alone)
    assert all(other["died"] for other in others)
    assert [other["point"] for other in others if alike(other) != alike(alone)] == []


def test_states_of_different_places_would_be_noticed(home: Path) -> None:
    """The mutant: what one process has read and the other not is not read any more, or twice."""
    [alone] = program(home, 0)
    [torn] = program(home, 0, correlators=CHANGING, mutant="torn")
    assert alike(torn) != alike(alone)


def test_real_processes_that_are_killed(tmp_path: Path) -> None:
    """Two commands under load, each killed once; in the end one takes everything over."""
    made = world(tmp_path / "home", 0)
    settings = made.settings
    chance = random.Random(time.time_ns())
    for seed in range(2):
        made.clock.set(time.time_ns())
        receive(made, 30, seed, seconds=0)
        made.work()
        processes = [started(settings, index, 2) for index in range(2)]
        until(lambda: documents(settings) > 0 and documents(settings, "correlate1") > 0)
        made.clock.set(time.time_ns())
        receive(made, 30, seed, seconds=0)
        made.work()
        time.sleep(chance.uniform(0.0, 1.0))
        for process in processes:
            process.kill()
            process.communicate(timeout=120)
    shared, undisturbed = run_out(settings, tmp_path)
    assert len(shared["findings"]) > 10
    assert alike(shared) == alike(undisturbed)


def test_two_numbers_never_run_at_once(tmp_path: Path) -> None:
    """Those of an earlier start must end; a number that there is not is a mistake."""
    made = world(tmp_path / "home", 2)
    two = replace(made.settings, correlators=2)
    with ExitStack() as stack:
        for index in range(2):
            opened(two, made.clock, index, stack).close()
        with pytest.raises(TryAgain, match="still run"), ExitStack() as other:
            opened(replace(two, correlators=3), made.clock, 0, other)
    with pytest.raises(ConfigError, match="correlators = 2"), ExitStack() as stack:
        opened(two, made.clock, 2, stack)


def test_the_log_is_kept_until_all_have_passed_it(tmp_path: Path) -> None:
    """What one of them has not said to have passed is owed."""
    made = world(tmp_path / "home", 3)
    two = replace(made.settings, correlators=2)
    with ExitStack() as stack:
        first, second = (opened(two, made.clock, index, stack) for index in range(2))
        for each in (first, second):
            assert places.correlated(two) == {}
            each._tell()
        before = places.correlated(two)
        receive(made, 2, seed=8)
        made.work()
        for each in (first, second):
            assert places.correlated(two) == before
            each.step()
            each.save()
            each._tell()
        assert places.correlated(two) == first.cursors != before
        for each in (first, second):
            each.close()
    assert [state_path(two, Shard(index, 2)).exists() for index in range(2)] == [True, True]
    assert not state_path(two, Shard()).exists()
