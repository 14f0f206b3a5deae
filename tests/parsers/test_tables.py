"""Rows of tables as events."""

from __future__ import annotations

import pytest

from soc.model.record import RawBlock
from soc.parsers import ParserSet, ParserState

NOW_NS = 1_795_600_000_000_000_000


@pytest.mark.parametrize("inside", ["\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029", "\x00"])
def test_no_character_of_a_value_hides_its_row(parsers: ParserSet, inside: str) -> None:
    """Python ends lines at more characters than CSV: who put one into a value was not read, and seen by no rule."""
    record = f"203.0.113.9,a{inside}b,admin".encode()
    origin = {"columns": '["source.ip","message","user.name"]'}
    block = RawBlock.of([record], receipt_ns=NOW_NS, format="csv", peer="192.0.2.7", origin=origin)
    (batch,), _ = parsers.parse(block, ParserState(), NOW_NS)
    (row,) = batch.rows()
    assert (row["source.ip"], row["message"], row["user.name"]) == ("203.0.113.9", f"a{inside}b", "admin")
