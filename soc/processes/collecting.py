"""`soc collect`: the listeners of soc.toml, read again on SIGHUP; and how a running one is told to."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from soc.collectors import memory
from soc.collectors.collect import Collector
from soc.collectors.listeners import ListenerSpec
from soc.collectors.watermarks import Watermarks
from soc.config import Settings
from soc.errors import ConfigError, SocError, TryAgain
from soc.pipeline import places
from soc.pipeline.states import read_state, state_file
from soc.processes.listeners import check_products, say_ports, spec_of
from soc.processes.process import Process, on_reload, running

RELOAD_S = 10.0
RELOAD = "reload"
"""What the collector says of its last reload: `at_us`, `fault`, `hint`, `restart` (settings that wait for one)."""
_log = logging.getLogger("soc.up")


def collect(settings: Settings, read_again: Callable[[], Settings] | None = None) -> None:
    """Listen until stopped. Raises ConfigError when a port cannot be had, or a listener's product is none.

    On SIGHUP `read_again` gives the settings of now, and the listeners become those; no connection is dropped.
    """
    check_products(settings)
    with running(settings, "collect") as me:
        log = places.open_log(settings, places.RAW, "collect", me.clock, max_bytes=settings.queue_max_bytes)
        specs = [spec_of(settings, listen) for listen in settings.listen]
        memory.keep()
        memory.give_back()  # what reading the modules and the settings left
        marks = Watermarks(settings.queue_high, settings.queue_low)
        collector = Collector(specs, log, me.clock, counters_path=places.counters(settings), watermarks=marks)
        again = _Again(me, settings, read_again or (lambda: settings), collector.pressure.told)
        on_reload(again.asked.set)
        try:
            collector.run(me.stop, lambda ports: me.ready(ports=say_ports(settings, ports)), again)
        finally:
            log.close()


class _Again:
    """Reads the settings again when it is asked to, and says what came of it in the log and the state file."""

    def __init__(
        self, me: Process, settings: Settings, read: Callable[[], Settings], counts: Callable[[], dict[str, int]]
    ) -> None:
        self.asked = threading.Event()
        self._counts = counts
        self._me, self._began, self._next, self._read = me, settings, settings, read

    def wanted(self) -> list[ListenerSpec] | None:
        """The listeners of the file as it is now, when somebody asked; now and then the state is told."""
        self._me.tell_when_due(self._counts())
        if not self.asked.is_set():
            return None
        self.asked.clear()
        try:
            self._next = self._read()
            check_products(self._next)
        except SocError as error:
            self.refused(error)
            return None
        return [spec_of(self._next, listen) for listen in self._next.listen]

    def done(self, ports: dict[str, int]) -> None:
        """The listeners are those of the file."""
        waits = _waits_for_restart(self._began, self._next)
        _log.info("reloaded: %s", ", ".join(f"{name} {port}" for name, port in ports.items()) or "no listener")
        if waits:
            _log.warning("these hold from a restart on: %s", ", ".join(waits))
        self._tell("", "", waits)
        self._me.ready(ports=say_ports(self._next, ports))

    def refused(self, error: SocError) -> None:
        """The file is wrong, or cannot be had; what was in force stays in force."""
        _log.error("not reloaded, everything stays as it was: %s", error)
        self._tell(str(error), error.hint or "", [])
        self._me.ready()

    def _tell(self, fault: str, hint: str, restart: list[str]) -> None:
        at_us = self._me.clock.now_ns() // 1000
        self._me.facts[RELOAD] = {"at_us": at_us, "fault": fault, "hint": hint, "restart": restart}


def _waits_for_restart(began: Settings, now: Settings) -> list[str]:
    """Names of settings that differ and are no listener's."""
    before = {row.name: row.value for row in began.shown()}
    after = {row.name: row.value for row in now.shown()}
    names = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    return sorted(name for name in names if not name.startswith("listen."))


def reload(settings: Settings) -> dict[str, Any]:
    """Have the running collector read its settings again; what it says of that, with its ports.

    Raises TryAgain when none is running or it does not answer, ConfigError with the place when it refused the file.
    """
    before = read_state(state_file(settings, "collect")) or {}
    if before.get("state") != "running" or not _is_alive(before.get("pid", 0)):
        raise TryAgain("no collector is running here", hint="soc up starts it")
    was = before.get(RELOAD, {}).get("at_us", 0)
    os.kill(before["pid"], signal.SIGHUP)
    web = read_state(state_file(settings, "serve")) or {}
    if web.get("state") == "running" and _is_alive(web.get("pid", 0)):
        os.kill(web["pid"], signal.SIGHUP)  # it reads its certificate again
    deadline = time.monotonic() + RELOAD_S
    while time.monotonic() < deadline:
        state = read_state(state_file(settings, "collect")) or {}
        said = state.get(RELOAD, {})
        if said.get("at_us", 0) > was:
            if said["fault"]:
                raise ConfigError(f"not reloaded, everything stays as it was: {said['fault']}", hint=said["hint"])
            return {**said, "ports": state.get("ports", {})}
        time.sleep(0.05)
    raise TryAgain(f"the collector did not answer within {RELOAD_S:.0f} s", hint="see logs/collect.log in SOC_HOME")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return pid > 0
