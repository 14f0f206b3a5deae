"""What an event says itself, told by the names of its fields from what is said about it: keywords search the first."""

from __future__ import annotations

from collections.abc import Iterable

REST = "soc.rest"
WINDOWS_ID = "winlog.event_id"
"""Every event of Windows has it, and no other one."""
SAID_BY_WINDOWS = (
    "message", "winlog.provider_name", "winlog.provider_guid", "winlog.event_id", "winlog.channel",
    "winlog.computer_name", "winlog.level", "winlog.task", "winlog.opcode", "winlog.keywords", "winlog.activity_id",
    "winlog.user.identifier",
)  # fmt: skip
"""Of the System part each value once, without running numbers; the message."""
DATA_OF_WINDOWS = ("winlog.event_data.", "winlog.user_data.")
_ABOUT = ("soc.", "event.", "ecs.", "organization.", "observer.", "tags")


def said(names: Iterable[str]) -> list[str]:
    """Those of an event's fields that hold what it says itself, in order.

    Of Windows events these are none of ECS, which repeat the data, and not the original: the JSON or XML around the
    values, with its names, is no value. What no column holds is in `soc.rest`.
    """
    names = list(names)
    if WINDOWS_ID in names:
        return [n for n in names if n in SAID_BY_WINDOWS or n == REST or n.startswith(DATA_OF_WINDOWS)]
    return [n for n in names if n == "event.original" or not n.startswith(_ABOUT)]
