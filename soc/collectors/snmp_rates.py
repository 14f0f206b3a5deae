"""What two looks at an agent's counters say about the time between them: deltas, or that there are none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

TICKS = 1 << 32
"""sysUpTime counts hundredths of a second in 32 bits and comes round after 497 days."""
WRAP_SLACK_S = 60.0
DOUBT = 1.25
"""More than so many times its speed no interface carries: then the counter was set back, not wrapped."""


@dataclass(frozen=True)
class Look:
    """Counters of one thing at one time: `ticks` of sysUpTime, our clock in s, the widest form of each counter."""

    ticks: int
    at_s: float
    counters: Mapping[str, int]
    bits: Mapping[str, int]
    speed: int = 0
    """Bits a second, 0 when the agent does not say."""
    discontinuity: int = 0
    """ifCounterDiscontinuityTime."""


def elapsed(before: Look, now: Look) -> float | None:
    """Seconds between two looks by the agent's own clock; None when it started again in between."""
    ticks = (now.ticks - before.ticks) % TICKS / 100
    if now.ticks >= before.ticks:
        return ticks
    # Backwards: it came round, or the agent started again. Only the first agrees with our clock.
    return ticks if abs(ticks - (now.at_s - before.at_s)) <= WRAP_SLACK_S else None


def deltas(before: Look, now: Look, seconds: float) -> dict[str, int]:
    """By how much each counter rose; without those that nobody can tell.

    A 32-bit counter that fell wrapped once (RFC 2578 section 7.1.6), if that is no more than the line can carry. A
    64-bit one does not wrap in our lifetime: it was set back.
    """
    if before.discontinuity != now.discontinuity or before.bits != now.bits:
        return {}
    found: dict[str, int] = {}
    for name, value in now.counters.items():
        if name not in before.counters:
            continue
        rise = value - before.counters[name]
        if rise < 0:
            rise %= 1 << 32
            too_much = name.endswith("bytes") and now.speed and rise * 8 > now.speed * max(seconds, 1.0) * DOUBT
            if now.bits[name] == 64 or too_much:
                continue
        found[name] = rise
    return found
