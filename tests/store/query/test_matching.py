"""Which rows of a batch a query matches."""

from __future__ import annotations

import pytest

from soc.model.batch import EventBatch
from soc.model.fields import FIELDS
from soc.store.query import matches, parse

BATCH = EventBatch.from_rows(
    "test",
    [
        {
            "event.original": "Failed password for root",
            "user.name": "Root",
            "tags": ["a", "b"],
            "source.ip": "10.0.0.1",
        },
        {"message": "Đăng nhập: thất bại", "source.ip": "2001:db8::1", "source.port": 22},
    ],
)


@pytest.mark.parametrize(
    ("text", "mask"),
    [
        ('"FAILED password"', [True, False]),
        ("pass", [False, False]),
        ("pass*", [True, False]),
        ('"password failed"', [False, False]),
        ('"ĐĂNG NHẬP thất"', [False, True]),
        ("user.name:root", [False, False]),
        ("user.name:Root", [True, False]),
        ("event.original:*PASSWORD*", [True, False]),
        ("tags:b", [True, False]),
        ("not tags:b", [False, True]),
        ("source.ip:10.0.0.0/8 or source.port <= 22", [True, True]),
        ("user.email:*", [False, False]),
        ("", [True, True]),
    ],
)
def test_matches(text: str, mask: list[bool]) -> None:
    """The tree over a batch in memory, as the live tail runs it."""
    assert matches(parse(text, FIELDS), BATCH).tolist() == mask
