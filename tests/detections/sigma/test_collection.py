"""Rule collections of Sigma 1 and Sigma filters."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from soc.detections import DetectionSet, Detector
from soc.detections.sigma.rule import Refused
from soc.model.batch import EventBatch
from tests.detections.support import write

FAILED = """
title: failed
name: failed
id: 11111111-1111-4111-8111-111111111111
logsource: {product: linux, service: sshd}
detection:
  selection: {event.outcome: failure}
  condition: selection
"""
FILTER = """
title: the backup server may fail
id: 22222222-2222-4222-8222-222222222222
logsource: {product: linux, service: sshd}
filter:
  rules: [failed]
  selection_net: {source.ip|cidr: 10.9.0.0/16}
  selection_user: {user.name: backup}
  condition: not all of selection_*
"""


def events(*rows: dict[str, Any]) -> EventBatch:
    named = [{"event.id": f"{n:032x}", "event.outcome": "failure", **row} for n, row in enumerate(rows)]
    return EventBatch.from_rows("linux.sshd", named)


ROWS = (
    {"source.ip": "10.9.1.1", "user.name": "backup"},
    {"source.ip": "10.9.1.1", "user.name": "admin"},
    {"source.ip": "203.0.113.9", "user.name": "backup"},
)


def users(text: str, folder: Path) -> tuple[list[tuple[str, str]], tuple[Refused, ...]]:
    """(rule, user) of what is found, and what was refused."""
    detections = DetectionSet.load([write(folder, text)])
    found = Detector(detections).match(events(*ROWS))
    return [(f.title, ROWS[int(f.event_ids[0], 16)]["user.name"]) for f in found], detections.refused


def test_a_filter_takes_away_what_it_describes(tmp_path: Path) -> None:
    """Its condition must hold too (pySigma: joined with `and`); `all of selection_*` means its own selections."""
    assert users(FAILED + "---" + FILTER, tmp_path) == ([("failed", "admin"), ("failed", "backup")], ())


def test_a_filter_counts_its_own_selections_and_takes_numbers_for_text(tmp_path: Path) -> None:
    """`N of` and numbers behind `startswith`, as rules may have them."""
    other = FILTER.replace("not all of selection_*", "not 2 of them").replace(
        "selection_user:", "port: {source.port|startswith: 44}\n  selection_user:"
    )
    assert users(FAILED + "---" + other, tmp_path) == ([("failed", "admin"), ("failed", "backup")], ())


def test_a_filter_in_another_file_is_joined_and_changes_the_version(tmp_path: Path) -> None:
    """Filters are read before rules, wherever they lie; an alert says by its rule's version which filters held."""
    rule, filter_ = write(tmp_path, FAILED), write(tmp_path, FILTER, "filter.yml")
    alone, both = DetectionSet.load([rule]), DetectionSet.load([rule, filter_])
    assert both.rules[0].filters == ("22222222-2222-4222-8222-222222222222",)
    assert both.rules[0].version != alone.rules[0].version


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("rules: [failed]", "rules: [nobody]"), "no rule that is loaded is meant by it"),
        (("service: sshd}\nfilter", "service: sudo}\nfilter"), "no rule that is loaded is meant by it"),
        (("user.name: backup", "no.such.field: backup"), "cannot be joined to 'failed': reads 'no.such.field'"),
        (("condition: not all of selection_*", "condition: not other"), "cannot be joined to 'failed'"),
        (("  rules: [failed]\n", ""), "'rules'"),
    ],
)
def test_a_filter_that_cannot_work_is_refused_and_hides_nothing(
    tmp_path: Path, change: tuple[str, str], reason: str
) -> None:
    """The rule goes on without it, and who reads the refusals sees why."""
    found, refused = users(FAILED + "---" + FILTER.replace(*change), tmp_path)
    assert len(found) == 3
    [told] = refused
    assert (told.id[:8], reason in told.reason) == ("22222222", True), told.reason


def test_a_filter_for_any_rule(tmp_path: Path) -> None:
    """`rules: any`, and a log source that covers more than the rule's."""
    text = FILTER.replace("[failed]", "any").replace("product: linux, service: sshd", "product: linux")
    assert len(users(FAILED + "---" + text, tmp_path)[0]) == 2


def test_what_a_filter_matched_is_named_without_pysigmas_random_prefix(tmp_path: Path) -> None:
    """A filter whose condition is positive shows up in the explanation, the same in each run."""
    text = FILTER.replace("not all of selection_*", "selection_user")
    detections = DetectionSet.load([write(tmp_path, FAILED + "---" + text)])
    found = Detector(detections).match(events(ROWS[0]))
    assert [matched["selection"] for matched in found[0].to_document()["matched"]] == [
        "selection",
        "filter selection_user",
    ]


GLOBAL = """
action: global
title: guessing
id: 33333333-3333-4333-8333-333333333333
level: high
detection:
  condition: selection
---
logsource: {product: linux, service: sshd}
detection:
  selection: {event.outcome: failure}
---
logsource: {product: linux, service: sudo}
detection:
  selection: {event.outcome: failure}
---
action: reset
---
title: alone
name: alone
logsource: {product: linux, service: sshd}
detection:
  selection: {user.name: admin}
  condition: selection
---
action: repeat
title: repeated
name: repeated
detection:
  selection: {user.name: backup}
"""


def test_a_rule_collection_of_sigma_1(tmp_path: Path) -> None:
    """`global` completes the rules behind it until `reset`; `repeat` changes the rule before it."""
    detections = DetectionSet.load([write(tmp_path, GLOBAL)])
    second = str(uuid.uuid5(uuid.UUID("33333333-3333-4333-8333-333333333333"), "2"))
    assert not detections.refused
    assert [(rule.id[-3:], rule.title, rule.level) for rule in detections.rules] == [
        ("333", "guessing", "high"), (second[-3:], "guessing", "high"), ("one", "alone", "medium"),
        ("ted", "repeated", "medium"),
    ]  # fmt: skip
    found = Detector(detections).match(events(*ROWS))
    assert [finding.title for finding in found].count("repeated") == 2


def test_an_unknown_action_is_refused(tmp_path: Path) -> None:
    """By name, with the ones there are."""
    [refused] = DetectionSet.load([write(tmp_path, "action: merge\ntitle: x\n")]).refused
    assert "'merge'" in refused.reason
    assert "global, reset, repeat" in refused.reason
