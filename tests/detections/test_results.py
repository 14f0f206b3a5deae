"""What came of the tests that stand in rules and beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from soc import pipeline
from soc.detections import DetectionSet
from soc.detections.results import RuleResult, results
from soc.detections.samples import START_US
from soc.model.batch import EventBatch
from soc.model.clock import FixedClock
from soc.model.fields import FIELDS
from tests.detections.support import write

RULE = """
title: Log cleared
id: 0a000000-0000-4000-8000-000000000001
logsource: {product: windows, service: security}
detection: {s: {EventID: 1102}, condition: s}
"""
REGRESSION = "regression_tests_path: regression_data/rules/cleared/info.yml\n"
INFO = """
id: 0a000000-0000-4000-8000-0000000000ff
rule_metadata: [{id: 0a000000-0000-4000-8000-000000000001, title: Log cleared}]
regression_tests_info:
  - {name: Positive Detection Test, type: json, match_count: COUNT, path: regression_data/rules/cleared/events.json}
"""
SYNTHETIC = [
    {"Event": {"System": {"Provider": {"#attributes": {"Name": "Microsoft-Windows-Eventlog"}}, "EventID": id,
                          "Channel": "Security", "Computer": "pc1",
                          "TimeCreated": {"#attributes": {"SystemTime": "2026-05-01T00:00:00.000000Z"}}}}}
    for id in (1102, 4624, 1102)
]  # fmt: skip


def run(*paths: Path) -> list[RuleResult]:
    """The results over some rule files, with our own readers."""
    parsers = pipeline.load_parsers()

    def read(path: Path, format: str) -> Iterator[EventBatch]:
        for batches in pipeline.parse_file(parsers, path, FixedClock(START_US * 1000), format=format):
            yield from batches

    return list(results(DetectionSet.load(paths), FIELDS, read))


def checkout(folder: Path, info: str = INFO.replace("COUNT", "2"), rule: str = RULE + REGRESSION) -> Path:
    """A folder of SigmaHQ's shape; its rule."""
    data = folder / "regression_data/rules/cleared"
    data.mkdir(parents=True)
    (data / "info.yml").write_text(info)
    (data / "events.json").write_text("\n".join(map(json.dumps, SYNTHETIC)))
    (folder / "rules").mkdir()
    return write(folder / "rules", rule, "cleared.yml")


def test_a_rule_holds_fails_or_is_untested(tmp_path: Path) -> None:
    """Each rule once, with what matched in its hit; a failing test names its line."""
    held = "tests:\n  - {event: {winlog.channel: Security, winlog.event_id: '1102'}, hit: true}\n"
    failing = "tests:\n  - {event: {winlog.channel: Security, winlog.event_id: '4624'}, hit: true}\n"
    text = RULE + held + "---" + RULE.replace("001", "002") + failing + "---" + RULE.replace("001", "003")
    one, two, three = run(write(tmp_path, text))
    assert [each.state for each in (one, two, three)] == ["held", "failed", "untested"]
    assert [m["value"] for m in one.to_document()["tests"][0]["matched"]] == ["1102"]
    assert (two.outcomes[0].fault, two.outcomes[0].line) == ("expected a hit", 14)


def test_a_rule_that_cannot_run_fails_only_when_it_carries_tests(tmp_path: Path) -> None:
    """Otherwise a checkout with one foreign log source could never be green; lint names both."""
    bad = RULE.replace("EventID: 1102", "no.such: x").replace("windows, service: security", "linux, service: sshd")
    with_test = bad.replace("001", "002") + "tests:\n  - {event: {event.dataset: linux.sshd}, hit: true}\n"
    one, two = run(write(tmp_path, bad + "---" + with_test))
    assert (one.state, two.state) == ("refused", "failed")
    assert "no.such" in one.reason
    assert "no.such" in two.outcomes[0].fault


def test_what_cannot_be_read_fails(tmp_path: Path) -> None:
    """Its tests are lost with it, and so are those of a second rule with an id: neither may pass a CI server."""
    write(tmp_path, RULE)
    for name, text in (("b", RULE.replace("title: ", "title: [")), ("c", RULE), ("d", "words: 1")):
        (tmp_path / f"{name}.yml").write_text(text)
    found = {Path(each.path).stem: each for each in run(tmp_path)}
    assert [found[name].state for name in "bcd"] == ["failed", "untested", "refused"]
    [second] = found.keys() - set("bcd")
    assert found[second].state == "failed"
    assert "stands in" in found[second].outcomes[0].fault


def test_a_correlation_is_tested_by_events_with_times(tmp_path: Path) -> None:
    """`at` places an event after the start of the test: two within the window hit, two outside of it do not."""
    text = """
title: failed
name: failed
logsource: {product: linux, service: sshd}
detection: {s: {event.outcome: failure}, condition: s}
---
title: twice
name: twice
correlation: {type: event_count, rules: [failed], group-by: [source.ip], timespan: 1m, condition: {gte: 2}}
tests:
  - hit: true
    events:
      - {at: 0s, event.dataset: linux.sshd, event.outcome: failure, source.ip: 203.0.113.9}
      - {at: 59s, event.dataset: linux.sshd, event.outcome: failure, source.ip: 203.0.113.9}
  - hit: false
    events:
      - {at: 0s, event.dataset: linux.sshd, event.outcome: failure, source.ip: 203.0.113.9}
      - {at: 1m, event.dataset: linux.sshd, event.outcome: failure, source.ip: 203.0.113.9}
  - {hit: false, events: [{at: soon, event.dataset: linux.sshd}]}
"""
    _, twice = run(write(tmp_path, text))
    assert [each.fault for each in twice.outcomes[:2]] == ["", ""]
    assert twice.to_document()["tests"][0]["groups"] == [{"source.ip": "203.0.113.9"}]
    assert "'at: soon' is no time" in twice.outcomes[2].fault


@pytest.mark.parametrize(
    ("count", "fault"), [("2", ""), ("1", "expected 1 hits, found 2"), ("0", "expected 0 hits, found 2")]
)
def test_recorded_events_of_a_sigmahq_checkout_are_read_as_they_are(tmp_path: Path, count: str, fault: str) -> None:
    """`info.yml` names a file and how often the rule hits in it: too often is as wrong as too seldom."""
    [rule] = run(checkout(tmp_path, INFO.replace("COUNT", count)))
    assert [each.fault for each in rule.outcomes] == [fault]
    assert rule.outcomes[0].hits == 2


def test_without_a_count_one_hit_is_enough(tmp_path: Path) -> None:
    """Some of SigmaHQ's files name none."""
    [rule] = run(checkout(tmp_path, INFO.replace("match_count: COUNT, ", "")))
    assert rule.state == "held"


def test_rules_without_their_checkout_are_untested_and_say_so(tmp_path: Path) -> None:
    """A release of rules alone has no recorded events: that is no failure, and not silent either."""
    [rule] = run(write(tmp_path, RULE + REGRESSION))
    assert (rule.state, rule.reason) == ("untested", "regression_data is not beside the rules")


@pytest.mark.parametrize(
    ("info", "fault"),
    [
        (INFO.replace("COUNT", "2").replace("0001,", "0009,"), "is about 0a000000-0000-4000-8000-000000000009"),
        (INFO.replace("COUNT", "2").replace("rules/cleared/events", "../outside"), "no path inside the checkout"),
        (INFO.replace("COUNT", "2").replace("events.json", "gone.json"), "no such file in the checkout"),
        (INFO.replace("COUNT", "many"), "'match_count: many' is no number"),
        ("- a list", "'regression_tests_info' is a list of tests"),
    ],
)  # fmt: skip
def test_a_wrong_info_file_is_a_failure_with_its_reason(tmp_path: Path, info: str, fault: str) -> None:
    """Another rule's, a path that leads out, a file that is gone, a count that is none, no mapping."""
    [rule] = run(checkout(tmp_path, info))
    assert rule.state == "failed"
    assert fault in rule.outcomes[0].fault


def test_a_link_out_of_the_checkout_is_not_followed(tmp_path: Path) -> None:
    """Foreign rules must not make us read the machine's files."""
    rule = checkout(tmp_path / "sigma")
    events = tmp_path / "sigma/regression_data/rules/cleared/events.json"
    events.rename(tmp_path / "secret.json")
    events.symlink_to(tmp_path / "secret.json")
    assert "no such file in the checkout" in run(rule)[0].outcomes[0].fault
