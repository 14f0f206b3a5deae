"""The state of one group whose windows are judged when they are over: for what a further event may still undo."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Self

from soc.detections.correlation.definition import GRACE_US, Correlation
from soc.detections.correlation.seen import AT, Seen
from soc.detections.correlation.tally import Tally, fulfilled, tally_of
from soc.detections.correlation.window import LATE, MAX_EVENTS, NEVER_US, Group


class Closing(Group):
    """`offer` events, and ask for the windows that are `over`.

    A window is the half-open span [t, t + span) of some event at t. It counts when it is full: the one before it, by
    one event, does not hold all its events. After one fired the next begins behind it: no event is in two findings.

    It is over when no event can come into it any more (the group's newest is `late_us` past its end), or at the latest
    `GRACE_US` after its end and after the group was last heard, both by the clock of receipt. An event that comes later
    still is counted as `late`.
    """

    __slots__ = ("_high", "_tally", "closed_us", "heard_us", "scheduled_us")

    def __init__(self) -> None:
        super().__init__()
        self.closed_us = NEVER_US
        self.heard_us = 0
        self.scheduled_us: int | None = None  # kept by who asks for `over`
        # What is counted of the window that was judged last: `events[:_high]`.
        self._high = 0
        self._tally: Tally | None = None

    def offer(self, correlation: Correlation, seen: Seen, counters: Counter[str], now_us: int) -> bool:
        """Take an event in, unless it is too late: False. `now_us` is the clock of receipt."""
        if seen[AT] < self.closed_us:
            counters["late"] += 1
            return False
        place = self.place(correlation, seen, counters)
        if place < 0:
            return place != LATE
        self.heard_us = now_us
        if len(self.events) > MAX_EVENTS:
            counters["dropped_events"] += 1
            self._leave(correlation, 1)
        return True

    def due_us(self, correlation: Correlation) -> int | None:
        """When its first window is over by the clock of receipt; None without events, 0 when it is already."""
        if not self.events:
            return None
        end_us: int = self.events[0][AT] + correlation.span_us
        if self.newest_us - correlation.late_us >= end_us:
            return 0
        return max(end_us, self.heard_us) + GRACE_US

    def over(self, correlation: Correlation, until_us: int) -> list[Sequence[Seen]]:
        """The events of each window that is over at this moment and fulfils the condition."""
        fired: list[Sequence[Seen]] = []
        while (due_us := self.due_us(correlation)) is not None and due_us <= until_us:
            if self._judge(correlation):
                fired.append(self.events[: self._high])
                self._leave(correlation, self._high)
            else:
                begin_us = self.events[0][AT]
                same = next((n for n, seen in enumerate(self.events) if seen[AT] > begin_us), len(self.events))
                self._leave(correlation, same)
        return fired

    def _judge(self, correlation: Correlation) -> bool:
        if self._tally is None:
            self._tally, self._high = tally_of(correlation), 0
            self._extend(self.closed_us)
        before_us, end_us = self.closed_us, self.events[0][AT] + correlation.span_us
        self._extend(end_us)
        self.closed_us = end_us
        is_full = self.events[self._high - 1][AT] >= before_us
        return is_full and fulfilled(correlation, self._tally, lambda: self.events[: self._high])

    def _extend(self, end_us: int) -> None:
        assert self._tally is not None
        while self._high < len(self.events) and self.events[self._high][AT] < end_us:
            self._tally.add(self.events[self._high])
            self._high += 1

    def _leave(self, correlation: Correlation, n: int) -> None:
        """Let the first events go."""
        if self._tally is not None:
            for seen in self.events[: min(n, self._high)]:
                self._tally.take(seen)
        self._high = max(self._high - n, 0)
        del self.events[:n]

    def to_json(self) -> list[Any]:
        """Plain lists, the same for the same state."""
        return [self.events, self.newest_us, self.closed_us, self.touched_us, self.heard_us]

    @classmethod
    def from_json(cls, data: Sequence[Any]) -> Self:
        """The inverse of `to_json`."""
        made = cls()
        made.events = [tuple(event) for event in data[0]]
        made.newest_us, made.closed_us, made.touched_us, made.heard_us = data[1:5]
        return made
