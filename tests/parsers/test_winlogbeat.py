"""Windows events as Winlogbeat 7 sends them, their data moved to ECS names, reach the names that rules ask for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc.parsers import winlogbeat
from soc.parsers.decoders.flat import flatten
from tests.parsers.conftest import Rows

ACTION = b'{"index":{"_index":"winlogbeat-7.17.0"}}\n'
# Written after the scripts of Winlogbeat's modules; nobody captured one.
SYSMON_1 = {
    "@timestamp": "2026-11-20T02:59:59Z",
    "agent": {"type": "winlogbeat", "version": "7.17.0"},
    "event": {"code": 1, "kind": "event", "category": ["process"], "type": ["start", "process_start"],
              "module": "sysmon", "provider": "Microsoft-Windows-Sysmon", "created": "2026-11-20T03:00:00Z"},
    "host": {"name": "ws7.unit.example"},
    "process": {
        "entity_id": "{c5d2b969-0b84-6560-5c00-000000000700}", "pid": 4711, "name": "powershell.exe",
        "executable": r"C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe",
        "command_line": "powershell -enc SQBFAFgAIAAoAE4AZQB3AC0ATwBiAGoA", "args": ["powershell", "-enc"],
        "working_directory": "C:\\", "hash": {"sha256": "ab" * 32, "md5": "cd" * 16}, "pe": {"imphash": "ef" * 16},
        "parent": {"pid": 88, "executable": r"C:\Windows\explorer.exe", "command_line": "explorer.exe"},
    },
    "user": {"name": "an", "domain": "UNIT", "id": "S-1-5-18"},
    "winlog": {"provider_name": "Microsoft-Windows-Sysmon", "channel": "Microsoft-Windows-Sysmon/Operational",
               "event_id": 1, "computer_name": "ws7.unit.example", "event_data": {"TerminalSessionId": "1"}},
}  # fmt: skip
LOGON = {
    "@timestamp": "2026-11-20T02:59:59Z",
    "event": {"code": "4625", "module": "security", "category": ["authentication"], "outcome": "failure"},
    "process": {"pid": 0, "executable": "-"}, "source": {"ip": "203.0.113.9", "port": 50022, "domain": "PC9"},
    "winlog": {"provider_name": "Microsoft-Windows-Security-Auditing", "channel": "Security", "event_id": "4625",
               "computer_name": "dc1", "event_data": {"TargetUserName": "an", "LogonType": "3"}},
}  # fmt: skip


def test_a_process_gets_its_own_names_back(rows: Rows) -> None:
    """And keeps the ECS names that the module gave it."""
    (event,) = rows([ACTION + json.dumps(SYSMON_1).encode()], format="elastic")
    data = {name.rpartition(".")[2]: value for name, value in event.items() if name.startswith("winlog.event_data.")}
    assert data["Image"] == SYSMON_1["process"]["executable"]  # type: ignore[index]
    assert data["CommandLine"].startswith("powershell -enc")
    assert (data["ParentImage"], data["User"], data["ProcessId"]) == (r"C:\Windows\explorer.exe", r"UNIT\an", "4711")
    assert data["Hashes"] == f"MD5={'CD' * 16},SHA256={'AB' * 32},IMPHASH={'EF' * 16}"
    assert data["TerminalSessionId"] == "1"
    assert (event["event.dataset"], event["agent.type"], event["event.module"]) == (
        "windows.sysmon", "winlogbeat", "sysmon",
    )  # fmt: skip


def test_a_logon_gets_its_address_back(rows: Rows) -> None:
    """Where the failed logon came from."""
    (event,) = rows([ACTION + json.dumps(LOGON).encode()], format="elastic")
    assert (event["event.dataset"], event["user.name"], event["source.ip"]) == ("windows.security", "an", "203.0.113.9")
    assert event["winlog.event_data.IpAddress"] == "203.0.113.9"
    assert event["winlog.event_data.WorkstationName"] == "PC9"


@pytest.mark.parametrize(
    ("event_id", "names", "own"),
    [
        (3, {"destination.ip": "192.0.2.1", "destination.port": 443, "network.direction": "egress"},
         {"DestinationIp": "192.0.2.1", "DestinationPort": "443", "Initiated": "true"}),
        (7, {"file.path": r"C:\x.dll"}, {"ImageLoaded": r"C:\x.dll"}),
        (10, {"process.executable": r"C:\a.exe"}, {"SourceImage": r"C:\a.exe"}),
        (11, {"file.path": r"C:\x.txt"}, {"TargetFilename": r"C:\x.txt"}),
        (13, {"registry.path": r"HKLM\Run"}, {"TargetObject": r"HKLM\Run"}),
        (17, {"file.name": r"\pipe"}, {"PipeName": r"\pipe"}),
        (22, {"dns.question.name": "evil.example"}, {"QueryName": "evil.example"}),
        (25, {"process.executable": r"C:\a.exe"}, {"Image": r"C:\a.exe"}),
    ],
)  # fmt: skip
def test_each_kind_has_its_names(event_id: int, names: dict[str, Any], own: dict[str, str]) -> None:
    """The same ECS name stands for another one in another event."""
    document = {"winlog": {"provider_name": winlogbeat.SYSMON, "event_id": event_id}}
    assert winlogbeat.restored(document, names)["winlog"]["event_data"] == own


def test_what_windows_said_is_never_replaced() -> None:
    """Winlogbeat 8 leaves the data alone, and a document of another provider is not touched."""
    given = {"Image": "own"}
    document = {"winlog": {"provider_name": winlogbeat.SYSMON, "event_id": 1, "event_data": given}}
    assert winlogbeat.restored(document, {"process.executable": "other"}) is document
    other = {"winlog": {"provider_name": "x", "event_id": 1}}
    assert winlogbeat.restored(other, {"process.executable": "other"}) is other


VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=4), st.lists, max_leaves=3)


@given(
    st.dictionaries(st.sampled_from(["provider_name", "event_id", "event_data"]), VALUES),
    st.dictionaries(st.sampled_from(["process.executable", "user.name", "user.domain", "process.hash.md5"]), VALUES),
)
def test_any_document_comes_out(winlog: dict[str, Any], names: dict[str, Any]) -> None:
    """Whatever stands where."""
    for provider in (winlogbeat.SYSMON, winlogbeat.SECURITY):
        document = {"winlog": {**winlog, "provider_name": provider}}
        assert "winlog" in winlogbeat.restored(document, names | flatten({}))
