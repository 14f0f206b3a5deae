"""The signals of the test run stay its own."""

from __future__ import annotations

import signal

import pytest


@pytest.fixture(autouse=True)
def _own_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C belongs to the test run."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
