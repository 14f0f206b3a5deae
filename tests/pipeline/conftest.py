"""Fixtures that tests of the joined rooms share."""

from __future__ import annotations

from pathlib import Path

import pytest

from soc.pipeline import places
from tests.pipeline.world import settings_of


@pytest.fixture
def content_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that start often read their content once; neither parsers nor rules remember anything."""
    parsers = places.load_parsers(settings_of(tmp_path))
    detections = places.load_detections(settings_of(tmp_path), parsers)
    monkeypatch.setattr(places, "load_parsers", lambda _: parsers)
    monkeypatch.setattr(places, "load_detections", lambda *_: detections)
