"""Windows events in JSON to one shape: evtx_dump's tree, Winlogbeat's `winlog.*`, and NXLog's flat keys."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

_FLAT_SYSTEM = frozenset({
    "EventID", "Channel", "SourceName", "ProviderName", "ProviderGuid", "Hostname", "Computer", "EventTime",
    "EventReceivedTime", "@timestamp", "RecordNumber", "EventRecordID", "ExecutionProcessID", "ProcessID",
    "ExecutionThreadID", "ThreadID", "Keywords", "Severity", "SeverityValue", "Version", "Task", "Opcode",
    "OpcodeValue", "ActivityID", "Message", "Category", "EventType", "SourceModuleName", "SourceModuleType", "port",
    "host", "tags", "@version", "Level", "TimeCreated", "SystemTime", "UserID", "Domain", "AccountName",
    "AccountType", "EventTypeOrignal",
})  # fmt: skip
"""What NXLog adds beside the event's own data."""
_SEVERITIES = frozenset(("INFO", "VERBOSE", "WARNING", "ERROR", "CRITICAL", "AUDIT_SUCCESS", "AUDIT_FAILURE"))
"""What NXLog's `EventType` says; else it is the event's own, such as the `SetValue` of a Sysmon registry event."""


class System(NamedTuple):
    """The System part of an event; text as written, None where it is absent. `time` is ISO text."""

    provider: str | None
    guid: str | None
    event_id: str | None
    channel: str | None
    computer: str | None
    record_id: str | None
    time: str | None
    level: str | None
    task: str | None
    opcode: str | None
    keywords: str | None
    version: str | None
    pid: str | None
    tid: str | None
    activity: str | None
    user_sid: str | None
    message: str | None


class WindowsEvent(NamedTuple):
    """One event: its System part, EventData by name, UserData by name. Values are text or None."""

    system: System
    data: dict[str, str | None]
    user: dict[str, str | None]


def decode(document: Mapping[str, Any]) -> WindowsEvent | None:
    """The event, or None when the document is no Windows event."""
    event = document.get("Event")
    if isinstance(event, dict) and isinstance(event.get("System"), dict):
        return _tree(event)
    winlog = document.get("winlog")
    if isinstance(winlog, dict) and "event_id" in winlog:
        return _winlogbeat(document, winlog)
    if "winlog.event_id" in document:
        return _winlogbeat(document, _undotted(document))
    if "EventID" in document and ("Channel" in document or "SourceName" in document or "ProviderName" in document):
        return _flat(document)
    return None


def text(value: Any) -> str | None:
    """A value as event viewers show it."""
    if value is None or value.__class__ is str:
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        if "#text" in value:
            return text(value["#text"])
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return "\n".join(text(v) or "" for v in value)
    return str(value)


def _attribute(value: Any, name: str) -> str | None:
    if isinstance(value, dict):
        inner = value.get("#attributes")
        return text(inner.get(name)) if isinstance(inner, dict) else text(value.get(name))
    return None


def _tree(event: dict[str, Any]) -> WindowsEvent:
    s = event["System"]
    execution, correlation = s.get("Execution"), s.get("Correlation")
    provider = s.get("Provider")
    rendering = event.get("RenderingInfo")
    system = System(
        _attribute(provider, "Name"), _attribute(provider, "Guid"), text(s.get("EventID")), text(s.get("Channel")),
        text(s.get("Computer")), text(s.get("EventRecordID")), _attribute(s.get("TimeCreated"), "SystemTime"),
        text(s.get("Level")), text(s.get("Task")), text(s.get("Opcode")), text(s.get("Keywords")),
        text(s.get("Version")), _attribute(execution, "ProcessID"), _attribute(execution, "ThreadID"),
        _attribute(correlation, "ActivityID"), _attribute(s.get("Security"), "UserID"),
        text(rendering.get("Message")) if isinstance(rendering, dict) else None,
    )  # fmt: skip
    return WindowsEvent(system, _event_data(event.get("EventData")), _user_data(event.get("UserData")))


def _event_data(data: Any) -> dict[str, str | None]:
    if not isinstance(data, dict):
        return {} if data is None else {"Data": text(data)}
    result = {k: v if v.__class__ is str else text(v) for k, v in data.items() if k not in ("Data", "#attributes")}
    if "Data" in data:
        result |= _unnamed(data["Data"])
    return result


def _unnamed(value: Any) -> dict[str, str | None]:
    # Classic events have no names: Winlogbeat counts them param1…, Sigma rules ask for all of them as `Data`.
    inner = value.get("#text") if isinstance(value, dict) else value
    items = inner if isinstance(inner, list) else [inner]
    result = {f"param{i}": text(item) for i, item in enumerate(items, 1)}
    result["Data"] = "\n".join(t for item in items if (t := text(item)))
    return result


def _user_data(data: Any) -> dict[str, str | None]:
    result: dict[str, str | None] = {}
    if isinstance(data, dict):
        for name, inner in data.items():
            if isinstance(inner, dict):
                result.update({k: text(v) for k, v in inner.items() if not k.startswith(("#", "xmlns"))})
            elif not name.startswith(("#", "xmlns")):
                result[name] = text(inner)
    return result


def _undotted(document: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {"event_data": {}, "user_data": {}}
    for key, value in document.items():
        if key.startswith("winlog.event_data."):
            tree["event_data"][key[18:]] = value
        elif key.startswith("winlog.user_data."):
            tree["user_data"][key[17:]] = value
        elif key.startswith("winlog."):
            tree[key[7:]] = value
    return tree


def _path(tree: Mapping[str, Any], dotted: str) -> Any:
    if dotted in tree:
        return tree[dotted]
    value: Any = tree
    for name in dotted.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def _winlogbeat(document: Mapping[str, Any], winlog: Mapping[str, Any]) -> WindowsEvent:
    def get(name: str) -> str | None:
        return text(_path(winlog, name))

    system = System(
        get("provider_name"), get("provider_guid"), get("event_id"), get("channel"), get("computer_name"),
        get("record_id"), text(document.get("@timestamp")), text(_path(document, "log.level")), get("task"),
        get("opcode"), get("keywords"), get("version"), get("process.pid"), get("process.thread.id"),
        get("activity_id"), get("user.identifier"), text(document.get("message")),
    )  # fmt: skip
    data, user = winlog.get("event_data"), winlog.get("user_data")
    return WindowsEvent(
        system,
        {k: text(v) for k, v in data.items()} if isinstance(data, Mapping) else {},
        {k: text(v) for k, v in user.items()} if isinstance(user, Mapping) else {},
    )


def _flat(document: Mapping[str, Any]) -> WindowsEvent:
    def get(*names: str) -> str | None:
        return next((text(document[name]) for name in names if document.get(name) is not None), None)

    system = System(
        get("SourceName", "ProviderName"), get("ProviderGuid"), get("EventID"), get("Channel"),
        get("Hostname", "Computer", "host"), get("RecordNumber", "EventRecordID"),
        get("@timestamp", "EventTime", "TimeCreated", "SystemTime"), get("Level", "Severity"), get("Task"),
        get("Opcode", "OpcodeValue"), get("Keywords"), get("Version"), get("ExecutionProcessID", "ProcessID"),
        get("ExecutionThreadID", "ThreadID"), get("ActivityID"), get("UserID"), get("Message"),
    )  # fmt: skip
    inner = document.get("EventData")
    data = {k: text(v) for k, v in document.items() if k not in _FLAT_SYSTEM and k != "EventData"}
    kind = text(document.get("EventType"))
    if kind is not None and kind not in _SEVERITIES:
        data["EventType"] = kind
    return WindowsEvent(system, data | (_event_data(inner) if inner is not None else {}), {})
