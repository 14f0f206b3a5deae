"""The simulated province, its score, and the reference national receiver."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from soc.config import Settings
from soc.errors import TryAgain
from soc.pipeline.states import read_state, state_file
from soc.processes.process import STATE_S, running


def prepare_simulation(home: Path, *, seed: int, progress: Callable[[int, int, int], None]) -> Settings:
    """Make or find a simulated site in `home`: settings, registry, certificates, months of history.

    `progress` gets days done, days in all and events stored while history is written.
    """
    from soc.pipeline import simulation

    return simulation.prepare(home, seed=seed, progress=progress)


def simulate(settings: Settings, *, rate: float | None = None) -> None:
    """Send the province's packets to the listeners of the running collector, until stopped."""
    from soc.pipeline import simulation

    with running(settings, "simulate") as me:
        ports = _ports(settings)
        sender = simulation.sender(settings, me.clock, ports, rate=rate)
        me.ready(ports=ports)
        thread = threading.Thread(target=sender.run, args=(me.stop,))
        thread.start()
        while thread.is_alive():
            me.tell_when_due(sender.counters())
            thread.join(STATE_S)


def _ports(settings: Settings) -> dict[str, int]:
    ports = (read_state(state_file(settings, "collect")) or {}).get("ports")
    if ports is None:
        raise TryAgain("no collector is running here", hint="soc up starts it")
    return dict(ports)


def score(settings: Settings, alerts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What was raised against what the simulator did; the only reader of the truth."""
    from soc.pipeline import simulation

    return simulation.score(settings, alerts)


def receiver(settings: Settings, *, host: str = "127.0.0.1", port: int | None = None, drop_replies: int = 0) -> None:
    """The reference national receiver, until stopped. `port` None: the port of the first [national.<name>] url."""
    from soc.connectors.national.receiver import Receiver

    with running(settings, "receiver") as me:
        wanted = port if port is not None else _port_of(settings)
        made = Receiver(settings.path("national"), host=host, port=wanted, clock=me.clock, drop_replies=drop_replies)
        me.ready(port=made.start())
        while not me.stop.wait(STATE_S):
            me.tell_when_due({})
        made.stop()


def _port_of(settings: Settings) -> int:
    found = re.search(r":(\d+)", settings.national[0].url.partition("//")[2]) if settings.national else None
    return int(found.group(1)) if found else 0
