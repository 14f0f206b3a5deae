"""`PacketReceiver`: the packets of an interface through a sensor into the intake, and through a ring onto the disk."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Protocol

from soc.collectors.capture import RETIRE_MS, Capture
from soc.collectors.counters import EVERYBODY, Counters
from soc.collectors.intake import Intake
from soc.collectors.listeners import ListenerSpec
from soc.collectors.packet_ring import PacketRing
from soc.collectors.threads import Threaded
from soc.errors import SocError
from soc.model.clock import Clock

WAIT_S = 0.2
SWEEP_NS = 5_000_000_000
REPORT_NS = 60_000_000_000
"""The sums of the capture are an event so often."""
STATISTICS_NS = 1_000_000_000
KERNEL = "kernel"
_log = logging.getLogger("soc.sense")


class PacketSensor(Protocol):
    """What makes records of packets."""

    file: str

    def hear(self, ns: int, link: int, data: bytes, length: int, offset: int, interface: str) -> None: ...
    def sweep(self, ns: int) -> None: ...
    def report(self) -> None: ...
    def finish(self) -> None: ...
    def records(self) -> list[bytes]: ...
    def sums(self) -> dict[str, int]: ...


class PacketReceiver(Threaded):
    """One thread: kernel → ring → sensor → intake."""

    def __init__(
        self,
        spec: ListenerSpec,
        capture: Capture,
        ring: PacketRing | None,
        sensor: PacketSensor,
        intake: Intake,
        counters: Counters,
        clock: Clock,
    ) -> None:
        super().__init__(f"soc-{spec.name}")
        self._spec, self._capture, self._ring, self._sensor = spec, capture, ring, sensor
        self._intake, self._counters, self._clock = intake, counters, clock
        self._swept = self._reported = self._asked = 0
        self.kernel_packets = self.kernel_drops = 0
        self.fault = ""

    def start(self) -> None:
        """Begin to take packets."""
        self._reported = self._clock.now_ns()
        super().start()

    @property
    def counts(self) -> Mapping[str, Any]:
        """What the process says of itself."""
        ring = {} if self._ring is None else {**self._ring.counts, "ring_bytes": self._ring.bytes}
        return {**self._sensor.sums(), **ring, "kernel_packets": self.kernel_packets, "kernel_drops": self.kernel_drops}

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._take(WAIT_S)
                self._tend()
            self._last()
        except SocError as error:
            self.fault = str(error)
        finally:
            self._sensor.finish()
            self._hand_on()
            self._ask()
            if self._ring is not None:
                self._ring.close()
            self._capture.close()

    def _take(self, wait_s: float) -> int:
        n = 0
        sensor, ring = self._sensor, self._ring
        for block in self._capture.packets(wait_s):
            for packet in block:
                offset = 0
                if ring is not None:
                    offset = ring.append(packet.ns, packet.data, packet.length)
                    sensor.file = ring.name
                sensor.hear(packet.ns, self._capture.link, packet.data, packet.length, offset, self._capture.interface)
            n += len(block)
            if ring is not None:
                ring.flush()
            self._hand_on()
        return n

    def _last(self) -> None:
        """The kernel takes no more; what it has comes with the next block that it lets go."""
        self._capture.shut()
        for _ in range(4):
            if not self._take(2 * RETIRE_MS / 1000):
                return

    def _hand_on(self) -> None:
        self._intake.add(self._spec, self._capture.interface, self._clock.now_ns(), self._sensor.records())

    def _tend(self) -> None:
        now = self._clock.now_ns()
        if now - self._asked >= STATISTICS_NS:
            self._asked = now
            self._ask()
        if now - self._swept >= SWEEP_NS:
            self._swept = now
            self._sensor.sweep(now)
            if self._ring is not None:
                self._ring.expire(now)
        if now - self._reported >= REPORT_NS:
            self._reported = now
            self._sensor.report()
        self._hand_on()

    def _ask(self) -> None:
        """What the kernel dropped is nobody's record: it is counted under everybody."""
        packets, drops = self._capture.statistics()
        self.kernel_packets += packets
        self.kernel_drops += drops
        if drops:
            spec = self._spec
            self._counters.dropped(spec.site, spec.name, EVERYBODY, self._clock.now_ns(), KERNEL, drops)
