"""`soc rule …` where it needs no service."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from soc.console.cli import run

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
