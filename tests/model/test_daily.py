"""Times of the day in which something is allowed."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc.model.clock import VIETNAM
from soc.model.daily import Daily


def at(hour: int, minute: int = 0, second: int = 0, zone: ZoneInfo = VIETNAM) -> int:
    """That time of an ordinary day, ns since the epoch."""
    return int(dt.datetime(2026, 11, 20, hour, minute, second, tzinfo=zone).timestamp()) * 1_000_000_000


@pytest.mark.parametrize(
    ("spans", "hour", "minute", "is_open"),
    [
        ((), 12, 0, True),
        (("22:00-05:00",), 21, 59, False),
        (("22:00-05:00",), 22, 0, True),
        (("22:00-05:00",), 0, 0, True),
        (("22:00-05:00",), 4, 59, True),
        (("22:00-05:00",), 5, 0, False),
        (("12:00-13:30", "22:00-24:00"), 13, 29, True),
        (("12:00-13:30", "22:00-24:00"), 23, 59, True),
        (("12:00-13:30", "22:00-24:00"), 0, 0, False),
        (("00:00-24:00",), 0, 0, True),
        (("00:00-24:00",), 23, 59, True),
    ],
)
def test_spans_are_open_from_their_begin_to_their_end(
    spans: tuple[str, ...], hour: int, minute: int, is_open: bool
) -> None:
    """Vietnam's clock by default, over midnight too."""
    assert Daily(spans).is_open(at(hour, minute)) is is_open


def test_the_zone_is_whose_clock_counts() -> None:
    """22:00 in Hanoi is 15:00 UTC."""
    assert Daily(["22:00-05:00"]).is_open(at(15, zone=ZoneInfo("UTC")))
    assert not Daily(["22:00-05:00"], ZoneInfo("UTC")).is_open(at(15, zone=ZoneInfo("UTC")))


@given(st.integers(0, 86399), st.integers(0, 1439), st.integers(1, 1439))
def test_what_is_waited_for_is_the_next_begin(second: int, begin: int, length: int) -> None:
    """Closed one second before, open then."""
    end = (begin + length) % 1440
    daily = Daily([f"{begin // 60:02}:{begin % 60:02}-{end // 60:02}:{end % 60:02}"])
    now = at(0) + second * 1_000_000_000
    wait = daily.next_s(now)
    assert (wait == 0) == daily.is_open(now)
    if wait:
        assert 0 < wait <= 86400
        assert daily.is_open(now + int(wait) * 1_000_000_000)
        assert not daily.is_open(now + (int(wait) - 1) * 1_000_000_000)


@pytest.mark.parametrize("span", ["", "22-5", "22:00", "24:00-05:00", "22:60-05:00", "22:00-24:01", "05:00-05:00"])
def test_what_is_no_span_is_refused(span: str) -> None:
    """With an example of one."""
    with pytest.raises(ValueError, match="such as"):
        Daily([span])
