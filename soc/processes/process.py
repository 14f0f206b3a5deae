"""What every process is: its folders, its signals, its state file, and steps until it is told to stop."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from soc.collectors import memory
from soc.config import Settings
from soc.errors import SocError, TryAgain
from soc.model.clock import Clock, SystemClock
from soc.pipeline.states import state_file
from soc.processes.home import make_home

STEP_S = 0.1
"""Pause of an idle worker; the collector commits every 50 ms."""
STOP_S = 20.0
"""A process and its threads end within these, or are ended."""
STATE_S = 2.0
EASE_S = 60.0
BUDGETS_MIB = {"collect": 150, "work": 400, "correlate": 400, "compact": 400, "lookback": 500, "serve": 500}
"""Resident memory that a process stays below with 3,700 rules at 10,000 events a second; `soc status` shows both."""
SUPERVISED = "SOC_SUPERVISED"
_log = logging.getLogger("soc.up")


@dataclass
class Process:
    """What a running process says of itself in `run/<name>.state.json`."""

    settings: Settings
    name: str
    clock: Clock
    stop: threading.Event = field(default_factory=threading.Event)
    facts: dict[str, Any] = field(default_factory=dict)
    _told_at: float = 0.0
    _eased_at: float = float("-inf")

    def ready(self, **facts: Any) -> None:
        """It does its work now."""
        self.facts |= facts
        self._write("running", {})

    def tell_when_due(self, counts: Mapping[str, Any]) -> None:
        """Write the counts, every `STATE_S` seconds."""
        if time.monotonic() - self._told_at >= STATE_S:
            self._write("running", counts)

    def ease(self) -> None:
        """Give free memory back, every `EASE_S` seconds: of a process that read its rules it is a third."""
        if time.monotonic() - self._eased_at >= EASE_S:
            self._eased_at = time.monotonic()
            memory.give_back()

    def _write(self, state: str, counts: Mapping[str, Any]) -> None:
        self._told_at = time.monotonic()
        now_us = self.clock.now_ns() // 1000
        document = {"name": self.name, "pid": os.getpid(), "state": state, "at_us": now_us, "counts": dict(counts)}
        document |= {
            "memory": memory.resident(),
            "memory_budget": BUDGETS_MIB.get(self.name.rstrip("0123456789"), 0) << 20,
        }
        path = state_file(self.settings, self.name)
        fresh = path.with_suffix(".new")
        with contextlib.suppress(OSError):  # a full disk must not stop the work that frees it
            fresh.write_bytes(orjson.dumps({**document, **self.facts}))
            fresh.replace(path)

    def ended(self, state: str) -> None:
        """The last word."""
        self._write(state, {})


@contextlib.contextmanager
def running(settings: Settings, name: str) -> Iterator[Process]:
    """Folders, signals and the state file around a process's work."""
    make_home(settings)
    me = Process(settings, name, SystemClock())
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: me.stop.set())
    if os.environ.get(SUPERVISED):
        threading.Thread(target=_until_orphaned, args=(me.stop,), daemon=True).start()
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        yield me
    except BaseException:
        me.ended("failed")
        raise
    me.ended("stopped")


def on_reload(asked: Callable[[], None]) -> None:
    """Call it at each SIGHUP, also for one that came while this process was still starting (`reload_later`)."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGHUP, lambda *_: asked())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


@contextlib.contextmanager
def reload_later() -> Iterator[None]:
    """A process that is started in here gets a SIGHUP when it knows what to do with it; before, it would end."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _until_orphaned(stop: threading.Event) -> None:
    """Standard input is a pipe that only `soc up` holds: its end means that nobody watches any more."""
    with contextlib.suppress(OSError):
        while os.read(0, 1):  # not sys.stdin: its lock would still be held when the process ends
            pass
    stop.set()


def keep_stepping(me: Process, step: Callable[[], int], counts: Callable[[], Mapping[str, Any]]) -> None:
    """Call a step until stopped; a store that takes nothing at the moment is said once and asked again."""
    said = ""
    while not me.stop.is_set():
        began = time.monotonic()
        try:
            busy, said = step(), ""
        except SocError as error:
            if error.exit_code != TryAgain.exit_code:
                raise
            busy, said = 0, say_once(str(error), said)
        me.tell_when_due(counts())
        me.ease()
        # Small steps are gathered: every append is one fdatasync, whatever it holds.
        me.stop.wait(max(STEP_S - (time.monotonic() - began), 0.0) if busy < 64 else 0.0)


def say_once(text: str, said: str) -> str:
    """Log a text that is not what was said last; the text, to be handed in the next time."""
    if text != said:
        _log.error("%s", text)
    return text
