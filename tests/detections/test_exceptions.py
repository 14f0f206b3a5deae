"""Exceptions take hits that are then counted and kept, never made to vanish."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from soc.detections import Correlator, DetectionSet, Detector, detect
from soc.detections.results import results
from soc.detections.samples import START_US
from soc.model.batch import EventBatch
from soc.model.fields import FIELDS
from tests.detections.support import write

DAY_US = 86_400_000_000
RULE = """
title: Login failed
name: failed
logsource: {product: linux, service: sshd}
detection: {s: {event.outcome: failure}, condition: s}
"""
TWICE = """
---
title: Twice
name: twice
correlation: {type: event_count, rules: [failed], group-by: [source.ip], timespan: 1m, condition: {gte: 2}}
"""
EXCEPTION = """
---
title: The scanner of our own centre
name: scanner
date: 2026-05-01
logsource: {product: linux, service: sshd}
filter:
  rules: [failed]
  scanner: {source.ip: 10.0.0.5}
  condition: not scanner
x-exception: {owner: lan, reason: weekly scan, ticket: T-1, expires: 2027-05-01}
"""


def batch(*ips: str, at_us: int = START_US) -> EventBatch:
    """Failed logins from these addresses, a second apart; made up."""
    rows: list[dict[str, Any]] = [
        {
            "@timestamp": at_us + i * 1_000_000, "event.created": at_us + i * 1_000_000, "event.outcome": "failure",
            "event.id": i.to_bytes(16, "big").hex(), "soc.position": f"t:raw:{i}:0:0", "source.ip": ip,
        }
        for i, ip in enumerate(ips)
    ]  # fmt: skip
    return EventBatch.from_rows("linux.sshd", rows)


def load(folder: Path, text: str) -> DetectionSet:
    """The definitions of a text, none of them refused."""
    loaded = DetectionSet.load([write(folder, text)])
    assert not loaded.refused
    return loaded


def test_what_an_exception_takes_is_found_and_marked(tmp_path: Path) -> None:
    """The scanner's hit is there and names the exception, the stranger's is a finding like any other."""
    found = Detector(load(tmp_path, RULE + EXCEPTION)).match(batch("10.0.0.5", "203.0.113.9"))
    assert [(f.matched[0].value, f.exception) for f in found] == [("failure", "scanner"), ("failure", "")]


@pytest.mark.parametrize(
    ("at_us", "taken"),
    [
        (1_777_568_400_000_000 - 1, False),  # the last µs before 2026-05-01 in Vietnam
        (1_777_568_400_000_000, True),
        (1_809_190_800_000_000 - 1, True),  # the last µs of 2027-05-01
        (1_809_190_800_000_000, False),
    ],
)
def test_an_exception_stops_by_itself(tmp_path: Path, at_us: int, taken: bool) -> None:
    """It holds from its date to the end of the day it expires, by the receipt of the event: a replay says the same."""
    [finding] = Detector(load(tmp_path, RULE + EXCEPTION)).match(batch("10.0.0.5", at_us=at_us))
    assert bool(finding.exception) == taken


def test_what_is_excepted_counts_in_no_correlation_and_is_still_said(tmp_path: Path) -> None:
    """A rule that only serves a correlation is silent; its excepted hits are kept all the same."""
    loaded = load(tmp_path, RULE + TWICE + EXCEPTION)
    detector, correlator = Detector(loaded), Correlator(loaded)
    events = batch("10.0.0.5", "10.0.0.5", "203.0.113.9", "203.0.113.9")
    assert [finding.exception for finding in detector.match(events)] == ["scanner", "scanner"]
    found = correlator.feed(detector.project(events), START_US)
    assert [dict(finding.group) for finding in found] == [{"source.ip": "203.0.113.9"}]


def test_it_holds_the_same_in_files_and_in_tests(tmp_path: Path) -> None:
    """`soc detect` marks the hit; a test of the rule that the exception takes is not a hit any more."""
    tests = "tests:\n  - {event: {event.dataset: linux.sshd, event.outcome: failure, source.ip: 10.0.0.5}, hit: true}\n"
    loaded = load(tmp_path, RULE + tests + EXCEPTION)
    hits = list(detect(loaded, [batch("10.0.0.5", "203.0.113.9")]))
    assert [hit.get("exception") for hit in hits] == ["scanner", None]
    [rule] = results(loaded, FIELDS, lambda path, format: iter(()))
    assert [each.fault for each in rule.outcomes] == ["expected a hit"]


def test_names_mean_what_they_mean_in_the_rule(tmp_path: Path) -> None:
    """`Image` of a process is NewProcessName in Security 4688: the exception takes both ways of its rule."""
    text = """
title: a
name: a
logsource: {product: windows, category: process_creation}
detection: {s: {Image|endswith: \\evil.exe}, condition: s}
---
title: e
name: e
date: 2026-05-01
logsource: {product: windows, category: process_creation}
filter: {rules: [a], known: {Image|startswith: 'C:\\Tools'}, condition: not known}
x-exception: {owner: lan, reason: r, ticket: T-2, expires: 2026-12-31}
"""
    detector = Detector(load(tmp_path, text))
    for channel, id, name in (
        ("Microsoft-Windows-Sysmon/Operational", "1", "Image"), ("Security", "4688", "NewProcessName"),
    ):  # fmt: skip
        row = {
            "event.created": START_US, "winlog.channel": channel, "winlog.event_id": id,
            f"winlog.event_data.{name}": "C:\\Tools\\evil.exe",
        }  # fmt: skip
        assert [f.exception for f in detector.match(EventBatch.from_rows("windows.x", [row]))] == ["e"]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("owner: lan, ", "", "missing: owner"),
        ("ticket: T-1", "ticket: ''", "missing: ticket"),
        ("2027-05-01", "2027-05-03", "at most a year after its date"),
        ("2027-05-01", "2026-04-30", "at most a year after its date"),
        ("2027-05-01", "soon", "'expires: soon' is no day"),
        ("date: 2026-05-01\n", "", "'date: None' is no day"),
        ("rules: [failed]\n", "rules: any\n", "names its rules by id"),
        ("rules: [failed]\n", "rules: [gone]\n", "is about 'gone'"),
        ("rules: [failed]\n", "rules: [twice]\n", "is about 'twice'"),
        ("service: sshd}\nfilter", "service: sudo}\nfilter", "its log source is not that of"),
        ("{source.ip: 10.0.0.5}", "{no.such: x}", "no.such"),
    ],
)
def test_a_faulty_exception_hides_nothing_and_says_why(tmp_path: Path, old: str, new: str, reason: str) -> None:
    """Without owner, ticket or end, too long, about every rule, a correlation, or events of another source."""
    assert old in RULE + TWICE + EXCEPTION
    loaded = DetectionSet.load([write(tmp_path, (RULE + TWICE + EXCEPTION).replace(old, new))])
    assert [refused.id for refused in loaded.refused] == ["scanner"]
    assert reason in loaded.refused[0].reason
    assert loaded.exceptions == ()


def test_exceptions_leave_kept_rules_kept(tmp_path: Path) -> None:
    """A new exception changes no rule: the cache of a large rule set goes on to serve, and the exception works."""
    write(tmp_path, RULE, "rule.yml")
    cache = tmp_path / "cache"
    DetectionSet.load([tmp_path / "rule.yml"], cache=cache)
    write(tmp_path, EXCEPTION, "exception.yml")
    loaded = DetectionSet.load([tmp_path / "rule.yml", tmp_path / "exception.yml"], cache=cache)
    assert [document.path for document in loaded.documents] == [str(tmp_path / "exception.yml")]
    assert [f.exception for f in Detector(loaded).match(batch("10.0.0.5"))] == ["scanner"]


def test_an_exception_may_name_a_filter(tmp_path: Path) -> None:
    """What it describes may be a text that searches use too."""
    named = EXCEPTION.replace("condition: not scanner", "condition: not of_ours and not scanner")
    named = named.replace("10.0.0.5", "192.0.2.1")
    made = load(tmp_path, RULE + named + "---\nname: of_ours\nquery: source.ip:10.0.0.0/8\n")
    found = Detector(made).match(batch("10.0.0.5", "203.0.113.9"))
    assert [bool(finding.exception) for finding in found] == [True, False]
