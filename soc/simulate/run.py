"""Sends the province's day as real packets, each device from its own address, and writes the truth beside it."""

from __future__ import annotations

import logging
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from soc.errors import ConfigError
from soc.model.clock import Clock
from soc.simulate import wire
from soc.simulate.devices import OCTET_COUNTED, SECOND_NS
from soc.simulate.province import Device, Province
from soc.simulate.traffic import DEFAULT_RATE, Mark, Packet, Step, stream
from soc.simulate.truth import Truth, TruthFile

DEFAULT_SEED = 7
MAX_BEHIND_NS = 60 * SECOND_NS
"""Further behind (a machine that slept) or ahead (a clock set back), the streams begin anew from now."""
MAX_WAITING = 1 << 20
"""Bytes of a stream that a collector does not take; what comes on top is counted as failed."""
_CONNECT_S = 1.0
_RETRY_NS = SECOND_NS
_NAP_S = 0.2
_log = logging.getLogger("soc.simulate")


def truth_path(home: Path) -> Path:
    """Where the truth of the simulated province lies; only the scorer opens it."""
    return home / "simulate" / "truth.jsonl"


class Sender:
    """One simulated province on the wire. `listeners` gives the port of each listener by name.

    Raises ConfigError when this machine cannot send from addresses of 127.0.0.0/8, StoreError when the truth cannot be
    written.
    """

    def __init__(
        self,
        province: Province,
        listeners: Mapping[str, int],
        *,
        seed: int,
        clock: Clock,
        truth: Path,
        rate: float = DEFAULT_RATE,
        host: str = "127.0.0.1",
        first_round: int = 0,
    ) -> None:
        if rate <= 0:
            raise ConfigError(f"the rate of the simulated traffic should be more than 0, not {rate:g}")
        self._province, self._seed, self._clock, self._rate = province, seed, clock, rate
        self._truth, self._first_round = truth, first_round
        self._counts: Counter[str] = Counter()
        self._listeners, self._host = dict(listeners), host
        self._lines: dict[str, _Datagrams | _Stream] = {}
        self._begun: dict[str, Truth] = {}
        self._behind_ns = 0
        # With few events a second the next may rightly be far away.
        self._tolerated_ns = max(MAX_BEHIND_NS, int(100 / rate * SECOND_NS))
        for device in province.devices:
            check_address(device.address)

    def counters(self) -> dict[str, Any]:
        """Since the start: sent, failed, unheard (no such listener), bytes, connections, attacks, restarts (of the
        streams, after the clock jumped); `behind_ms` is how late the last packet left; `waiting` bytes in streams."""
        names = ("sent", "failed", "unheard", "bytes", "connections", "attacks", "restarts")
        waiting = sum(line.waiting for line in list(self._lines.values()))
        return {**{name: self._counts[name] for name in names}, "behind_ms": self._behind_ns // 1_000_000,
                "waiting": waiting}  # fmt: skip

    @property
    def under_way(self) -> tuple[str, ...]:
        """The names of the attacks that have begun and are not over."""
        return tuple(truth.name for truth in list(self._begun.values()))

    def run(self, stop: threading.Event) -> None:
        """Send until `stop` is set; attacks that are under way then are marked as cut short in the truth."""
        file = TruthFile(self._truth)
        try:
            while not stop.is_set():
                begin_ns = self._clock.now_ns()
                self._play(stream(self._province, self._seed, begin_ns, self._rate, self._first_round), file, stop)
                self._cut_short(file)
        finally:
            file.close()
            for line in self._lines.values():
                line.close()

    def _play(self, steps: Iterator[Step], file: TruthFile, stop: threading.Event) -> None:
        """Until the end, or until the clock has jumped."""
        for step in steps:
            while (ahead_ns := step.at_ns - self._clock.now_ns()) > 0:
                if ahead_ns > self._tolerated_ns:
                    break
                if stop.wait(min(ahead_ns / SECOND_NS, _NAP_S)):
                    return
                self._flush()
            if abs(ahead_ns) > self._tolerated_ns:
                self._counts["restarts"] += 1
                _log.warning("the clock is %d s off the traffic's: it begins anew", -ahead_ns // SECOND_NS)
                return
            if stop.is_set():
                return
            self._behind_ns = max(-ahead_ns, 0)
            self._take(step, file)

    def _take(self, step: Step, file: TruthFile) -> None:
        if isinstance(step, Packet):
            self._send(step)
        else:
            self._mark(step, file)

    def _mark(self, mark: Mark, file: TruthFile) -> None:
        if mark.is_over:
            self._begun.pop(mark.truth.id, None)
            return
        # Before its first packet: an alert must never be older than the truth it is measured by.
        file.append(mark.truth)
        self._begun[mark.truth.id] = mark.truth
        self._counts["attacks"] += 1

    def _cut_short(self, file: TruthFile) -> None:
        now_us = self._clock.now_ns() // 1000
        for truth in self._begun.values():
            file.append(truth.cut_short(now_us))
        self._begun.clear()

    def _send(self, packet: Packet) -> None:
        line = self._line(packet)
        if line is None:
            self._counts["unheard"] += 1
        else:
            line.send(packet.payload)

    def _line(self, packet: Packet) -> _Datagrams | _Stream | None:
        device = packet.device
        line = self._lines.get(device.hostname)
        if line is None and packet.listener in self._listeners:
            target = (self._host, self._listeners[packet.listener])
            if packet.listener == "syslog-tcp":
                line = _Stream(device, target, self._counts, self._clock)
            else:
                line = _Datagrams(device, target, self._counts)
            self._lines[device.hostname] = line
        return line

    def _flush(self) -> None:
        for line in self._lines.values():
            line.flush()


class _Datagrams:
    """A device's UDP socket. It is connected, so that the kernel tells when nobody listens."""

    waiting = 0

    def __init__(self, device: Device, target: tuple[str, int], counts: Counter[str]) -> None:
        self._counts = counts
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.setblocking(False)
        self._sock.bind((device.address, 0))
        self._sock.connect(target)

    def send(self, payload: bytes) -> None:
        try:
            self._sock.send(payload)
        except OSError:
            self._counts["failed"] += 1  # a refusal that belongs to the one before takes this one with it
        else:
            self._counts["sent"] += 1
            self._counts["bytes"] += len(payload)

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        self._sock.close()


class _Stream:
    """A device's syslog over TCP: connects when it has something to say, and again after the collector restarted."""

    def __init__(self, device: Device, target: tuple[str, int], counts: Counter[str], clock: Clock) -> None:
        self._device, self._target, self._counts, self._clock = device, target, counts, clock
        self._frame = wire.octet_counted if device.role in OCTET_COUNTED else wire.lf_framed
        self._sock: socket.socket | None = None
        self._out = bytearray()
        self._messages = 0  # in `_out`, whole or in part
        self._retry_ns = 0

    @property
    def waiting(self) -> int:
        return len(self._out)

    def send(self, payload: bytes) -> None:
        frame = self._frame(payload)
        if not self._connected() or len(self._out) + len(frame) > MAX_WAITING:
            self._counts["failed"] += 1
            return
        self._out += frame
        self._messages += 1
        self._counts["bytes"] += len(frame)
        self.flush()

    def flush(self) -> None:
        """Write what the connection takes; half a message must never be followed by another's beginning."""
        if self._sock is None or not self._out:
            return
        try:
            done = self._sock.send(self._out)
        except BlockingIOError:
            return
        except OSError:
            self._drop()
            return
        del self._out[:done]
        if not self._out:
            self._counts["sent"] += self._messages
            self._messages = 0

    def _connected(self) -> bool:
        if self._sock is not None and not self._is_closed(self._sock):
            return True
        if self._sock is not None:
            self._drop()
        now_ns = self._clock.monotonic_ns()
        if now_ns < self._retry_ns:
            return False
        self._retry_ns = now_ns + _RETRY_NS
        self._sock = self._connect()
        return self._sock is not None

    def _connect(self) -> socket.socket | None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.settimeout(_CONNECT_S)
            sock.bind((self._device.address, 0))
            sock.connect(self._target)
            sock.setblocking(False)
        except OSError:
            sock.close()
            return None
        self._counts["connections"] += 1
        return sock

    @staticmethod
    def _is_closed(sock: socket.socket) -> bool:
        """A collector that went away has sent its FIN: noticed before a message is written into the void."""
        try:
            return sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _drop(self) -> None:
        """The connection is gone, and with it what waited."""
        if self._sock is not None:
            self._sock.close()
        self._sock = None
        self._counts["failed"] += self._messages
        self._out.clear()
        self._messages = 0

    def close(self) -> None:
        self.flush()
        self._drop()


def check_address(address: str) -> None:
    """Whether this machine can send from an address. Raises ConfigError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((address, 0))
        except OSError as error:
            raise ConfigError(
                f"the simulated province cannot send from {address}: {error.strerror}",
                hint="it needs all of 127.0.0.0/8 on the loopback interface, as Linux has it; elsewhere: "
                f"ip addr add {address}/8 dev lo, or ifconfig lo0 alias {address}",
            ) from error
