"""`Runner`: works off lookbacks, several in turn, with a share of one core."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence

import orjson

from soc.config import Settings
from soc.errors import EXIT_USAGE, SocError, TryAgain
from soc.model.clock import Clock
from soc.model.finding import Finding
from soc.model.lookback import FAILED, RUNNING
from soc.model.record import RawBlock
from soc.pipeline import places
from soc.pipeline.lookback.jobs import Jobs
from soc.pipeline.lookback.run import Run
from soc.store import files
from soc.store.events import EventStore

AT_ONCE = 4
"""So many take turns, slice by slice; a short hunt does not wait for the end of a long one."""
NODE = "lookback"
LONGEST_PAUSE_S = 30.0
_log = logging.getLogger("soc.lookback")


class Runner:
    """One a home. Raises TryAgain when another process has its place."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        lock = settings.path("run", "lookback.lock")
        files.make_folder(lock.parent)
        fd = files.take_lock(lock)
        if fd is None:
            raise TryAgain("another process works off the lookbacks")
        self._lock = fd
        self._jobs = Jobs(places.lookbacks(settings), clock)
        self._parsers = places.load_parsers(settings)
        self._store = EventStore(places.events(settings), clock, self._parsers.fields)
        self._findings = places.open_log(settings, places.FINDINGS, NODE, clock)
        self._runs: dict[str, Run] = {}
        self._over: set[str] = set()
        self.counts = {"jobs": 0, "slices": 0, "failed": 0}

    def step(self, stop: threading.Event | None = None) -> bool:
        """One slice of each that is open, and the pause that is owed for it; whether there was any."""
        self._take()
        for id, run in list(self._runs.items()):
            if stop is not None and stop.is_set():
                break
            began = time.process_time()
            self._step(id, run)
            if stop is not None:
                stop.wait(pause_s(time.process_time() - began, self._settings.lookback_share))
        return bool(self._runs)

    def _take(self) -> None:
        waiting = (id for id in self._jobs.ids() if id not in self._over and id not in self._runs)
        for id in waiting:
            if len(self._runs) >= AT_ONCE:
                return
            if not self._jobs.is_open(id):
                self._over.add(id)
                continue
            try:
                run = Run(self._settings, self._clock, self._parsers, self._store, self._jobs, id, self._tell)
                run.begin()
            except Exception as error:
                self._fail(id, error)
                continue
            self._runs[id] = run
            self.counts["jobs"] += 1

    def _step(self, id: str, run: Run) -> None:
        try:
            goes_on = run.step()
        except Exception as error:
            self._fail(id, error)
            return
        self.counts["slices"] += 1
        if not goes_on:
            self._end(id)

    def _end(self, id: str) -> None:
        self._runs.pop(id, None)
        self._over.add(id)

    def _fail(self, id: str, error: Exception) -> None:
        """What it found until its last durable point stays; what only lasts for a while is tried again."""
        self._runs.pop(id, None)
        if isinstance(error, SocError) and error.exit_code == TryAgain.exit_code:
            raise error
        _log.error("lookback %s: %s", id, error, exc_info=None if isinstance(error, SocError) else error)
        is_usage = isinstance(error, SocError) and error.exit_code == EXIT_USAGE
        why = str(error) if isinstance(error, SocError) else f"{type(error).__name__}: {error}"
        at_us = self._clock.now_ns() // 1000
        state = {**self._jobs.state(id), "state": FAILED, "error": why, "is_usage": is_usage, "at_us": at_us}
        self._jobs.save(id, state)
        self.counts["failed"] += 1
        self._end(id)

    def _tell(self, findings: Sequence[Finding]) -> None:
        records = [orjson.dumps(finding.to_document()) for finding in findings]
        now_ns = self._clock.now_ns()
        block = RawBlock.of(
            records, receipt_ns=now_ns, site=self._settings.site_id, listener=NODE, peer=NODE, format="finding"
        )
        self._findings.append([block])

    def close(self) -> None:
        """Save where each is, and let everything go."""
        for run in self._runs.values():
            run.save(RUNNING)
        self._store.close()
        self._findings.close()
        os.close(self._lock)


def pause_s(cpu_s: float, share: int) -> float:
    """How long to rest after so much work, so that it was `share` percent of a core."""
    return min(cpu_s * (100 - share) / share, LONGEST_PAUSE_S)
