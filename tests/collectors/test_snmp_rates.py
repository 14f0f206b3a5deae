"""What two looks at counters say: wraps, restarts, counters that were set back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc.collectors.snmp_rates import TICKS, Look, deltas, elapsed


def look(value: int, bits: int = 64, ticks: int = 0, at_s: float = 0.0, speed: int = 0) -> Look:
    """One counter of bytes."""
    return Look(ticks, at_s, {"in.bytes": value}, {"in.bytes": bits}, speed)


@pytest.mark.parametrize(
    ("before", "now", "bits", "speed", "rise"),
    [
        (100, 350, 64, 0, 250),
        (100, 100, 32, 0, 0),
        (2**32 - 10, 5, 32, 0, 15),  # wrapped once
        (2**32 - 10, 5, 32, 1000, 15),
        (3_000_000_000, 5, 32, 1_000_000, None),  # 1.3 GB in 60 s over 1 Mbit/s: set back
        (2**63, 5, 64, 0, None),  # 64 bits do not wrap in our lifetime
        (0, 10**9, 64, 1000, 10**9),  # a speed that lies takes nothing away from a counter that rose
    ],
)
def test_a_rise_is_told_or_left_out(before: int, now: int, bits: int, speed: int, rise: int | None) -> None:
    """RFC 2578 section 7.1.6; nothing is invented."""
    found = deltas(look(before, bits, speed=speed), look(now, bits, speed=speed), 60.0)
    assert found == ({} if rise is None else {"in.bytes": rise})


def test_counters_that_changed_their_kind_or_lost_continuity_say_nothing() -> None:
    """ifCounterDiscontinuityTime moved, or the agent began to answer with 64 bits."""
    assert deltas(look(1), replace(look(2), discontinuity=7), 1.0) == {}
    assert deltas(look(1, 32), look(2, 64), 1.0) == {}
    assert deltas(Look(0, 0, {}, {}), look(2), 1.0) == {}


@pytest.mark.parametrize(
    ("before", "now", "passed_s", "seconds"),
    [
        (1000, 7000, 60.0, 60.0),
        (TICKS - 3000, 3000, 60.5, 60.0),  # 497 days: it came round
        (500_000, 800, 60.0, None),  # started again 8 s ago
        (TICKS - 3000, 3000, 4000.0, None),
    ],
)
def test_the_agents_clock_says_whether_it_started_again(
    before: int, now: int, passed_s: float, seconds: float | None
) -> None:
    """Backwards is a wrap only when our own clock agrees."""
    assert elapsed(look(0, ticks=before), look(0, ticks=now, at_s=passed_s)) == seconds


@given(st.lists(st.integers(0, 2**31), min_size=1, max_size=20), st.integers(0, 2**32 - 1))
def test_rises_of_32_bits_add_up(rises: list[int], start: int) -> None:
    """However often it wraps, as long as each rise is less than the whole."""
    value, total = start, 0
    for rise in rises:
        after = (value + rise) % 2**32
        total += deltas(look(value, 32), look(after, 32), 60.0)["in.bytes"]
        value = after
    assert total == sum(rises)
