"""The state of one group of one correlation: its recent events in order of event time, and when it last fired."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Sequence
from typing import Any, Self

from soc.detections.correlation.definition import Correlation
from soc.detections.correlation.seen import AT, Seen, at_us, is_same, order
from soc.detections.correlation.tally import Tally, fulfilled, tally_of

MAX_EVENTS = 10_000
"""Events of one group that are kept; the oldest goes for a further one, counted as `dropped_events`."""
MAX_ENDS = 256
"""Windows that one late event is looked for in; further ones are counted as `unchecked_windows`."""
NEVER_US = -(2**63)
REPEATED, LATE = -1, -2
"""Places of an event that is not kept."""
TOO_LATE: list[Seen] = []
"""What a window answers to an event that is late beyond measure; as empty as to one that fires nothing."""


class Group:
    """The events of a group in order; one that is late beyond measure, or comes again, is counted and not kept."""

    __slots__ = ("events", "newest_us", "touched_us")

    def __init__(self) -> None:
        self.events: list[Seen] = []
        self.newest_us = NEVER_US
        self.touched_us = 0

    def place(self, correlation: Correlation, seen: Seen, counters: Counter[str]) -> int:
        """Where the event was put, or why it was not: `REPEATED`, `LATE`."""
        events = self.events
        if seen[AT] > self.newest_us:
            self.newest_us = seen[AT]
            events.append(seen)
            return len(events) - 1
        if seen[AT] <= self.newest_us - correlation.late_us:
            counters["late"] += 1
            return LATE
        place = bisect.bisect_left(events, order(seen), key=order)
        if place < len(events) and is_same(events[place], seen):
            counters["repeated"] += 1
            return REPEATED
        events.insert(place, seen)
        return place


class Window(Group):
    """`offer` an event; it answers with the events of a window that fires, the completing one last.

    A window is the half-open span (t - span, t] of some event at t. After a window ending at t fired, the next may end
    at t + span at the earliest: the fired window is left, so no event is in two findings.
    """

    __slots__ = ("_low", "_tally", "fired_us")

    def __init__(self) -> None:
        super().__init__()
        self.fired_us = NEVER_US
        # Of the newest window: where it begins in `events`, and what is counted of it; a count of events needs none.
        self._low = 0
        self._tally: Tally | None = None

    def offer(self, correlation: Correlation, seen: Seen, counters: Counter[str]) -> Sequence[Seen]:
        """Exact for events at most `late_us` behind the newest; later ones are counted as `late`, and `TOO_LATE`."""
        events, at = self.events, seen[AT]
        if at > self.newest_us:  # nearly always
            self.newest_us = at
            place = len(events)
            events.append(seen)
        else:
            place = self.place(correlation, seen, counters)
            if place < 0:
                return TOO_LATE if place == LATE else ()
        if self._tally is not None:
            self._follow(correlation, seen)
        edge_us = self.newest_us - correlation.kept_us
        if events[0][AT] <= edge_us:
            place -= self._forget(edge_us)
        if len(events) > MAX_EVENTS:
            counters["dropped_events"] += 1
            place -= self._drop_oldest()
            if place < 0:
                return ()
        last = len(events) - 1
        if place < last:
            return self._late(correlation, place, counters)
        span = correlation.span_us
        if at < self.fired_us + span:
            return ()
        if correlation.is_count:
            first = last + 1 - correlation.at_least
            holds = first >= 0 and events[first][AT] > at - span
        else:
            holds = fulfilled(correlation, self._newest(correlation), lambda: events[self._low :])
        return self._fire(span, last, seen) if holds else ()

    def _newest(self, correlation: Correlation) -> Tally:
        """What is counted of the newest window."""
        if self._tally is None:
            self._low = bisect.bisect_right(self.events, self.newest_us - correlation.span_us, key=at_us)
            self._tally = tally_of(correlation)
            for seen in self.events[self._low :]:
                self._tally.add(seen)
        return self._tally

    def _follow(self, correlation: Correlation, seen: Seen) -> None:
        """Let the tally follow: the new event, and those that left the newest window because of it."""
        assert self._tally is not None
        edge = self.newest_us - correlation.span_us
        if seen[AT] <= edge:
            self._low += 1  # it lies before the newest window
            return
        self._tally.add(seen)
        events = self.events
        while events[self._low][AT] <= edge:
            self._tally.take(events[self._low])
            self._low += 1

    def _forget(self, edge_us: int) -> int:
        """Drop what no window can reach any more; how many."""
        cut = bisect.bisect_right(self.events, edge_us, key=at_us)
        del self.events[:cut]
        self._low -= cut
        return cut

    def _drop_oldest(self) -> int:
        if self._tally is not None and self._low == 0:
            self._tally.take(self.events[0])
        self._low -= self._low > 0
        del self.events[0]
        return 1

    def _late(self, correlation: Correlation, place: int, counters: Counter[str]) -> Sequence[Seen]:
        """Look at every window that a late event is in, from the earliest end to the newest."""
        span, events, last = correlation.span_us, self.events, len(self.events) - 1
        new = events[place]
        inside = _Inside(correlation, events)
        looked = 0
        for end in range(place, last + 1):
            end_us = events[end][AT]
            if end_us >= new[AT] + span:
                break
            if end_us < self.fired_us + span:
                continue
            if end < last and events[end + 1][AT] == end_us:
                continue  # a window ends after all events of its last moment
            looked += 1
            if looked > MAX_ENDS:
                counters["unchecked_windows"] += 1
                break
            if inside.fulfils(bisect.bisect_right(events, end_us - span, key=at_us), end + 1):
                return self._fire(span, end, new)
        return ()

    def _fire(self, span: int, end: int, completing: Seen) -> list[Seen]:
        """The events of the window that ends there; it is left from now on."""
        self.fired_us = end_us = self.events[end][AT]
        start = bisect.bisect_right(self.events, end_us - span, key=at_us)
        return [*(seen for seen in self.events[start : end + 1] if seen is not completing), completing]

    def to_json(self) -> list[Any]:
        """Plain lists, the same for the same state."""
        return [self.events, self.newest_us, self.fired_us, self.touched_us]

    @classmethod
    def from_json(cls, data: Sequence[Any]) -> Self:
        """The inverse of `to_json`; also of what was written when None stood for never."""
        made = cls()
        made.events = [tuple(event) for event in data[0]]
        made.newest_us, fired_us, made.touched_us = data[1:4]
        made.fired_us = NEVER_US if fired_us is None else fired_us
        return made


class _Inside:
    """A window that moves forward over events, with what is counted of it."""

    def __init__(self, correlation: Correlation, events: Sequence[Seen]) -> None:
        self._correlation, self._events = correlation, events
        self._tally, self._low, self._high = tally_of(correlation), -1, -1

    def fulfils(self, start: int, stop: int) -> bool:
        """Whether the events of `events[start:stop]` do; neither may be less than at the call before."""
        if self._correlation.is_count:
            return stop - start >= self._correlation.at_least
        if self._low < 0:
            self._low = self._high = start
        for seen in self._events[self._high : stop]:
            self._tally.add(seen)
        for seen in self._events[self._low : start]:
            self._tally.take(seen)
        self._low, self._high = start, stop
        return fulfilled(self._correlation, self._tally, lambda: self._events[start:stop])
