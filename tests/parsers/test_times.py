"""Stamps to µs UTC."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc.model.values import iso as shown
from soc.model.values import micros
from soc.parsers import times


def us(text: str) -> int:
    """µs of an ISO text."""
    return micros(dt.datetime.fromisoformat(text))


@pytest.mark.parametrize(
    ("stamp", "receipt", "expected"),
    [
        ("Dec 31 23:59:59", "2026-01-01T00:00:10+07:00", "2025-12-31T16:59:59"),
        ("Jan  1 00:00:05", "2025-12-31T23:59:50+07:00", "2025-12-31T17:00:05"),
        ("Nov 20 09:00:00", "2026-11-20T09:00:01+07:00", "2026-11-20T02:00:00"),
        ("Feb 29 09:00:00", "2026-03-01T09:00:01+07:00", "2024-02-29T02:00:00"),
    ],
)
def test_a_missing_year_comes_from_the_receipt(stamp: str, receipt: str, expected: str) -> None:
    """The latest year that does not put the event more than a day after its receipt."""
    at, basis = times.bsd(stamp, us(receipt))
    assert at is not None
    assert (shown(at)[:19], basis) == (expected, times.INFERRED)


def test_a_zone_that_is_written_is_believed() -> None:
    """Year and zone stand there: the device said it all."""
    assert times.bsd("Nov 20 2026 02:00:00 UTC", 0) == (us("2026-11-20T02:00:00Z"), times.DEVICE)
    assert times.iso("2026-11-20 02:00:00.123 UTC") == (us("2026-11-20T02:00:00.123Z"), times.DEVICE)


@pytest.mark.parametrize(
    "value", ["1795143598", "1795143598000", "1795143598000000", "1795143598000000000", 1795143598]
)
def test_an_epoch_is_told_by_its_size(value: object) -> None:
    """Seconds, ms, µs and ns give the same moment."""
    assert times.epoch(value) == (1_795_143_598_000_000, times.DEVICE)


@pytest.mark.parametrize("zone", ["+23:60", "-23:99", "+2399", "-2360", "+24:00"])
@pytest.mark.parametrize("stamp", ["Nov 20 09:00:00", "Nov 20 2026 09:00:00", "2026 Nov 20 09:00:00"])
def test_an_offset_of_a_day_is_none(stamp: str, zone: str) -> None:
    """A stranger's 23 hours and 99 minutes are no zone: they ended the reading of the whole frame."""
    assert times.bsd(f"{stamp} {zone}", 0)[0] is not None


@given(st.from_regex(times.BSD, fullmatch=True))
def test_whatever_looks_like_a_stamp_is_one_or_none(text: str) -> None:
    """Months of 99 days, hours of any number, zones of any size."""
    assert times.bsd(text, 0)[1] in (times.DEVICE, times.INFERRED, times.RECEIVED)


@given(st.text() | st.floats() | st.integers(), st.text())
def test_hostile_stamps_never_raise(value: object, text: str) -> None:
    """What is no stamp is None."""
    assert times.epoch(value)[1] in (times.DEVICE, times.RECEIVED)
    for form in ("iso", "auto", "epoch", "%d/%b/%Y:%H:%M:%S %z"):
        assert times.written(text, form)[1] in (times.DEVICE, times.INFERRED, times.RECEIVED)
    assert times.bsd(text, 0)[1] in (times.DEVICE, times.INFERRED, times.RECEIVED)


@pytest.mark.parametrize("form", ["iso", "utc", "auto", "epoch", "%Y-%m-%d"])
def test_what_is_no_text_is_an_epoch_or_no_stamp(form: str) -> None:
    """JSON may have a number, a list or the like where a definition expects a text: no other record suffers."""
    assert times.written(1_795_140_000, form) == (1_795_140_000_000_000, times.DEVICE)
    for value in (0, True, 1.5, -7, [1], {"a": 1}, 10**400, float("inf")):
        assert times.written(value, form) == (None, times.RECEIVED)
