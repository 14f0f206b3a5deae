"""How long a receiver of datagrams waits for more."""

import pytest

from soc.collectors.datagrams import gathering_s
from soc.collectors.floods import BATCH


@pytest.mark.parametrize("n", [0, 1, 31])
def test_few_are_not_waited_for(n):
    """Where little comes it is taken soon."""
    assert gathering_s(0.04, n) == 0.004


@pytest.mark.parametrize("rate", [8_000, 12_000, 20_000, 40_000, 100_000, 1_000_000])
def test_it_waits_for_most_of_a_batch(rate):
    """Whatever the rate: a batch does not get full, unless it would within 16 ms, and none waits beyond 40 ms."""
    pause_s = 0.004
    for _ in range(10):
        pause_s = gathering_s(pause_s, int(rate * pause_s))
        assert 0.016 <= pause_s <= 0.04
    assert rate * pause_s < BATCH or pause_s == 0.016
    assert rate * pause_s > BATCH / 2 or pause_s == 0.04
