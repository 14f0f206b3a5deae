"""What came too late is noted: bounded, kept with the state, and with those that build on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from soc.detections import Correlator
from soc.detections.correlation.late import MAX_GROUPS, MAX_RECEIVED, RECEIVED_US, WAIT_US, Late
from tests.detections.correlation.support import SECOND, event, loaded

CHAIN = """
title: low
name: low
id: 11111111-1111-4111-8111-111111111111
correlation: {type: event_count, rules: [failed], group-by: [source.ip], timespan: 10s, condition: {%s}}
---
title: high
name: high
id: 22222222-2222-4222-8222-222222222222
correlation: {type: value_count, rules: [low], timespan: 1m, condition: {field: source.ip, gte: 2}}
"""
LOW, HIGH = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
NOW_US = 1_000 * SECOND


def chain(folder: Path, condition: str = "gte: 3") -> Correlator:
    return Correlator(loaded(folder, CHAIN % condition))


def seen(n: int, at: float, ip: str = "a", **more: Any) -> dict[str, Any]:
    return {**event(n, at, ip), "receipt_us": NOW_US + n, **more}


@pytest.mark.parametrize("condition", ["gte: 3", "lt: 3"])
def test_of_a_window_told_at_once_and_of_one_judged_at_its_end(tmp_path: Path, condition: str) -> None:
    """An event more than two time frames behind its group; those that refer to the correlation come with it."""
    correlator = chain(tmp_path, condition)
    correlator.feed([seen(1, 500), seen(2, 490), seen(3, 470), seen(4, 465, "b")], NOW_US)
    correlations = correlator.correlations
    assert (correlator.left_out()["late"], correlations.late.events) == (1, 1)
    assert correlations.late_due(NOW_US + WAIT_US - 1) is None
    found = correlations.late_due(NOW_US + WAIT_US)
    assert found is not None
    assert (found.first_us, found.last_us) == (470 * SECOND, 470 * SECOND)
    assert found.rules[LOW].groups == {("s", "", "", "a"): None}
    assert found.rules[HIGH].groups is None
    correlations.late.clear()
    assert correlations.late_due(NOW_US + 10 * WAIT_US) is None


def test_of_a_group_that_may_have_been_forgotten(tmp_path: Path) -> None:
    """Its first event is older than anything that is kept; in an import everything is, and nothing was before it."""
    correlator = chain(tmp_path)
    now_us = 100_000 * SECOND
    correlator.feed([seen(1, 500, import_id="i"), seen(2, 99_990), seen(3, 500, "b"), seen(4, 501, "b")], now_us)
    assert correlator.left_out().get("late", 0) == 0
    assert correlator.correlations.late.rules[LOW].groups == {("s", "", "", "b"): None}
    assert correlator.correlations.late.events == 1


def test_it_is_saved_with_the_state(tmp_path: Path) -> None:
    """As a whole and as changes, and read again; states of before have none."""
    correlator = chain(tmp_path)
    whole = correlator.state()
    correlator.feed([seen(1, 500), seen(2, 470)], NOW_US)
    changes = orjson.loads(orjson.dumps(correlator.changes()))
    again = chain(tmp_path)
    again.restore_state(orjson.loads(orjson.dumps(whole)))
    again.apply(changes)
    assert again.correlations.late == correlator.correlations.late != Late()
    del changes["correlations"]["late"]
    again.apply(changes)
    assert again.correlations.late.events == 0


def test_it_is_bounded_and_loses_nothing() -> None:
    """Beyond so many groups all are meant; beyond so many times of receipt the count stays right."""
    late = Late()
    for n in range(MAX_RECEIVED + 5):
        late.add("r", (str(n % (MAX_GROUPS + 1)),), n, n * RECEIVED_US, 0)
    assert late.rules["r"].groups is None
    assert (late.events, len(late.rules["r"].received)) == (MAX_RECEIVED + 5, MAX_RECEIVED)
    assert (late.first_us, late.last_us) == (0, MAX_RECEIVED + 4)
