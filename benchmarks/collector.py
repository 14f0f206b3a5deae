"""The collector that `receive` measures, a process of its own: `collector ROOT PROTOCOL HOST [CERTIFICATE KEY [CA]]`.

Prints its port and its resident memory; at SIGTERM records queued and dropped, CPU seconds since it listens, and its
peak memory (MiB).
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from pathlib import Path

from soc.collectors import memory
from soc.collectors.collect import Collector
from soc.collectors.listeners import ListenerSpec, Tls
from soc.model.clock import SystemClock
from soc.store.queue import DiskLog


def main(root: Path, protocol: str, host: str, *files: str) -> None:
    """Collect until SIGTERM."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    spec = ListenerSpec("wire", protocol, host, 0, "province", tls=Tls(*map(Path, files)) if files else None)
    memory.keep()
    with DiskLog(root, "raw", "n1", SystemClock()) as log:
        collector = Collector([spec], log, SystemClock(), counters_path=root / "counters.json")
        began = 0.0

        def ready(ports: dict[str, int]) -> None:
            nonlocal began
            began = time.process_time()
            print(ports["wire"], memory.resident() / (1 << 20), flush=True)

        collector.run(stop, ready)
        rows = collector.counters()
        queued, dropped = sum(row["queued"] for row in rows), sum(sum(row["dropped"].values()) for row in rows)
        print(queued, dropped, time.process_time() - began, _peak_mib(), flush=True)


def _peak_mib() -> float:
    """Since the program began; `ru_maxrss` would tell what the process that started it held, when that was more."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], *sys.argv[4:])
