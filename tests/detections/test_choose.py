"""What is off everywhere is not matched, unless something that is on needs it."""

from __future__ import annotations

from pathlib import Path

from soc.detections import DetectionSet
from soc.detections.choose import chosen
from soc.model.rule_policy import Choice, RulePolicy
from tests.detections.support import write

TEXT = """
title: a
name: a
logsource: {product: linux, service: sshd}
detection: {s: {event.outcome: failure}, condition: s}
---
title: b
name: b
status: deprecated
logsource: {product: linux, service: sshd}
detection: {s: {event.outcome: success}, condition: s}
---
title: many
name: many
correlation: {type: event_count, rules: [a], group-by: [source.ip], timespan: 1m, condition: {gte: 2}}
---
title: more
name: more
correlation: {type: event_count, rules: [many], group-by: [source.ip], timespan: 1h, condition: {gte: 2}}
"""


def left(folder: Path, *disable: str) -> list[str]:
    """The names that are left."""
    found = chosen(DetectionSet.load([write(folder, TEXT)]), RulePolicy(Choice.parse(disable, [])))
    return [each.id for each in (*found.rules, *found.correlations)]


def test_a_status_turns_rules_off(tmp_path: Path) -> None:
    """The deprecated one goes."""
    assert left(tmp_path, "status=deprecated") == ["a", "many", "more"]


def test_what_a_correlation_that_is_on_counts_stays(tmp_path: Path) -> None:
    """A correlation over a rule that is off would be deaf in silence, through any number of steps."""
    assert left(tmp_path, "a", "many") == ["a", "b", "many", "more"]
    assert left(tmp_path, "a", "many", "more") == ["b"]
