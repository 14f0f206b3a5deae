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
        ("rules: [failed]\n", "rules: [twice]\n", "'Twice' is a correlation"),
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


OF_TWICE = """
---
title: The scanner tries two names
name: known
date: 2026-05-01
filter: {rules: [twice], scanner: {source.ip: 10.0.0.5}, condition: not scanner}
x-exception: {owner: lan, reason: weekly scan, ticket: T-1, expires: 2027-05-01}
"""


def correlated(loaded: DetectionSet, *batches: EventBatch) -> list[tuple[str, str, str]]:
    """Rule, address and exception of what correlations say."""
    detector, correlator = Detector(loaded), Correlator(loaded)
    found = [finding for each in batches for finding in correlator.feed(detector.project(each), START_US)]
    return [(f.rule_id, f.entity, f.exception) for f in found + correlator.finish()]


def test_an_exception_from_a_correlation_takes_its_finding_and_no_event(tmp_path: Path) -> None:
    """The scanner's finding is there and names the exception; the rule beneath says what it said before."""
    loaded = load(tmp_path, RULE + "level: low\n" + TWICE.replace("timespan", "generate: true, timespan") + OF_TWICE)
    events = batch("10.0.0.5", "10.0.0.5", "203.0.113.9", "203.0.113.9")
    assert correlated(loaded, events) == [
        ("twice", "source.ip=10.0.0.5", "known"), ("twice", "source.ip=203.0.113.9", "")
    ]  # fmt: skip
    assert [finding.exception for finding in Detector(loaded).match(events)] == [""] * 4


ABOVE = """
---
title: Twice, and twice again
name: again
correlation: {type: event_count, rules: [twice], group-by: [source.ip], timespan: 1h, condition: {gte: 2}}
"""


def test_what_is_excepted_of_a_correlation_counts_in_none_above_and_is_still_said(tmp_path: Path) -> None:
    """`twice` serves `again` alone and is silent; what an exception takes of it is said, and does not count."""
    loaded = load(tmp_path, RULE + TWICE + ABOVE + OF_TWICE)
    quick = batch(*["10.0.0.5"] * 2), batch(*["10.0.0.5"] * 2, at_us=START_US + 600_000_000)
    other = batch(*["192.0.2.1"] * 2), batch(*["192.0.2.1"] * 2, at_us=START_US + 600_000_000)
    assert correlated(loaded, *quick) == [("twice", "source.ip=10.0.0.5", "known")] * 2
    assert correlated(loaded, *other) == [("again", "source.ip=192.0.2.1", "")]


@pytest.mark.parametrize("condition", ["{gte: 2}", "{gte: 2, lte: 9}"])
def test_who_hides_among_the_known_is_not_hidden(tmp_path: Path, condition: str) -> None:
    """Grouped by user, an exception of an address takes a finding only when every event beneath it is from there."""
    text = RULE + TWICE.replace("source.ip", "user.name").replace("{gte: 2}", condition) + OF_TWICE
    loaded = load(tmp_path, text)

    def tried(*ips: str) -> list[str]:
        rows = [dict(row, **{"user.name": "root"}) for row in batch(*ips).rows()]
        return [exception for _, _, exception in correlated(loaded, EventBatch.from_rows("linux.sshd", rows))]

    assert tried("10.0.0.5", "10.0.0.5") == ["known"]
    assert tried("203.0.113.9", "10.0.0.5") == [""]
    assert tried("10.0.0.5", "203.0.113.9") == [""]


def test_an_event_from_before_the_exception_is_not_hidden_by_it(tmp_path: Path) -> None:
    """Its address was not kept: the finding is let through, whatever the condition says of a missing field."""
    grouped = RULE + TWICE.replace("source.ip", "user.name")
    before = load(tmp_path, grouped)
    after = load(tmp_path, grouped + OF_TWICE.replace("condition: not", "condition: "))
    first, second = ([dict(row, **{"user.name": "root"}) for row in batch("10.0.0.5", "10.0.0.6").rows()][i:i + 1]
                     for i in (0, 1))  # fmt: skip
    correlator = Correlator(before)
    correlator.feed(Detector(before).project(EventBatch.from_rows("linux.sshd", first)), START_US)
    state, fresh = correlator.snapshot(), Correlator(after)
    fresh.restore(state)
    [finding] = fresh.feed(Detector(after).project(EventBatch.from_rows("linux.sshd", second)), START_US)
    assert finding.exception == ""


def test_what_is_kept_for_exceptions_outlives_a_restart(tmp_path: Path) -> None:
    """Both windows of the state: the one that is told at once and the one that is judged when it is over."""
    for condition in ("{gte: 2}", "{eq: 2}"):
        text = RULE + TWICE.replace("source.ip", "user.name").replace("{gte: 2}", condition) + OF_TWICE
        loaded = load(tmp_path, text)
        rows = [dict(row, **{"user.name": "root"}) for row in batch("10.0.0.5", "10.0.0.5").rows()]
        found = []
        state = Correlator(loaded).snapshot()
        for row in rows:
            correlator = Correlator(loaded)
            correlator.restore(state)
            documents = Detector(loaded).project(EventBatch.from_rows("linux.sshd", [row]))
            found += correlator.feed(documents, START_US)
            state = correlator.snapshot()
        last = Correlator(loaded)
        last.restore(state)
        assert [finding.exception for finding in found + last.finish()] == ["known"]


@pytest.mark.parametrize(
    ("at_us", "taken"), [(1_777_568_400_000_000 - 2_000_000, False), (1_777_568_400_000_000, True)]
)
def test_an_exception_from_a_correlation_goes_by_the_day_of_the_completing_event(
    tmp_path: Path, at_us: int, taken: bool
) -> None:
    """Also where a window is judged long after its events came."""
    for condition in ("{gte: 2}", "{eq: 2}"):
        loaded = load(tmp_path, RULE + TWICE.replace("{gte: 2}", condition) + OF_TWICE)
        [(_, _, exception)] = correlated(loaded, batch("10.0.0.5", "10.0.0.5", at_us=at_us))
        assert bool(exception) == taken


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("rules: [twice], ", "rules: [failed], ", "'Login failed' is no correlation: write its log source"),
        ("rules: [twice], ", "rules: [twice, failed], ", "is no correlation"),
        ("{source.ip: 10.0.0.5}", "[scanner]", "names fields"),
        ("{source.ip: 10.0.0.5}", "{no.such: x}", "reads 'no.such', which no parser writes for 'failed'"),
        ("rules: [twice], scanner: {source.ip: 10.0.0.5}", "rules: [again], scanner: {user.name: x}", "does not group"),
        ("date: 2026-05-01\n", "date: 2026-05-01\nlogsource: {product: linux, service: sshd}\n", "is its own: leave"),
        ("condition: not scanner", "condition: not scanners", "no detection and no filter"),
    ],
)  # fmt: skip
def test_a_faulty_exception_from_a_correlation_is_refused(tmp_path: Path, old: str, new: str, reason: str) -> None:
    """With a log source, about a rule, by keywords, by what is not known of every event."""
    text = RULE + TWICE + ABOVE
    assert old in OF_TWICE
    loaded = DetectionSet.load([write(tmp_path, text + OF_TWICE.replace(old, new))])
    assert [refused.id for refused in loaded.refused] == ["known"]
    assert reason in loaded.refused[0].reason
    assert loaded.exceptions == ()


def test_names_and_aliases_mean_what_they_mean_in_the_correlation(tmp_path: Path) -> None:
    """A group by its alias; `Image` of a process is NewProcessName in Security 4688."""
    text = """
title: a
name: a
logsource: {product: windows, category: process_creation}
detection: {s: {Image|endswith: \\evil.exe}, condition: s}
---
title: c
name: c
correlation:
  type: event_count
  rules: [a]
  aliases: {who: {a: User}}
  group-by: [who]
  timespan: 1m
  condition: {gte: 2}
---
title: e
name: e
date: 2026-05-01
filter: {rules: [c], known: {Image|startswith: 'C:\\Tools', who: root}, condition: not known}
x-exception: {owner: lan, reason: r, ticket: T-2, expires: 2026-12-31}
"""
    rows = [
        {
            "@timestamp": START_US + n, "event.created": START_US, "winlog.channel": channel, "winlog.event_id": id,
            "event.id": n.to_bytes(16, "big").hex(), "soc.position": f"t:raw:{n}:0:0", "soc.site": "t",
            f"winlog.event_data.{image}": "C:\\Tools\\evil.exe", f"winlog.event_data.{user}": "root",
        }
        for n, (channel, id, image, user) in enumerate([
            ("Microsoft-Windows-Sysmon/Operational", "1", "Image", "User"),
            ("Security", "4688", "NewProcessName", "SubjectUserName"),
        ])
    ]  # fmt: skip
    loaded = load(tmp_path, text)
    assert correlated(loaded, EventBatch.from_rows("windows.x", rows)) == [("c", "who=root", "e")]


def test_what_a_correlations_exception_takes_is_no_hit_of_its_tests_and_is_marked_in_files(tmp_path: Path) -> None:
    """`soc detect` writes it with its exception."""
    tests = ("tests:\n  - {event: {event.dataset: linux.sshd, event.outcome: failure, source.ip: 10.0.0.5}, repeat: 2,"
             " hit: true}\n")  # fmt: skip
    loaded = load(tmp_path, RULE + TWICE + tests + OF_TWICE)
    hits = list(detect(loaded, [batch("10.0.0.5", "10.0.0.5", "203.0.113.9", "203.0.113.9")]))
    assert [hit.get("exception") for hit in hits] == ["known", None]
    [_, twice] = results(loaded, FIELDS, lambda path, format: iter(()))
    assert [each.fault for each in twice.outcomes] == ["expected a hit"]
