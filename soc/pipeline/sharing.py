"""`opened`: a correlating process, once the state is shared out among as many of them as the settings say."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import ExitStack
from pathlib import Path

import orjson

from soc.config import Settings
from soc.detections.correlation.shard import Shard
from soc.detections.sharing import shared_out
from soc.errors import ConfigError, TryAgain
from soc.model.clock import Clock
from soc.pipeline import places
from soc.pipeline.correlate import MAX_FRAMES, Correlating, before_path, state_path
from soc.store import files
from soc.store.queue import LogReader

WAIT_S = 60.0
"""Whoever is first shares the state out; the others wait so long for it."""
_VERSION = 1


def opened(settings: Settings, clock: Clock, index: int, stack: ExitStack) -> Correlating:
    """Number `index` of `[detections] correlators`; the stack holds what keeps processes of another number away.

    Raises ConfigError when there are not so many, TryAgain while processes of another number still run.
    """
    if index >= settings.correlators:
        raise ConfigError(
            f"there is no correlator {index}: [detections] correlators = {settings.correlators}",
            hint="the first one has the number 0",
        )
    path = settings.path("run", "correlate.lock")
    files.make_folder(path.parent)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    stack.callback(os.close, fd)
    _settle(settings, clock, fd)
    return Correlating(settings, clock, Shard(index, settings.correlators))


def _settle(settings: Settings, clock: Clock, fd: int) -> None:
    """Hold the lock together with those of the same number, the state shared out among them."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if _locked(fd, fcntl.LOCK_EX):  # nobody runs
            share_out(settings, clock)
            fcntl.flock(fd, fcntl.LOCK_SH)
            return
        if _locked(fd, fcntl.LOCK_SH):
            if _number(settings) == settings.correlators:
                return
            fcntl.flock(fd, fcntl.LOCK_UN)
            raise TryAgain(
                f"processes of another number than [detections] correlators = {settings.correlators} still run",
                hint="those of an earlier start must end first",
            )
        time.sleep(0.1)  # somebody shares it out
    raise TryAgain("the state of the correlations is being shared out", hint="it is tried again")


def _locked(fd: int, how: int) -> bool:
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def share_out(settings: Settings, clock: Clock) -> None:
    """Bring the state to the number of processes that the settings say. Nothing may run meanwhile.

    The states of before are brought to the same place in the log. What says how many there are is changed when those
    of now are durable; a crash before that repeats it all.
    """
    of, now_of = _number(settings), settings.correlators
    if of == now_of:
        return
    before, now = _states(settings, of), _states(settings, now_of)
    for path in now:
        path.unlink(missing_ok=True)  # of an attempt that was cut off, or of long ago
    _share(settings, clock, of)
    files.replace(_number_path(settings), orjson.dumps({"version": _VERSION, "correlators": now_of}))
    for path in (*before, before_path(settings)):
        path.unlink(missing_ok=True)


def _states(settings: Settings, of: int) -> list[Path]:
    return [state_path(settings, Shard(index, of)) for index in range(of)]


def _number(settings: Settings) -> int:
    """How many processes share the state that is there."""
    way_out = f'write {{"version": {_VERSION}, "correlators": N}} with the number of the states beside it'
    found = files.read_versioned(_number_path(settings), _VERSION, "the number of correlators", way_out)
    return 1 if found is None else int(found["correlators"])


def _number_path(settings: Settings) -> Path:
    return settings.path("run", "correlators.json")


def _share(settings: Settings, clock: Clock, of: int) -> None:
    with ExitStack() as stack:
        before = [Correlating(settings, clock, Shard(index, of)) for index in range(of)]
        for each in before:
            stack.callback(each.close)
        _brought_together(settings, before)
        for each in before:
            each.save()
        states = [orjson.loads(orjson.dumps(each.handed_over())) for each in before]
        detections = before[0].detections
    counts = states[0]["counts"]
    findings = sum(state["counts"]["findings"] for state in states)
    correlators = shared_out([state["correlator"] for state in states], detections, settings.correlators)
    for index, correlator in enumerate(correlators):
        mine = {**counts, "findings": findings if index == 0 else 0}
        fresh = Correlating(settings, clock, Shard(index, settings.correlators))
        try:
            fresh.take_over({**states[0], "counts": mine, "correlator": correlator})
        finally:
            fresh.close()


def _brought_together(settings: Settings, shards: list[Correlating]) -> None:
    """All of them read up to the end of the log."""
    reader = LogReader(places.queue(settings), places.MATCHED)
    try:
        while blocks := reader.read(places.least([each.cursors for each in shards]), None, MAX_FRAMES):
            for each in shards:
                each.catch_up(blocks)
    finally:
        reader.close()
