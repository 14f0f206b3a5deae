"""Named filters: one text, the same events in a search and in the condition of a rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soc.content import Document, loads
from soc.detections import DetectionSet, Detector
from soc.detections.saved import SavedFilters, conditions, read_saved
from soc.detections.sigma.evaluate import Columns, Row, compiled
from soc.errors import QueryError
from soc.model.batch import EventBatch
from soc.model.fields import FIELDS
from soc.store.query import MAX_FILTERS, MAX_TERMS, matches, parse
from tests.detections.support import write

FILTERS = """
name: jump_hosts
title: Jump hosts
i18n: {vi: {title: Máy trung chuyển}}
query: source.ip:10.9.0.0/24 or host.name:jump*
---
name: not_ours
query: not filter:jump_hosts and not user.name:(backup or "svc monitor")
"""
RULE = """
title: login
name: login
logsource: {product: linux, service: sshd}
detection:
  s: {event.outcome: success}
  condition: s and not_ours
"""
EVENTS: list[dict[str, Any]] = [
    {"event.outcome": "success", "source.ip": "203.0.113.9", "user.name": "root"},
    {"event.outcome": "success", "source.ip": "10.9.0.7", "user.name": "root"},
    {"event.outcome": "success", "host.name": "jump7", "user.name": "root"},
    {"event.outcome": "success", "source.ip": "203.0.113.9", "user.name": "svc monitor"},
    {"event.outcome": "failure", "source.ip": "203.0.113.9", "user.name": "root"},
]


def found(made: DetectionSet) -> list[int]:
    """The places of the events that some rule finds."""
    rows = [{**event, "event.id": bytes([n]) * 16} for n, event in enumerate(EVENTS)]
    findings = Detector(made).match(EventBatch.from_rows("linux.sshd", rows))
    return [bytes.fromhex(finding.event_ids[0])[0] for finding in findings]


def saved(text: str) -> dict[str, str]:
    """Filters of some YAML as a search takes them."""
    filters, refused = read_saved(loads(text, "f.yml"), FIELDS)
    assert refused == []
    return {name: each.query for name, each in filters.items()}


def test_a_rule_names_a_filter(tmp_path: Path) -> None:
    """In its condition, like a detection of its own; a hit is explained by what the filter found."""
    made = DetectionSet.load([write(tmp_path, RULE, "r.yml"), write(tmp_path, FILTERS, "f.yml")])
    assert made.refused == ()
    assert found(made) == [0]
    only = RULE.replace("  s: {event.outcome: success}\n", "").replace("s and not_ours", "jump_hosts")
    made = DetectionSet.load([write(tmp_path, only, "r.yml"), tmp_path / "f.yml"])
    assert found(made) == [1, 2]
    [finding, _] = Detector(made).match(EventBatch.from_rows("linux.sshd", EVENTS))
    assert [(m.selection, m.field) for m in finding.matched] == [("filter jump_hosts", "source.ip")]


def test_a_search_names_the_same_filter() -> None:
    """`filter:NAME` stands for its text, in parentheses of its own."""
    batch = EventBatch.from_rows("linux.sshd", EVENTS)
    tree = parse("event.outcome:success filter:not_ours", FIELDS, saved(FILTERS))
    assert np.flatnonzero(matches(tree, batch)).tolist() == [0]
    assert parse("not filter:jump_hosts", FIELDS, saved(FILTERS)) == parse(
        "not (source.ip:10.9.0.0/24 or host.name:jump*)", FIELDS
    )


def test_a_detection_of_the_rule_itself_comes_first(tmp_path: Path) -> None:
    """A filter that somebody adds changes no rule that has the name already; and `of them` never means it."""
    own = RULE.replace("s: {event.outcome: success}", "not_ours: {event.outcome: failure}")
    own = own.replace("s and not_ours", "not_ours and 1 of them")
    assert found(DetectionSet.load([write(tmp_path, own, "r.yml"), write(tmp_path, FILTERS, "f.yml")])) == [4]


def test_a_sigma_filter_names_one_too(tmp_path: Path) -> None:
    """What an exclusion describes may be a filter."""
    rule = RULE.replace("s and not_ours", "s")
    exclusion = (
        "title: e\nid: 33333333-3333-4333-8333-333333333333\nlogsource: {product: linux, service: sshd}\n"
        "filter: {rules: [login], s: {user.name: nobody}, condition: not jump_hosts and not s}\n"
    )
    texts = {"r.yml": rule, "f.yml": FILTERS, "e.yml": exclusion}
    made = DetectionSet.load([write(tmp_path, text, name) for name, text in texts.items()])
    assert made.refused == ()
    assert found(made) == [0, 3]


def test_another_filter_is_another_rule(tmp_path: Path) -> None:
    """Its version, and what was kept for the next start, change with the text of the filter, not with others."""
    paths = [write(tmp_path, RULE, "r.yml"), write(tmp_path, FILTERS, "f.yml")]
    first, again = (DetectionSet.load(paths, cache=tmp_path / "cache").rules[0] for _ in range(2))
    assert first == again
    write(tmp_path, FILTERS.replace("jump*", "hop*"), "f.yml")
    other = DetectionSet.load(paths, cache=tmp_path / "cache")
    assert other.rules[0].version != first.version
    assert found(other) == [0, 2]


@pytest.mark.parametrize(
    ("text", "name", "reason"),
    [
        (
            "name: a\nquery: filter:b\n---\nname: b\nquery: x filter:a",
            "a",
            "in filter 'a': filter 'a' names itself: a → b → a",
        ),
        ("name: a\nquery: filter:jump", "a", "in filter 'a': there is no filter 'jump'"),
        ("name: a\nquery: 'user.nam:x'", "a", "in filter 'a': unknown field 'user.nam' (did you mean 'user.name'?)"),
        ("name: them\nquery: x", "them", "'them' is no name of a filter"),
        ("name: a b\nquery: x", "a b", "'a b' is no name of a filter"),
        ("name: a\nquery: [x]", "a", "'query' is a search text"),
        ("name: a\nquery: ' '", "a", "'query' is a search text"),
    ],
)
def test_a_faulty_filter_is_refused(text: str, name: str, reason: str) -> None:
    """By name and line; a circle is told with its way."""
    filters, refused = read_saved(loads(text, "f.yml"), FIELDS)
    assert name not in filters
    told = next(each for each in refused if each.id == name)
    assert told.reason.startswith(reason)
    assert told.line == 2


def test_a_rule_that_names_a_refused_filter_is_refused(tmp_path: Path) -> None:
    """Never run without what it leaves out."""
    broken = FILTERS.replace("host.name:jump*", "host.nam:x")
    made = DetectionSet.load([write(tmp_path, RULE, "r.yml"), write(tmp_path, broken, "f.yml")])
    assert made.rules == ()
    reasons = {each.id: each.reason for each in made.refused}
    assert reasons["login"] == "condition names 'not_ours', which is no detection and no filter"
    assert set(reasons) == {"login", "jump_hosts", "not_ours"}


def test_nesting_is_bounded() -> None:
    """Deep chains, and texts that double at each step, stop with a sentence."""
    chain = {f"f{n}": f"filter:f{n + 1}" for n in range(MAX_FILTERS + 1)} | {f"f{MAX_FILTERS + 1}": "x"}
    assert parse("filter:f2", FIELDS, chain) == parse("x", FIELDS)
    with pytest.raises(QueryError, match="deeper than"):
        parse("filter:f0", FIELDS, chain)
    doubled = {f"f{n}": f"filter:f{n + 1} filter:f{n + 1} x{n} " * 8 for n in range(8)} | {"f8": "x"}
    with pytest.raises(QueryError, match=f"more than {MAX_TERMS} terms"):
        parse("filter:f0", FIELDS, doubled)


def test_what_rules_cannot_ask_is_said(tmp_path: Path) -> None:
    """An order of text is for searches; the rule that names it is refused, the search goes on."""
    text = "name: early\nquery: user.name < b"
    path, rule = write(tmp_path, text, "f.yml"), write(tmp_path, RULE.replace("not_ours", "early"), "r.yml")
    [refused] = DetectionSet.load([path, rule]).refused
    assert refused.reason == "filter 'early': 'user.name' is text: rules order numbers and times only"
    assert parse("filter:early", FIELDS, saved(text))


def test_filters_are_read_again_when_a_file_changes(tmp_path: Path) -> None:
    """In `filters/` below the folders of detections; a later folder wins, a broken file is told."""
    first, second = tmp_path / "a" / "filters", tmp_path / "b" / "filters"
    first.mkdir(parents=True)
    second.mkdir(parents=True)
    write(first, FILTERS)
    filters = SavedFilters([tmp_path / "a", tmp_path / "b", tmp_path / "none"], FIELDS)
    assert set(filters.texts()) == {"jump_hosts", "not_ours"}
    write(second, "name: jump_hosts\ntitle: other\nquery: host.name:hop*\n")
    write(second, "a: [", "broken.yml")
    assert filters.texts()["jump_hosts"] == "host.name:hop*"
    assert [Path(each.path).name for each in filters.read()[1]] == ["broken.yml"]


FIELDS_OF = {"user.name": ("ab", "Ab", "a*b", "đà"), "message": ("Failed password", "failed", "xfailed", "ĐÀ nẵng"),
             "process.pid": (1, 22, 300), "source.ip": ("10.0.0.1", "2001:db8::1", "192.0.2.1"),
             "@timestamp": (1_780_000_000_000_000, 1_790_000_000_000_000),
             "related.user": (("ab", "x"), ())}  # fmt: skip
TEXTS = ("user.name:ab", "user.name:a*", r"user.name:a\*b", "user.name:?b", "user.name:*", "message:failed*", "failed",
         "message:*WORD*", '"failed password"', "đà", "process.pid:22", "process.pid >= 22", "process.pid < 22",
         "source.ip:10.0.0.0/8", 'source.ip:"2001:db8::1"', '@timestamp > "2026-07-01T00:00:00Z"', "related.user:ab",
         "not message:*", "*", "!!")  # fmt: skip


@given(
    texts=st.lists(st.sampled_from(TEXTS), min_size=1, max_size=3),
    joiner=st.sampled_from([" ", " or ", " and not "]),
    rows=st.lists(
        st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in FIELDS_OF.items()}),
        min_size=1, max_size=6,
    ),
)  # fmt: skip
@settings(max_examples=300)
def test_a_rule_and_a_search_find_the_same(texts: list[str], joiner: str, rows: list[dict[str, Any]]) -> None:
    """The condition that a rule gets of a text holds for just the events that the text finds."""
    text = joiner.join(texts)
    filters, refused = read_saved([Document("f.yml", {"name": "f", "query": text}, {})], FIELDS)
    assert refused == []
    batch = EventBatch.from_rows("linux.sshd", rows)
    node = conditions(filters, FIELDS)["f"]
    assert not isinstance(node, str)
    columns = Columns(batch)
    ours = [compiled(node)(Row(columns, i)) for i in range(batch.n)]
    assert ours == matches(parse(text, FIELDS), batch).tolist()
