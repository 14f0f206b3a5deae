"""What stands between the queue and the store, and behind it: `soc work`, `correlate`, `compact`, `lookback`."""

from __future__ import annotations

import contextlib
import logging
import os

from soc import pipeline
from soc.collectors import memory
from soc.config import Settings
from soc.errors import SocError, TryAgain
from soc.pipeline import places
from soc.processes.process import Process, keep_stepping, running, say_once
from soc.store.queue import trim

COMPACT_S = 15.0
IDLE_S = 0.5
"""Between two looks for something to look back for."""
_log = logging.getLogger("soc.up")


def work(settings: Settings, index: int = 0) -> None:
    """Parse, enrich, store and match until stopped."""
    with running(settings, f"work{index}") as me:
        worker = pipeline.Worker(settings, me.clock, index)
        for refused in worker.detections.refused:
            _log.warning("%s:%s: %s is refused: %s", refused.path, refused.line, refused.id, refused.reason)
        me.ready(rules=worker.detections.loaded, refused=len(worker.detections.refused))
        keep_stepping(me, worker.step, lambda: worker.counts)
        worker.close()


def correlate(settings: Settings, index: int = 0) -> None:
    """Correlate and watch for silence until stopped; one of `[detections] correlators`.

    Raises ConfigError when there are not so many, TryAgain while processes of another number still run.
    """
    from soc.pipeline.sharing import opened

    with running(settings, places.correlate_node(index)) as me, contextlib.ExitStack() as stack:
        correlating = opened(settings, me.clock, index, stack)
        me.ready()
        keep_stepping(me, correlating.step, correlating.told)
        correlating.close()


def compact(settings: Settings) -> None:
    """Seal and merge files, and let passed queue segments go, until stopped."""
    from soc.store.events import EventStore

    with running(settings, "compact") as me:
        fields = places.load_parsers(settings).fields
        store = EventStore(places.events(settings), me.clock, fields)
        me.ready()
        said = ""
        while not me.stop.is_set():
            try:
                # First what frees room: sealing needs some, and a full disk must not keep the queue from shrinking.
                trim(places.queue(settings), places.RAW, places.passed(store.cursors(), places.RAW))
                report = store.compact()
                me.tell_when_due({"sealed_rows": report.sealed_rows, "merged": report.segments_merged})
                said = ""
            except SocError as error:
                if error.exit_code != TryAgain.exit_code:
                    raise
                said = say_once(str(error), said)
            memory.give_back()
            me.stop.wait(COMPACT_S)
        store.close()


def lookback(settings: Settings) -> None:
    """Work off backtests and hunts until stopped, behind everything else that wants the processor."""
    from soc.pipeline.lookback.jobs import Jobs

    with running(settings, "lookback") as me:
        os.nice(10)
        jobs = Jobs(places.lookbacks(settings), me.clock)
        me.ready()
        while not me.stop.is_set():
            if any(jobs.is_open(id) for id in jobs.ids()):
                _look_back(me)
            me.tell_when_due({})
            me.stop.wait(IDLE_S)


def _look_back(me: Process) -> None:
    """Until nothing is open. Rules, parsers and store are loaded for it and let go after it."""
    from soc.pipeline.lookback.runner import Runner

    runner = Runner(me.settings, me.clock)
    said = ""
    try:
        busy = True
        while busy and not me.stop.is_set():
            try:
                busy, said = runner.step(me.stop), ""
            except TryAgain as error:
                said = say_once(str(error), said)
                me.stop.wait(IDLE_S)
            me.tell_when_due(runner.counts)
    finally:
        runner.close()
