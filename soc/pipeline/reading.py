"""`Reading`: raw frames to events, many at once; what breaks is looked for by halves, and costs no other frame."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from soc.errors import SocError
from soc.model.batch import EventBatch
from soc.model.record import RawBlock
from soc.parsers import ParserSet, ParserState
from soc.parsers.groups import Group
from soc.pipeline import aside, places
from soc.pipeline.partition_states import PartitionStates
from soc.store.queue import DiskLog

PRODUCT = "as_product"
T = TypeVar("T")
_log = logging.getLogger("soc.work")


@dataclass(frozen=True)
class Read:
    """Frames that were parsed as one, their events, and the states they were parsed from, by partition."""

    frames: Sequence[RawBlock]
    batches: list[EventBatch]
    before: Mapping[int, ParserState]


class Reading:
    """Parses with what is remembered of each partition; frames that cannot become events go to the dead log."""

    def __init__(self, parsers: ParserSet, states: PartitionStates, dead: DiskLog) -> None:
        self._parsers, self._states, self._log = parsers, states, dead
        self.dead = 0
        """How many records were kept aside."""

    def read(self, frames: Sequence[RawBlock], now_ns: int) -> list[Read]:
        """Frames that go together, parsed as one; by halves when that breaks, or when records wait for those that go
        on with them."""
        before = {number: self._states.of(number) for number in _numbers(frames)}
        if len(frames) == 1:
            return [Read(frames, self._alone(frames[0], now_ns), before)]
        if not any(before[frame.partition.number].groups.of(frame) for frame in frames):
            with suppress(Exception):
                batches, after = self._together(RawBlock.joined(frames), before, now_ns)
                self._states.learn(after, frames)
                return [Read(frames, batches, before)]
        return [read for half in halves(frames) for read in self.read(half, now_ns)]

    def _together(
        self, block: RawBlock, before: Mapping[int, ParserState], now_ns: int
    ) -> tuple[list[EventBatch], Mapping[int, ParserState]]:
        if block.is_mixed:
            return self._parsers.parse_mixed(block, before, now_ns)
        [(number, state)] = before.items()
        batches, state = self._parsers.parse(block, state, now_ns, as_product=block.origin.get(PRODUCT))
        return batches, {number: state}

    def _alone(self, block: RawBlock, now_ns: int) -> list[EventBatch]:
        number, product = block.partition.number, block.origin.get(PRODUCT)
        state = self._states.of(number)
        try:
            if block.log == places.DEAD:  # what came since knows more
                return self._parsers.parse_alone(block, state, now_ns, as_product=product)
            batches, state = self._parsers.parse(block, state, now_ns, as_product=product)
        except Exception as error:
            waiting = state.groups.of(block) if block.log != places.DEAD else []
            if not waiting:
                self.bury([block], why(error))
                return []
            # Whether it was they or what goes on with them: a source must not stumble over the same lines for ever.
            self.bury([], why(error), waiting)
            self._states.give_up(number, waiting)
            return self._alone(block, now_ns)
        self._states.learn({number: state}, [block])
        return batches

    def halved(self, read: Read, now_ns: int) -> list[Read]:
        """Frames that were parsed as one, each half as one again; what is remembered stays as it is."""
        states = dict(read.before)
        return [again for half in halves(read.frames) for again in self._again(half, states, now_ns)]

    def apart(self, read: Read, now_ns: int) -> list[Read]:
        """The same, each frame alone."""
        states = dict(read.before)
        return [again for frame in read.frames for again in self._again([frame], states, now_ns)]

    def _again(self, frames: Sequence[RawBlock], states: dict[int, ParserState], now_ns: int) -> list[Read]:
        before = {number: states[number] for number in _numbers(frames)}
        batches: list[EventBatch] = []
        try:
            batches, after = self._together(RawBlock.joined(frames), before, now_ns)
            states |= after
        except Exception as error:
            if len(frames) > 1:
                return [again for half in halves(frames) for again in self._again(half, states, now_ns)]
            self.bury(frames, why(error))
        return [Read(frames, batches, before)]

    def bury(self, blocks: Sequence[RawBlock], why: str, groups: Iterable[Group] = ()) -> None:
        """Keep frames that cannot become events, what they closed, and groups; `soc source list` counts them."""
        closed = [group for block in blocks for group in self._states.closed_by(block)]
        pieces = [(group.block(), group.records[0].at.ordinal + 1) for group in (*closed, *groups)]
        for block, piece in [*((block, 0) for block in blocks if block.n), *pieces]:
            _log.error("frame %s:%s:%s of %s is kept aside: %s", block.node, block.log, block.seq, block.source, why)
            self._log.append([aside.buried(block, why, piece)])
            self.dead += block.n


def _numbers(frames: Iterable[RawBlock]) -> set[int]:
    """Of their partitions."""
    return {frame.partition.number for frame in frames}


def halves(several: Sequence[T]) -> tuple[Sequence[T], Sequence[T]]:
    """Of at least two; what breaks one of many is found in a few turns."""
    middle = len(several) // 2
    return several[:middle], several[middle:]


def why(error: Exception) -> str:
    """What a frame is kept aside for, in words."""
    return str(error) if isinstance(error, SocError) else f"{type(error).__name__}: {error}"
