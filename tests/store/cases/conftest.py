"""A case database in a temporary folder, its head in another."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest

from soc.model.clock import FixedClock
from soc.store.cases import Cases


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(dt.datetime(2026, 11, 20, 8, tzinfo=dt.UTC))


@pytest.fixture
def cases(tmp_path: Path, clock: FixedClock) -> Iterator[Cases]:
    opened = Cases(tmp_path / "db" / "cases.db", clock, head_path=tmp_path / "head" / "main.json")
    yield opened
    opened.close()
