"""`soc parse` and `soc detect` over files, without any service."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

LINES = (
    b"<38>Nov 25 10:00:00 h1 sshd[12]: Failed password for root from 203.0.113.9 port 22 ssh2\n"
    b"\xff\x00 no text\n"
    b"<38>Nov 25 10:00:01 h1 sshd[12]: Accepted password for lan from 192.0.2.7 port 4022 ssh2\n"
)
RULE = """
title: SSH login failed
id: 6d3f6b1e-5a5e-4a53-9d0e-1f6c8f0f1a11
status: experimental
level: low
logsource: {product: linux, service: sshd}
detection:
    selection:
        event.action: ssh_login
        event.outcome: failure
    condition: selection
"""


def soc(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command line as a person would."""
    return subprocess.run([sys.executable, "-m", "soc", *arguments], capture_output=True, check=False)


def test_parse_keeps_every_record_in_order(tmp_path: Path) -> None:
    """Three records in, three events out, in order; what is no text keeps its bytes and a flag."""
    log = tmp_path / "auth.log"
    log.write_bytes(LINES)
    result = soc("parse", str(log))
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.returncode == 0
    assert [e["soc.record"] for e in events] == [1, 2, 3]
    assert [e.get("event.outcome") for e in events] == ["failure", None, "success"]
    assert events[1]["event.kind"] == "pipeline_error"
    assert bytes.fromhex(events[1]["soc.original_bytes"]) == b"\xff\x00 no text"
    assert events[0]["source.ip"] == "203.0.113.9"
    assert events[0]["log.file.path"] == str(log)


def test_a_format_not_built_is_refused_by_name(tmp_path: Path) -> None:
    """Exit 2, and the sentence names the format."""
    log = tmp_path / "a"
    log.write_bytes(LINES)
    result = soc("parse", "--format", "xml", str(log))
    assert (result.returncode, b"'xml' is not built yet" in result.stderr) == (2, True)


def test_detect_explains_its_hits(tmp_path: Path) -> None:
    """One hit a line with rule, file, record and what matched; exit 3 only when asked."""
    log, rule = tmp_path / "auth.log", tmp_path / "rule.yml"
    log.write_bytes(LINES)
    rule.write_text(RULE)
    result = soc("detect", "--rules", str(rule), str(log))
    hits = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.returncode == 0
    assert [(h["record"], h["file"], h["level"]) for h in hits] == [(1, str(log), "low")]
    assert {m["field"] for m in hits[0]["matched"]} == {"event.action", "event.outcome"}
    assert soc("detect", "--fail-on-hit", "--rules", str(rule), str(log)).returncode == 3


def test_the_tests_of_the_shipped_definitions_hold() -> None:
    """`soc check` over what ships."""
    result = soc("check")
    assert result.returncode == 0, result.stdout.decode()
