"""What is read again while a process runs, definitions and the registry: a change is noticed within seconds, and one
that is broken is refused as a whole."""

from __future__ import annotations

import logging
from contextlib import suppress

from soc.config import Settings
from soc.detections.load import DetectionSet
from soc.errors import SocError
from soc.model.clock import Clock
from soc.parsers import ParserSet
from soc.pipeline import places
from soc.registry import Registry

LOOK_NS = 2_000_000_000
_log, _work = logging.getLogger("soc.rules"), logging.getLogger("soc.work")


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


class Systems:
    """The registry of a process; `again` reads it when its files changed."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._stamp_read = self._stamp()
        self._due_ns = 0
        self.registry: Registry = places.load_registry(settings)

    def again(self) -> bool:
        """Whether it was time to look; a registry that is broken is said, and that of before stays."""
        now = self._clock.monotonic_ns()
        if now < self._due_ns:
            return False
        self._due_ns = now + LOOK_NS
        stamp = self._stamp()
        if stamp != self._stamp_read:
            self._stamp_read = stamp  # a broken file is said once, and read again when it changes
            try:
                self.registry = places.load_registry(self._settings)
            except (SocError, OSError) as error:
                _work.error("the registry of before stays in use: %s", error)
        return True

    def _stamp(self) -> tuple[tuple[str, int], ...]:
        """Names and times of the registry's files."""
        found = []
        for origin in places.registry_files(self._settings):
            for path in sorted(origin.rglob("*")) if origin.is_dir() else [origin]:
                with suppress(FileNotFoundError):  # a file on its way to its name is gone between the two looks
                    if path.is_file():
                        found.append((str(path), path.stat().st_mtime_ns))
        return tuple(found)
