"""Bars of text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from soc.console.chart import bar, bars


def test_a_bar_is_as_long_as_its_number_in_eighths() -> None:
    """Half of the most is half of the width; the most fills it; nothing is nothing."""
    assert [bar(n, 8, 4) for n in (0, 1, 4, 8)] == ["", "▌", "██", "████"]


@given(st.floats(0, 1e9), st.floats(0, 1e9), st.integers(1, 60))
def test_no_bar_is_too_long_and_what_is_there_is_seen(value: float, more: float, width: int) -> None:
    """However small the share is."""
    drawn = bar(value, value + more, width)
    assert len(drawn) <= width
    assert bool(drawn) == (value > 0)


def test_rows_line_up_and_fit() -> None:
    """Labels left, words right, nothing wider than the screen."""
    rows = [("2026-11-20", 3.0, "3 hits"), ("2026-11-21", 300.0, "300 hits")]
    drawn = list(bars(rows, 60))
    assert [line.index("█") if "█" in line else None for line in drawn] == [None, 12]
    assert {len(line) for line in drawn} == {60}
