"""`Pressure`: who can wait waits while the queue is too full."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from soc.collectors.intake import Intake
from soc.collectors.roles import Measurable, QueueWriter
from soc.model.clock import Clock

_LOOK_NS = 200_000_000
_SELDOM_NS = 2_000_000_000
_log = logging.getLogger("soc.collectors")


@dataclass(frozen=True)
class Watermarks:
    """Of the queue's share of the disk, in percent: from `high` on who can wait waits, until it is below `low`."""

    high: int = 90
    low: int = 70


USUAL = Watermarks()


class Pressure:
    """How full the queue is, and since when streams and HTTP are held back for it."""

    def __init__(self, writer: QueueWriter, marks: Watermarks, clock: Clock, intake: Intake) -> None:
        self._writer = writer if isinstance(writer, Measurable) else None
        self._marks, self._clock, self._intake = marks, clock, intake
        self._used = 0
        self._looked_ns = 0
        self._held_ns: int | None = None

    def regulate(self) -> None:
        """Hold back who can wait while the queue is above its high watermark, until it is below the low one."""
        writer = self._writer
        if writer is None or not writer.max_bytes:
            return
        now, share, marks = self._clock.monotonic_ns(), writer.max_bytes, self._marks
        is_held, self._used = self._intake.is_held, writer.used
        is_high = self._used * 100 >= share * marks.high
        if now - self._looked_ns >= (_LOOK_NS if is_held else _SELDOM_NS) or (is_high and not is_held):
            self._looked_ns, self._used = now, writer.measured()
        percent = self._used * 100 / share
        if not is_held and percent >= marks.high:
            self._held_ns = now
            _log.warning("the queue is %.0f %% full: streams and HTTP wait", percent)
        elif is_held and percent < marks.low:
            self._held_ns = None
            _log.warning("the queue is down to %.0f %% of its share: nobody waits any more", percent)
        self._intake.is_held = self._held_ns is not None

    def told(self) -> dict[str, int]:
        """How full the queue is: `queue_used` and `queue_share` (bytes, 0 = no bound), the watermarks in percent, and
        for how many seconds those who can wait have waited (0 = nobody waits)."""
        share = self._writer.max_bytes if self._writer else 0
        held = self._held_ns
        waited = 0 if held is None else (self._clock.monotonic_ns() - held) // 1_000_000_000 + 1
        return {
            "queue_used": self._used, "queue_share": share or 0, "queue_high": self._marks.high,
            "queue_low": self._marks.low, "held_s": waited,
        }  # fmt: skip
