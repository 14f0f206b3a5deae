"""Conditions that a further event may undo: judged when a window is over, whoever asks and whenever."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc.detections import Correlator, DetectionSet
from soc.detections.correlation.condition import percentile_of
from soc.detections.correlation.definition import GRACE_US
from soc.detections.correlation.tally import Ranks, Sum
from tests.detections.correlation.support import RULES, SECOND, event, loaded
from tests.detections.support import write

COUNT = """
title: c
name: c
correlation: {{type: {type}, rules: {rules}, group-by: [source.ip], timespan: 10s, condition: {condition}}}
"""


def counting(folder: Path, condition: str, type: str = "event_count", rules: str = "[failed]") -> Correlator:
    return Correlator(loaded(folder, COUNT.format(type=type, rules=rules, condition=condition)))


@pytest.mark.parametrize(
    ("condition", "times", "expected"),
    [
        ("{gte: 3}", [8, 9, 11], [11]),  # across what would be the boundary of a bucket of ten seconds
        ("{eq: 3}", [8, 9, 11], [11]),
        ("{eq: 3}", [8, 9], []),
        ("{eq: 3}", [8, 9, 11, 12], []),  # N + 1
        ("{gte: 2, lt: 4}", [8], []),
        ("{gte: 2, lt: 4}", [8, 11], [11]),
        ("{gte: 2, lt: 4}", [8, 9, 11], [11]),
        ("{gte: 2, lt: 4}", [8, 9, 11, 12], []),
        ("{gt: 1, lte: 3}", [8, 9, 11], [11]),
        ("{lt: 3}", [0, 1, 2, 3, 4], []),  # the first event alone is no window: four more are in it
        ("{lt: 3}", [0, 1], [1]),
        ("{lt: 3}", [0, 1, 20, 21, 22, 50], [1, 50]),
        ("{lte: 2}", [9, 11, 12], []),  # no placement of ten seconds holds them all and one more
        ("{neq: 2}", [0, 1, 20], [20]),
        ("{eq: 2}", [0, 8, 16, 24], [8, 24]),  # no event is in two findings
    ],
)
def test_a_count_within_limits(tmp_path: Path, condition: str, times: list[int], expected: list[int]) -> None:
    """`lt`, `lte`, `eq`, `neq` and ranges (Sigma correlations, `condition`): of all that a window holds."""
    correlator = counting(tmp_path, condition)
    found = correlator.feed([event(n, at) for n, at in enumerate(times)], 0) + correlator.finish()
    assert [finding.last_us // SECOND for finding in found] == expected


def test_a_finding_names_every_event_of_its_window_and_its_limits(tmp_path: Path) -> None:
    """The last event completes it; what the finding says of it is kept until then."""
    correlator = counting(tmp_path, "{gte: 2, lt: 4}")
    [document, last] = [event(1, 0), {**event(2, 5), "dataset": "linux.sshd", "system_id": "s1"}]
    correlator.feed([last, document], 0)
    [finding] = correlator.finish()
    assert [int(id, 16) for id in finding.event_ids] == [1, 2]
    assert (finding.dataset, finding.system_id, finding.position) == ("linux.sshd", "s1", "n:raw:2:0:0")
    assert finding.explain["expected"] == "≥ 2, < 4"


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([("failed", 0)], 1),
        ([("failed", 0), ("login", 9)], 0),
        ([("login", 0), ("failed", 9)], 0),
        ([("failed", 0), ("login", 10)], 1),
        ([("login", 0), ("failed", 9), ("failed", 12)], 1),
    ],
)
def test_absence_waits_for_the_end_of_the_window(tmp_path: Path, events: list[tuple[str, int]], expected: int) -> None:
    """`a and not b`: neither before nor after it within the time frame."""
    correlator = counting(tmp_path, "failed and not login", "temporal", "[failed, login]")
    found = correlator.feed([event(n, at, rule=rule) for n, (rule, at) in enumerate(events)], 0) + correlator.finish()
    assert len(found) == expected


def test_a_window_is_over_a_grace_after_its_end(tmp_path: Path) -> None:
    """By the clock of receipt; what comes before that counts, what comes later is counted as late."""
    correlator = counting(tmp_path, "{eq: 2}")
    end_us = 10 * SECOND
    correlator.feed([event(1, 0)], 0)
    assert correlator.tick(end_us + GRACE_US - 1) == []
    correlator.feed([event(2, 9)], end_us)
    [finding] = correlator.tick(end_us + GRACE_US)
    assert finding.count == 2
    assert correlator.feed([event(3, 5)], end_us + GRACE_US + 1) + correlator.finish() == []
    assert correlator.correlations.counters["late"] == 1


def test_what_was_received_late_gets_its_grace_too(tmp_path: Path) -> None:
    """An import is of long ago: its windows are over when nothing more of it comes, not at its first event."""
    correlator = counting(tmp_path, "{lt: 2}")
    now = 10**6 * SECOND
    assert correlator.feed([event(1, 0)], now) + correlator.feed([event(2, 1)], now + GRACE_US - 1) == []
    assert correlator.tick(now + 2 * GRACE_US - 1) == []
    assert correlator.correlations.groups == 1


def test_the_flood_of_a_group_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the cap the oldest event goes, and the count of the window says at least so many."""
    monkeypatch.setattr("soc.detections.correlation.closing.MAX_EVENTS", 5)
    correlator = counting(tmp_path, "{gte: 2, lt: 4}")
    assert correlator.feed([event(n, n / 100) for n in range(20)], 0) + correlator.finish() == []
    assert correlator.correlations.counters["dropped_events"] == 15


def test_a_correlation_on_one_that_is_judged_late_still_takes_it(tmp_path: Path) -> None:
    """Its finding bears the time of its last event and comes a window and a grace later: that is not late."""
    ordered = """---
title: d
name: d
correlation: {type: temporal_ordered, rules: [c, login], group-by: [source.ip], timespan: 12s}
"""
    text = COUNT.format(type="event_count", rules="[failed]", condition="{eq: 2}") + ordered
    correlator = Correlator(loaded(tmp_path, text))
    stream = [event(1, 0), event(2, 5), event(3, 14, rule="login"), event(4, 50, rule="login")]
    found = correlator.feed(stream, 0) + correlator.finish()
    assert [(finding.rule_id, finding.last_us // SECOND) for finding in found] == [("d", 14)]
    assert correlator.correlations.counters["late"] == 0


SEVERAL = """
title: few
name: few
correlation: {type: event_count, rules: [failed], group-by: [source.ip], timespan: 10s, condition: {lt: 3}}
---
title: mean
name: mean
correlation:
  type: value_avg
  rules: [failed, login]
  timespan: 20s
  condition: {field: network.bytes, gte: 2}
---
title: both
name: both
correlation: {type: temporal, rules: [few, mean], timespan: 1m}
---
title: alone
name: alone
correlation: {type: temporal, timespan: 30s, condition: both and not login}
"""
ARRIVALS = st.lists(
    st.tuples(st.integers(0, 200), st.integers(0, 40), st.sampled_from("ab"), st.sampled_from(["failed", "login"])),
    max_size=30,
)


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> DetectionSet:
    return loaded(tmp_path_factory.mktemp("rules"), SEVERAL)


@given(arrivals=ARRIVALS, asked=st.lists(st.integers(0, 400), max_size=20), cut=st.integers(0, 30))
def test_it_does_not_matter_who_asks_when(
    several: DetectionSet, arrivals: list[tuple[int, int, str, str]], asked: list[int], cut: int
) -> None:
    """Ticks between the same documents, and a restart, change neither findings nor state: what a kill decides."""
    ids = {rule.name: rule.id for rule in several.rules}
    arrivals = sorted(arrivals, key=lambda arrival: arrival[0])
    documents = [
        (received * SECOND, event(n, received - lag, ip, ids[rule], **{"network.bytes": n % 4}))
        for n, (received, lag, ip, rule) in enumerate(arrivals)
    ]
    whole, other = Correlator(several), Correlator(several)
    plainly = [finding for now, document in documents for finding in whole.feed([document], now)]
    found = []
    for n, (now, document) in enumerate(documents):
        for at in sorted(asked):
            if (documents[n - 1][0] if n else 0) <= at * SECOND <= now:
                found += other.tick(at * SECOND)
        if n == cut:
            snapshot = other.snapshot()
            other = Correlator(several)
            other.restore(snapshot)
        found += other.feed([document], now)
    assert other.snapshot() == whole.snapshot()
    assert found == plainly
    assert other.finish() == whole.finish()


def test_the_state_of_before_is_read(tmp_path: Path) -> None:
    """A window that was judged at each event cannot go on as one that is judged when it is over: dropped, counted."""
    both = COUNT.format(type="event_count", rules="[failed]", condition="{gte: 3}") + "---" + SEVERAL
    detections = loaded(tmp_path, both)
    versions = {correlation.id: correlation.version for correlation in detections.correlations}
    window = [[[0, "n:raw:1:0:0", "failed", "e1", ""], [SECOND, "n:raw:2:0:0", "failed", "e2", ""]], SECOND, None, 7]
    state = {
        "format": "soc.correlate/1",
        "correlations": {
            "windows": {
                "c": [versions["c"], [[["s", "", "", "a"], window]]],
                "mean": [versions["mean"], [[["s", "", ""], window]]],
            },
            "counters": {"late": 2},
            "fired": {},
        },
        "models": {},
        "counters": {"documents": 9},
    }
    correlator = Correlator(detections)
    correlator.restore(orjson.dumps(state))
    assert [f.rule_id for f in correlator.feed([event(3, 2, **{"network.bytes": 1})], 8)] == ["c"]
    assert correlator.correlations.counters == {"late": 2, "changed_definitions": 1}


NUMBERS = st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=30)


@given(numbers=NUMBERS, taken=st.integers(0, 29))
def test_a_sum_is_exact_whatever_came_and_went(numbers: list[float], taken: int) -> None:
    """The same last bit as the sum of what is left, so that a restart changes nothing."""
    tally = Sum(average=False)
    seen = [(0, "", "", "", number) for number in numbers]
    for each in seen:
        tally.add(each)
    for each in seen[:taken]:
        tally.take(each)
    assert tally.value() == math.fsum(numbers[taken:])


@given(numbers=NUMBERS, taken=st.integers(0, 29), percentile=st.integers(0, 100))
def test_a_percentile_is_that_of_what_is_left(numbers: list[float], taken: int, percentile: int) -> None:
    """Events leave in the order in which they came."""
    tally = Ranks(percentile)
    seen = [(0, "", "", "", number) for number in numbers]
    for each in seen:
        tally.add(each)
    for each in seen[: min(taken, len(seen) - 1)]:
        tally.take(each)
    assert tally.value() == percentile_of(sorted(numbers[min(taken, len(seen) - 1) :]), percentile)


def test_limits_are_read_as_they_stand(tmp_path: Path) -> None:
    """pySigma takes one operator only: each is handed to it alone, faults of both are told."""
    text = COUNT.format(type="event_count", rules="[failed]", condition="{gt: 100, lte: 200}")
    [correlation] = loaded(tmp_path, text).correlations
    assert correlation.condition.limits == (("gt", 100), ("lte", 200))
    wrong: Any = DetectionSet.load([write(tmp_path, RULES + text.replace("200", "x"), "wrong.yml")]).refused
    assert "'x' is no valid" in wrong[0].reason
