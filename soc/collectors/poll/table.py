"""`Table`: rows of a database table behind a cursor, also those that are committed late.

By key (whole numbers that rise): a number that is missing between two rows may be a transaction that has not ended.
Such gaps are kept in the cursor and looked at again until no transaction can fill them any more. By time and key: each
look begins `overlap_s` before the newest time and before the oldest transaction that still runs; what was had is left
out.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from soc.collectors.poll.databases import Look, Postgres, Row, Sqlite, Where
from soc.collectors.poll.page import FRAME_BYTES, FRAME_RECORDS, Cursor, Page, cost
from soc.collectors.poll.rest import seconds
from soc.collectors.poll.secrets import Secrets
from soc.errors import ConfigError
from soc.model.clock import Clock
from soc.model.poll import Poll

MAX_GAPS = 1000
"""Runs of missing keys that are looked at again, the newest; `gaps_given_up` counts those beyond."""
RANGES_AT_ONCE = 100
LATEST = 4_000_000_000.0
"""A row without a time that can be told, or of a later one, is remembered as of this."""
_Gap = list[Any]
"""First and last key, since when it is known (seconds), and below which number all transactions must have ended."""


class Table:
    """The driver; the cursor is `{after, gaps}` by key, `{high, at}` by time and key."""

    def __init__(self, poll: Poll, secrets: Secrets, clock: Clock) -> None:
        self._poll, self._clock = poll, clock
        self._database = Postgres(poll, secrets) if poll["url"].startswith("postgresql:") else Sqlite(poll)
        self.source = f"sql {poll['url']} {poll['table']} {poll['key']} {poll['time']}".rstrip()
        self.peer, self.format, self.dataset = self._database.peer, "json", poll["dataset"]
        self._without_time = 0

    def fetch(self, cursor: Cursor) -> Page:
        """One look, see `Driver`."""
        with self._database.look() as look:
            return self._by_time(look, cursor) if self._poll["time"] else self._by_key(look, cursor)

    def durable(self, cursor: Cursor) -> None:
        """Nobody is told."""

    def close(self) -> None:
        """End the connection."""
        self._database.close()

    # by key ---------------------------------------------------------------------------------------------------------

    def _by_key(self, look: Look, cursor: Cursor) -> Page:
        limit = self._poll["limit"]
        if cursor is None:
            newest = look.newest() if self._poll["start"] == "now" else None
            cursor = {"after": None if newest is None else int(newest), "gaps": []}
        after, gaps = cursor["after"], [list(gap) for gap in cursor["gaps"]]
        late = _Budget()
        late.take(row for ranges in _parts(gaps) for row in look.rows(_within(ranges), ("key",), limit))
        found = _Budget(late.size)
        if not late.is_full:
            where = Where("TRUE") if after is None else Where("{key} > {}", (after,))
            found.take(look.rows(where, ("key",), limit))
        is_whole = not late.is_full and len(late.rows) < limit
        gaps = self._left(look, gaps, [_number(row) for row in late.rows], is_whole=is_whole)
        now = self._clock.now_ns() / 1e9
        for row in found.rows:
            number = _number(row)
            after = min(0, number - 1) if after is None else after
            if number > after + 1 and self._poll["gap_s"]:
                gaps.append([after + 1, number - 1, now, None])
            after = number
        given_up = max(len(gaps) - MAX_GAPS, 0)
        rows = [*late.rows, *found.rows]
        is_behind = found.is_full or not is_whole or len(found.rows) >= limit
        return Page(
            [row.record for row in rows], {"after": after, "gaps": gaps[-MAX_GAPS:]},
            0.0 if is_behind else self._poll["every_s"],
            counts={name: n for name, n in (("late_rows", len(late.rows)), ("gaps_given_up", given_up)) if n},
        )  # fmt: skip

    def _left(self, look: Look, gaps: Sequence[_Gap], late: Sequence[int], *, is_whole: bool) -> list[_Gap]:
        """The gaps without the rows that came, less those that nothing can fill any more (which is no loss)."""
        now = self._clock.now_ns() / 1e9
        left: list[_Gap] = []
        for gap in gaps:
            for first, last in _around(gap[0], gap[1], late):
                since, until = gap[2], gap[3]
                if is_whole and now - since >= self._poll["gap_s"]:
                    if look.horizon is None or (until is not None and look.horizon >= until):
                        continue
                    # From now on nobody new takes such a key; who has it now has a number below this.
                    until = look.next_transaction if until is None else until
                left.append([first, last, since, until])
        return left

    # by time and key ------------------------------------------------------------------------------------------------

    def _by_time(self, look: Look, cursor: Cursor) -> Page:
        now = self._clock.now_ns() / 1e9
        state = cursor or {"high": self._start(now), "at": None, "low": None}
        low, is_new = state["low"], state["at"] is None
        if is_new:
            oldest = look.oldest_start()
            high = state["high"]
            starts = [] if high is None else [high - self._poll["overlap_s"], *([oldest] if oldest is not None else [])]
            low = min(starts) if starts else None
            where = Where("{time} IS NOT NULL") if low is None else Where("{time} >= {}", (self._written(low),))
        else:
            where = Where("({time}, {key}) > ({}, {})", tuple(state["at"]))
        found = _Budget()
        found.take(look.rows(where, ("time", "key"), self._poll["limit"]))
        unseen = self._more_without_time(look) if is_new else 0
        times = [min(row.at, now) for row in found.rows if row.at is not None]
        high = max([*times, *([state["high"]] if state["high"] is not None else [])], default=None)
        page = Page(
            [row.record for row in found.rows], None, keys=[_named(row) for row in found.rows],
            at=max([LATEST if row.at is None else min(row.at, LATEST) for row in found.rows], default=now),
            counts={"without_time": unseen} if unseen else {},
        )  # fmt: skip
        if found.is_full or len(found.rows) >= self._poll["limit"]:
            last = found.rows[-1]
            return replace(page, cursor={"high": high, "at": [last.time, last.key], "low": low})
        cursor = {"high": high, "at": None, "low": None}
        return replace(page, cursor=cursor, wait_s=self._poll["every_s"], forget_before=low)

    def _more_without_time(self, look: Look) -> int:
        """Rows without a time, which no look by time sees, that were not there in the look before."""
        before, self._without_time = self._without_time, look.without_time()
        return max(self._without_time - before, 0)

    def _start(self, now: float) -> float | None:
        start = self._poll["start"]
        return None if start == "beginning" else now if start == "now" else seconds(start, "iso")

    def _written(self, at: float) -> Any:
        """A time before this one, as the column has times."""
        form = self._poll["time_form"]
        if form == "epoch":
            return int(at)
        if form == "epoch_ms":
            return int(at * 1000)
        # Without a zone: text that goes on (a fraction, a Z) sorts behind it; PostgreSQL reads it in UTC.
        when = dt.datetime.fromtimestamp(int(at), dt.UTC).replace(tzinfo=None)
        return when.isoformat(" " if form == "sql" else "T")


class _Budget:
    """Rows that fit one frame: then the cursor in it stands for all of them."""

    def __init__(self, size: int = 0) -> None:
        self.rows: list[Row] = []
        self.size = size
        self.is_full = False

    def take(self, rows: Iterable[Row]) -> None:
        """As many as fit."""
        for row in rows:
            more = cost(row.record)
            if (self.rows or self.size) and (self.size + more > FRAME_BYTES or len(self.rows) >= FRAME_RECORDS // 2):
                self.is_full = True
                return
            self.size += more
            self.rows.append(row)


def _parts(gaps: Sequence[_Gap]) -> Iterator[Sequence[_Gap]]:
    for start in range(0, len(gaps), RANGES_AT_ONCE):
        yield gaps[start : start + RANGES_AT_ONCE]


def _within(ranges: Sequence[_Gap]) -> Where:
    text = " OR ".join("{key} BETWEEN {} AND {}" for _ in ranges)
    return Where(text, [end for gap in ranges for end in gap[:2]])


def _around(first: int, last: int, taken: Sequence[int]) -> Iterator[tuple[int, int]]:
    """What is left of a run of keys."""
    for number in sorted(n for n in taken if first <= n <= last):
        if number > first:
            yield first, number - 1
        first = number + 1
    if first <= last:
        yield first, last


def _number(row: Row) -> int:
    try:
        return int(row.key)
    except (ValueError, TypeError):
        raise ConfigError(
            f"the key {str(row.key)[:60]!r} is no whole number", hint="name a 'time' column too"
        ) from None


def _named(row: Row) -> str:
    """Of the row's text too: a row that was changed without a new time is another record."""
    name = repr((row.time, row.key)).encode("utf-8", "surrogateescape") + row.record
    return hashlib.blake2b(name, digest_size=12).hexdigest()
