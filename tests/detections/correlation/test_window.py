"""Correlations: exact windows against brute force, ordering, replays, snapshots."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soc.detections import Correlator, DetectionSet
from soc.errors import StoreError
from tests.detections.support import write

SECOND = 1_000_000
BASE = """
title: {name}
name: {name}
logsource: {{product: linux, service: sshd}}
detection:
  s: {{event.outcome: {outcome}}}
  condition: s
"""
RULES = f"{BASE.format(name='failed', outcome='failure')}---{BASE.format(name='login', outcome='success')}---"
COUNT = """
title: c
name: c
correlation: {type: event_count, rules: [failed], group-by: [source.ip], timespan: 10s, condition: {gte: 3}}
"""


def loaded(folder: Path, text: str) -> DetectionSet:
    detections = DetectionSet.load([write(folder, RULES + text)])
    assert not detections.refused, detections.refused
    return detections


def event(n: int, at: float, ip: str = "a", rule: str = "failed", **more: Any) -> dict[str, Any]:
    return {
        "kind": "event", "rules": [rule], "position": f"n:raw:{n}:0:0", "event_id": f"{n:032x}", "site": "s",
        "at_us": int(at * SECOND), "receipt_us": 0, "fields": {"source.ip": ip, **more},
    }  # fmt: skip


def fired(correlator: Correlator, documents: list[dict[str, Any]]) -> list[tuple[str, int, int]]:
    return [(f.group["source.ip"], f.last_us // SECOND, f.count) for f in correlator.feed(documents, 0)]


@pytest.fixture
def counting(tmp_path: Path) -> Correlator:
    return Correlator(loaded(tmp_path, COUNT))


def test_the_third_event_in_ten_seconds_fires(counting: Correlator) -> None:
    """At least N events of one group within the time frame."""
    assert fired(counting, [event(1, 0), event(2, 5), event(3, 9)]) == [("a", 9, 3)]


def test_a_window_is_half_open(counting: Correlator) -> None:
    """An event exactly one time frame earlier is out."""
    assert fired(counting, [event(1, 0), event(2, 5), event(3, 10)]) == []


def test_groups_are_apart(counting: Correlator) -> None:
    """Events of different group-by values do not add up, nor those of different sites or imports."""
    other_site = {**event(4, 3), "site": "t"}
    imported = {**event(5, 3), "import_id": "i"}
    assert fired(counting, [event(1, 0), event(2, 1), event(3, 2, "b"), other_site, imported]) == []


def test_it_fires_again_only_after_the_window_is_left(counting: Correlator) -> None:
    """No event is in two findings of one group."""
    assert fired(counting, [event(n, n) for n in range(25)]) == [("a", 2, 3), ("a", 12, 10), ("a", 22, 10)]


def test_a_late_event_counts_where_it_belongs(counting: Correlator) -> None:
    """Event time decides, not arrival; the late event completes the finding."""
    [finding] = counting.feed([event(1, 20), event(2, 22), event(3, 14)], 0)
    assert finding.event_ids[-1] == f"{3:032x}"


def test_a_replayed_position_counts_once(counting: Correlator) -> None:
    """The queue delivers at least once; the same place in the log is one event."""
    assert fired(counting, [event(1, 0), event(1, 0), event(2, 1)]) == []
    assert counting.correlations.counters["repeated"] == 1


def test_an_event_without_its_group_is_counted(counting: Correlator) -> None:
    """What cannot be grouped is not lost in silence."""
    assert counting.feed([{**event(1, 0), "fields": {}}], 0) == []
    assert counting.correlations.counters["ungrouped"] == 1


def test_value_count_counts_distinct_values(tmp_path: Path) -> None:
    """`value_count`: distinct values of a field."""
    text = """
title: c
name: c
correlation:
  type: value_count
  rules: [failed]
  group-by: [source.ip]
  timespan: 10s
  condition: {field: user.name, gte: 3}
"""
    correlator = Correlator(loaded(tmp_path, text))
    users = ["x", "x", "y", "y", "z"]
    documents = [event(n, n, **{"user.name": user}) for n, user in enumerate(users)]
    assert fired(correlator, documents) == [("a", 4, 3)]


TEMPORAL = """
title: c
name: c
correlation: {{type: {type}, rules: [failed, login], group-by: [source.ip], timespan: 10s}}
"""


@pytest.mark.parametrize(("kind", "expected"), [("temporal", 1), ("temporal_ordered", 0)])
def test_only_temporal_ordered_minds_the_order(tmp_path: Path, kind: str, expected: int) -> None:
    """`temporal`: all rules in any order; `temporal_ordered`: in the order of the list."""
    correlator = Correlator(loaded(tmp_path, TEMPORAL.format(type=kind)))
    assert len(fired(correlator, [event(1, 0, rule="login"), event(2, 1)])) == expected


def test_the_log_decides_the_order_within_one_second(tmp_path: Path) -> None:
    """Stamps of syslog agree to the second; position 10 comes after 9."""
    correlator = Correlator(loaded(tmp_path, TEMPORAL.format(type="temporal_ordered")))
    assert len(fired(correlator, [event(9, 0), event(10, 0, rule="login")])) == 1


def test_a_correlation_may_build_on_another(tmp_path: Path) -> None:
    """The finding of one is an event of the next, and is silent itself."""
    text = COUNT + "---" + TEMPORAL.format(type="temporal_ordered").replace("failed", "c").replace("name: c", "name: d")
    correlator = Correlator(loaded(tmp_path, text))
    findings = correlator.feed([event(1, 0), event(2, 1), event(3, 2), event(4, 3, rule="login")], 0)
    assert [f.rule_id for f in findings] == ["d"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (COUNT.replace("failed", "nobody"), "'nobody', which is not loaded"),
        (COUNT.replace("gte", "lt"), "cannot be decided"),
        (COUNT.replace("source.ip", "nonsense"), "'nonsense'"),
        (COUNT.replace("event_count", "value_avg").replace("{gte", "{field: user.name, gte"), "not built yet"),
    ],
)
def test_what_cannot_run_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    """A correlation that cannot run is refused by reason."""
    detections = DetectionSet.load([write(tmp_path, RULES + text)])
    assert reason in detections.refused[0].reason


STREAM = st.lists(st.tuples(st.integers(0, 60), st.sampled_from("ab")), max_size=60)


def brute(stream: list[tuple[int, str]]) -> list[tuple[str, int, int]]:
    """The definition, spelled out: look at every window anew after every event."""
    seen: dict[str, list[int]] = defaultdict(list)
    last: dict[str, int] = {}
    found = []
    for at, ip in stream:
        if seen[ip] and at <= max(seen[ip]) - 20:
            continue
        seen[ip].append(at)
        for end in sorted(set(seen[ip])):
            inside = [t for t in seen[ip] if end - 10 < t <= end]
            left = ip not in last or end >= last[ip] + 10
            if at in inside and len(inside) >= 3 and left:
                last[ip] = end
                found.append((ip, end, len(inside)))
                break
    return found


@pytest.fixture(scope="module")
def counting_set(tmp_path_factory: pytest.TempPathFactory) -> DetectionSet:
    return loaded(tmp_path_factory.mktemp("rules"), COUNT)


@given(stream=STREAM)
@settings(max_examples=300)
def test_windows_agree_with_brute_force(counting_set: DetectionSet, stream: list[tuple[int, str]]) -> None:
    """Any order of arrival gives what the definition says."""
    documents = [event(n, at, ip) for n, (at, ip) in enumerate(stream)]
    assert fired(Correlator(counting_set), documents) == brute(stream)


@given(stream=STREAM, cut=st.integers(0, 60))
def test_a_restart_changes_nothing(counting_set: DetectionSet, stream: list[tuple[int, str]], cut: int) -> None:
    """Snapshot and restore in the middle equal an uninterrupted run, to the byte."""
    documents = [event(n, at, ip) for n, (at, ip) in enumerate(stream)]
    whole, first, second = (Correlator(counting_set) for _ in range(3))
    found = first.feed(documents[:cut], 0)
    second.restore(first.snapshot())
    assert found + second.feed(documents[cut:], 0) == whole.feed(documents, 0)
    assert second.snapshot() == whole.snapshot()


def test_a_foreign_snapshot_is_refused(counting: Correlator) -> None:
    """Bytes that are no snapshot are told, not read."""
    with pytest.raises(StoreError):
        counting.restore(b"{}")
