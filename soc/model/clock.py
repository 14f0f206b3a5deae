"""Time is handed in: a `Clock` everywhere, so that tests and the simulated province can set it."""

from __future__ import annotations

import datetime as dt
import time
from typing import Protocol
from zoneinfo import ZoneInfo

VIETNAM = ZoneInfo("Asia/Ho_Chi_Minh")
"""The zone people see by default (UTC+7, no daylight saving)."""
DAY_US = 86_400_000_000
"""A day in µs."""
VIETNAM_US = 7 * 3_600_000_000
"""Its offset in µs, the same since 1975: a local day is one division."""


class Clock(Protocol):
    """Wall clock and monotonic clock, both in nanoseconds."""

    def now_ns(self) -> int:
        """Nanoseconds since 1970-01-01 UTC."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds that never go back, from an arbitrary start."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()


class FixedClock:
    """A clock that stands still until it is moved; both readings move together."""

    def __init__(self, now: dt.datetime | int) -> None:
        self._now = now if isinstance(now, int) else int(now.timestamp() * 1_000_000) * 1000

    def now_ns(self) -> int:
        return self._now

    def monotonic_ns(self) -> int:
        return self._now

    def advance(self, seconds: float) -> None:
        """Move on by so many seconds."""
        self._now += int(seconds * 1_000_000_000)

    def set(self, now_ns: int) -> None:
        """Move to this moment."""
        self._now = now_ns


def utc(ns: int) -> dt.datetime:
    """An aware UTC datetime (µs precision) of nanoseconds since the epoch."""
    return dt.datetime.fromtimestamp(ns // 1_000_000_000, dt.UTC).replace(microsecond=ns // 1000 % 1_000_000)


def receipt_day(ns: int) -> str:
    """The UTC day of receipt, `2026-11-20`, by which events are stored and kept."""
    return utc(ns).date().isoformat()
