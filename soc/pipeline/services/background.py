"""A loop of the service that no failure ends."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from soc.errors import SocError

MOST_PAUSE_S = 10.0
"""What fails again and again is tried at least this often."""
_log = logging.getLogger("soc.serve")


def repeat(stop: threading.Event, name: str, pause_s: float, work: Callable[[], object]) -> None:
    """Run until stopped; a failure is said once and tried again, later each time, never the end of the thread."""
    said, failures = "", 0
    while not stop.is_set():
        busy: object = 0
        try:
            busy, said, failures = work(), "", 0
        except Exception as error:
            failures += 1
            if (text := f"{type(error).__name__}: {error}") != said:
                said = text
                _log.error("%s: %s", name, error, exc_info=None if isinstance(error, SocError) else error)
        if not (name == "findings" and busy):
            stop.wait(min(pause_s * 2 ** min(failures, 10), max(pause_s, MOST_PAUSE_S)))
