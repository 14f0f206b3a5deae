"""How long a queue that had to wait needs until it is worked off, told by how it shrank in the last minutes."""

from __future__ import annotations

from collections import deque

from soc.model.clock import Clock

SAMPLES = 12
"""Looks that are compared: the oldest with the newest."""
SHORTEST_S = 5.0
"""Looks that are closer together say nothing."""
WORTH_TELLING = 1000
"""Fewer records are the usual coming and going."""


class CatchUp:
    """Looks at how many records wait, now and then."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: deque[tuple[int, int]] = deque(maxlen=SAMPLES)

    def look(self, waiting: int) -> None:
        """So many records wait now."""
        now = self._clock.monotonic_ns()
        if not self._seen or now - self._seen[-1][0] >= SHORTEST_S * 1e9:
            self._seen.append((now, waiting))

    def seconds(self, waiting: int) -> float | None:
        """Until nothing waits, at the speed of the last looks; None when little waits or it does not shrink."""
        if waiting < WORTH_TELLING or len(self._seen) < 2:
            return None
        (first_ns, first), (last_ns, last) = self._seen[0], self._seen[-1]
        if last >= first:
            return None
        return round(waiting * (last_ns - first_ns) / 1e9 / (first - last), 1)
