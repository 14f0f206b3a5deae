"""Starts the processes, starts again what died, and stops them in the order of the flow."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soc.config import Settings
from soc.pipeline.states import read_state, state_file
from soc.processes.process import STOP_S, SUPERVISED, reload_later

READY_S = 120.0
GIVE_UP = 3
STEADY_S = 60.0
"""Who ran so long before it died is started again at once."""
FRUGAL = {"MALLOC_ARENA_MAX": "2", "ARROW_DEFAULT_MEMORY_POOL": "jemalloc"}
"""For the processes it starts, unless somebody set them: what was used is given back, and threads share their heaps.
Measured on `soc compact`: 514 MiB at most, 336 afterwards without, 398 and 199 with."""
_log = logging.getLogger("soc.up")


@dataclass
class _Child:
    name: str
    arguments: tuple[str, ...]
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    next_start: float = 0.0
    began: float = 0.0


class Supervisor:
    """Starts the processes, starts again what died, and stops them in the order of the flow."""

    def __init__(
        self, settings: Settings, names: Sequence[tuple[str, tuple[str, ...]]], config: Path | None = None
    ) -> None:
        self.settings = settings
        self.environment = {"SOC_HOME": str(settings.home), "SOC_SOCKET": str(settings.socket)}
        self.environment |= {"SOC_CONFIG": str(config.absolute())} if config else {}
        self.children = [_Child(name, arguments) for name, arguments in names]

    def start(self, child: _Child) -> None:
        """Start one; its words go to `logs/<name>.log`."""
        child.began = time.monotonic()
        state_file(self.settings, child.name).unlink(missing_ok=True)
        environment = {**FRUGAL, **os.environ, SUPERVISED: "1", "PYTHONUNBUFFERED": "1", **self.environment}
        with self.settings.path("logs", f"{child.name}.log").open("ab") as log, reload_later():
            child.process = subprocess.Popen(
                (sys.executable, "-m", "soc", *child.arguments),
                stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, start_new_session=True,
            )  # fmt: skip

    def watch(self) -> list[str]:
        """Start again what died, slower each time; names of those that died since the last look."""
        died = []
        for child in self.children:
            if child.process is not None and child.process.poll() is not None:
                died.append(child.name)
                self._died(child)
            elif child.process is None and time.monotonic() >= child.next_start:
                try:
                    self.start(child)
                except OSError as error:  # no room for its log, no process left: that passes, watching must not end
                    _log.error("%s could not be started: %s", child.name, error)
                    self._died(child)
        return died

    def reload(self) -> None:
        """Have who can do it read the settings, or its certificate, again."""
        for child in self.children:
            if child.name in ("collect", "serve") and child.process is not None:
                child.process.send_signal(signal.SIGHUP)

    def _died(self, child: _Child) -> None:
        if child.process is not None and child.process.stdin is not None:
            child.process.stdin.close()
        child.process = None
        child.restarts = child.restarts + 1 if time.monotonic() - child.began < STEADY_S else 1
        child.next_start = time.monotonic() + min(0.5 * 2 ** min(child.restarts, 6), 30.0)

    def stop(self) -> None:
        """Tell them to stop one after another: first who receives, last who serves."""
        for child in self.children:
            if child.process is None:
                continue
            child.process.terminate()
            try:
                child.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                _log.error("%s did not stop within %s s and was killed", child.name, STOP_S)
                child.process.kill()
                child.process.wait()
            if child.process.stdin is not None:
                child.process.stdin.close()

    def state(self, name: str) -> dict[str, Any] | None:
        """What the process says of itself, None before it does."""
        return read_state(state_file(self.settings, name))

    def wait_ready(self, names: Sequence[str], stop: threading.Event) -> list[str]:
        """Wait until these run; the names of those that do not after `READY_S` seconds."""
        deadline = time.monotonic() + READY_S
        waiting = list(names)
        while waiting and time.monotonic() < deadline and not stop.wait(0.1):
            self.watch()
            waiting = [name for name in waiting if (self.state(name) or {}).get("state") != "running"]
            failed = [child.name for child in self.children if child.restarts >= GIVE_UP and child.name in waiting]
            if failed:
                return failed
        return waiting

    def last_words(self, name: str) -> str:
        """The last line of its log."""
        try:
            lines = self.settings.path("logs", f"{name}.log").read_text("utf-8", "replace").strip().splitlines()
        except OSError:
            return ""
        return next((line for line in reversed(lines) if line.startswith("soc: ")), lines[-1] if lines else "")
