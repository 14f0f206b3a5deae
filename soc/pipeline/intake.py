"""`Intake`: which frames a step of a worker takes: what waits, what was kept aside, and who fell silent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from soc.config import Settings
from soc.model.clock import Clock
from soc.model.position import Position
from soc.model.record import RawBlock
from soc.parsers.groups import PAUSE, Source
from soc.pipeline import aside, places
from soc.store.queue import DiskLog, LogReader, trim

MAX_FRAMES, FRAMES = 512, 32
MAX_BYTES = 4 << 20
"""One step takes at most so many frames and about so many bytes: memory stays bounded (as Python objects an event has
some thirty times its size), a crash repeats little. Frames are read so many at a time."""


class Intake:
    """Reads the logs of some partitions, from the cursors on, which the worker moves."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        node: str,
        partitions: frozenset[int],
        cursors: places.Cursors,
        dead: DiskLog,
    ) -> None:
        """`dead` is the worker's own log of what is kept aside; what lies in it by now is tried once."""
        self._root, self._node, self._partitions, self._cursors = places.queue(settings), node, partitions, cursors
        self._reader = LogReader(self._root, places.RAW)
        self._dead = dead
        self._aside: LogReader | None = LogReader(self._root, places.DEAD)
        self._aside_upto = dead.last_seq
        closed = [at.seq for at in places.passed(cursors, places.PAUSES).values()]
        self._pauses = max([clock.now_ns() // 1000, *closed])

    def waiting(self) -> list[RawBlock]:
        """The raw frames that wait, up to the bounds."""
        taken: list[RawBlock] = []
        ahead = dict(self._cursors)
        size = 0
        while size < MAX_BYTES and len(taken) < MAX_FRAMES:
            more = self._reader.read(ahead, self._partitions, FRAMES, MAX_BYTES - size)
            if not more:
                break
            for block in more:
                ahead[block.partition] = Position(block.node, block.log, block.seq)
                size += len(block.data)
            taken.extend(more)
        return taken

    def pauses(self, sources: Iterable[Source], now_ns: int) -> list[RawBlock]:
        """A block for each source that has something which waited long enough for its rest. They are frames of a log
        that nobody writes: the cursor over it, in the store with the events, says what was closed."""
        blocks = []
        for site, listener, peer in sources:
            self._pauses += 1
            pause = RawBlock.of(
                [], receipt_ns=[now_ns], site=site, listener=listener, peer=peer, format=PAUSE,
                node=self._node, seq=self._pauses,
            )  # fmt: skip
            blocks.append(replace(pause, log=places.PAUSES))
        return blocks

    def kept_aside(self) -> list[RawBlock]:
        """What was kept aside before this start, once, as much as a step takes: this version may understand it.

        Only when nothing else waits: then the raw frame of each was passed. All in one step, so that a crash leaves
        either everything as it was or nothing to do.
        """
        reader, self._aside = self._aside, None
        if reader is None:
            return []
        trim(self._root, places.DEAD, places.passed(self._cursors, places.DEAD))
        standing, ahead, size = aside.Standing(self._cursors), places.Cursors(), 0
        taken: list[RawBlock] = []
        while size < MAX_BYTES and len(taken) < MAX_FRAMES:
            more = reader.read(ahead, self._partitions, FRAMES, MAX_BYTES - size)
            if not more:
                break
            for block in more:
                ahead[block.partition] = Position(block.node, block.log, block.seq)
                if block.node == self._dead.node and block.seq > self._aside_upto:
                    continue
                stands = standing.stands(block)
                if not standing.is_passed(block):
                    taken.append(block if stands else aside.emptied(block))
                    size += len(block.data)
        reader.close()
        return taken

    def close(self) -> None:
        """Let the logs go."""
        self._reader.close()
        if self._aside is not None:
            self._aside.close()
