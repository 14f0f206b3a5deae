"""One event as a window keeps it: a plain tuple, for there are as many as a site has events."""

from __future__ import annotations

from typing import Any

AT, POSITION, RULE, EVENT_ID, VALUE, ABOUT = range(6)
Seen = tuple[Any, ...]
"""(event time in µs UTC, position, rule id, event id in hex, what is counted: a text, or a number for the metrics), and
what a finding may say of it besides: of a finding of another correlation the events that it is made of, and where
windows are judged when they are over the document's fields."""


def at_us(seen: Seen) -> int:
    """The event's time, by which windows are cut."""
    return seen[AT]  # type: ignore[no-any-return]


def order(seen: Seen) -> tuple[int, str, str]:
    """By event time, then as the log has them: syslog stamps often agree to the second."""
    return (seen[AT], in_order(seen[POSITION]), seen[RULE])


def in_order(position: str) -> str:
    """A position whose texts sort as its numbers do."""
    place, mark, rest = position.partition("#")
    parts = (part.zfill(20) if part.isdecimal() else part for part in place.split(":"))
    return ":".join(parts) + mark + rest


def is_same(one: Seen, other: Seen) -> bool:
    """The same event for the same rule: one place in the log, whatever else a replay says."""
    return one[:EVENT_ID] == other[:EVENT_ID]
