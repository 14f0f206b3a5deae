"""A rule out of one event runs, hits the event and misses its neighbour, whatever stood in the log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc.content import loads
from soc.detections import DetectionSet
from soc.detections.results import HELD, results
from soc.detections.scaffold import scaffold
from soc.errors import UsageError
from soc.model.fields import FIELDS
from tests.detections.support import write

ID = "0a000000-0000-4000-8000-000000000001"
SSH = {"event.dataset": "linux.sshd", "event.action": "ssh_login", "event.outcome": "failure", "user.name": "root"}
SYSMON = {
    "event.dataset": "windows.sysmon", "winlog.channel": "Microsoft-Windows-Sysmon/Operational", "winlog.event_id": "1",
    "winlog.event_data.Image": "C:\\Tools\\a.exe", "winlog.event_data.CommandLine": "a.exe \\\\srv\\x * ?",
}  # fmt: skip
AUDIT = {
    "event.dataset": "windows.security", "winlog.channel": "Security", "winlog.event_id": "4688",
    "winlog.event_data.NewProcessName": "C:\\Tools\\a.exe",
}  # fmt: skip
LOGON = {
    "event.dataset": "windows.security", "winlog.channel": "Security", "winlog.event_id": "4625",
    "winlog.event_data.TargetUserName": "lan",
}  # fmt: skip
FLOW = {"event.dataset": "netflow.v9", "destination.port": 445, "source.ip": "10.0.0.1"}


def made(event: dict[str, Any], **options: Any) -> str:
    return scaffold(event, id=ID, day="2026-11-30", title="A: title #1", author="lan", **options)


def states(folder: Path, text: str) -> list[str]:
    """What came of its two tests."""
    loaded = DetectionSet.load([write(folder, text)])
    assert not loaded.refused
    return [each.state for each in results(loaded, FIELDS, lambda path, format: iter(()))]


@pytest.mark.parametrize(
    ("event", "source", "names"),
    [
        (SSH, {"product": "linux", "service": "sshd"}, ["event.action", "event.outcome"]),
        (SYSMON, {"category": "process_creation", "product": "windows"}, ["CommandLine", "Image"]),
        (AUDIT, {"category": "process_creation", "product": "windows"}, ["Image"]),
        (LOGON, {"product": "windows", "service": "security"}, ["EventID", "TargetUserName"]),
    ],
)
def test_a_scaffold_runs_and_its_tests_hold(
    tmp_path: Path, event: dict[str, Any], source: dict[str, str], names: list[str]
) -> None:
    """The narrowest log source, Sigma's names; it is experimental until somebody promotes it."""
    text = made(event)
    [document] = loads(text, "new.yml")
    assert document.data["logsource"] == source
    assert list(document.data["detection"]["selection"]) == names
    assert (document.data["status"], document.data["title"]) == ("experimental", "A: title #1")
    assert states(tmp_path, text) == [HELD]


def test_fields_are_chosen_by_name_and_numbers_stay_numbers(tmp_path: Path) -> None:
    """What the event has not is said with what it has."""
    text = made(FLOW | {"event.dataset": "netflow.flow"}, names=["destination.port"])
    assert loads(text, "new.yml")[0].data["detection"]["selection"] == {"destination.port": 445}
    assert states(tmp_path, text) == [HELD]
    with pytest.raises(UsageError, match=r"no field 'user\.name'"):
        made(FLOW, names=["user.name"])
    with pytest.raises(UsageError, match="says nothing"):
        made({"event.dataset": "linux.sshd"})
    with pytest.raises(UsageError, match="no rule sees this event"):
        made({"event.dataset": "unparsed", "message": "x"})


def test_a_field_may_be_named_as_sigma_does() -> None:
    """`Image` as the written rule says it, and our own name of it."""
    event = {
        "event.dataset": "windows.sysmon", "winlog.channel": "Microsoft-Windows-Sysmon/Operational",
        "winlog.event_id": "1", "winlog.event_data.Image": "a.exe", "winlog.event_data.CommandLine": "a b",
    }  # fmt: skip
    for names in (["Image", "CommandLine"], ["winlog.event_data.Image", "winlog.event_data.CommandLine"]):
        [document] = loads(made(event, names=names), "new.yml")
        assert document.data["detection"]["selection"] == {"Image": "a.exe", "CommandLine": "a b"}


@given(st.text(min_size=1, max_size=40))
def test_whatever_stood_in_the_log_is_one_value(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Quotes, line ends, wildcards and backslashes of an attacker break out of nothing, and are matched as they are."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    event = SYSMON | {"winlog.event_data.CommandLine": text}
    rule = made(event, names=["winlog.event_data.CommandLine"])
    [document] = loads(rule, "new.yml")
    assert document.data["tests"][0]["event"]["winlog.event_data.CommandLine"] == text
    if text.lower() != "something else":
        assert states(tmp_path_factory.mktemp("new"), rule) == [HELD]
