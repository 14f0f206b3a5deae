"""`Collector`: listens, and makes what it hears durable in the queue by group commit."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from soc.collectors.counters import Counters
from soc.collectors.datagrams import DatagramReceiver
from soc.collectors.intake import MAX_WAITING, QUEUE_FULL, Intake
from soc.collectors.listeners import ListenerSpec, open_socket
from soc.collectors.streams import StreamReceiver
from soc.errors import StoreError, TryAgain
from soc.model.clock import Clock
from soc.model.record import RawBlock

COMMIT_S = 0.05
"""Seconds between group commits."""
AWAITED_S = 0.004
"""Seconds in which a group gathers when peers wait to be told that their records are durable (RELP, informs)."""
_SAVE_NS = 1_000_000_000
_SAVE_DROPS_NS = 200_000_000
_log = logging.getLogger("soc.collectors")


class QueueWriter(Protocol):
    """Where blocks go: durable when `append` returns; it raises DiskFull or StoreError and then keeps none of them."""

    def append(self, blocks: Sequence[RawBlock]) -> Sequence[int] | None:
        """The sequence numbers of the frames written, or None when the queue does not number them."""
        ...


class Receiver(Protocol):
    """What serves one or several listeners in threads of its own."""

    def start(self) -> None:
        """Begin to receive."""
        ...

    def stop(self) -> None:
        """Begin to end: take what the kernel has already, then close."""
        ...

    def ended(self, wait_s: float) -> bool:
        """Whether the end has come, within so many seconds."""
        ...


Making = Callable[[Intake, Counters, Clock], Receiver]


@runtime_checkable
class Recountable(Protocol):
    """A queue that can tell after a crash what it holds above a sequence number."""

    def frames_after(self, seq: int) -> Iterable[RawBlock]:
        """Durable frames in order."""
        ...


class Collector:
    """Listeners, the intake they fill, and the group commit that empties it."""

    def __init__(
        self,
        specs: Sequence[ListenerSpec],
        writer: QueueWriter,
        clock: Clock,
        *,
        counters_path: Path,
        max_waiting: int = MAX_WAITING,
        others: Mapping[ListenerSpec, Making] | None = None,
    ) -> None:
        """`others` are sources without a port of their own, and what makes the receiver of each."""
        self.specs = tuple(specs)
        self._others = dict(others or {})
        self._writer = writer
        self._clock = clock
        self._counters = Counters(counters_path)
        self._intake = Intake(self._counters, max_waiting)
        self._refused: list[RawBlock] = []
        self._fault = ""
        self._last_save_ns = clock.monotonic_ns()
        self._recount()

    def counters(self) -> list[dict[str, Any]]:
        """Per source and receipt hour: site, listener, peer, hour_us, received, queued, bytes, flagged, refused,
        dropped by reason (`kernel` under peer `*`, `queue_full`, `not_allowed`)."""
        return self._counters.snapshot()

    @property
    def fault(self) -> str:
        """Why the queue takes nothing at the moment; empty when it does."""
        return self._fault

    def _recount(self) -> None:
        """Complete the saved counts by what the queue took after they were saved."""
        if not isinstance(self._writer, Recountable):
            return
        names = {spec.name for spec in (*self.specs, *self._others)}
        for block in self._writer.frames_after(self._counters.seq):
            self._counters.queued([block] if block.listener in names else [], block.seq, waited=False)
        self._counters.save(self._clock.now_ns())

    def run(self, stop: threading.Event, ready: Callable[[dict[str, int]], None]) -> None:
        """Listen until `stop` is set, then make durable what has arrived, and return.

        `ready` gets the port of each listener by name, which differs from the wanted one after a fallback. Raises
        ConfigError when a port cannot be had, StoreError when the counters cannot be saved at the end.
        """
        receivers, ports = self._open()
        for receiver in receivers:
            receiver.start()
        ready(ports)
        try:
            while not self._waited(stop):
                self._commit()
                self._save_when_due()
        finally:
            for receiver in receivers:
                receiver.stop()
            for receiver in receivers:
                while not receiver.ended(COMMIT_S):
                    self._commit()
            self._commit()
            self._give_up()
            self._counters.save(self._clock.now_ns())

    def _waited(self, stop: threading.Event) -> bool:
        """Wait until the next group commit is due, earlier when a peer waits for it; whether `stop` was set."""
        if not self._fault and self._intake.is_awaited.wait(COMMIT_S):
            return stop.wait(AWAITED_S)
        return stop.wait(COMMIT_S if self._fault else 0)

    def _open(self) -> tuple[list[Receiver], dict[str, int]]:
        opened = []
        try:
            for spec in self.specs:
                opened.append((spec, open_socket(spec)))
            ports = {spec.name: sock.getsockname()[1] for spec, sock in opened}
            receivers = self._receivers(opened)
            receivers += [make(self._intake, self._counters, self._clock) for make in self._others.values()]
        except BaseException:
            for _, sock in opened:
                sock.close()
            raise
        for spec in self.specs:
            if spec.port not in (0, ports[spec.name]):
                _log.warning("listener %s: port %d is taken, using %d", spec.name, spec.port, ports[spec.name])
        return receivers, ports

    def _receivers(self, opened: Sequence[tuple[ListenerSpec, socket.socket]]) -> list[Receiver]:
        shared = (self._intake, self._counters, self._clock)
        of: dict[str, list[tuple[ListenerSpec, socket.socket]]] = {}
        for spec, sock in opened:
            of.setdefault(spec.kind, []).append((spec, sock))
        receivers: list[Receiver] = [DatagramReceiver(spec, sock, *shared) for spec, sock in of.get("datagram", ())]
        connected = of.get("stream", []) + of.get("relp", [])
        if connected:
            receivers.append(StreamReceiver(connected, *shared))
        if "http" in of:
            from soc.collectors.http import HttpReceiver

            receivers.append(HttpReceiver(of["http"], *shared))
        if "gelf" in of:
            from soc.collectors.gelf import GelfReceiver

            receivers += [GelfReceiver(spec, sock, *shared) for spec, sock in of["gelf"]]
        if "snmp" in of:
            from soc.collectors.snmp import SnmpReceiver

            receivers.append(SnmpReceiver(of["snmp"], *shared))
        return receivers

    # group commit ---------------------------------------------------------------------------------------------------

    def _commit(self) -> None:
        """One append for all that arrived; refused blocks are kept and tried again first, so order holds."""
        if self._refused and not self._append(self._refused):
            return
        blocks = self._intake.take()
        if blocks:
            self._append(blocks)
        else:
            self._intake.settle()

    def _append(self, blocks: list[RawBlock]) -> bool:
        try:
            seqs = self._writer.append(blocks)
        except (StoreError, TryAgain) as error:
            self._refused = blocks
            self._intake.is_stopped = True
            if str(error) != self._fault:
                _log.error("the queue takes nothing: %s", error)
            self._fault = str(error)
            return False
        self._counters.queued(blocks, seqs[-1] if seqs else None)
        self._refused = []
        self._fault = ""
        self._intake.settle()
        self._intake.is_stopped = False
        return True

    def _give_up(self) -> None:
        """At the end nobody can try again: what the queue still refuses is counted as dropped."""
        for block in self._refused + self._intake.take():
            for at_ns in block.receipt_ns.tolist():
                self._counters.dropped(block.site, block.listener, block.peer, at_ns, QUEUE_FULL, waited=True)
            _log.error("%d records of %s are lost: %s", block.n, block.source, self._fault)
        self._refused = []
        self._intake.settle(durable=not self._fault)

    def _save_when_due(self) -> None:
        now = self._clock.monotonic_ns()
        wait = _SAVE_DROPS_NS if self._counters.unsaved_drops else _SAVE_NS
        if now - self._last_save_ns < wait:
            return
        self._last_save_ns = now
        try:
            self._counters.save(self._clock.now_ns())
        except StoreError as error:
            # The queue has the records and the next save has the counts; only a crash before it makes drops unknown.
            _log.error("%s", error)
