"""The targets of the coverage-led fuzzer, with Hypothesis' bytes: what holds for it holds in every run of the suite."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.targets import SEEDS, TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_every_seed_passes(name: str) -> None:
    """Also behind every first byte, which chooses path, coding or format."""
    for seed, first, second in itertools.product(SEEDS, range(10), range(5)):
        TARGETS[name](bytes([first, second]) + seed)


@pytest.mark.parametrize("name", TARGETS)
@given(st.integers(0, 9), st.integers(0, 4), st.binary(max_size=40), st.sampled_from(SEEDS), st.integers(0, 80))
def test_any_bytes_pass(name: str, first: int, second: int, data: bytes, seed: bytes, at: int) -> None:
    """Put into a seed anywhere."""
    TARGETS[name](bytes([first, second]) + seed[:at] + data + seed[at:])
