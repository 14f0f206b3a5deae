"""Mappings whose values are made when they are asked for."""

from __future__ import annotations

from collections.abc import Iterable

from soc.model.lazy import LazyMapping


class Squares(LazyMapping[int]):
    """The squares of numbers that are spelt in digits; `0` has none."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def names(self) -> Iterable[str]:
        return ("3", "0", "2")

    def make(self, name: str) -> int | None:
        self.asked.append(name)
        return int(name) ** 2 if name.isdigit() and name != "0" else None


def test_only_what_is_asked_for_is_made_and_once() -> None:
    """A second look costs nothing; what has no value is remembered too."""
    squares = Squares()
    assert [squares.get("2"), squares["2"], squares.get("x"), squares.get("x", 7), "0" in squares] == [4, 4, None, 7, 0]
    assert squares.asked == ["2", "x", "0"]


def test_a_walk_makes_everything_in_order() -> None:
    """It looks like the dict it would be."""
    squares = Squares()
    assert (dict(squares), list(squares), len(squares)) == ({"3": 9, "2": 4}, ["3", "2"], 2)
    assert squares == {"2": 4, "3": 9}
    assert squares.asked == ["3", "0", "2"]
