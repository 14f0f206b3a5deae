"""`soc rule …`: what is read from files, and what is sent to the service."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from soc.console.cli import run
from soc.console.commands.call import World
from soc.detections import DetectionSet, Detector, attack_picture
from soc.model.batch import EventBatch
from soc.model.clock import FixedClock
from tests.console.fake_client import NOW_US, FakeClient

RULES = """
title: Log cleared
name: cleared
logsource: {product: windows, service: security}
detection: {s: {EventID: 1102}, condition: s}
tests:
  - {event: {winlog.channel: Security, winlog.event_id: '1102'}, hit: true}
  - {event: {winlog.channel: Security, winlog.event_id: '4624'}, hit: true}
---
title: Log on
name: logon
logsource: {product: windows, service: security}
detection: {s: {EventID: 4624}, condition: s}
"""


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with a rule whose second test is wrong, and one without a test."""
    monkeypatch.setenv("SOC_HOME", str(tmp_path / "home"))
    (tmp_path / "rules.yml").write_text(RULES)
    return tmp_path / "rules.yml"


def test_tests_are_run_and_reported_in_words_json_and_junit(rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 3; the failing line on stderr; `--json` in an envelope; JUnit counts tests, failures, what was skipped."""
    results = rules.with_name("results.xml")
    assert run(["rule", "test", str(rules), "--junit", str(results)]) == 3
    out, err = capsys.readouterr()
    assert "cleared" in out
    assert "logon" in out
    assert f"{rules}:8: cleared: expected a hit" in err
    assert run(["rule", "test", str(rules), "--json"]) == 3
    envelope = json.loads(capsys.readouterr().out)
    assert envelope["schema"] == "soc.rule.test/v1"
    assert envelope["data"]["counts"] == {"held": 0, "failed": 1, "untested": 1, "refused": 0}
    suite = ElementTree.parse(results).getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "1", "1")
    assert [case.get("line") for case in suite] == ["7", "8", "10"]


def test_rules_whose_tests_hold_are_green(rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Untested rules are said and fail nothing; `--failed` shows only those that failed."""
    rules.write_text(RULES.replace("'4624'}, hit: true", "'4624'}, hit: false"))
    assert run(["rule", "test", str(rules), "--failed"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "1 rules held, 0 failed, 1 are untested" in err


PLAN = {
    "exception": {"title": "Our scanner", "rules": [{"id": "r", "title": "Failed logins"}], "expires": "2027-04-30"},
    "days": 30, "alerts": 2, "hits": 3, "gone_events": 0, "hidden_alerts": 1, "taken": 2, "by_day": {},
    "entities": {"source.ip=10.0.0.5": 2}, "true_positives": [], "tests": [], "warnings": [], "refused": False,
    "applied": False,
}  # fmt: skip
ADD = ["rule", "except", "add", "failed", "--when", "source.ip=10.0.0.5", "--when", "source.ip=10.0.0.6",
       "--reason", "quét hằng tuần", "--ticket", "T-1", "--expires", "2027-04-30"]  # fmt: skip


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    """A service that knows one rule."""
    monkeypatch.setenv("SOC_HOME", str(tmp_path / "home"))
    client = FakeClient()
    source = {"product": "linux", "service": "sshd"}
    definition = {"title": "Failed logins", "name": "failed", "logsource": source,
                  "detection": {"s": {"event.outcome": "failure"}, "condition": "s"}}  # fmt: skip
    rule = {"id": "failed", "kind": "sigma", "title": "Failed logins", "logsource": source, "definitions": [definition]}
    client.answers |= {
        ("GET", "/v1/rules/failed"): rule, ("GET", "/v1/me"): {"name": "lan"},
        ("POST", "/v1/exceptions"): lambda body: {**PLAN, "applied": bool(body.get("apply"))},
    }  # fmt: skip
    return client


def world(client: FakeClient, answer: str = "") -> World:
    """A terminal whose person gives this answer."""
    clock = FixedClock(NOW_US * 1000)
    return World(connect=client.connect, clock=clock, answer=lambda: answer, terminal=True, width=120)


def test_an_exception_is_shown_before_it_is_put_in_place(
    client: FakeClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it would have hidden stands before the question; no answer, no change; yes puts the same text in place."""
    assert run(ADD, world(client, "no\n")) == 2
    assert "1 of 2 in 30 days" in capsys.readouterr().err
    bodies = [body for verb, path, body in client.calls if (verb, path) == ("POST", "/v1/exceptions")]
    assert [body.get("apply") for body in bodies] == [None]
    assert run([*ADD, "--yes"], world(client)) == 0
    assert [body.get("apply") for verb, _, body in client.calls if verb == "POST"] == [None, None, True]


def test_what_the_command_writes_is_an_exception(client: FakeClient, tmp_path: Path) -> None:
    """It loads beside its rule, is the caller's, begins today in Vietnam, and takes either of the two addresses."""
    assert run([*ADD, "--dry-run"], world(client)) == 0
    [definition] = [body["definition"] for verb, _, body in client.calls if verb == "POST"]
    rule = "title: Failed logins\nname: failed\nlogsource: {product: linux, service: sshd}\n"
    (tmp_path / "a.yml").write_text(rule + "detection: {s: {event.outcome: failure}, condition: s}\n")
    (tmp_path / "b.yml").write_text(definition)
    loaded = DetectionSet.load([tmp_path / "a.yml", tmp_path / "b.yml"])
    assert not loaded.refused
    [made] = loaded.exceptions
    assert (made.owner, made.reason, made.ticket) == ("lan", "quét hằng tuần", "T-1")
    assert made.since_us == NOW_US - 3_600_000_000  # 2026-11-26 00:00 in Vietnam
    rows = [{"event.outcome": "failure", "event.created": NOW_US, "source.ip": f"10.0.0.{n}"} for n in (5, 6, 7)]
    found = Detector(loaded).match(EventBatch.from_rows("linux.sshd", rows))
    assert [bool(finding.exception) for finding in found] == [True, True, False]


def test_a_refused_exception_is_exit_3(client: FakeClient, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is asked and nothing is put in place; the alert it would hide is named."""
    client.answers["POST", "/v1/exceptions"] = {**PLAN, "refused": True, "true_positives": ["alert-1"]}
    assert run([*ADD, "--yes"], world(client)) == 3
    assert "it would hide a known attack: alert-1" in capsys.readouterr().err
    assert [body.get("apply") for verb, _, body in client.calls if verb == "POST"] == [None]


def test_an_exception_from_a_correlation_has_no_log_source(client: FakeClient, tmp_path: Path) -> None:
    """What the command writes loads beside the correlation; a model takes none."""
    counts = {"type": "event_count", "rules": ["one"], "group-by": ["source.ip"], "timespan": "1m"}
    five = {"title": "Five", "name": "failed", "correlation": {**counts, "condition": {"gte": 5}}}
    rule = client.answers["GET", "/v1/rules/failed"]
    one = {**rule["definitions"][0], "name": "one"}
    client.answers["GET", "/v1/rules/failed"] = {
        "id": "failed", "kind": "correlation", "title": "Five", "logsource": None, "definitions": [one, five]
    }  # fmt: skip
    assert run([*ADD, "--dry-run"], world(client)) == 0
    [definition] = [body["definition"] for verb, _, body in client.calls if verb == "POST"]
    (tmp_path / "a.yml").write_text("\n---\n".join([json.dumps(one), json.dumps(five), definition]))
    loaded = DetectionSet.load([tmp_path / "a.yml"])
    assert (loaded.refused, [each.rules for each in loaded.exceptions]) == ((), [("failed",)])
    client.answers["GET", "/v1/rules/failed"] = {"id": "failed", "kind": "anomaly", "title": "New", "logsource": None}
    assert run(ADD, world(client)) == 2


def test_an_exception_is_held_against_files_too(
    client: FakeClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the caller's files, whatever their day: two of three hits; a file that is not there is said before."""
    client.answers["POST", "/v1/exceptions"] = {**PLAN, "exception": {**PLAN["exception"], "rules": [
        {"id": "failed", "title": "Failed logins"}]}}  # fmt: skip
    log = tmp_path / "auth.log"
    line = "<38>Mar  9 03:05:00 ns1 sshd[7]: Failed password for root from 10.0.0.{} port 50022 ssh2\n"
    log.write_text("".join(map(line.format, (5, 6, 7))))
    assert run([*ADD, "--dry-run", "--on", str(log)], world(client)) == 0
    assert "2 of 3 hits" in capsys.readouterr().out
    assert run([*ADD, "--dry-run", "--on", str(log), "--json"], world(client)) == 0
    entities = {"source.ip=10.0.0.5": 1, "source.ip=10.0.0.6": 1}
    assert json.loads(capsys.readouterr().out)["data"]["files"] == {"hits": 3, "taken": 2, "entities": entities}
    assert run([*ADD, "--yes", "--on", str(log)], world(client)) == 0
    assert "2 of 3 hits" in capsys.readouterr().out
    assert run([*ADD, "--dry-run", "--on", str(tmp_path / "gone")], world(client)) == 2


def test_a_proposed_exception_names_the_way_on(client: FakeClient, capsys: pytest.CaptureFixture[str]) -> None:
    """Where a second person approves, the command that they need stands there."""
    said = {**PLAN, "exception": {**PLAN["exception"], "id": "e1"}}
    client.answers["POST", "/v1/exceptions"] = lambda body: {**said, "proposed": bool(body.get("apply"))}
    assert run([*ADD, "--yes"], world(client)) == 0
    assert "soc rule except approve e1" in capsys.readouterr().err


def test_an_approval_shows_what_is_approved_and_names_its_version(
    client: FakeClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """The proposal is held against what is there now, before the question; what hides an attack is not asked about."""
    waiting = {**EXCEPTION, "id": "e1", "state": "proposed", "definition": "title: x"}
    said = {**PLAN, "exception": {**PLAN["exception"], "id": "e1", "version": "abc"}}
    client.answers |= {
        ("GET", "/v1/exceptions"): [waiting], ("POST", "/v1/exceptions"): said,
        ("POST", "/v1/exceptions/e1/approve"): {**said, "applied": True},
    }  # fmt: skip
    assert run(["rule", "except", "approve", "e1"], world(client, "no\n")) == 2
    assert "1 of 2 in 30 days" in capsys.readouterr().err
    assert run(["rule", "except", "approve", "e1", "--yes", "--reason", "seen"], world(client)) == 0
    assert client.calls[-1] == ("POST", "/v1/exceptions/e1/approve", {"version": "abc", "reason": "seen"})
    client.answers["POST", "/v1/exceptions"] = {**said, "refused": True}
    assert run(["rule", "except", "approve", "e1", "--yes"], world(client)) == 3
    assert run(["rule", "except", "approve", "e2"], world(client)) == 1
    assert "soc rule except list" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("verb", "state"), [("promote", "live"), ("shadow", "shadow"), ("disable", "off"), ("enable", "default")]
)
def test_a_decision_is_sent_with_its_reason(client: FakeClient, verb: str, state: str) -> None:
    """Four words for four states; the id may hold anything."""
    client.answers["POST", "/v1/rules/a%2Fb/state"] = {"title": "T", "state": "live"}
    assert run(["rule", verb, "a/b", "--reason", "why"], world(client)) == 0
    assert client.calls[-1] == ("POST", "/v1/rules/a%2Fb/state", {"state": state, "reason": "why"})


def test_an_untested_rule_is_promoted_with_a_word(client: FakeClient) -> None:
    """Only then the service is asked for it."""
    client.answers["POST", "/v1/rules/a/state"] = {"title": "T", "state": "live"}
    assert run(["rule", "promote", "a", "--reason", "why", "--untested"], world(client)) == 0
    assert client.calls[-1][-1] == {"state": "live", "reason": "why", "untested": True}


ATTACK = {
    "techniques": [
        {"technique": "T1110", "tactics": ["credential-access"], "named": {"credential-access": 2},
         "counted": [{"id": "a", "title": "Guessing"}],
         "others": [{"id": "b", "title": "Spraying", "missing": ["untested", "not_fed"]}]},
    ],
    "tactics": [{"tactic": "credential-access", "techniques": ["T1110"], "counted": [{}], "others": [{}]}],
    "counted": 1,
}  # fmt: skip


def test_coverage_says_what_counts_and_what_others_lack(
    client: FakeClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By technique, by tactic, and as a layer of the Navigator."""
    client.answers["GET", "/v1/attack"] = ATTACK
    layer = tmp_path / "layer.json"
    assert run(["rule", "coverage", "--navigator", str(layer)], world(client)) == 0
    out, err = capsys.readouterr()
    assert "Spraying (untested, no data)" in out
    assert "1 of 1 techniques count" in err
    assert json.loads(layer.read_text())["techniques"][0]["score"] == 1
    assert run(["rule", "coverage", "--kill-chain"], world(client)) == 0
    assert "T1110" in capsys.readouterr().out
    assert run(["rule", "coverage", "--navigator", str(tmp_path)], world(client)) == 2
    picture = tmp_path / "coverage.png"
    assert run(["rule", "coverage", "--png", str(picture)], world(client)) == 0
    assert f"{picture} is written" in capsys.readouterr().err
    assert picture.read_bytes().startswith(b"\x89PNG\r\n")
    assert run(["rule", "coverage", "--png", str(tmp_path)], world(client)) == 2


def test_the_picture_says_in_both_languages_whose_it_is_and_of_when(
    client: FakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The date in Vietnam, and how many count; nothing is left to be filled in."""
    told: dict[str, tuple[str, str]] = {}
    monkeypatch.setattr(attack_picture, "draw", lambda _, texts: told.update(texts) or b"")
    client.answers["GET", "/v1/attack"] = ATTACK
    assert run(["rule", "coverage", "--png", str(tmp_path / "x.png")], world(client)) == 0
    assert told.keys() == {"site", *attack_picture.TEXTS}
    assert all("(Asia/Ho_Chi_Minh)" in text for text in told["site"])
    assert told["counts"][1] == "1 of 1 techniques have a rule that is live, tested and fed; 2 rules"
    assert not [text for pair in told.values() for text in pair if "{" in text]


def test_what_draws_is_read_when_a_picture_is_asked_for() -> None:
    """`soc --help` and every other command start without it."""
    code = "import sys, soc.console.cli, soc.detections.attack; sys.exit('PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_noise_gives_the_command_that_would_help(
    client: FakeClient, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The advice is a command line to copy; titles in the reader's language, and little is not nothing."""
    row = {
        "rule": "r1", "title": "Noisy", "title_vi": "Ồn ào", "level": "low", "alerts": 9, "per_day": 0.03,
        "judged": 5, "share": 0.8,
        "entities": {"source.ip=10.0.0.5": 9}, "advice": "source.ip=10.0.0.5",
    }  # fmt: skip
    client.answers["GET", "/v1/noise"] = [row]
    assert run(["rule", "noise"], world(client)) == 0
    shown = capsys.readouterr()
    assert "soc rule except add r1 --when source.ip=10.0.0.5" in shown.err
    assert "<0.1" in shown.out
    monkeypatch.setenv("SOC_LANG", "vi")
    assert run(["rule", "noise"], world(client)) == 0
    assert "Ồn ào" in capsys.readouterr().out


def test_status_names_deaf_rules_when_a_service_answers(client: FakeClient, capsys: pytest.CaptureFixture[str]) -> None:
    """Without one the others stand there all the same."""
    client.answers["GET", "/v1/deaf-rules"] = [{"id": "x"}]
    assert run(["rule", "status"], world(client)) == 0
    out, err = capsys.readouterr()
    assert "Deaf for 30 days" in out
    assert "Nothing" not in err
    del client.answers["GET", "/v1/deaf-rules"]
    assert run(["rule", "status", "--json"], world(client)) == 0
    assert json.loads(capsys.readouterr().out)["data"]["deaf"] is None


class Writer:
    """Somebody who saves another text at each look, and then ends it."""

    def __init__(self, file: Path, *texts: str) -> None:
        self.file, self.texts = file, list(texts)

    def look(self, _seconds: float) -> None:
        if not self.texts:
            raise KeyboardInterrupt
        fresh = self.file.with_suffix(".new")
        fresh.write_text(self.texts.pop(0))
        fresh.replace(self.file)


LOG = """\
Nov 20 10:00:00 h1 sshd[1]: Failed password for root from 203.0.113.9 port 50022 ssh2
Nov 20 10:00:01 h1 sshd[1]: Accepted password for lan from 10.0.0.9 port 50023 ssh2
"""
TRIED = """
title: Tried
name: tried
logsource: {product: linux, service: sshd}
detection: {s: {event.outcome: OUTCOME}, condition: s}
"""


def test_a_rule_is_tried_each_time_it_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The hits of one text, then of the next; broken YAML is said and the next save works again; once for each save."""
    monkeypatch.setenv("SOC_HOME", str(tmp_path / "home"))
    rule, log = tmp_path / "rule.yml", tmp_path / "auth.log"
    log.write_text(LOG)
    rule.write_text(TRIED.replace("OUTCOME", "failure"))
    writer = Writer(rule, TRIED.replace("OUTCOME", "success"), "title: [", TRIED.replace("OUTCOME", "'*'"))
    made = World(clock=FixedClock(NOW_US * 1000), sleep=writer.look, terminal=False, width=120)
    assert run(["rule", "try", str(rule), "--on", str(log), "--json"], made) == 130
    said = [json.loads(line)["data"] for line in capsys.readouterr().out.splitlines()]
    assert [(each["hits"], bool(each["faults"])) for each in said] == [
        ([{"id": "tried", "title": "Tried", "hits": 1}], False),
        ([{"id": "tried", "title": "Tried", "hits": 1}], False),
        ([], True),
        ([{"id": "tried", "title": "Tried", "hits": 2}], False),
    ]
    assert [hit["record"] for hit in said[1]["first"]] == [2]


def test_a_rule_is_tried_on_events_of_the_service(client: FakeClient, tmp_path: Path) -> None:
    """With `--since`; a wrong test of the rule is exit 3 with `--once`."""
    rule = tmp_path / "rule.yml"
    rule.write_text(TRIED.replace("OUTCOME", "failure"))
    client.answers["GET", "/v1/events"] = [{"event.dataset": "linux.sshd", "event.outcome": "failure"}]
    assert run(["rule", "try", str(rule), "--since", "1h", "--once"], world(client)) == 0
    assert client.calls[-1] == ("GET", "/v1/events", {"limit": 1000, "since": "1h"})
    rule.write_text(rule.read_text() + "tests:\n  - {event: {event.dataset: linux.sshd}, hit: true}\n")
    assert run(["rule", "try", str(rule), "--since", "1h", "--once"], world(client)) == 3
    assert run(["rule", "try", str(rule), "--once"], world(client)) == 2


def test_what_a_trial_shows_says_how_much_there_is(
    client: FakeClient, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stored events by their time, those of files by record; of each rule the first, and how many there are."""
    rule, log = tmp_path / "rule.yml", tmp_path / "auth.log"
    five = {"type": "event_count", "rules": ["tried"], "timespan": "1h", "condition": {"gte": 15}, "generate": True}
    text = TRIED.replace("OUTCOME", "failure")
    rule.write_text(f"{text}---\n" + json.dumps({"title": "Five", "name": "five", "correlation": five}))
    log.write_text(LOG.splitlines()[0].join(["", "\n"]) * 30)
    assert run(["rule", "try", str(rule), "--on", str(log), "--once"], world(client)) == 0
    shown = capsys.readouterr()
    assert "The first 11 of 31 hits:" in shown.err
    first = shown.out.partition("Matched")[2]
    assert (first.count("Tried"), first.count("Five")) == (10, 1)
    at = {"event.dataset": "linux.sshd", "event.outcome": "failure", "@timestamp": "2026-11-25T17:00:00.000000Z"}
    client.answers["GET", "/v1/events"] = [at]
    rule.write_text(text)
    assert run(["rule", "try", str(rule), "--since", "1h", "--once"], world(client)) == 0
    out = capsys.readouterr().out
    assert "Time" in out
    assert "Record" not in out
    monkeypatch.setenv("SOC_LANG", "vi")
    assert run(["rule", "try", str(rule), "--since", "1h", "--once"], world(client)) == 0
    assert "Thời gian" in capsys.readouterr().out


def test_a_rule_is_written_out_of_a_record_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It passes its own tests at once; an existing file is never written over; a record that is not there is said."""
    monkeypatch.setenv("SOC_HOME", str(tmp_path / "home"))
    log, out = tmp_path / "auth.log", tmp_path / "new.yml"
    log.write_text(LOG)
    arguments = ["rule", "new", "Login of lan", "--from", str(log), "--record", "2", "--field", "user.name"]
    assert run([*arguments, "--out", str(out)]) == 0
    assert "user.name" in out.read_text()
    assert run(["rule", "test", str(out)]) == 0
    assert run([*arguments, "--out", str(out)]) == 2
    assert run(["rule", "new", "x", "--from", str(log), "--record", "9"]) != 0
    assert "has no record 9" in capsys.readouterr().err


def test_a_difference_is_said_with_the_hits_that_come_and_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 3 on a change, 0 without one."""
    monkeypatch.setenv("SOC_HOME", str(tmp_path / "home"))
    old, new, log = tmp_path / "old.yml", tmp_path / "new.yml", tmp_path / "auth.log"
    log.write_text(LOG)
    old.write_text(TRIED.replace("OUTCOME", "failure"))
    new.write_text(TRIED.replace("OUTCOME", "success"))
    assert run(["rule", "diff", str(old), str(new), "--on", str(log), "--json"]) == 3
    data = json.loads(capsys.readouterr().out)["data"]
    assert [(c["what"], c["where"], c["before"], c["after"]) for c in data["changes"]] == [
        ("removed", "s: event.outcome", "failure", ""), ("added", "s: event.outcome", "", "success"),
    ]  # fmt: skip
    assert [(hit["what"], hit["record"]) for hit in data["hits"]] == [("removed", 1), ("added", 2)]
    assert run(["rule", "diff", str(old), str(old), "--on", str(log)]) == 0


ROW = {
    "id": "r1", "title": "Noisy", "title_vi": "Ồn", "level": "high", "status": "test", "tags": [], "version": "aa11",
    "path": "a.yml", "line": 3, "state": "shadow", "withheld": {"shadow": 4},
    "decision": {"state": "shadow", "by": "lan", "at_us": NOW_US, "reason": "many"},
}  # fmt: skip
ROLLED = {"rule": "r1", "before": "aa11", "after": "bb22"}
VERSIONS = [{"version": "aa11", "first_us": NOW_US, "is_used": True, "path": "a.yml"}]
KEPT = {
    "id": "019ac000-0000-7000-8000-00003f9a2c1b", "withheld": "exception", "level": "low", "title": "Noisy",
    "entity": "source.ip=10.0.0.5", "exception": "e1", "count": 3, "last_us": NOW_US,
}  # fmt: skip
EXCEPTION = {
    "state": "ending", "id": "e1", "title": "Scanner", "rules": [{"id": "r1", "title": "Noisy"}], "owner": "lan",
    "ticket": "T-1", "expires": "2027-04-30", "count": 3, "last_us": NOW_US,
}  # fmt: skip


@pytest.mark.parametrize(
    ("line", "call", "data", "vietnamese", "english"),
    [
        ("list", ("GET", "/v1/rules"), {"rules": [ROW], "refused": []}, "chạy thử", "shadow"),
        ("show r1", ("GET", "/v1/rules/r1"), {**ROW, "versions": VERSIONS}, "Phiên bản", "Version"),
        ("withheld", ("GET", "/v1/withheld"), [KEPT], "ngoại lệ", "exception"),
        ("except list", ("GET", "/v1/exceptions"), [EXCEPTION], "sắp hết hạn", "ends soon"),
        ("deaf", ("GET", "/v1/deaf-rules"), [{**ROW, "listens_to": ["linux.sshd"]}], "linux.sshd", "linux.sshd"),
        ("except reject e1 --reason x", ("POST", "/v1/exceptions/e1/reject"), EXCEPTION, "đã bị bác", "was rejected"),
        ("except end e1 --reason x", ("POST", "/v1/exceptions/e1/end"), EXCEPTION, "đã kết thúc", "has ended"),
        ("rollback r1 --reason x", ("POST", "/v1/rules/r1/rollback"), ROLLED, "phiên bản", "version"),
        ("reload", ("POST", "/v1/rules/reload"), {"loaded": 9, "refused": 1, "exceptions": 2}, "bị từ chối", "refused"),
    ],
)  # fmt: skip
def test_people_read_it_in_their_language(
    client: FakeClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    line: str, call: tuple[str, str], data: Any, vietnamese: str, english: str,
) -> None:  # fmt: skip
    """Tables and sentences in both; `--json` gives the envelope as it came."""
    client.answers[call] = data
    for language, word in (("vi", vietnamese), ("en", english)):
        monkeypatch.setenv("SOC_LANG", language)
        assert run(["rule", *line.split()], world(client)) == 0
        said = capsys.readouterr()
        assert word in said.out + said.err
    assert run(["rule", *line.split(), "--json"], world(client)) == 0
    assert json.loads(capsys.readouterr().out)["data"] == data
