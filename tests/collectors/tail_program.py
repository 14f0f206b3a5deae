"""A collector that follows files, in a process of its own: `tail_program ROOT PATTERN…`; ends on SIGTERM."""

import signal
import sys
import threading
import time
from pathlib import Path

from soc.collectors.collect import Collector
from soc.collectors.listeners import ListenerSpec
from soc.model.clock import SystemClock
from soc.store.queue import DiskLog


def main(root: Path, *paths: str) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    spec = ListenerSpec("app", "file", "", 0, "site", paths=paths)
    with DiskLog(root, "raw", "n1", SystemClock()) as log:
        collector = Collector([spec], log, SystemClock(), counters_path=root / "counters.json")
        collector.run(stop, lambda ports: print("ready", flush=True))
        received, queued = (sum(row[name] for row in collector.counters()) for name in ("received", "queued"))
        print(received, queued, time.process_time(), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
