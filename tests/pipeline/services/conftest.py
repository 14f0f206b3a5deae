"""A site that reports to one centre."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from soc.config import National
from soc.model.clock import FixedClock
from soc.pipeline import Services
from tests.pipeline.world import NOW_NS, settings_of

CENTRE = National("centre", "https://127.0.0.1:9", mapping="national.reference")


@pytest.fixture
def services(tmp_path: Path) -> Services:
    """A site that reports to one centre."""
    return Services.open(replace(settings_of(tmp_path), national=(CENTRE,)), FixedClock(NOW_NS))
