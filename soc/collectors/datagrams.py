"""Receives datagrams (syslog over UDP, NetFlow, SNMP traps) as records, whole and unparsed."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence

from soc.collectors.compressed import MARK, expand_messages
from soc.collectors.counters import Counters
from soc.collectors.floods import BATCH, Sockets
from soc.collectors.intake import Intake
from soc.collectors.listeners import ListenerSpec, peer_name
from soc.collectors.packed import Packed
from soc.collectors.rates import Gate
from soc.collectors.threads import Threaded
from soc.model.clock import Clock
from soc.model.record import OVERSIZE

KERNEL = "kernel"
_POLL_MS = 50
_GATHER_S, _GATHER_MANY_S, _GATHER_MOST_S, _MANY = 0.004, 0.016, 0.04, 32
"""When little is there more is waited for: a system call for each datagram costs the most. Where so many come in that
time, waiting and waking cost as much as receiving: more are waited for, though no longer than a group commit does."""
_WANTED = BATCH * 7 // 8


def gathering_s(before_s: float, n: int) -> float:
    """How long to wait for more when `n` came in the last `before_s` seconds: until most of a batch is there."""
    if n < _MANY:
        return _GATHER_S
    return min(max(before_s * _WANTED / n, _GATHER_MANY_S), _GATHER_MOST_S)


class DatagramReceiver(Threaded):
    """One listener's thread: waits, drains the socket in batches, hands records to the intake."""

    def __init__(self, spec: ListenerSpec, sock: socket.socket, intake: Intake, counters: Counters, clock: Clock):
        super().__init__(f"listen-{spec.name}")
        self._spec = spec
        self._sockets = Sockets(sock, spec.name)
        self._intake = intake
        self._counters = counters
        self._clock = clock
        self._gate = Gate(spec, counters)

    def prepared(self, spec: ListenerSpec) -> Callable[[], None]:
        """What makes the listener be as `spec` says from the next batch on. Raises ConfigError."""
        gate = Gate(spec, self._counters)

        def change() -> None:
            self._spec, self._gate = spec, gate

        return change

    def drop(self, name: str) -> bool:
        """There is only this listener: stop it."""
        return name == self._spec.name

    def _run(self) -> None:
        pause_s, came = _GATHER_S, 0
        while not self._stop.is_set():
            if self._sockets.wait(_POLL_MS):
                n = self._drain()
                came += n
                if n < BATCH:
                    pause_s, came = min(gathering_s(pause_s, came), self._sockets.patience_s), 0
                    time.sleep(pause_s)
            self._between()
            self._count_drops(self._sockets.dropped())
        self._sockets.shut()
        # Where the kernel cannot shut it a sender that never pauses must not keep us here.
        for _ in range(4096):
            if not self._drain():
                break
        self._at_end()
        self._count_drops(self._sockets.close())

    def _between(self) -> None:
        """After each batch, and every 50 ms when there is none; for protocols that wait for more."""

    def _at_end(self) -> None:
        """After the last batch."""

    def _drain(self) -> int:
        """One batch; how many datagrams."""
        received = self._sockets.receive()
        now, monotonic = self._clock.now_ns(), self._clock.monotonic_ns()
        for datagrams in received:
            for host, records in datagrams.by_host().items():
                peer, n = peer_name(host), len(records)
                admitted = self._gate.admit(peer, n, now, monotonic)
                if admitted:
                    self._accept(peer, records if admitted == n else records[:admitted], now)
        return sum(map(len, received))

    def _accept(self, peer: str, records: Sequence[bytes], now_ns: int) -> None:
        spec = self._spec
        may_expand = spec.format == "syslog"
        packed = records if isinstance(records, Packed) and not records.has_longer(spec.max_bytes) else None
        if packed is not None and not (may_expand and packed.has_begun(MARK)):
            self._intake.add(spec, peer, now_ns, records)
            return
        records = list(records)
        if may_expand:
            expand_messages(records, {}, spec.max_bytes + 1)
        flags = {i: OVERSIZE for i, record in enumerate(records) if len(record) > spec.max_bytes}
        for i in flags:
            records[i] = records[i][: spec.max_bytes]
        self._intake.add(spec, peer, now_ns, records, flags)

    def _count_drops(self, lost: list[tuple[str, int]]) -> None:
        spec = self._spec
        for peer, n in lost:
            self._counters.dropped(spec.site, spec.name, peer, self._clock.now_ns(), KERNEL, n)
