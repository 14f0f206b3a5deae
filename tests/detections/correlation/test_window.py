"""Correlations: exact windows against brute force, ordering, replays, snapshots."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soc.detections import Correlator, DetectionSet
from soc.detections.correlation import window
from soc.detections.detector import _needs
from soc.errors import StoreError
from tests.detections.correlation.support import BASE, RULES, SECOND, event, loaded
from tests.detections.support import write

COUNT = """
title: c
name: c
correlation: {type: event_count, rules: [failed], group-by: [source.ip], timespan: 10s, condition: {gte: 3}}
"""


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


GROUPED_OTHERWISE = """
title: d
name: d
correlation: {type: value_count, rules: [c], group-by: [host.name], timespan: 1m, condition: {field: source.ip, gte: 2}}
"""


def test_a_correlation_on_another_may_group_by_what_its_events_say(tmp_path: Path) -> None:
    """Two addresses that guess on one host: the host is read from the event that completed each count."""
    correlator = Correlator(loaded(tmp_path, COUNT + "---" + GROUPED_OTHERWISE))
    stream = [event(n, n, ip, **{"host.name": "h"}) for n, ip in enumerate("aaabbb")]
    [finding] = correlator.feed(stream, 0)
    assert (finding.rule_id, finding.group, finding.count) == ("d", {"host.name": "h"}, 2)


def test_the_detector_hands_on_what_a_correlation_on_another_groups_by(tmp_path: Path) -> None:
    """The rule at the bottom is projected with the fields that the top asks for."""
    detections = loaded(tmp_path, COUNT + "---" + GROUPED_OTHERWISE)
    needed = _needs(detections)
    assert set(needed[detections.rules[0].id]) == {"source.ip", "host.name"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (COUNT.replace("failed", "nobody"), "'nobody', which is not loaded"),
        (COUNT.replace("gte: 3", "lt: 1"), "at least one event"),
        (COUNT.replace("gte: 3", "eq: 2.5"), "no count that can be seen is = 2.5"),
        (COUNT.replace("gte: 3", "gt: 3, lt: 4"), "> 3, < 4"),
        (COUNT.replace("gte: 3", "lt: 20000"), "whether there are more"),
        (COUNT.replace("gte: 3", "gte: 3, lt: many"), "'many' is no valid"),
        (COUNT.replace("gte: 3", "gte: 3, below: 4"), "invalid items: below"),
        (COUNT.replace("[failed]", "[]"), "names no rules"),
        (COUNT.replace("10s", "0s"), "greater than zero"),
        (COUNT.replace("10s", "10"), "invalid"),
        (COUNT.replace("source.ip", "nonsense"), "'nonsense'"),
        (COUNT.replace("gte: 3", "gte: 10001"), "never reached"),
        (COUNT.replace("event_count", "value_percentile").replace("{gte", "{field: x, percentile: 101, gte"), "101"),
        (TEMPORAL.format(type="temporal").replace("10s}", "10s, condition: {gte: 3}}"), "names 2 rules"),
        (TEMPORAL.format(type="temporal_ordered").replace("login", "login, failed"), "a rule once"),
        (TEMPORAL.format(type="temporal").replace("10s}", "10s, condition: failed and login and other}"), "other"),
        (COUNT.replace("event_count", "value_avg"), "without field"),
    ],
)
def test_what_cannot_run_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    """A correlation that cannot run is refused by reason."""
    detections = DetectionSet.load([write(tmp_path, RULES + text)])
    assert reason in detections.refused[0].reason


def test_a_flood_does_not_make_a_group_deaf(counting: Correlator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the cap the oldest event goes, counted; the newest windows stay exact."""
    monkeypatch.setattr(window, "MAX_EVENTS", 5)
    found = fired(counting, [event(n, n / 10) for n in range(400)])
    assert [at for _, at, _ in found] == [0, 10, 20, 30]
    assert counting.correlations.counters["dropped_events"] == 395


@pytest.mark.parametrize(("most", "expected"), [(2, []), (3, [("a", 21, 3)])])
def test_a_late_event_is_looked_for_in_a_bounded_number_of_windows(
    counting: Correlator, monkeypatch: pytest.MonkeyPatch, most: int, expected: list[tuple[str, int, int]]
) -> None:
    """Who sends late events on purpose buys no unbounded work with them; what was not looked at is counted."""
    monkeypatch.setattr(window, "MAX_ENDS", most)
    assert fired(counting, [event(1, 20), event(2, 21), event(3, 15)]) == expected
    assert counting.correlations.counters["unchecked_windows"] == 3 - most


METRIC = """
title: c
name: c
correlation:
  type: {type}
  rules: [failed]
  group-by: [source.ip]
  timespan: 10s
  condition: {{field: network.bytes, {rest}}}
"""


@pytest.mark.parametrize(
    ("kind", "rest", "values", "expected"),
    [
        ("value_sum", "gte: 10", [4, 5, 1], 10),
        ("value_sum", "gt: 10", [4, 5, 1], None),
        ("value_avg", "gt: 3", [1, 2, 9], 4),
        ("value_avg", "gt: 3", [9, 0, 0], None),
        ("value_avg", "lt: 2", [3, 2, 0], 5 / 3),
        ("value_avg", "gte: 2, lt: 3", [3, 2, 2], 7 / 3),
        ("value_sum", "lt: 10", [4, 5, 1], None),
        ("value_sum", "gte: 5, lt: 10", [4, 5], 9),
        ("value_median", "gte: 5", [1, 9], 5),
        ("value_median", "eq: 2", [1, 4, 2], 2),
        ("value_percentile", "percentile: 90, gt: 8", [1, 10, 5, 8], 9.4),
        ("value_percentile", "percentile: 100, neq: 7", [7, 7, 8], 8),
    ],
)
def test_metrics_of_a_field(tmp_path: Path, kind: str, rest: str, values: list[int], expected: float | None) -> None:
    """`value_sum`, `value_avg`, `value_median`, `value_percentile` (linear between the closest ranks) of a window."""
    correlator = Correlator(loaded(tmp_path, METRIC.format(type=kind, rest=rest)))
    found = correlator.feed([event(n, n, **{"network.bytes": value}) for n, value in enumerate(values)], 0)
    found += correlator.finish()
    assert [f.explain["observed"] for f in found] == ([] if expected is None else [pytest.approx(expected)])


def test_what_is_no_number_is_counted(tmp_path: Path) -> None:
    """A metric leaves out what it cannot measure, and says how often."""
    correlator = Correlator(loaded(tmp_path, METRIC.format(type="value_sum", rest="gte: 1")))
    bad = [event(n, n, **{"network.bytes": value}) for n, value in enumerate(["much", "nan", "inf", "1e308"])]
    assert correlator.feed(bad, 0) == []
    assert correlator.correlations.counters["not_a_number"] == 4


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


Event = tuple[int, str, int]
"""Event time in seconds, rule, value."""
EVENTS = st.lists(
    st.tuples(st.integers(0, 40), st.sampled_from(["failed", "login", "sudo"]), st.integers(0, 5)), max_size=40
)
THREE = RULES + BASE.format(name="sudo", outcome="unknown") + "---\n"
ALL = "rules: [failed, login, sudo], group-by: [source.ip], timespan: 10s"


def _ordered(rules: list[str], wanted: list[str]) -> bool:
    return any(list(chosen) == wanted for chosen in itertools.combinations(rules, len(wanted)))


KINDS: dict[str, tuple[str, Callable[[list[Event]], bool]]] = {
    "event_count": ("condition: {gte: 4}", lambda inside: len(inside) >= 4),
    "value_count": ("condition: {field: network.bytes, gt: 2}", lambda inside: len({v for _, _, v in inside}) > 2),
    "temporal": ("", lambda inside: {r for _, r, _ in inside} == {"failed", "login", "sudo"}),
    "temporal two": ("condition: {gte: 2}", lambda inside: len({r for _, r, _ in inside}) >= 2),
    "temporal_ordered": ("", lambda inside: _ordered([r for _, r, _ in inside], ["failed", "login", "sudo"])),
    "temporal_ordered two": (
        "condition: {gte: 2}",
        lambda inside: any(
            _ordered([r for _, r, _ in inside], list(pair))
            for pair in (("failed", "login"), ("login", "sudo"), ("failed", "sudo"))
        ),
    ),
    "temporal expression": (
        "condition: sudo and not (failed or login)",
        lambda inside: {r for _, r, _ in inside} == {"sudo"},
    ),
    "temporal_ordered expression": (
        "condition: (failed or login) and sudo",
        lambda inside: any(_ordered([r for _, r, _ in inside], [first, "sudo"]) for first in ("failed", "login")),
    ),
    "value_sum": ("condition: {field: network.bytes, gte: 9}", lambda inside: sum(v for _, _, v in inside) >= 9),
    "event_count range": ("condition: {gte: 2, lt: 5}", lambda inside: 2 <= len(inside) < 5),
    "event_count fewer": ("condition: {lte: 2}", lambda inside: len(inside) <= 2),
    "event_count exactly": ("condition: {eq: 3}", lambda inside: len(inside) == 3),
    "event_count not": ("condition: {neq: 3}", lambda inside: len(inside) != 3),
    "value_count range": (
        "condition: {field: network.bytes, gt: 1, lte: 3}",
        lambda inside: 1 < len({v for _, _, v in inside}) <= 3,
    ),
    "temporal exactly": ("condition: {eq: 2}", lambda inside: len({r for _, r, _ in inside}) == 2),
    "temporal_ordered fewer": (
        "condition: {lt: 2}",
        lambda inside: (
            not any(
                _ordered([r for _, r, _ in inside], list(pair))
                for pair in (("failed", "login"), ("login", "sudo"), ("failed", "sudo"))
            )
        ),
    ),
    "temporal_ordered absence": (
        "condition: failed and sudo and not login",
        lambda inside: (
            _ordered([r for _, r, _ in inside], ["failed", "sudo"]) and "login" not in {r for _, r, _ in inside}
        ),
    ),
    "value_sum range": (
        "condition: {field: network.bytes, gte: 5, lt: 9}",
        lambda inside: 5 <= sum(v for _, _, v in inside) < 9,
    ),
    "value_avg": (
        "condition: {field: network.bytes, lt: 2}",
        lambda inside: sum(v for _, _, v in inside) < 2 * len(inside),
    ),
    "value_median": (
        "condition: {field: network.bytes, gt: 3}",
        lambda inside: (
            sorted(v for _, _, v in inside)[len(inside) // 2] + sorted(v for _, _, v in inside)[(len(inside) - 1) // 2]
            > 6
        ),
    ),
    "value_percentile": (
        "condition: {field: network.bytes, percentile: 0, gte: 3}",
        lambda inside: min(v for _, _, v in inside) >= 3,
    ),
}


def _kept(stream: list[Event]) -> list[tuple[int, int, Event]]:
    """Time, number and event of those that are not late beyond two spans, in order of time."""
    kept: list[tuple[int, int, Event]] = []
    for n, new in enumerate(stream):
        if not kept or new[0] > max(at for at, _, _ in kept) - 20:
            kept.append((new[0], n, new))
    return sorted(kept)


def _brute(stream: list[Event], holds: Callable[[list[Event]], bool]) -> list[int]:
    """Every window looked at anew after every event; the moments at which one fired."""
    last: int | None = None
    found = []
    for n, new in enumerate(stream):
        seen = _kept(stream[: n + 1])
        if n not in {number for _, number, _ in seen}:
            continue
        for end in sorted({at for at, _, _ in seen}):
            inside = [each for at, _, each in seen if end - 10 < at <= end]
            in_it = end - 10 < new[0] <= end
            if in_it and (last is None or end >= last + 10) and holds(inside):
                last = end
                found.append(end)
                break
    return found


def _brute_over(stream: list[Event], holds: Callable[[list[Event]], bool]) -> list[int]:
    """Every window that no other holds, with all that will ever be in it; the last moment of those that fulfil."""
    seen = _kept(stream)
    found = []
    left, before = -1, [-1]
    for begin in sorted({at for at, _, _ in seen}):
        if begin < left:
            continue
        inside = [(at, n) for at, n, _ in seen if begin <= at < begin + 10]
        is_full = not set(inside) <= set(before)
        before = inside
        if is_full and holds([each for at, n, each in seen if (at, n) in inside]):
            found.append(inside[-1][0])
            left, before = begin + 10, [-1]
    return found


@pytest.fixture(scope="module", params=list(KINDS))
def kind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[DetectionSet, Any]:
    """A correlation of one type over three rules, and what its condition means, spelled out."""
    condition, holds = KINDS[request.param]
    body = f"type: {request.param.split()[0]}, {ALL}" + (f", {condition}" if condition else "")
    text = THREE + f"title: c\nname: c\ncorrelation: {{{body}}}\n"
    detections = DetectionSet.load([write(tmp_path_factory.mktemp("rules"), text)])
    assert not detections.refused, detections.refused
    return detections, holds


@given(stream=EVENTS, cut=st.integers(0, 40))
@settings(max_examples=100)
def test_every_type_agrees_with_brute_force_and_with_a_restart(
    kind: tuple[DetectionSet, Any], stream: list[Event], cut: int
) -> None:
    """Any order of arrival, and a snapshot in between, gives what the definition says."""
    detections, holds = kind
    brute = _brute if detections.correlations[0].lasting else _brute_over
    ids = {rule.name: rule.id for rule in detections.rules}
    documents = [event(n, at, rule=ids[rule], **{"network.bytes": value}) for n, (at, rule, value) in enumerate(stream)]
    first, second, whole = (Correlator(detections) for _ in range(3))
    found = first.feed(documents[:cut], 0)
    second.restore(first.snapshot())
    found += second.feed(documents[cut:], 0)
    undisturbed = whole.feed(documents, 0)
    assert second.snapshot() == whole.snapshot()
    found += second.finish()
    assert [round(f.last_us / SECOND) for f in found] == brute(stream, holds)
    assert found == undisturbed + whole.finish()
