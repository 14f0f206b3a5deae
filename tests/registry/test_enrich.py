"""What events are told about their system, and how those that have none are flagged."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

import pytest

from soc.model.batch import EventBatch
from soc.model.system import LevelDecision
from soc.registry import Registry
from tests.registry.test_lookup import NOW, at, system

REGISTRY = Registry([
    system("src", "10.1.0.0/16"), system("dst", "10.2.0.0/16"), system("host", "10.3.0.0/16"),
    system("peer", sources=("10.9.0.1",)), system("near", "10.9.0.0/16"),
])  # fmt: skip


def batch(*rows: dict[str, Any]) -> EventBatch:
    base = {"@timestamp": NOW, "event.created": NOW, "soc.site": "a", "soc.source": "a/udp/10.99.0.1"}
    return EventBatch.from_rows("test", [{**base, **row} for row in rows])


def owners(*rows: dict[str, Any]) -> list[str | None]:
    return REGISTRY.enrich(batch(*rows)).values("soc.system.id")


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ({"source.ip": "10.1.0.1"}, "src"),
        ({"source.ip": "10.1.0.1", "host.ip": ["10.3.0.1"]}, "host"),
        ({"source.ip": "10.1.0.1", "host.ip": ["10.3.0.1"], "destination.ip": "10.2.0.1"}, "dst"),
        ({"source.ip": "10.1.0.1", "destination.ip": "203.0.113.9"}, "src"),
        ({"host.ip": ["203.0.113.9", "10.3.0.1"]}, "host"),
        ({"destination.ip": "10.2.0.1", "soc.source": "a/udp/10.9.0.1"}, "peer"),
        ({"soc.source": "a/udp/10.9.0.2"}, "near"),
        ({"source.ip": "10.1.0.1", "soc.source": "a/udp/10.9.0.2"}, "src"),
        ({"source.ip": "203.0.113.9"}, None),
        ({"source.ip": "10.1.0.1", "soc.site": "b"}, None),
    ],
)
def test_the_first_that_answers_owns_the_event(row: dict[str, Any], wanted: str | None) -> None:
    """Listed peer, destination, host, source, then the peer's network; always of the event's site."""
    assert owners(row) == [wanted]


def test_rows_of_one_batch_are_told_apart() -> None:
    """Each row by its own addresses."""
    rows = [{"destination.ip": "10.2.0.1"}, {"source.ip": "10.1.0.1"}, {}, {"destination.ip": "10.2.0.1"}]
    assert owners(*rows) == ["dst", "src", None, "dst"]


def test_all_columns_are_filled() -> None:
    """Id, name, code, level, unit."""
    row = REGISTRY.enrich(batch({"source.ip": "10.1.0.1"})).row(0)
    wanted = {
        "soc.system.id": "src", "soc.system.name": "Hệ thống src", "soc.system.code": "SRC", "soc.system.level": 3,
        "organization.id": "org-src", "organization.name": "Đơn vị src",
    }  # fmt: skip
    assert {k: v for k, v in row.items() if k in wanted} == wanted
    assert "soc.flags" not in row


def test_the_unregistered_keep_their_other_flags() -> None:
    """The flag is added once, registered neighbours are left alone."""
    rows = [{"soc.flags": ["skew"]}, {}, {"source.ip": "10.1.0.1", "soc.flags": ["skew"]}, {"source.ip": "10.1.0.1"}]
    once = REGISTRY.enrich(batch(*rows))
    wanted = [("skew", "unregistered"), ("unregistered",), ("skew",), None]
    assert once.values("soc.flags") == wanted
    assert REGISTRY.enrich(once).values("soc.flags") == wanted


def test_the_level_is_that_of_the_day_of_receipt() -> None:
    """Storage goes by receipt; the local day changes at 17:00 UTC."""
    levels = (LevelDecision(2, dt.date(2024, 1, 1)), LevelDecision(4, dt.date(2026, 11, 20)))
    registry = Registry([dataclasses.replace(system("x", "10.1.0.0/16"), levels=levels)])
    old = at("2025-01-01T00:00:00+00:00")
    rows = [
        {"source.ip": "10.1.0.1", "@timestamp": old, "event.created": at(f"2026-11-19T{clock}+00:00")}
        for clock in ("16:59:59", "17:00:00")
    ]
    assert registry.enrich(batch(*rows)).values("soc.system.level") == [2, 4]


def test_an_event_belongs_to_the_system_of_its_own_time() -> None:
    """An imported old log belongs to the system that had the address then."""
    registry = Registry([system("old", "10.1.0.0/16", retired="2026-01-01")])
    rows = [{"source.ip": "10.1.0.1", "@timestamp": at("2025-06-01T00:00:00+00:00")}, {"source.ip": "10.1.0.1"}]
    assert registry.enrich(batch(*rows)).values("soc.system.id") == ["old", None]


def test_an_empty_batch_and_one_without_any_column() -> None:
    """Nothing to tell, or nothing to go by."""
    assert REGISTRY.enrich(EventBatch("test", 0, {})).n == 0
    assert REGISTRY.enrich(EventBatch("test", 2, {})).values("soc.flags") == [("unregistered",)] * 2
