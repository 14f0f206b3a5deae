"""A home with its logs, and records as devices send them, for the tests of the joined rooms."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from soc.config import Settings, load
from soc.model.clock import FixedClock
from soc.model.finding import Finding, finding_id
from soc.model.query import MatchAll
from soc.model.record import RawBlock
from soc.model.scope import Scope
from soc.pipeline import Correlating, Services, Worker, places
from soc.simulate import wire
from soc.store.events import EventStore
from soc.store.queue import DiskLog

NOW_NS = 1_795_600_000_000_000_000
EVERYTHING = Scope.everything("test", "test")


def settings_of(home: Path, **changes: Any) -> Settings:
    """Settings of a home without a file."""
    return replace(load(home=home, environ={}), socket=home / "api.sock", **changes)


def failures(n: int, *, source: str = "203.0.113.9", at_ns: int = NOW_NS) -> list[bytes]:
    """So many failed SSH logins, as OpenSSH over rsyslog writes them."""
    return [
        wire.rfc3164(at_ns, 86, "h1", "sshd[12]", f"Failed password for root from {source} port {4000 + i} ssh2")
        for i in range(n)
    ]


_KILLED = """
import os, signal, sys
from pathlib import Path
from soc.model.clock import FixedClock
from soc.pipeline import Worker
from tests.pipeline.world import NOW_NS, settings_of
home, moment, now_ns = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
worker = Worker(settings_of(home), FixedClock(now_ns))
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
if moment == "before the state":
    worker.states.keep = die
elif moment == "before the store":
    worker.store.append = die
while worker.step():
    pass
die()
"""


def finding(n: int = 1, **changes: object) -> Finding:
    """A finding of its own entity."""
    made = Finding(
        id=finding_id("rule", str(n)),
        rule_id="rule",
        rule_version="1",
        title="SSH password guessing",
        level="high",
        kind="sigma",
        dataset="linux.sshd",
        event_ids=("00" * 16,),
        first_us=NOW_NS // 1000,
        last_us=NOW_NS // 1000,
        entity=f"source.ip=203.0.113.{n}",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@dataclass
class World:
    """The raw log of a collector, and what reads it."""

    settings: Settings
    clock: FixedClock
    raw: DiskLog

    @classmethod
    def make(cls, home: Path, **changes: Any) -> World:
        """A new world in `home`."""
        settings, clock = settings_of(home, **changes), FixedClock(NOW_NS)
        return cls(settings, clock, DiskLog(places.queue(settings), places.RAW, "collect", clock))

    def receive(self, records: Sequence[bytes], peer: str = "127.1.2.3", listener: str = "syslog-udp") -> None:
        """One frame of one source."""
        self.raw.append([RawBlock.of(records, receipt_ns=self.clock.now_ns(), listener=listener, peer=peer)])

    def work(self) -> Worker:
        """A worker that has handled everything, closed again."""
        worker = Worker(self.settings, self.clock)
        while worker.step():
            pass
        worker.close()
        return worker

    def killed(self, moment: str) -> None:
        """A worker of its own process that dies `before the state`, `before the store`, or `after the store`."""
        run = subprocess.run(
            [sys.executable, "-c", _KILLED, str(self.settings.home), moment, str(self.clock.now_ns())],
            cwd=Path(__file__).parents[2], timeout=200, capture_output=True, check=False,
        )  # fmt: skip
        assert run.returncode == -signal.SIGKILL, run.stderr.decode()

    def correlate(self) -> dict[str, Any]:
        """Everything correlated and saved; the counts."""
        correlating = Correlating(self.settings, self.clock)
        while correlating.step():
            pass
        correlating.save()
        correlating.close()
        return correlating.counts

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts after every finding was taken in."""
        services = Services.open(self.settings, self.clock)
        while services.findings.step():
            pass
        with services.cases.read("test") as tx:
            found = [stored.document for _, stored in tx.find("alert")]
        services.close()
        return found

    def events(self) -> list[dict[str, Any]]:
        """Every stored event, oldest first."""
        store = EventStore(places.events(self.settings), self.clock, places.load_parsers(self.settings).fields)
        rows = store.search(EVERYTHING, MatchAll(), limit=100_000, order="asc").rows
        store.close()
        return rows
