"""Three texts into one: what either side changed comes in, what meets is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc.content.merge import merged

BASE = "a\nb\nc\nd\ne\n"
TEXTS = st.lists(st.sampled_from("abcd"), max_size=8).map(lambda letters: "".join(f"{x}\n" for x in letters))


@pytest.mark.parametrize(
    ("mine", "theirs", "both"),
    [
        ("A\nb\nc\nd\ne\n", "a\nb\nc\nd\nE\n", "A\nb\nc\nd\nE\n"),
        ("a\nb\nnew\nc\nd\ne\n", "a\nb\nc\nd\n", "a\nb\nnew\nc\nd\n"),
        ("a\nX\nc\nd\ne\n", "a\nX\nc\nd\nE\n", "a\nX\nc\nd\nE\n"),
        ("a\nX\nc\nd\ne\n", "a\nY\nc\nd\ne\n", None),
        ("a\nc\nd\ne\n", "a\nY\nc\nd\ne\n", None),
        ("a\nX\nc\nd\ne\n", "a\nb\nC\nd\ne\n", None),
        ("a\nb\nc\nd\ne\n1\n", "a\nb\nc\nd\ne\n2\n", None),
    ],
)  # fmt: skip
def test_changes_of_both_sides(mine: str, theirs: str, both: str | None) -> None:
    """Apart they come together; in the same or neighbouring lines they meet, unless they are the same."""
    assert merged(BASE, mine, theirs) == both


@given(TEXTS, TEXTS, TEXTS)
def test_a_side_that_changed_nothing_loses_nothing(base: str, one: str, other: str) -> None:
    """The other's text is the result; who is mine and who is theirs makes no difference."""
    assert merged(base, base, one) == one
    assert merged(base, one, base) == one
    assert merged(base, one, one) == one
    assert merged(base, one, other) == merged(base, other, one)
