"""Frames of one source that are parsed as one: the same events, each at its own place."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest

from soc.model.position import Position, event_id_at
from soc.model.record import INCOMPLETE, OVERSIZE, RawBlock
from soc.parsers import ParserSet, ParserState
from soc.parsers.check import _block
from tests.parsers.conftest import RECEIPT_NS

FORMATS = {"syslog", "json", "elastic", "hec", "gelf", "journal", "snmp"}
FRAMES = 7
"""The samples of a format are dealt out among so many."""


def told(parsers: ParserSet, blocks: list[RawBlock]) -> dict[str, dict[str, Any]]:
    """The events of blocks that are parsed one after another, by position."""
    state, found = ParserState(), {}
    for block in blocks:
        batches, state = parsers.parse(block, state, RECEIPT_NS)
        for row in (row for batch in batches for row in batch.rows()):
            assert row["soc.position"] not in found
            found[row["soc.position"]] = row
    return found


def test_every_sample_is_the_same_event_in_a_joined_frame(parsers: ParserSet) -> None:
    """All samples of text and documents, mixed: what its neighbours are changes nothing of an event. Records of auditd
    are left out: they tell each other more the more of them are there."""
    by_format: dict[str, list[bytes]] = defaultdict(list)
    for definition in parsers.definitions.values():
        for case in definition.cases:
            block = _block(definition, case)
            if block.format in FORMATS and definition.decode != "auditd":
                by_format[block.format] += block.records()
    assert set(by_format) == FORMATS
    for form, records in by_format.items():
        blocks = [
            RawBlock.of(records[k::FRAMES], receipt_ns=RECEIPT_NS + k, format=form, seq=100 + k * 3)
            for k in range(min(FRAMES, len(records)))
        ]
        assert told(parsers, [RawBlock.joined(blocks)]) == told(parsers, blocks), form


@pytest.mark.parametrize("record", [b"plain", b"\xff\xfe", "<13>máy chủ".encode()])
def test_what_a_frame_says_of_a_record_stays_with_it(parsers: ParserSet, record: bytes) -> None:
    """Flags, receipt and bytes that are no text; only the second frame has any."""
    first = RawBlock.of([b"<13>a"] * 2, receipt_ns=RECEIPT_NS, seq=4)
    second = RawBlock.of(
        [record, b"<13>b"], receipt_ns=[RECEIPT_NS + 5_000_000, RECEIPT_NS + 6_000_000], seq=9,
        flags=bytes([OVERSIZE, INCOMPLETE]),
    )  # fmt: skip
    found = told(parsers, [RawBlock.joined([first, second])])
    assert found == told(parsers, [first, second])
    assert sorted(found) == ["test:raw:4:0:0", "test:raw:4:1:0", "test:raw:9:0:0", "test:raw:9:1:0"]
    assert found["test:raw:9:0:0"]["soc.flags"][0] == "oversize"
    assert found["test:raw:9:1:0"]["event.id"] == event_id_at(RECEIPT_NS + 6_000_000, Position("test", "raw", 9, 1))


def test_one_frame_alone_is_itself() -> None:
    """Nothing is copied."""
    block = RawBlock.of([b"a"], receipt_ns=RECEIPT_NS)
    assert RawBlock.joined([block]) is block
