"""The state as a whole and the changes after it: together they are what the process had."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

import soc.detections
from soc.detections import Correlator, DetectionSet
from soc.detections.anomaly import first_seen
from soc.detections.correlation import stage
from soc.detections.correlator import LEFT_OUT
from tests.detections.anomaly.test_models import FIRST, SILENT
from tests.detections.correlation.support import RULES, SECOND, event
from tests.detections.correlation.test_closing import SEVERAL
from tests.detections.support import write

COUNT = """
title: count
name: count
correlation: {type: event_count, rules: [failed], group-by: [source.ip], timespan: 10s, condition: {gte: 3}}
"""
TEXT = "---".join([RULES.removesuffix("---"), COUNT, SEVERAL, FIRST, SILENT])
WHAT = st.lists(
    st.tuples(st.integers(0, 3000), st.sampled_from("abcdef"), st.sampled_from(["failed", "login", "first", "source"])),
    max_size=40,
)


@pytest.fixture(scope="module")
def detections(tmp_path_factory: pytest.TempPathFactory) -> DetectionSet:
    loaded = DetectionSet.load([write(tmp_path_factory.mktemp("rules"), TEXT)])
    assert not loaded.refused, loaded.refused
    return loaded


def document(n: int, at: int, who: str, what: str) -> dict[str, Any]:
    if what == "source":
        whose = {"system_id": None, "organization_id": None, "simulated": False}
        return {"kind": "sources", "source": who, "site": "s", "receipt_us": at * SECOND, "drift_us": n, **whose}
    return event(n, at, who, what, **{"user.name": who, "network.bytes": n % 4})


@given(what=WHAT, saved=st.sets(st.integers(0, 40)))
def test_a_whole_and_its_changes_are_the_state(detections: DetectionSet, what: Any, saved: set[int]) -> None:
    """Groups come, change, are put out by others and forgotten; models learn: nothing of it is missed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "MAX_GROUPS", 3)
        patch.setattr(first_seen, "MAX_ENTITIES", 3)
        patch.setattr(stage, "SLACK", 2)
        patch.setattr(first_seen, "SLACK", 2)
        running = Correlator(detections)
        whole, changes = orjson.dumps(running.state()), []
        for n, (at, who, kind) in enumerate(sorted(what)):
            running.feed([document(n, at, who, kind)], at * SECOND)
            running.tick(at * SECOND)
            if n in saved:
                changes.append(orjson.dumps(running.changes()))
        changes.append(orjson.dumps(running.changes()))
        restored = Correlator(detections)
        restored.restore_state(orjson.loads(whole))
        for each in changes:
            restored.apply(orjson.loads(each))
        assert restored.snapshot() == running.snapshot()
        assert restored.feed([event(99, 3000)], 3000 * SECOND) == running.feed([event(99, 3000)], 3000 * SECOND)
        assert restored.finish() == running.finish()


def test_changes_hold_only_what_was_touched(detections: DetectionSet) -> None:
    """A save costs what changed, not what there is; what came with the last receipt is told twice."""
    running = Correlator(detections)
    running.feed([event(n, n, f"10.0.0.{n}") for n in range(200)], SECOND)
    running.feed([event(200, 200, "10.0.0.1")], 200 * SECOND)
    large = len(orjson.dumps(running.changes()))
    running.feed([event(201, 201, "10.0.0.1")], 201 * SECOND)
    assert len(orjson.dumps(running.changes())) < large / 4


def test_what_was_dropped_is_counted_once_for_a_start(detections: DetectionSet, tmp_path: Path) -> None:
    """State of a correlation and of a model that were changed meanwhile, in the whole and in the changes."""
    running = Correlator(detections)
    running.feed([document(1, 1, "a", "failed"), document(2, 2, "a", "first")], SECOND)
    whole = running.state()
    running.feed([document(3, 3, "a", "failed"), document(4, 4, "a", "first")], SECOND)
    changes = running.changes()
    text = TEXT.replace("gte: 3", "gte: 4").replace("learning: 1h", "learning: 2h")
    restored = Correlator(DetectionSet.load([write(tmp_path, text)]))
    restored.restore_state(whole)
    restored.apply(changes)
    assert restored.counters["changed_definitions"] == 1
    assert restored.correlations.counters["changed_definitions"] == 1


def test_a_flood_of_groups_is_bounded_and_counted(detections: DetectionSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go together: one at a time, each would be searched for behind those that went before."""
    monkeypatch.setattr(stage, "MAX_GROUPS", 50)
    monkeypatch.setattr(stage, "SLACK", 10)
    running = Correlator(detections)
    for n in range(200):
        running.feed([event(n, n / 100, f"10.0.0.{n}")], n)
        assert len(running.correlations.stages["count"].windows) <= 60
    kept = [key[3] for key in running.correlations.stages["count"].windows]
    assert kept == [f"10.0.0.{n}" for n in range(200 - len(kept), 200)]
    assert running.left_out()["evicted_groups"] >= 2 * (200 - 60)


def test_many_groups_are_forgotten_in_one_pass(detections: DetectionSet) -> None:
    """Those that nothing touched for long, and no other."""
    running = Correlator(detections)
    running.feed([event(n, 0, f"10.0.{n // 250}.{n % 250}") for n in range(2_000)], 0)
    running.feed([event(3_000, 9_000, "last")], 9_000 * SECOND)
    running.tick(9_000 * SECOND)
    assert [key[3] for key in running.correlations.stages["count"].windows] == ["last"]


def test_nothing_is_left_out_in_silence() -> None:
    """Whatever the room counts is told as left out, but for what is no loss: how much came, and what came twice."""
    counted = re.compile(r'counters\["(\w+)"\] \+= ')
    sources = Path(soc.detections.__file__).parent.rglob("*.py")
    found = {name for path in sources for name in counted.findall(path.read_text("utf-8"))}
    assert found - {"documents", "repeated"} == set(LEFT_OUT)
