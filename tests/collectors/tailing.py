"""A tail that is moved by hand: real files, a real queue, a clock that stands still; it can be killed at any point."""

import contextlib

from soc.collectors.counters import Counters
from soc.collectors.intake import Intake
from soc.collectors.listeners import ListenerSpec
from soc.collectors.tail import TailReceiver
from soc.collectors.tail_streams import Book
from soc.model.clock import FixedClock
from soc.store.queue import DiskLog, LogReader

START_NS = 1_795_600_000_000_000_000


class Tail:
    """One listener over `patterns` (default: `*.log`) of the folder `logs`."""

    def __init__(self, root, *patterns, **options):
        self.root, self.logs = root, root / "logs"
        self.logs.mkdir(exist_ok=True)
        paths = tuple(str(self.logs / pattern) for pattern in patterns or ("*.log",))
        self.spec = ListenerSpec("app", "file", "", 0, "site", paths=paths, **options)
        self.clock = FixedClock(START_NS)
        self.queue = DiskLog(root / "queue", "raw", "n1", self.clock)
        self._begin()

    def _begin(self):
        self.counters = Counters(self.root / "counters.json")
        self.intake = Intake(self.counters)
        self.receiver = TailReceiver(
            self.spec, self.intake, self.counters, self.clock, Book(self.root / "tail.json"), self.queue.frames_after
        )

    def turn(self, seconds=1.1):
        """Time passes, then one look."""
        self.clock.advance(seconds)
        return self.receiver.turn()

    def commit(self):
        """What was read becomes durable."""
        if blocks := self.intake.take():
            self.queue.append(blocks)
        self.intake.settle()

    def save(self):
        """The snapshot of the offsets."""
        self.receiver.save(self.queue.last_seq)

    def kill(self):
        """What was not committed is gone, and everything that was not on disk."""
        self._let_go()
        self._begin()

    def _let_go(self):
        for stream in self.receiver._book:
            stream.close()

    def close(self):
        """Let all files go."""
        self._let_go()
        self.queue.close()

    def settle(self, turns=4, seconds=1.1):
        """Look and commit until nothing more comes."""
        for _ in range(turns):
            while self.turn(seconds):
                self.commit()
            self.commit()

    @property
    def blocks(self):
        with contextlib.closing(LogReader(self.root / "queue", "raw")) as reader:
            return reader.read({}, None, 1_000_000)

    @property
    def records(self):
        return [record for block in self.blocks for record in block.records()]

    @property
    def flags(self):
        return [block.flags[i] if block.flags else 0 for block in self.blocks for i in range(block.n)]

    @property
    def refused(self):
        """Reasons by the file's name."""
        rows = self.counters.snapshot()
        return {(row["peer"].rpartition("/")[2], word) for row in rows for word in row["refused_for"]}
