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


def test_a_format_that_there_is_not_is_refused_by_name(tmp_path: Path) -> None:
    """Exit 2, and the sentence names the format."""
    log = tmp_path / "a"
    log.write_bytes(LINES)
    result = soc("parse", "--format", "xls", str(log))
    assert (result.returncode, b"'xls' is unknown" in result.stderr) == (2, True)


def test_tables_and_xml_are_parsed_in_order(tmp_path: Path) -> None:
    """CSV, W3C and XML give at least one document a record, what does not fit too."""
    csv, w3c, xml = tmp_path / "a.csv", tmp_path / "u_ex.log", tmp_path / "a.xml"
    csv.write_text('time,source.ip,note\n2026-11-20T03:00:00Z,203.0.113.9,"two\nlines"\nonly one\n')
    w3c.write_text(
        "#Fields: date time c-ip cs-method cs-uri-stem sc-status\n2026-11-20 03:00:01 10.0.0.9 GET / 404\nx\n"
    )
    xml.write_text(
        "<Events><Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System><Provider Name='P'/>"
        "<EventID Qualifiers='0'>4625</EventID><Channel>Security</Channel><Computer>dc</Computer></System><EventData>"
        "<Data Name='TargetUserName'>lan</Data><Data>x</Data></EventData></Event><Event><![CDATA[<]]></Event></Events>"
    )
    found = [json.loads(line) for line in soc("parse", str(csv), str(w3c), str(xml)).stdout.splitlines()]
    datasets = ["generic.json", "unparsed", "iis.w3c", "unparsed", "windows.security", "generic.json"]
    assert [(e["event.dataset"], e["soc.record"]) for e in found] == list(
        zip(datasets, (2, 4, 2, 3, 1, 2), strict=True)
    )
    assert (found[0]["source.ip"], found[0]["@timestamp"]) == ("203.0.113.9", "2026-11-20T03:00:00.000000Z")
    assert (found[2]["event.outcome"], found[2]["@timestamp"]) == ("failure", "2026-11-20T03:00:01.000000Z")
    assert (found[4]["winlog.event_id"], found[4]["winlog.event_data.TargetUserName"]) == ("4625", "lan")


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
