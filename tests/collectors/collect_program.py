"""A collector in a process of its own: `collect_program ROOT PROTOCOL HOST [PORT [early] [users=F] [tls=F]]`.

It prints its port. `tls` is the folder of a test's authority with a pair for `collector`; peers show one of `fw01`;
`early` is a mutant that tells senders that their records are durable before they are.
"""

import signal
import sys
import threading
import time
from pathlib import Path

from soc.collectors.collect import Collector
from soc.collectors.listeners import ListenerSpec, Tls
from soc.model.clock import SystemClock
from soc.store.queue import DiskLog


class Early(Collector):
    """Settles first and writes then."""

    def _append(self, blocks):
        self._intake.settle()
        time.sleep(0.1)
        return super()._append(blocks)


def main(root: Path, protocol: str, host: str, port: int = 0, *options: str) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    users = next((Path(option[6:]) for option in options if option.startswith("users=")), None)
    keys = next((Path(option[4:]) for option in options if option.startswith("tls=")), None)
    tls = Tls(keys / "ca-collector.pem", keys / "ca-collector.key", keys / "ca.pem", ("fw01",)) if keys else None
    spec = ListenerSpec("wire", protocol, host, port, "province", users=users, tls=tls)
    kind = Early if "early" in options else Collector
    with DiskLog(root, "raw", "n1", SystemClock()) as log:
        collector = kind([spec], log, SystemClock(), counters_path=root / "counters.json")
        started = []

        def ready(ports):
            started.append(time.process_time())
            print(ports["wire"], flush=True)

        collector.run(stop, ready)
        queued = sum(row["queued"] for row in collector.counters())
        dropped = sum(sum(row["dropped"].values()) for row in collector.counters())
        print(queued, dropped, time.process_time() - started[0], flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:4], *map(int, sys.argv[4:5]), *sys.argv[5:])
