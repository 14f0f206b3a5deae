"""`soc up`: which processes a site needs, in which order, until Ctrl-C."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from soc.config import Settings
from soc.errors import TryAgain
from soc.pipeline import places
from soc.pipeline.states import STATE
from soc.processes.home import make_home, only_one
from soc.processes.supervisor import Supervisor

SENSE = "sense"
_log = logging.getLogger("soc.up")
Ready = Callable[[dict[str, Any], threading.Event], None]
"""Called once everything is up: what each process says of itself, and the event that says stop."""


def up(settings: Settings, *, simulate: bool = False, config: Path | None = None, ready: Ready | None = None) -> None:
    """Start everything, call `ready`, and watch until Ctrl-C, SIGTERM or a lost terminal; then stop in order.

    The processes read the same `config` file and serve the same socket as the caller.

    With `simulate`, `settings` are those of `simulation.prepare`: a receiver and the province are started too.
    Raises TryAgain when this home is running already, or when a process does not come up.
    """
    make_home(settings)
    with only_one(settings):
        for stale in settings.path("run").glob(f"*{STATE}"):
            stale.unlink(missing_ok=True)  # of a start that was killed, or of workers that are fewer now
        stop = threading.Event()
        supervisor = Supervisor(settings, commands(settings, simulate), config)
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: stop.set())
            # With a terminal it says that this is gone; a service has none, and is asked to read its settings again.
            on_terminal = _has_terminal()
            signal.signal(signal.SIGHUP, lambda *_: stop.set() if on_terminal else supervisor.reload())
        try:
            _start(supervisor, simulate, stop)
            if not stop.is_set():
                _watch(supervisor, stop, ready)
        finally:
            supervisor.stop()


def _has_terminal() -> bool:
    """Whether a terminal controls us."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def commands(settings: Settings, simulate: bool) -> list[tuple[str, tuple[str, ...]]]:
    """The processes of a site, in the order in which they stop: senders, listeners, workers, then those behind them."""
    workers = [(f"work{i}", ("work", "--index", str(i))) for i in range(settings.workers)]
    commands: list[tuple[str, tuple[str, ...]]] = [("simulate", ("simulate", "run"))] if simulate else []
    commands += [("collect", ("collect",))]
    commands += [("poll", ("poll",))] if settings.poll else []
    commands += [
        (places.sense_node(sense.name), (SENSE, sense.interface, "--name", sense.name)) for sense in settings.sense
    ]
    if settings.relay_url:  # a distant unit collects and hands on; the centre does the rest
        return [*commands, ("relay", ("relay", "run"))]
    commands += [("hub", ("relay", "hub"))] if settings.relay_host else []
    indexes = range(settings.correlators)
    commands += [*workers, *((places.correlate_node(i), ("correlate", "--index", str(i))) for i in indexes)]
    commands += [("compact", ("compact",))]
    commands += [("lookback", ("lookback",))]
    commands += [("serve", ("serve",))]
    return [*commands, ("receiver", ("national", "serve"))] if simulate else commands


def _start(supervisor: Supervisor, simulate: bool, stop: threading.Event) -> None:
    # A monitoring point whose interface is missing must not keep the rest from running: it is told and tried again.
    names = [child.name for child in supervisor.children if child.name != "simulate" and child.arguments[0] != SENSE]
    for child in supervisor.children:
        child.next_start = float("inf") if child.name == "simulate" else 0.0
    supervisor.watch()
    missing = supervisor.wait_ready(names, stop)
    if missing and not stop.is_set():
        name = missing[0]
        raise TryAgain(f"{name} did not start: {supervisor.last_words(name)}", hint=f"see logs/{name}.log in SOC_HOME")
    if simulate:
        supervisor.children[0].next_start = 0.0
        supervisor.watch()


def _watch(supervisor: Supervisor, stop: threading.Event, ready: Ready | None) -> None:
    def look() -> None:
        while not stop.wait(0.5):
            for name in supervisor.watch():
                _log.error("%s ended and is started again: %s", name, supervisor.last_words(name))

    watcher = threading.Thread(target=look, name="soc-watch")
    watcher.start()
    try:
        if ready is not None:
            ready({child.name: supervisor.state(child.name) for child in supervisor.children}, stop)
        while not stop.wait(1.0):
            pass
    except KeyboardInterrupt:
        pass
    finally:
        stop.set()
        watcher.join()
