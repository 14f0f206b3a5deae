"""What a correlation says and how it is read: the sentences of the Sigma correlation specification 2.1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from soc.detections import Correlator, DetectionSet
from tests.detections.correlation.support import RULES, SECOND, event, loaded
from tests.detections.support import write

COUNT = """
title: c
id: 0e95725d-7320-415d-80f7-004da920fc11
name: c
correlation: {type: event_count, rules: [failed], group-by: [source.ip], timespan: 10s, condition: {gte: 2}}
"""


def found(detections: DetectionSet, documents: list[dict[str, Any]]) -> list[tuple[str, list[int]]]:
    """Rule and numbers of the events of each finding."""
    correlator = Correlator(detections)
    findings = correlator.feed(documents, 0) + correlator.finish()
    return [(finding.rule_id, [int(id, 16) for id in finding.event_ids]) for finding in findings]


@pytest.mark.parametrize(
    ("span", "seconds"),
    [("90s", 90), ("90m", 5400), ("2h", 7200), ("3d", 259_200), ("1w", 604_800), ("1M", 2_629_746), ("1y", 31_556_952)],
)
def test_a_time_frame_is_a_number_and_a_letter(tmp_path: Path, span: str, seconds: int) -> None:
    """Seconds, minutes, hours, days (the specification); weeks, months and years as pySigma counts them."""
    [correlation] = loaded(tmp_path, COUNT.replace("10s", span)).correlations
    assert correlation.span_us == seconds * SECOND


@pytest.mark.parametrize("rules", ["failed", "[failed]", "[5638f7c0-ac70-491d-8465-2a65075e0d86]"])
def test_rules_are_meant_by_name_or_id(tmp_path: Path, rules: str) -> None:
    """'A rule can be referred to by the id or name of a Sigma rule.'"""
    text = (RULES + COUNT.replace("[failed]", rules)).replace(
        "name: failed", "name: failed\nid: 5638f7c0-ac70-491d-8465-2a65075e0d86"
    )
    detections = DetectionSet.load([write(tmp_path, text)])
    assert not detections.refused
    id = "5638f7c0-ac70-491d-8465-2a65075e0d86"
    assert len(found(detections, [event(1, 0, rule=id), event(2, 1, rule=id)])) == 1


def test_without_group_by_all_events_are_one_group(tmp_path: Path) -> None:
    """`group-by` 'optionally defines' the scope."""
    detections = loaded(tmp_path, COUNT.replace("group-by: [source.ip], ", ""))
    assert [numbers for _, numbers in found(detections, [event(1, 0, "a"), event(2, 1, "b")])] == [[1, 2]]


def test_several_fields_are_linked_by_and(tmp_path: Path) -> None:
    """'When you use multiple fields they are linked by an AND'; what lacks one is in no group."""
    detections = loaded(tmp_path, COUNT.replace("[source.ip]", "[source.ip, user.name]"))
    same = [event(1, 0, "a", **{"user.name": "x"}), event(2, 1, "a", **{"user.name": "y"}), event(3, 2, "a")]
    last = event(4, 3, "a", **{"user.name": "x"})
    assert [numbers for _, numbers in found(detections, [*same, last])] == [[1, 4]]


def test_several_fields_are_counted_together(tmp_path: Path) -> None:
    """`field` names 'the field(s) to count values' (its JSON schema)."""
    counted = "condition: {field: [user.name, host.name], gte: 3}"
    text = COUNT.replace("event_count", "value_count").replace("condition: {gte: 2}", counted)
    pairs = [("x", "1"), ("x", "1"), ("x", "2"), ("y", "1")]
    stream = [event(n, n, **{"user.name": user, "host.name": host}) for n, (user, host) in enumerate(pairs)]
    assert [numbers for _, numbers in found(loaded(tmp_path, text), stream)] == [[0, 1, 2, 3]]


def test_aliases_join_different_fields(tmp_path: Path) -> None:
    """The specification's example: the address is the destination in one rule's events, the source in the other's."""
    text = """
title: c
name: c
correlation:
  type: temporal
  rules: [failed, login]
  group-by: [internal_ip, remote_ip]
  timespan: 10s
  aliases:
    internal_ip: {failed: destination.ip, login: source.ip}
    remote_ip: {failed: source.ip, login: destination.ip}
"""
    detections = loaded(tmp_path, text)
    one = event(1, 0, "far", **{"destination.ip": "near"})
    assert found(detections, [one, event(2, 1, "near", "login", **{"destination.ip": "far"})]) == [("c", [1, 2])]
    assert found(detections, [one, event(2, 1, "far", "login", **{"destination.ip": "near"})]) == []


@pytest.mark.parametrize(("generate", "expected"), [("false", ["d"]), ("true", [COUNT.split()[3], "d"])])
def test_generate_lets_what_is_referred_to_speak_too(tmp_path: Path, generate: str, expected: list[str]) -> None:
    """'defines if the rules referred from the correlation rule should be converted as stand-alone rules'."""
    ordered = f"""---
title: d
name: d
correlation: {{type: temporal_ordered, rules: [c, login], group-by: [source.ip], timespan: 1m, generate: {generate}}}
"""
    stream = [event(1, 0), event(2, 1), event(3, 2, rule="login")]
    assert [rule for rule, _ in found(loaded(tmp_path, COUNT + ordered), stream)] == expected


def test_a_finding_names_the_events_under_it(tmp_path: Path) -> None:
    """The evidence of a chain is every event of it, from the first one on."""
    chain = """---
title: d
name: d
correlation: {type: temporal_ordered, rules: [c, login], group-by: [source.ip], timespan: 1m}
---
title: e
name: e
correlation: {type: event_count, rules: [d], timespan: 1m, condition: {eq: 1}}
"""
    correlator = Correlator(loaded(tmp_path, COUNT + chain))
    [finding] = correlator.feed([event(1, 0), event(2, 1), event(3, 2, rule="login")], 0) + correlator.finish()
    assert ([int(id, 16) for id in finding.event_ids], finding.rule_id) == ([1, 2, 3], "e")
    assert (finding.first_us, finding.last_us, finding.count) == (0, 2 * SECOND, 1)


PROCESS = """
title: p
name: p
logsource: {category: process_creation, product: windows}
detection:
  s: {CommandLine|contains: whoami}
  condition: s
---
"""


def test_one_thing_that_is_logged_in_two_ways_is_one_group(tmp_path: Path) -> None:
    """Sysmon calls it Image, the security log NewProcessName, also when the rule itself does not read it."""
    detections = loaded(tmp_path, PROCESS + COUNT.replace("failed", "p").replace("source.ip", "Image"))
    sysmon = event(1, 0, rule="p", **{"winlog.event_data.Image": "x"})
    audit = event(2, 1, rule="p", **{"winlog.event_data.NewProcessName": "x"})
    assert [numbers for _, numbers in found(detections, [sysmon, audit])] == [[1, 2]]


def test_a_rule_that_is_named_twice_counts_once(tmp_path: Path) -> None:
    """By its name and by its id: all rules of a temporal correlation are one then."""
    text = COUNT.replace("event_count", "temporal").replace("[failed]", "[failed, login, failed]")
    [correlation] = loaded(tmp_path, text.replace(", condition: {gte: 2}", "")).correlations
    assert (correlation.rules, correlation.at_least) == (("failed", "login"), 2)


def test_a_misspelt_key_is_refused(tmp_path: Path) -> None:
    """`group_by` would be passed over, and all events be one group. Other keys are the site's own business."""
    path = tmp_path / "x.yml"
    path.write_text(COUNT.replace("group-by:", "group_by:"))
    [refused] = DetectionSet.load([path]).refused
    assert "unknown key 'group_by' (did you mean 'group-by'?)" in refused.reason
    assert not loaded(tmp_path, COUNT.replace("group-by:", "x-owner: lan, group-by:")).refused
