"""A collector that runs in a thread, and queues to hand it."""

import contextlib
import threading
import time

from soc.collectors.collect import Collector
from soc.collectors.counters import HOUR_NS
from soc.errors import DiskFull
from soc.model.clock import SystemClock

LONG_S = 60.0
"""What has not come by then does not come: a machine that does much else may need several seconds for anything."""


class EarlyInTheHour(SystemClock):
    """The machine's clock, at most five minutes past its hour when it is made: sources are counted by the hour, and a
    test that wants one row of each shall not meet the turn."""

    def __init__(self):
        self._back_ns = max(super().now_ns() % HOUR_NS - 300 * 1_000_000_000, 0)

    def now_ns(self):
        return super().now_ns() - self._back_ns


class MemoryQueue:
    """A `QueueWriter` that keeps blocks in a list; full while `is_full` is set."""

    def __init__(self):
        self.blocks = []
        self.is_full = threading.Event()

    def append(self, blocks):
        if self.is_full.is_set():
            raise DiskFull("the queue is full")
        self.blocks.extend(blocks)

    @property
    def records(self):
        return [record for block in list(self.blocks) for record in block.records()]


@contextlib.contextmanager
def running(specs, queue, counters_path, reloading=None, **options):
    """The collector and its ports; stopped at the end."""
    collector = Collector(specs, queue, EarlyInTheHour(), counters_path=counters_path, **options)
    stop, is_ready, ports = threading.Event(), threading.Event(), {}
    faults = []

    def run():
        try:
            collector.run(stop, lambda found: (ports.update(found), is_ready.set()), reloading)
        except BaseException as error:
            faults.append(error)
            is_ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert is_ready.wait(LONG_S)
    try:
        yield collector, ports
    finally:
        stop.set()
        thread.join(LONG_S)
        assert not thread.is_alive()
        if faults:
            raise faults[0]


def until(condition, seconds=LONG_S):
    """Wait for a condition; whether it came. A limit of one's own is for what shall not come."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def total(collector, name):
    """A count over all sources; a reason when it names one."""
    rows = collector.counters()
    return sum(row[name] if name in row else row["dropped"].get(name, 0) for row in rows)


def balances(rows):
    """Whether received = queued + dropped for every source and hour."""
    return all(row["received"] == row["queued"] + sum(row["dropped"].values()) for row in rows)
