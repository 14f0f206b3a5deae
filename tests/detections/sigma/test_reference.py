"""The whole way from a rule's text to its hits against a naive reading of pySigma's condition tree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sigma.modifiers import modifier_mapping
from sigma.processing.pipeline import ProcessingItem, ProcessingPipeline
from sigma.processing.transformations import ValueListPlaceholderTransformation
from sigma.rule import SigmaRule

from soc.content import Document
from soc.detections.sigma import evaluate, rule
from soc.detections.sigma.bucket import Bucket, Condition
from soc.detections.sigma.evaluate import Columns
from soc.detections.sigma.read import read_rule
from soc.detections.sigma.rule import Rule
from soc.model.batch import EventBatch
from soc.model.fields import FIELDS
from tests.detections.sigma import random_rules
from tests.detections.sigma.random_rules import LISTS, RuleMaker
from tests.detections.sigma.reference import Event, reference

EXPANDING = ProcessingPipeline([ProcessingItem(ValueListPlaceholderTransformation(include=list(LISTS)))], vars=LISTS)


def read(data: dict[str, Any]) -> Rule:
    """As the engine reads it."""
    made = read_rule(Document("random.yml", data, {}), FIELDS, [EXPANDING])
    assert isinstance(made, Rule), (made, data)
    return made


def texts(row: dict[str, Any]) -> Event:
    """A row as the reference wants it."""
    return {name: value if isinstance(value, tuple) else (value,) for name, value in row.items()}


Hits = set[tuple[int, int]]


def quick(nodes: list[rule.Node], columns: Columns) -> Hits:
    """What the engine finds."""
    return set(Bucket([Condition(node) for node in nodes]).hits(columns, range(columns.batch.n)))


def plain(nodes: list[rule.Node], columns: Columns) -> Hits:
    """What the plain evaluator finds."""
    holds = [evaluate.compiled(node) for node in nodes]
    rows = [evaluate.Row(columns, i) for i in range(columns.batch.n)]
    return {(row.i, number) for row in rows for number, check in enumerate(holds) if check(row)}


def disagreements(
    rules: list[dict[str, Any]],
    rows: list[dict[str, Any]],
    find: Callable[[list[rule.Node], Columns], Hits] = quick,
) -> list[tuple[dict[str, Any], Any]]:
    """(row, detection) of which ours and the reference do not say the same."""
    nodes = [read(data).variants[0].node for data in rules]
    found = find(nodes, Columns(EventBatch.from_rows("windows.x", rows)))
    events = [texts(row) for row in rows]
    wanted = set()
    for number, data in enumerate(rules):
        sigma = SigmaRule.from_dict(data)
        EXPANDING.apply(sigma)
        holds = reference(sigma, random_rules.FIELDS)
        wanted.update((i, number) for i, event in enumerate(events) if holds(event))
    return [(rows[i], rules[number]["detection"]) for i, number in sorted(found ^ wanted)]


@pytest.mark.slow
def test_a_million_pairs_of_whole_rules_agree() -> None:
    """1,000 rules of every modifier, each over 1,000 events."""
    maker = RuleMaker(20261130)
    for _ in range(5):
        rules = [maker.rule() for _ in range(200)]
        assert disagreements(rules, [maker.event() for _ in range(1_000)])[:3] == []


@given(seed=st.integers(0, 2**32))
@settings(max_examples=100)
def test_any_rules_agree_on_any_events(seed: int) -> None:
    """Small sets, other ones at each run; the plain evaluator too."""
    maker = RuleMaker(seed)
    rules, rows = [maker.rule() for _ in range(3)], [maker.event() for _ in range(20)]
    assert disagreements(rules, rows)[:1] == []
    assert disagreements(rules, rows, plain)[:1] == []


def test_every_modifier_is_made() -> None:
    """And every kind of comparison, some of them true and some false; else the million would prove little."""
    maker = RuleMaker(1)
    rules = [maker.rule() for _ in range(1_000)]
    used = {word for data in rules for key in _keys(data["detection"]) for word in key.split("|")[1:]}
    assert used == set(modifier_mapping)
    ops = Counter(test.op for data in rules for test in rule.tests_of(read(data).variants[0].node))
    assert set(ops) == {
        "equals", "prefix", "suffix", "contains", "any", "glob", "re", "cidr", "lt", "lte", "gt", "gte", "null",
        "exists", "fieldref", "minute", "hour", "day", "week", "month", "year",
    }  # fmt: skip
    assert min(ops.values()) >= 10
    rows = [maker.event() for _ in range(100)]
    columns = Columns(EventBatch.from_rows("windows.x", rows))
    tests = {test for data in rules for test in rule.tests_of(read(data).variants[0].node)}
    truth = {(t.op, evaluate.compiled(t)(evaluate.Row(columns, i))) for t in tests for i in range(len(rows))}
    assert truth == {(op, held) for op in ops for held in (True, False)}


def _keys(detection: Any) -> list[str]:
    if isinstance(detection, dict):
        return [str(key) for key in detection] + [k for value in detection.values() for k in _keys(value)]
    return [key for each in detection for key in _keys(each)] if isinstance(detection, list) else []


def test_the_comparison_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that takes a missing field as false under `not` is caught."""
    maker = RuleMaker(2)
    rules, rows = [maker.rule() for _ in range(100)], [maker.event() for _ in range(100)]
    assert disagreements(rules, rows) == []
    monkeypatch.setattr("soc.detections.sigma.read.Not", lambda part: part)
    assert disagreements(rules, rows)
