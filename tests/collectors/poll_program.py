"""`soc poll`'s poller in a process of its own: `poll_program HOME URL`; to be killed."""

import sys
import threading
from pathlib import Path

from soc.collectors.poll.runner import Poller
from soc.collectors.pollers import polled
from soc.model.clock import SystemClock
from soc.store.queue import DiskLog
from tests.collectors.polls import poll


def main(home: Path, url: str) -> None:
    section = poll("rest", url=url, paging="offset", next_param="from", limit_param="n", limit=50, items="rows")
    clock = SystemClock()
    with DiskLog(home / "queue", "raw", "poll", clock) as log:
        poller = Poller(
            [polled(section, home, clock)], "tinh", log, clock, folder=home / "poll", counters_path=home / "poll.json"
        )
        print("running", flush=True)
        poller.run(threading.Event())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
