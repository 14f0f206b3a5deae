"""Receives datagrams (syslog over UDP, NetFlow, SNMP traps) as records, whole and unparsed."""

from __future__ import annotations

import select
import socket
import struct
import threading

from soc.collectors.compressed import expand_messages
from soc.collectors.counters import EVERYBODY, Counters
from soc.collectors.intake import Intake
from soc.collectors.listeners import AllowList, ListenerSpec, peer_name
from soc.model.clock import Clock
from soc.model.record import OVERSIZE

KERNEL = "kernel"
NOT_ALLOWED = "not_allowed"
_BATCH = 256
_LARGEST = 65536
_POLL_MS = 50
_SO_RXQ_OVFL = 40
_SO_MEMINFO = 55
_MEMINFO = struct.Struct("=9I")


class KernelDrops:
    """Datagrams that found the socket's buffer full, as the kernel counts them.

    `SO_RXQ_OVFL` (Linux 2.6.33) brings the count only along with a later datagram, so that the end of a burst stays
    unknown; `SO_MEMINFO` (Linux 4.12) tells the same counter at any time and is asked where it exists.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._seen: int = 0
        self._ancillary: int = 0
        sock.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)

    def note(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        """Read what `recvmsg` brought along."""
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == _SO_RXQ_OVFL:
                self._ancillary = struct.unpack("=I", data[:4])[0]

    def new(self) -> int:
        """How many since the last call (the counter has 32 bits)."""
        try:
            total: int = _MEMINFO.unpack(self._sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))[8]
        except (OSError, struct.error):
            total = self._ancillary
        fresh = (total - self._seen) % (1 << 32)
        self._seen = total
        return fresh


class DatagramReceiver:
    """One listener's thread: waits, drains the socket in batches, hands records to the intake."""

    def __init__(self, spec: ListenerSpec, sock: socket.socket, intake: Intake, counters: Counters, clock: Clock):
        self._spec = spec
        self._sock = sock
        self._intake = intake
        self._counters = counters
        self._clock = clock
        self._allowed = AllowList(spec)
        self._drops = KernelDrops(sock)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"listen-{spec.name}", daemon=True)

    def start(self) -> None:
        """Begin to receive."""
        self._thread.start()

    def stop(self) -> None:
        """Begin to end: take what the kernel has already, then close the socket."""
        self._stop.set()

    def ended(self, wait_s: float) -> bool:
        """Whether the end has come, within so many seconds."""
        self._thread.join(wait_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        while not self._stop.is_set():
            if poll.poll(_POLL_MS):
                self._drain()
            self._between()
            self._count_kernel_drops()
        # A sender that never pauses must not keep us here: at most what the kernel's buffer can hold.
        for _ in range(4096):
            if not self._drain():
                break
        self._at_end()
        self._count_kernel_drops()
        self._sock.close()

    def _between(self) -> None:
        """After each batch, and every 50 ms when there is none; for protocols that wait for more."""

    def _at_end(self) -> None:
        """After the last batch."""

    def _drain(self) -> bool:
        """One batch; False when the socket was empty."""
        by_peer: dict[str, list[bytes]] = {}
        try:
            data, ancillary, _, address = self._sock.recvmsg(_LARGEST, 64)
            self._drops.note(ancillary)
            by_peer[address[0]] = [data]
            receive = self._sock.recvfrom
            for _ in range(_BATCH):
                data, address = receive(_LARGEST)
                if address[0] in by_peer:
                    by_peer[address[0]].append(data)
                else:
                    by_peer[address[0]] = [data]
        except BlockingIOError:
            pass
        now = self._clock.now_ns()
        for peer, records in by_peer.items():
            self._accept(peer_name(peer), records, now)
        return bool(by_peer)

    def _accept(self, peer: str, records: list[bytes], now_ns: int) -> None:
        spec = self._spec
        if not self._allowed.permits(peer):
            self._counters.dropped(spec.site, spec.name, peer, now_ns, NOT_ALLOWED, len(records))
            return
        if spec.format == "syslog":
            expand_messages(records, {}, spec.max_bytes + 1)
        flags = {i: OVERSIZE for i, record in enumerate(records) if len(record) > spec.max_bytes}
        for i in flags:
            records[i] = records[i][: spec.max_bytes]
        self._intake.add(spec, peer, now_ns, records, flags)

    def _count_kernel_drops(self) -> None:
        fresh = self._drops.new()
        if fresh:
            spec = self._spec
            self._counters.dropped(spec.site, spec.name, EVERYBODY, self._clock.now_ns(), KERNEL, fresh)
