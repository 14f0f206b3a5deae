"""After a store that was away for hours people want to know when all is there again (features J3)."""

from __future__ import annotations

import pytest

from soc.model.clock import FixedClock
from soc.pipeline.catch_up import SAMPLES, CatchUp


def _after(*waiting: int, every_s: float = 10.0) -> float | None:
    clock = FixedClock(10**18)
    catch_up = CatchUp(clock)
    for records in waiting:
        catch_up.look(records)
        clock.advance(every_s)
    return catch_up.seconds(waiting[-1])


def test_the_time_is_what_waits_by_how_it_shrinks() -> None:
    """2,000 fewer every ten seconds, 16,000 left."""
    assert _after(20_000, 18_000, 16_000) == 80.0


@pytest.mark.parametrize("waiting", [(20_000,), (20_000, 20_000), (20_000, 30_000), (5_000, 900), (0, 0)])
def test_nothing_is_said_that_is_not_known(waiting: tuple[int, ...]) -> None:
    """One look, a queue that grows or stands, and one that is as good as empty."""
    assert _after(*waiting) is None


def test_looks_that_follow_at_once_are_one() -> None:
    """A person who asks again and again makes no estimate out of a moment."""
    assert _after(20_000, 10_000, every_s=1.0) is None


def test_old_looks_are_forgotten() -> None:
    """It grew for an hour, then the store came back."""
    assert _after(*range(0, 400_000, 1000), *range(400_000, 300_000, -100_000 // SAMPLES)) is not None
