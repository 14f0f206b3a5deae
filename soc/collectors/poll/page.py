"""The interface of every polled source: a `Driver` is asked for the `Page` behind a cursor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from soc.errors import TryAgain

Cursor = Any
"""Where a source stands, as JSON has it; None at the very first. Only its driver reads it."""
MAX_RECORDS = 100_000
"""Records of one page."""
MAX_RECORD = 1 << 20
"""Bytes of a record; a longer one is cut and flagged `oversize`."""
FRAME_BYTES = 2 << 20
"""Bytes of records in one frame, so that the queue never splits it: a frame and its cursor are one."""
FRAME_RECORDS = 20_000


class Throttled(TryAgain):
    """The source asks us to come later: 429, or 503 with Retry-After."""

    def __init__(self, message: str, wait_s: float) -> None:
        super().__init__(message)
        self.wait_s = wait_s


@dataclass(frozen=True)
class Page:
    """Records behind a cursor, in order, and the cursor behind them.

    `wait_s`: how long until it is worth asking again, 0 for at once. `keys`: what tells each record from all others of
    the source, where the cursor alone does not (the same record may come again); empty: every record comes once.
    A page whose cursor is the one it was asked with stays open: its keys are kept, and asking again gives what is new.
    `at` and `forget_before` go together: the keys of this page are of that time, and those of an earlier time than
    `forget_before` cannot come again (seconds since the epoch); `at` None: keys are kept for an open page only.
    """

    records: Sequence[bytes]
    cursor: Cursor
    wait_s: float = 0.0
    keys: Sequence[str] = ()
    at: float | None = None
    forget_before: float | None = None
    lag_records: int | None = None
    lag_s: float | None = None
    flags: dict[int, int] = field(default_factory=dict)
    """Bits of `RawBlock.flags` by place in `records`."""
    counts: dict[str, int] = field(default_factory=dict)
    """What the driver has to say in figures: it is added to the counters of the source's health."""
    lost: dict[str, int] = field(default_factory=dict)
    """Records that the source says it had and can give no more, by reason; they count as received and dropped."""


def cost(record: bytes) -> int:
    """Bytes that a record takes of a frame, at most: with its key, its length, its receipt time."""
    return min(len(record), MAX_RECORD) + 100


class Driver(Protocol):
    """One source. Used by one thread; `fetch` returns within a minute or so, also when nothing comes.

    `source` names what is asked, without secrets: a cursor of another source is not believed. `peer` is the address
    that stands in the events, `format` and `dataset` say what its records are (`RawBlock.format`).
    """

    source: str
    peer: str
    format: str
    dataset: str

    def fetch(self, cursor: Cursor) -> Page:
        """The page behind `cursor`. Raises SocError: Throttled, TryAgain, PermissionRefused, ConfigError."""
        ...

    def durable(self, cursor: Cursor) -> None:
        """The queue has everything up to this cursor for good; the source may be told."""
        ...

    def close(self) -> None:
        """Let connections and processes go; a later `fetch` begins anew."""
        ...
