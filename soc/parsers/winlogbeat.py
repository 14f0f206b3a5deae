"""Winlogbeat 7 moves the data of Sysmon's and Security's events to ECS names before it sends them; here they get their
own names back, as rules and definitions ask for these.

Source: the scripts of its modules, `x-pack/winlogbeat/module/{sysmon,security}/config` of elastic/beats; from version 8
on this is done by a pipeline in Elasticsearch, and what reaches us is as Windows wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SYSMON, SECURITY = "Microsoft-Windows-Sysmon", "Microsoft-Windows-Security-Auditing"
_PROCESS = {"process.entity_id": "ProcessGuid", "process.pid": "ProcessId", "process.executable": "Image"}
_FILE = {**_PROCESS, "file.path": "TargetFilename"}
_REGISTRY = {**_PROCESS, "registry.path": "TargetObject"}
_PIPE = {**_PROCESS, "file.name": "PipeName"}
_SYSMON: Mapping[str, Mapping[str, str]] = {
    "1": {
        **_PROCESS, "process.command_line": "CommandLine", "process.working_directory": "CurrentDirectory",
        "process.parent.entity_id": "ParentProcessGuid", "process.parent.pid": "ParentProcessId",
        "process.parent.executable": "ParentImage", "process.parent.command_line": "ParentCommandLine",
        "process.pe.original_file_name": "OriginalFileName",
    },
    "2": _FILE,
    "3": {
        **_PROCESS, "network.transport": "Protocol", "source.ip": "SourceIp", "source.domain": "SourceHostname",
        "source.port": "SourcePort", "destination.ip": "DestinationIp", "destination.domain": "DestinationHostname",
        "destination.port": "DestinationPort", "network.protocol": "DestinationPortName",
    },
    "6": {"file.path": "ImageLoaded"},
    "7": {**_PROCESS, "file.path": "ImageLoaded", "file.pe.original_file_name": "OriginalFileName"},
    "8": {
        "process.entity_id": "SourceProcessGuid", "process.pid": "SourceProcessId",
        "process.executable": "SourceImage",
    },
    "9": {**_PROCESS, "file.path": "Device"},
    "10": {
        "process.entity_id": "SourceProcessGUID", "process.pid": "SourceProcessId",
        "process.thread.id": "SourceThreadId", "process.executable": "SourceImage",
    },
    "11": _FILE, "12": _REGISTRY, "13": _REGISTRY, "14": _REGISTRY, "15": _FILE, "17": _PIPE, "18": _PIPE,
    "20": {"process.executable": "Destination"}, "22": {**_PROCESS, "dns.question.name": "QueryName"}, "23": _FILE,
}  # fmt: skip
_LOGON = {
    "process.pid": "ProcessId", "process.executable": "ProcessName", "source.ip": "IpAddress",
    "source.port": "IpPort", "source.domain": "WorkstationName",
}  # fmt: skip
_NEW_PROCESS = {
    "process.pid": "NewProcessId", "process.executable": "NewProcessName", "process.command_line": "CommandLine",
    "process.parent.executable": "ParentProcessName",
}  # fmt: skip
_HASHES = ("hash.sha1", "hash.md5", "hash.sha256", "hash.sha512", "pe.imphash")
_INITIATED = {"egress": "true", "ingress": "false"}


def restored(document: Mapping[str, Any], names: Mapping[str, Any]) -> Mapping[str, Any]:
    """The document with what its `winlog.event_data` lacks, from its dotted ECS names; itself when nothing does."""
    winlog = document.get("winlog")
    if not isinstance(winlog, Mapping):
        return document
    data = winlog.get("event_data")
    given = data if isinstance(data, Mapping) else {}
    found = _of_security(winlog, names) if winlog.get("provider_name") == SECURITY else _of_sysmon(winlog, names)
    missing = {name: value for name, value in found.items() if name not in given}
    if not missing:
        return document
    return {**document, "winlog": {**winlog, "event_data": {**given, **missing}}}


def _of_security(winlog: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, str]:
    return _back(_NEW_PROCESS if str(winlog.get("event_id")) == "4688" else _LOGON, names)


def _of_sysmon(winlog: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, str]:
    if winlog.get("provider_name") != SYSMON:
        return {}
    found = _back({**_SYSMON.get(str(winlog.get("event_id")), _PROCESS), "rule.name": "RuleName"}, names)
    user, domain = names.get("user.name"), names.get("user.domain")
    if isinstance(user, str) and isinstance(domain, str):
        found["User"] = f"{domain}\\{user}"
    if (initiated := _INITIATED.get(str(names.get("network.direction")))) is not None:
        found["Initiated"] = initiated
    hashes = [
        f"{name.rpartition('.')[2].upper()}={value.upper()}"
        for name in _HASHES
        if isinstance(value := names.get(f"process.{name}", names.get(f"file.{name}")), str)
    ]
    if hashes:
        found["Hashes"] = ",".join(hashes)
    return found


def _back(table: Mapping[str, str], names: Mapping[str, Any]) -> dict[str, str]:
    return {
        own: str(value)
        for name, own in table.items()
        if isinstance(value := names.get(name), str | int) and not isinstance(value, bool)
    }
