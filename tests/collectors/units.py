"""A centre on a real socket and distant units with a raw log, for the tests of what they say to each other."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

from soc.collectors.enrol import Authority
from soc.collectors.hub import Hub, Intake
from soc.collectors.packet_asks import Asks
from soc.collectors.relay import Link, Relay, join
from soc.errors import TryAgain
from soc.model.clock import SystemClock
from soc.model.record import RawBlock
from soc.store.queue import DiskLog, LogReader

CLOCK = SystemClock()


class Centre:
    """A hub on a real socket; `cut` drops the next so many answers after the frames were taken."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.authority = Authority(home / "relay", CLOCK)
        self.asks = Asks(home / "asks", CLOCK)
        self.port = 0
        self.cut = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen, on the same port as before."""
        sock = socket.create_server(("127.0.0.1", self.port))
        self.port = sock.getsockname()[1]
        self.intake = Intake(self.home / "queue", self.home / "run", CLOCK)
        hub = Hub(self.authority, self.intake, self.home / "run", CLOCK, self.asks)
        take = self.intake.take

        def taken(unit: str, node: str, data: bytes) -> int:
            upto = take(unit, node, data)
            if self.cut:
                self.cut -= 1
                raise TryAgain("the answer is lost")
            return upto

        self.intake.take = taken  # type: ignore[method-assign]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=hub.serve, args=(sock, self._stop))
        self._thread.start()

    def stop(self) -> None:
        """Stop listening."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(60)

    def blocks(self) -> list[RawBlock]:
        """Every frame in the centre's raw log."""
        return LogReader(self.home / "queue", "raw").read({}, None, 10_000)

    def records(self) -> list[bytes]:
        """Every record in it."""
        return [record for block in self.blocks() for record in block.records()]


class Unit:
    """A commune with a raw log."""

    def __init__(self, home: Path, centre: Centre, name: str = "xa-dakbla") -> None:
        self.home, self.centre = home, centre
        self.link = Link(f"https://127.0.0.1:{centre.port}", home / "relay")
        self.log = DiskLog(home / "queue", "raw", "collect", CLOCK, segment_bytes=4096)
        self.name = join(self.link, str(centre.authority.invite(name)))

    def receive(self, *records: bytes) -> None:
        """One frame."""
        self.log.append([RawBlock.of(records, receipt_ns=CLOCK.now_ns(), site="dakbla", listener="syslog-udp")])

    def relay(self, **more: Any) -> Relay:
        """A relay over it."""
        return Relay(self.home / "queue", self.link, CLOCK, **more)

    def send(self) -> int:
        """Send all there is; how many batches."""
        relay = self.relay()
        batches = sum(1 for _ in iter(relay.step, 0))
        relay.close()
        return batches


def numbered(first: int, last: int) -> list[bytes]:
    """Records that can be told apart."""
    return [b"<13>record %d" % n for n in range(first, last)]
