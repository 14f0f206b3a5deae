"""`Daily`: times of the day in which something is allowed, `22:00-05:00` for one."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from zoneinfo import ZoneInfo

from soc.model.clock import VIETNAM, utc

_SPAN = re.compile(r"(\d\d):?(\d\d)-(\d\d):?(\d\d)")
_DAY_MIN = 24 * 60


class Daily:
    """Spans of each day, the end not included; over midnight where the end is before the begin. None at all: always.

    Raises ValueError for what is no span. `zone` is whose clock counts; where it moves to summer time and back, the
    hands of that clock count, not the hours that pass.
    """

    def __init__(self, spans: Sequence[str] = (), zone: ZoneInfo = VIETNAM) -> None:
        self._spans = [_minutes(span) for span in spans]
        self._zone = zone

    def is_open(self, now_ns: int) -> bool:
        """Whether it is one of these times."""
        return not self._spans or self._is_open_at(self._minute(now_ns))

    def next_s(self, now_ns: int) -> float:
        """Seconds until it is, 0 when it is now; exact to the minute."""
        if self.is_open(now_ns):
            return 0.0
        minute = self._minute(now_ns)
        wait = min((begin - minute) % _DAY_MIN for begin, _ in self._spans)
        return wait * 60.0 - utc(now_ns).second

    def _minute(self, now_ns: int) -> int:
        at: dt.datetime = utc(now_ns).astimezone(self._zone)
        return at.hour * 60 + at.minute

    def _is_open_at(self, minute: int) -> bool:
        return any(
            begin <= minute < end if begin < end else minute >= begin or minute < end for begin, end in self._spans
        )


def normal(span: str) -> str:
    """`2200-0500`, as environment variables say it, with its colons. Raises ValueError."""
    _minutes(span)
    return _SPAN.sub(r"\1:\2-\3:\4", span.replace(" ", ""))


def _minutes(span: str) -> tuple[int, int]:
    found = _SPAN.fullmatch(span.replace(" ", ""))
    if found is None:
        raise ValueError("times such as '22:00-05:00'")
    first, second, third, fourth = map(int, found.groups())
    begin, end = first * 60 + second, third * 60 + fourth
    if first > 23 or second > 59 or fourth > 59 or end > _DAY_MIN or begin == end:
        raise ValueError("times such as '22:00-05:00'")
    return begin, end % _DAY_MIN if end % _DAY_MIN != begin else end
