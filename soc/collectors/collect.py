"""`Collector`: listens, and makes what it hears durable in the queue by group commit."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from soc.collectors.counters import Counters
from soc.collectors.intake import MAX_WAITING, QUEUE_FULL, Intake
from soc.collectors.listeners import ListenerSpec, open_socket
from soc.collectors.memory import Calm
from soc.collectors.opening import follower, receivers_of
from soc.collectors.reload import differences
from soc.collectors.roles import Changeable, Keeping, Making, QueueWriter, Receiver, Recountable, Reloading
from soc.collectors.watermarks import USUAL, Pressure, Watermarks
from soc.errors import ConfigError, SocError, StoreError, TryAgain
from soc.model.clock import Clock
from soc.model.record import RawBlock

COMMIT_S = 0.05
"""Seconds between group commits."""
AWAITED_S = 0.004
"""Seconds in which a group gathers when peers wait to be told that their records are durable (RELP, informs)."""
_SAVE_NS = 1_000_000_000
_SAVE_DROPS_NS = 200_000_000
KEEP_NS = 10_000_000_000
KEEP_BYTES = 16 << 20
"""Receivers keep their places so often: the frames that complete them after a crash must not be trimmed before."""
_log = logging.getLogger("soc.collectors")


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
        watermarks: Watermarks = USUAL,
    ) -> None:
        """`others` are sources without a port of their own, and what makes the receiver of each."""
        self.specs = tuple(specs)
        self._others = dict(others or {})
        self._writer = writer
        self._clock = clock
        self._counters = Counters(counters_path)
        self._intake = Intake(self._counters, max_waiting)
        self.pressure = Pressure(writer, watermarks, clock, self._intake)
        self._refused: list[RawBlock] = []
        self._fault = ""
        self._receivers: dict[str, Receiver] = {}
        self._ports: dict[str, int] = {}
        self._leaving: list[Receiver] = []
        self._last_save_ns = self._last_keep_ns = self._last_second_ns = clock.monotonic_ns()
        self._unkept_bytes = 0
        self._calm = Calm()
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
        names |= {row["listener"] for row in self._counters.snapshot()}
        for block in self._writer.frames_after(self._counters.seq):
            self._counters.queued([block] if block.listener in names else [], block.seq, waited=False)
        self._counters.save(self._clock.now_ns())

    def run(
        self, stop: threading.Event, ready: Callable[[dict[str, int]], None], reloading: Reloading | None = None
    ) -> None:
        """Listen until `stop` is set, then make durable what has arrived, and return.

        `ready` gets the port of each listener by name, which differs from the wanted one after a fallback. Raises
        ConfigError when a port cannot be had, StoreError when the counters cannot be saved at the end, SocError when a
        receiver broke: what still hears would hide that another is deaf, and a new start mends it.
        """
        others = [make(self._intake, self._counters, self._clock) for make in self._others.values()]
        self._receivers, self._ports = self._open(self.specs)
        self._start(self._receivers)
        for receiver in others:
            receiver.start()
        ready(dict(self._ports))
        try:
            while not self._waited(stop):
                self._commit()
                self.pressure.regulate()
                if self._save_when_due():
                    self._check_alive(others)
                self._reload(reloading)
        finally:
            self._intake.is_held = False  # what the kernel has is taken, whatever room is left
            leaving = [*self._leaving, *dict.fromkeys(self._receivers.values()), *others]
            for receiver in leaving:
                receiver.stop()
            for receiver in leaving:
                while not receiver.ended(COMMIT_S):
                    self._commit()
            self._commit()
            self._give_up()
            self._keep(leaving)
            self._counters.save(self._clock.now_ns())

    def _check_alive(self, others: Sequence[Receiver]) -> None:
        """Raises SocError for a receiver that ended without having been asked to."""
        named = {**self._receivers, **{spec.name: one for spec, one in zip(self._others, others, strict=True)}}
        broken = [name for name, receiver in named.items() if not receiver.is_alive]
        if broken:
            raise SocError(f"{', '.join(broken)}: receiving broke", hint="the log says why; it begins anew")

    def _waited(self, stop: threading.Event) -> bool:
        """Wait until the next group commit is due, earlier when a peer waits for it; whether `stop` was set."""
        if not self._fault and self._intake.is_awaited.wait(COMMIT_S):
            time.sleep(AWAITED_S)
            return stop.is_set()
        return stop.wait(COMMIT_S if self._fault else 0)

    # listeners --------------------------------------------------------------------------------------------------------

    def _open(self, specs: Sequence[ListenerSpec]) -> tuple[dict[str, Receiver], dict[str, int]]:
        """Receivers around bound sockets, and the ports, by the listener's name; all or, with ConfigError, none."""
        opened = []
        try:
            for spec in specs:
                if spec.kind != "file":
                    opened.append((spec, open_socket(spec)))
            ports = {spec.name: sock.getsockname()[1] for spec, sock in opened}
            receivers = receivers_of(opened, self._intake, self._counters, self._clock) | self._followers(
                [spec for spec in specs if spec.kind == "file"]
            )
        except BaseException:
            for _, sock in opened:
                sock.close()
            raise
        for spec, _ in opened:
            if spec.port not in (0, ports[spec.name]):
                _log.warning("listener %s: port %d is taken, using %d", spec.name, spec.port, ports[spec.name])
        return receivers, ports

    @staticmethod
    def _start(receivers: dict[str, Receiver]) -> None:
        for receiver in dict.fromkeys(receivers.values()):
            receiver.start()

    def _followers(self, specs: Sequence[ListenerSpec]) -> dict[str, Receiver]:
        from soc.collectors.tail import TailReceiver

        frames_after = self._writer.frames_after if isinstance(self._writer, Recountable) else None
        followers: dict[str, Receiver] = {}
        for spec in specs:
            if any(isinstance(one, TailReceiver) and one.name == spec.name for one in self._leaving):
                raise TryAgain(f"[listen.{spec.name}] is still ending", hint="reload again in a moment")
            followers[spec.name] = follower(spec, self._intake, self._counters, self._clock, frames_after)
        return followers

    def _is_gone(self, receiver: Receiver) -> bool:
        """Whether a receiver has ended, and what it heard is in the queue and kept."""
        if not receiver.ended(0):
            return False
        if isinstance(receiver, Keeping):
            self._commit()
            if self._refused:
                return False
            self._keep([receiver])
        return True

    def _reload(self, reloading: Reloading | None) -> None:
        self._leaving = [receiver for receiver in self._leaving if not self._is_gone(receiver)]
        wanted = reloading.wanted() if reloading is not None else None
        if reloading is None or wanted is None:
            return
        try:
            self._become(wanted)
        except SocError as error:
            reloading.refused(error)
        else:
            reloading.done(dict(self._ports))

    def _become(self, specs: Sequence[ListenerSpec]) -> None:
        """Have these listeners: everything that can fail comes first, so that it is done wholly or not at all."""
        change = differences(self.specs, specs)
        commits = [self._prepared(spec) for spec in change.kept]
        added, ports = self._open(change.added)
        self._start(added)
        for commit in commits:
            commit()
        for name in change.removed:
            self._remove(name)
        self._receivers |= added
        self._ports |= ports
        self.specs = tuple(specs)

    def _prepared(self, spec: ListenerSpec) -> Callable[[], None]:
        receiver = self._receivers[spec.name]
        if isinstance(receiver, Changeable):
            return receiver.prepared(spec)
        if spec == next(each for each in self.specs if each.name == spec.name):
            return lambda: None
        raise ConfigError(f"[listen.{spec.name}] cannot change while it runs", hint="restart soc collect")

    def _remove(self, name: str) -> None:
        receiver = self._receivers.pop(name)
        self._ports.pop(name, None)
        if not isinstance(receiver, Changeable) or receiver.drop(name):
            receiver.stop()
            self._leaving.append(receiver)

    # group commit ---------------------------------------------------------------------------------------------------

    def _commit(self) -> None:
        """One append for all that arrived; refused blocks are kept and tried again first, so order holds."""
        if self._refused and not self._append(self._refused):
            return
        blocks = self._intake.take()
        if blocks:
            self._calm.note(sum(len(block.data) for block in blocks))
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
        self._unkept_bytes += sum(len(block.data) for block in blocks)
        self._refused = []
        self._fault = ""
        self._intake.settle()
        self._intake.is_stopped = False
        return True

    def _give_up(self) -> None:
        """At the end nobody can try again: what the queue still refuses is counted as dropped."""
        again = {spec.name for spec in self.specs if spec.kind == "file"}
        for block in self._refused + self._intake.take():
            if block.listener in again:
                self._counters.withdrawn(block)
                continue
            for at_ns in block.receipt_ns.tolist():
                self._counters.dropped(block.site, block.listener, block.peer, at_ns, QUEUE_FULL, waited=True)
            _log.error("%d records of %s are lost: %s", block.n, block.source, self._fault)
        self._refused = []
        self._intake.settle(durable=not self._fault)

    def _keep(self, receivers: Iterable[Receiver]) -> None:
        """Let receivers keep their places. Called between commits: all up to the last frame is settled."""
        for receiver in receivers:
            if isinstance(receiver, Keeping):
                try:
                    receiver.save(self._counters.seq)
                except StoreError as error:
                    _log.error("%s", error)  # the frames themselves say how far they go; the next save has them

    def _save_when_due(self) -> bool:
        """Save what is due; whether a second or more is over."""
        now = self._clock.monotonic_ns()
        if now - self._last_keep_ns >= KEEP_NS or self._unkept_bytes >= KEEP_BYTES:
            self._last_keep_ns, self._unkept_bytes = now, 0
            self._keep([*self._receivers.values(), *self._leaving])
        is_over = now - self._last_second_ns >= _SAVE_NS
        if is_over:
            self._last_second_ns = now
            self._calm.second()
        wait = _SAVE_DROPS_NS if self._counters.unsaved_drops else _SAVE_NS
        if now - self._last_save_ns < wait:
            return is_over
        self._last_save_ns = now
        try:
            self._counters.save(self._clock.now_ns())
        except StoreError as error:
            # The queue has the records and the next save has the counts; only a crash before it makes drops unknown.
            _log.error("%s", error)
        return is_over
