"""`PartitionStates`: what the parsers remember of each partition of a worker, saved before the cursor moves over what
they learned it from."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from soc.config import Settings
from soc.model.clock import Clock
from soc.model.record import RawBlock
from soc.parsers import ParserSet, ParserState, audit
from soc.parsers.groups import PAUSE, Group, Source
from soc.pipeline import places
from soc.pipeline.waiting import Waiting
from soc.store import files

COUNTS_AGE_NS = 10_000_000_000
"""Counts of flow exporters are written so late; after a crash in between they begin anew, templates do not."""
_log = logging.getLogger("soc.work")


class PartitionStates:
    """By number of the partition; each is read from disk when it is first asked for, as another worker left it."""

    def __init__(
        self, settings: Settings, clock: Clock, parsers: ParserSet, node: str, cursors: places.Cursors
    ) -> None:
        """Whoever has the partitions' leases makes it; `cursors` are those that the worker moves on."""
        self._settings, self._clock, self._parsers, self._cursors = settings, clock, parsers, cursors
        self._waiting = Waiting(settings, node)
        self._states: dict[int, ParserState] = {}
        self._regrouped: set[int] = set()
        self._learned: set[int] = set()
        self._aged: dict[int, int] = {}

    def read_waiting(self, numbers: Iterable[int]) -> None:
        """Read what lines wait in: their sources may be silent for good."""
        for number in numbers:
            if number in self._waiting:
                self.of(number)

    def of(self, number: int) -> ParserState:
        """What the parsers remember of a partition's sources."""
        if number not in self._states:
            state = self._restored(self._file(number))
            passed = self._passed(number)
            state = audit.at(self._parsers.resumed(state) if state.is_behind(passed) else state, passed)
            self._states[number] = replace(state, groups=self._waiting.of(number).at(self._cursors, number))
        return self._states[number]

    def _passed(self, number: int) -> dict[str, int]:
        """By node the last raw frame of a partition that the store has."""
        raw = places.passed(self._cursors, places.RAW)
        return {where.node: at.seq for where, at in raw.items() if where.number == number}

    @staticmethod
    def _restored(path: Path) -> ParserState:
        try:
            return ParserState.restore(path.read_bytes())
        except FileNotFoundError:
            return ParserState()
        except ValueError as error:
            _log.error("%s is damaged, what parsers remembered must come again: %s", path, error)
            return ParserState()

    def _file(self, number: int) -> Path:
        return self._settings.path("run", "parsers", f"{number:02d}.json")

    def learn(self, states: Mapping[int, ParserState], frames: Sequence[RawBlock]) -> None:
        """These are the states after these frames."""
        last = {frame.partition.number: frame for frame in frames if frame.format != PAUSE}
        for number, state in states.items():
            if state.groups is not self._states[number].groups:
                self._regrouped.add(number)
            if state.revision != self._states[number].revision:
                self._learned.add(number)
            elif state.memory:
                self._aged.setdefault(number, self._clock.monotonic_ns())
            frame = last.get(number)
            self._states[number] = state if frame is None else state.after(frame.node, frame.seq)

    def give_up(self, number: int, groups: Collection[Group]) -> None:
        """Nothing waits for what goes on with these."""
        state = self._states[number]
        self._states[number] = replace(state, groups=state.groups.without(groups))
        self._regrouped.add(number)

    def overdue(self, now_ns: int) -> list[Source]:
        """The sources that have something which waited long enough."""
        return [source for state in self._states.values() for source in state.groups.overdue(now_ns)]

    def closed_by(self, frame: RawBlock) -> list[Group]:
        """What was complete with this frame."""
        state = self._states.get(frame.partition.number)
        return [group for group in state.groups.closed if group.is_closed_by(frame)] if state is not None else []

    def keep(self, age_ns: int = COUNTS_AGE_NS) -> None:
        """What was learned, before the cursor moves: a state that is newer than the cursor only knows more, or also
        what it knew before (`Groups.at`, `audit.at`).

        Counts are written after a while: 64 files a step, with two syncs each, would cost more than reading the flows.
        """
        for number in self._regrouped:
            state = self._states[number]
            self._states[number] = replace(state, groups=state.groups.settled(self._cursors, number))
        if self._regrouped:
            self._waiting.keep({number: self._states[number].groups for number in self._regrouped})
        self._regrouped.clear()
        now = self._clock.monotonic_ns()
        due = self._learned | {number for number, since in self._aged.items() if now - since >= age_ns}
        for number in sorted(due):
            self._states[number] = audit.settled(self._states[number], self._passed(number))
            files.replace(self._file(number), self._states[number].snapshot())
            self._aged.pop(number, None)
        self._learned.clear()

    def forget_news(self) -> None:
        """As if all were kept: who dies writes nothing more."""
        self._regrouped.clear()
        self._learned.clear()
        self._aged.clear()
