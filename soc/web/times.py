"""Times as people write them in a query: ISO 8601, or so long ago."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated

from fastapi import Query

from soc.errors import UsageError
from soc.model.clock import VIETNAM

When = Annotated[
    str | None,
    Query(max_length=40, description="ISO 8601, or so long ago: 30s, 15m, 1h, 7d; local time without a zone"),
]
_AGO = re.compile(r"(\d{1,6})([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def moment_us(text: str | None, now_us: int) -> int | None:
    """µs UTC. Without a zone it is the time of Asia/Ho_Chi_Minh. Raises UsageError."""
    if not text:
        return None
    ago = _AGO.fullmatch(text)
    if ago:
        return now_us - int(ago[1]) * _UNITS[ago[2]] * 1_000_000
    try:
        # In a query '+' means a blank, so the zone of '…T10:00:00+07:00' often arrives as ' 07:00'.
        moment = dt.datetime.fromisoformat(re.sub(r" (\d{2}:\d{2})$", r"+\1", text) if "T" in text else text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=VIETNAM)
        return int((moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) / dt.timedelta(microseconds=1))
    except (ValueError, OverflowError) as error:
        raise UsageError(f"'{text}' is no time", hint="2026-11-20T08:00:00+07:00, 2026-11-20, 15m, 1h, 7d") from error
