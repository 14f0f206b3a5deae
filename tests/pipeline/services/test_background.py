"""A loop that no failure ends."""

from __future__ import annotations

import threading

import pytest

from soc.errors import SocError
from soc.pipeline.services import background


def test_what_fails_again_and_again_is_said_once_and_asked_less_often(caplog: pytest.LogCaptureFixture) -> None:
    """A finding that cannot be taken in would fill the log with the same traceback four times a second."""
    waits: list[float] = []

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0.0)
            if len(waits) == 20:
                self.set()
            return self.is_set()

    def fails() -> None:
        raise KeyError("entity") if len(waits) < 10 else SocError("no")

    background.repeat(Stop(), "findings", 0.25, fails)
    assert waits[:3] == [0.5, 1.0, 2.0]
    assert max(waits) == background.MOST_PAUSE_S
    assert len(caplog.records) == 2
