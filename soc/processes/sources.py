"""`soc poll` and `soc sense`: what is fetched, and what is seen on a wire."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from soc import pipeline
from soc.collectors.poll.runner import Poller
from soc.collectors.pollers import polled
from soc.config import Sense, Settings
from soc.errors import ConfigError, SocError
from soc.pipeline import places
from soc.processes.process import STEP_S, running


def poll(settings: Settings) -> None:
    """Ask every [poll.<name>] until stopped. Raises ConfigError when there is none, or one that can never work."""
    if not settings.poll:
        raise ConfigError("no [poll.<name>] in soc.toml", hint="docs/poll.md shows one for each kind of source")
    with running(settings, "poll") as me:
        log = places.open_log(settings, places.RAW, places.POLL, me.clock, max_bytes=settings.queue_max_bytes)
        poller = Poller(
            [polled(each, settings.home, me.clock) for each in settings.poll],
            settings.site_id, log, me.clock,
            folder=settings.path("run", "poll"), counters_path=places.poll_counters(settings),
        )  # fmt: skip

        def tell() -> None:
            rows = me.facts[places.POLLS] = poller.health()
            me.tell_when_due(_poll_sums(rows))

        try:
            me.ready(**{places.POLLS: poller.health()})
            poller.run(me.stop, tell)
        finally:
            log.close()


def _poll_sums(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    sums = {name: sum(row[name] for row in rows) for name in ("pages", "records", "repeated", "errors")}
    return {"sources": len(rows), "failing": sum(row["state"] == "failing" for row in rows), **sums}


def sense(settings: Settings, entry: Sense) -> Mapping[str, Any]:
    """Follow the packets of an interface until stopped; what was seen.

    Raises ConfigError for an interface or a filter that is none, PermissionRefused without CAP_NET_RAW, SocError when
    the interface goes away.
    """
    with running(settings, places.sense_node(entry.name)) as me:
        sensing = pipeline.Sensing(settings, entry, me.clock)
        thread = threading.Thread(target=sensing.run, args=(me.stop, me.ready))
        thread.start()
        while thread.is_alive():
            if me.facts:
                me.tell_when_due(sensing.counts)
            if sensing.fault:
                me.stop.set()
            thread.join(STEP_S)
        if sensing.fault:
            raise SocError(sensing.fault, hint="soc sense IFACE --name NAME starts it again")
        return sensing.counts
