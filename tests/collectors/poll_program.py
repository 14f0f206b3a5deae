"""`soc poll`'s poller in a process of its own: `poll_program HOME DRIVER OPTIONS` (JSON); to be killed."""

import json
import signal
import sys
import threading
from pathlib import Path

from soc.collectors.poll.runner import Poller
from soc.collectors.pollers import polled
from soc.model.clock import SystemClock
from soc.store.queue import DiskLog
from tests.collectors.polls import poll


def main(home: Path, driver: str, options: str) -> None:
    clock, stop = SystemClock(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with DiskLog(home / "queue", "raw", "poll", clock) as log:
        source = polled(poll(driver, **json.loads(options)), home, clock)
        poller = Poller([source], "tinh", log, clock, folder=home / "poll", counters_path=home / "poll.json")
        print("running", flush=True)
        poller.run(stop)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
