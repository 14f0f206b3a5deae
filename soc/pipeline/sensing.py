"""`Sensing`: one monitoring point: an interface, the decoders of packets, the ring on disk and the raw log."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from soc.collectors.capture import Capture
from soc.collectors.collect import Collector
from soc.collectors.counters import Counters
from soc.collectors.intake import Intake
from soc.collectors.listeners import ListenerSpec
from soc.collectors.packet_ring import PacketRing
from soc.collectors.sense import PacketReceiver
from soc.config import Sense, Settings
from soc.model.clock import Clock
from soc.parsers.decoders.packet_sensor import Sensor
from soc.pipeline import places
from soc.store import files


class Sensing:
    """Follows the packets of an interface; `run` returns when told to stop, or when the interface went away."""

    def __init__(self, settings: Settings, entry: Sense, clock: Clock) -> None:
        self._settings, self._entry, self._clock = settings, entry, clock
        self._capture = Capture(
            entry.interface, snap=entry.snap, promiscuous=entry.promiscuous, expression=entry.filter
        )
        self._receiver: PacketReceiver | None = None
        self._failed = ""

    @property
    def counts(self) -> Mapping[str, Any]:
        """Packets, records, the kernel's drops, the ring, and how often each bound was met."""
        return {} if self._receiver is None else self._receiver.counts

    @property
    def fault(self) -> str:
        """Why it ended by itself; empty as long as it has not."""
        return ("" if self._receiver is None else self._receiver.fault) or self._failed

    def run(self, stop: threading.Event, ready: Callable[..., None]) -> None:
        """Capture until `stop` is set; `ready` is told the interface."""
        try:
            self._run(stop, ready)
        except Exception as error:  # the thread that called has to know
            self._failed = str(error) or type(error).__name__

    def _run(self, stop: threading.Event, ready: Callable[..., None]) -> None:
        entry, settings = self._entry, self._settings
        node, path = places.sense_node(entry.name), places.sense_counters(settings, entry.name)
        files.make_folder(path.parent)
        log = places.open_log(settings, places.RAW, node, self._clock, max_bytes=settings.queue_max_bytes)
        spec = ListenerSpec(entry.name, "packets", entry.interface, 0, settings.site_id)
        try:
            collector = Collector((), log, self._clock, counters_path=path, others={spec: self._made(spec)})
            collector.run(stop, lambda _: ready(interface=entry.interface))
        finally:
            log.close()

    def _made(self, spec: ListenerSpec) -> Callable[[Intake, Counters, Clock], PacketReceiver]:
        def make(intake: Intake, counters: Counters, clock: Clock) -> PacketReceiver:
            self._receiver = PacketReceiver(spec, self._capture, self._ring(), Sensor(), intake, counters, clock)
            return self._receiver

        return make

    def _ring(self) -> PacketRing | None:
        entry = self._entry
        if not entry.ring_max_bytes:
            return None
        folder = places.packet_ring(self._settings, entry.name)
        return PacketRing(folder, self._capture.link, max_bytes=entry.ring_max_bytes, max_age_s=entry.ring_max_age_s)
