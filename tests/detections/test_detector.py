"""The detector: routing, agreement with the plain evaluator, projection."""

from __future__ import annotations

from pathlib import Path

import pytest

from soc.detections import DetectionSet, Detector, detect
from soc.detections.detector import Failure
from soc.detections.sigma import bucket
from soc.model.batch import EventBatch
from tests.detections.support import CHANNEL, write

RULE = """
title: {name}
name: {name}
logsource: {logsource}
detection:
  s: {selection}
  condition: s
"""


def rule(name: str, selection: str, logsource: str) -> str:
    return RULE.format(name=name, selection=selection, logsource=logsource)


def found(folder: Path, text: str, events: list[dict[str, object]], dataset: str = "windows.x") -> list[str]:
    detector = Detector(DetectionSet.load([write(folder, text)]))
    return [finding.rule_id for finding in detector.match(EventBatch.from_rows(dataset, events))]


def test_process_creation_is_sysmon_1_and_security_4688(tmp_path: Path) -> None:
    """One category, two sources, each with its own field names."""
    text = rule("r", r"{Image|endswith: \cmd.exe}", "{product: windows, category: process_creation}")
    events = [
        {"winlog.channel": CHANNEL, "winlog.event_id": "1", "winlog.event_data.Image": r"C:\cmd.exe"},
        {"winlog.channel": "Security", "winlog.event_id": "4688", "winlog.event_data.NewProcessName": r"C:\CMD.exe"},
        {"winlog.channel": CHANNEL, "winlog.event_id": "3", "winlog.event_data.Image": r"C:\cmd.exe"},
    ]
    assert found(tmp_path, text, events) == ["r", "r"]


def test_dns_and_proxy_rules_see_what_packets_say(tmp_path: Path) -> None:
    """Sigma's names of these categories mean ECS fields: `c-uri` is the whole URL of a proxy, but a path elsewhere."""
    dns = rule("d", "{query|endswith: .onion, record_type: A}", "{category: dns}")
    proxy = rule("p", "{c-uri|startswith: 'http://evil.example/', cs-method: GET}", "{category: proxy}")
    web = rule("w", "{c-uri|startswith: /admin}", "{category: webserver}")
    text = "---".join((dns, proxy, web))
    asked = [{"dns.question.name": "x.onion", "dns.question.type": "A"}]
    read = [{"url.full": "http://evil.example/admin", "url.original": "/admin", "http.request.method": "GET"}]
    assert found(tmp_path, text, list(asked), "packet.dns") == ["d"]
    assert found(tmp_path, text, list(read), "packet.http") == ["p", "w"]


def test_user_data_is_read_like_event_data(tmp_path: Path) -> None:
    """Sigma names a field alike, wherever Windows keeps it."""
    text = rule("r", "{SubjectUserName: lan}", "{product: windows, service: security}")
    events = [{"winlog.channel": "Security", "winlog.event_id": "1102", "winlog.user_data.SubjectUserName": "lan"}]
    assert found(tmp_path, text, events) == ["r"]


def test_other_rules_go_by_dataset(tmp_path: Path) -> None:
    """A web rule sees web events only, under ECS names."""
    text = rule("r", "{cs-uri-query|contains: union}", "{category: webserver}")
    event = {"url.query": "a=UNION"}
    assert found(tmp_path, text, [event], "nginx.access") == ["r"]
    assert found(tmp_path, text, [event], "linux.sshd") == []


def test_a_dataset_nobody_writes_refuses_the_rule(tmp_path: Path) -> None:
    """With the datasets of the parsers known, a rule for another one is refused instead of being deaf."""
    path = write(tmp_path, rule("r", "[a]", "{product: linux, service: vsftpd}"))
    detections = DetectionSet.load([path], datasets={"linux.sshd"})
    assert detections.loaded == 0
    assert "linux.vsftpd" in detections.refused[0].reason


def test_a_broken_file_does_not_stop_the_others(tmp_path: Path) -> None:
    """Each fault is told with its place; what is well is loaded."""
    write(tmp_path, "a: [", "broken.yml")
    write(tmp_path, "just text", "text.yml")
    write(tmp_path, rule("r", "{F: a}", "{product: windows}"), "good.yml")
    detections = DetectionSet.load([tmp_path])
    assert [r.id for r in detections.rules] == ["r"]
    assert len(detections.refused) == 2


def test_a_later_path_wins_by_id(tmp_path: Path) -> None:
    """A site replaces a shipped rule by giving its id."""
    first = write(tmp_path, rule("r", "{F: a}", "{product: windows}"), "a.yml")
    second = write(tmp_path, rule("r", "{F: b}", "{product: windows}"), "b.yml")
    detections = DetectionSet.load([first, second])
    assert [r.path for r in detections.rules] == [str(second)]


def test_detect_names_file_and_record(tmp_path: Path) -> None:
    """A hit says where its event stands and why it is one."""
    path = write(tmp_path, rule("r", "{F: a}", "{product: windows}"))
    row = {"winlog.channel": "X", "winlog.event_data.F": "A", "event.id": "00" * 16, "soc.record": 7}
    [hit] = detect([path], [EventBatch.from_rows("windows.x", [{**row, "log.file.path": "x.evtx"}])])
    assert (hit["rule"], hit["file"], hit["record"]) == ("r", "x.evtx", 7)
    assert hit["matched"] == [
        {"selection": "s", "field": "winlog.event_data.F", "value": "A", "pattern": "a"},
    ]


def test_a_rule_that_breaks_stops_no_other_and_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a bug does to one rule: the others hold for the same event, and the failure says where and why."""
    text = "---".join(rule(name, f"{{F|contains: {name}}}", "{product: windows}") for name in ("bad", "good"))
    detector = Detector(DetectionSet.load([write(tmp_path, text)]))
    made = bucket.predicate

    def breaks(node):  # type: ignore[no-untyped-def]
        if "bad" in repr(node):
            return lambda *_: 1 / 0
        return made(node)

    monkeypatch.setattr(bucket, "predicate", breaks)
    rows = [{"winlog.channel": CHANNEL, "winlog.event_data.F": value} for value in ("good", "bad good", "neither")]
    batch = EventBatch.from_rows("windows.x", rows)
    assert [finding.rule_id for finding in detector.match(batch)] == ["good", "good"]
    assert detector.failures == [Failure(1, "bad", "ZeroDivisionError: division by zero")]
    detector.match(EventBatch.from_rows("windows.x", rows[:1]))
    assert detector.failures == []
