"""What rules need of stored events: enough for the same hits, and no more."""

from __future__ import annotations

from pathlib import Path

from soc.detections import DetectionSet
from soc.detections.backtest import BASE, columns_of, picked, query_of, spans_us, unbroken
from soc.model.query import And, Equals, Exists, MatchAll, Or, Wildcard
from tests.detections.support import write

RULES = """
title: w
name: w
logsource: {product: windows, category: process_creation}
detection: {s: {Image: a, CommandLine|fieldref: User}, condition: s}
---
title: l
name: l
logsource: {product: linux}
detection: {s: {user.name: root}, condition: s}
---
title: k
name: k
logsource: {product: linux, service: sshd}
detection: {s: [word], condition: s}
---
title: c
name: c
correlation: {type: value_count, rules: [l], group-by: [host.name], timespan: 5m,
              condition: {field: source.port, gte: 3}}
---
title: cc
name: cc
correlation: {type: event_count, rules: [c], group-by: [host.name], timespan: 1h, condition: {gte: 2}}
"""


def some(folder: Path, *names: str) -> DetectionSet:
    return picked(DetectionSet.load([write(folder, RULES)]), names)


def test_a_correlation_brings_what_it_builds_on_and_nothing_else(tmp_path: Path) -> None:
    """Through both stages; how far back it may reach is the sum of their time frames."""
    found = some(tmp_path, "cc")
    assert [rule.name for rule in found.rules] == ["l"]
    assert [each.name for each in found.correlations] == ["c", "cc"]
    assert spans_us(found) == 65 * 60 * 1_000_000


def test_fields_of_conditions_references_groups_and_counts_are_read(tmp_path: Path) -> None:
    """Of Windows also where UserData keeps them; a keyword reads everything."""
    windows, counted = columns_of(some(tmp_path, "w")), columns_of(some(tmp_path, "c"))
    assert windows is not None
    assert counted is not None
    names = ("Image", "CommandLine", "User", "NewProcessName", "SubjectUserName")
    wanted = {f"winlog.{kind}.{name}" for kind in ("event_data", "user_data") for name in names}
    assert wanted | set(BASE) <= set(windows)
    assert {"user.name", "host.name", "source.port"} <= set(counted)
    assert "event.original" not in windows + counted
    assert columns_of(some(tmp_path, "k")) is None


def test_events_are_asked_for_by_dataset_or_event_id(tmp_path: Path) -> None:
    """Channels are left to the engine, which compares them whatever their case."""
    windows = query_of(some(tmp_path, "w"))
    ids = {id for part in windows.items for id in part.items[1].items} if isinstance(windows, Or) else set()  # type: ignore[union-attr]
    assert ids == {Equals("winlog.event_id", "1"), Equals("winlog.event_id", "4688")}
    assert all(isinstance(part, And) and part.items[0] == Exists("winlog.channel") for part in windows.items)  # type: ignore[union-attr]
    assert query_of(some(tmp_path, "l")) == Or((Or((Wildcard("event.dataset", "linux.*"),)),))
    assert query_of(some(tmp_path, "k")) == Or((Or((Equals("event.dataset", "linux.sshd"),)),))
    assert query_of(some(tmp_path, "w")) != MatchAll()


def test_what_builds_on_a_broken_rule_is_broken(tmp_path: Path) -> None:
    """Through every stage; its neighbours are not."""
    found = picked(DetectionSet.load([write(tmp_path, RULES)]), ["cc", "w"])
    ids = {each.name: each.id for each in (*found.rules, *found.correlations)}
    assert unbroken(found, [ids["l"]]) == [ids["w"]]
