"""Definitions that are read again while a process runs: noticed within seconds, and refused as a whole when broken."""

from __future__ import annotations

import logging
from contextlib import suppress

from soc.config import Settings
from soc.detections.load import DetectionSet
from soc.errors import SocError
from soc.model.clock import Clock
from soc.parsers import ParserSet
from soc.pipeline import places

LOOK_NS = 2_000_000_000
_log = logging.getLogger("soc.rules")


class Definitions:
    """The definitions of a process. `again` gives new ones when the service announced that something changed."""

    def __init__(self, settings: Settings, parsers: ParserSet, clock: Clock) -> None:
        self._settings, self._parsers, self._clock = settings, parsers, clock
        self._announced = self._look()
        self._due_ns = clock.monotonic_ns() + LOOK_NS
        self.loaded = places.load_detections(settings, parsers)

    def again(self) -> DetectionSet | None:
        """The definitions as they are now, None when nothing was announced; broken ones are said, and the old stay."""
        now = self._clock.monotonic_ns()
        if now < self._due_ns:
            return None
        self._due_ns = now + LOOK_NS
        announced = self._look()
        if announced == self._announced:
            return None
        self._announced = announced  # what is broken is said once, and read again when it is announced again
        try:
            self.loaded = places.load_detections(self._settings, self._parsers)
        except (SocError, OSError) as error:
            _log.error("the definitions of before stay in use: %s", error)
            return None
        _log.info("definitions read again: %s loaded, %s refused", self.loaded.loaded, len(self.loaded.refused))
        return self.loaded

    def _look(self) -> bytes:
        with suppress(OSError):
            return places.rules_announced(self._settings).read_bytes()
        return b""
