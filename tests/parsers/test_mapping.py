"""What a definition's `fields:` make of values."""

from __future__ import annotations

from typing import Any

import pytest

from soc.model.clock import FixedClock
from soc.model.record import RawBlock
from soc.parsers import ParserSet, ParserState

NOW_NS = FixedClock(1_795_600_000_000_000_000).now_ns()


@pytest.mark.parametrize(
    ("seconds", "duration", "misfit"),
    [
        ("116", 116_000_000_000, None),
        ("1.5", 1_500_000_000, None),
        ("-3", -3_000_000_000, None),
        ("123456789012", None, "123456789012000000000"),
        ("1000000000000000000", None, "1000000000000000000000000000"),
        ("9" * 60, None, "9" * 60),
        ("soon", None, "soon"),
    ],
)
def test_a_unit_is_applied_or_the_value_is_a_misfit(
    parsers: ParserSet, seconds: str, duration: int | None, misfit: str | None
) -> None:
    """Seconds that are too many for nanoseconds were stored as nanoseconds, and nobody was told."""
    line = f'date=2026-11-25 time=10:00:00 logid="0000000013" type="traffic" subtype="forward" duration={seconds}'
    block = RawBlock.of([line.encode()], receipt_ns=NOW_NS, format="syslog", peer="192.0.2.7")
    (batch,), _ = parsers.parse(block, ParserState(), NOW_NS)
    row: dict[str, Any] = next(iter(batch.rows()))
    assert row["event.dataset"] == "fortinet.fortigate"
    assert row.get("event.duration") == duration
    assert row.get("soc.rest", {}).get("event.duration") == misfit
    assert ("type_mismatch" in (row.get("soc.flags") or ())) == (misfit is not None)
