"""Correlations whose groups several processes share find what one finds, also when their number changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soc.detections import Correlator, DetectionSet
from soc.detections.correlation.shard import Shard
from soc.detections.sharing import shared_out
from tests.detections.correlation.support import SECOND, event, loaded

CORRELATIONS = """
title: many
name: many
correlation:
  type: event_count
  rules: [failed]
  group-by: [source.ip]
  timespan: 10s
  condition: {gte: 3}
  generate: true
---
title: few
name: few
correlation: {type: event_count, rules: [failed], group-by: [user.name], timespan: 10s, condition: {lt: 3}}
---
title: users
name: users
correlation:
  type: value_count
  rules: [failed]
  group-by: [source.ip, host.name]
  timespan: 10s
  condition: {field: user.name, gte: 2}
---
title: all
name: all
correlation: {type: event_count, rules: [failed, login], timespan: 5s, condition: {gte: 6}}
---
title: in
name: in
correlation:
  type: temporal_ordered
  rules: [failed, login]
  group-by: [source.ip]
  timespan: 10s
---
title: spread
name: spread
correlation: {type: value_count, rules: [many], timespan: 30s, condition: {field: source.ip, gte: 2}, generate: true}
---
title: then
name: then
correlation: {type: temporal, rules: [few, many], group-by: [user.name], timespan: 30s, condition: few and not many}
---
title: top
name: top
correlation: {type: event_count, rules: [spread], timespan: 1m, condition: {gte: 1}}
"""
Documents = list[dict[str, Any]]


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> DetectionSet:
    return loaded(tmp_path_factory.mktemp("rules"), CORRELATIONS)


def fields(ip: str | None, user: str | None, host: str) -> dict[str, Any]:
    named = {"source.ip": ip, "user.name": user, "host.name": host}
    return {name: value for name, value in named.items() if value is not None}


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["failed", "failed", "failed", "login"]),
        st.integers(0, 4) | st.integers(-60, 0),
        st.sampled_from(["a", "b", "c", "d", None]),
        st.sampled_from(["u", "v", "w", None]),
        st.sampled_from(["h", "i"]),
    ),
    max_size=60,
)


def stream(events: Sequence[tuple[str, int, str | None, str | None, str]]) -> Documents:
    """Documents in the order of their receipt; some are of a time long before."""
    found, now = [], 1_000
    for n, (rule, step, ip, user, host) in enumerate(events):
        now += max(step, 0)
        document = event(n, now + min(step, 0), rule=rule)
        found.append({**document, "fields": fields(ip, user, host), "receipt_us": now * SECOND})
    return found


def fed(correlators: Sequence[Correlator], documents: Documents) -> list[str]:
    """What all of them tell of these."""
    now_us = documents[-1]["receipt_us"] if documents else 0
    found = [finding for each in correlators for finding in each.feed(documents, now_us)]
    return [orjson.dumps(finding.to_document()).decode() for finding in found]


def over(correlators: Sequence[Correlator]) -> list[str]:
    return [orjson.dumps(f.to_document()).decode() for each in correlators for f in each.finish()]


def shards(detections: DetectionSet, of: int) -> list[Correlator]:
    return [Correlator(detections, Shard(index, of)) for index in range(of)]


def moved(detections: DetectionSet, before: Sequence[Correlator], of: int) -> list[Correlator]:
    """Their state shared out among another number, as it is written and read."""
    states = [orjson.loads(each.snapshot()) for each in before]
    after = shards(detections, of)
    for each, state in zip(after, shared_out(states, detections, of), strict=True):
        each.restore_state(orjson.loads(orjson.dumps(state)))
    return after


def counted(correlators: Sequence[Correlator]) -> tuple[Any, ...]:
    left_out: Counter[str] = Counter()
    fired: Counter[str] = Counter()
    late = sum(each.correlations.late.events for each in correlators)
    for each in correlators:
        left_out.update(each.left_out())
        fired.update(each.correlations.fired)
    return dict(left_out), dict(fired), late


@settings(max_examples=150, deadline=None)
@given(EVENTS, st.integers(2, 5))
def test_what_several_find_is_what_one_finds(several: DetectionSet, events: Any, of: int) -> None:
    """Every finding once and the same to the letter; so are the counts of what was left out, and what came too late."""
    documents, one, many = stream(events), shards(several, 1), shards(several, of)
    found, expected = [], []
    for start in range(0, len(documents), 7):
        found += fed(many, documents[start : start + 7])
        expected += fed(one, documents[start : start + 7])
    assert sorted(found + over(many)) == sorted(expected + over(one))
    assert counted(many) == counted(one)


@settings(max_examples=100, deadline=None)
@given(EVENTS, st.lists(st.integers(1, 4), min_size=2, max_size=5))
def test_their_number_may_change(several: DetectionSet, events: Any, numbers: list[int]) -> None:
    """The state is shared out anew in between, also to one and back: nothing is lost and nothing told twice."""
    documents, one, many = stream(events), shards(several, 1), shards(several, numbers[0])
    found, expected = [], []
    size = len(documents) // len(numbers) + 1
    for n, of in enumerate(numbers):
        many = moved(several, many, of)
        found += fed(many, documents[n * size : (n + 1) * size])
        expected += fed(one, documents[n * size : (n + 1) * size])
    assert sorted(found + over(many)) == sorted(expected + over(one))
    assert counted(many) == counted(one)


def test_groups_are_spread(several: DetectionSet) -> None:
    """Each of four keeps about a quarter of the groups of what refers to rules, and they keep no group twice."""
    correlators = shards(several, 4)
    documents = stream([("failed", 1, f"10.0.{n}.1", None, "h") for n in range(400)])
    for start in range(0, 400, 50):
        fed(correlators, documents[start : start + 50])
    [many] = [c.id for c in several.correlations if c.name == "many"]
    assert sum(each.correlations.fired[many] for each in correlators) == 0
    users = next(c.id for c in several.correlations if c.name == "in")
    kept = [len(each.correlations.stages[users].windows) for each in correlators]
    assert sum(kept) == 400
    assert min(kept) > 60


def test_one_that_told_of_groups_of_others_would_be_noticed(
    several: DetectionSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutant of the tests above: what lies under a correlation tells of every group that it keeps."""
    monkeypatch.setattr(Shard, "owns", lambda self, name: True)
    documents = stream([("failed", 1, "a", "u", "h")] * 6)
    assert len(fed(shards(several, 2), documents)) > len(fed(shards(several, 1), documents)) > 0


def test_state_of_correlations_that_are_gone_is_left_behind(several: DetectionSet, tmp_path: Path) -> None:
    """What was changed meanwhile begins anew."""
    before = shards(several, 2)
    fed(before, stream([("failed", 1, "a", "u", "h")] * 2))
    fewer = loaded(tmp_path, CORRELATIONS.partition("---")[0])
    after = moved(fewer, before, 3)
    assert sum(each.correlations.groups for each in after) == 1
