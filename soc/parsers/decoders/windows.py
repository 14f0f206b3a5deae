"""Windows events in JSON to one shape: evtx_dump's tree, Winlogbeat's `winlog.*`, and NXLog's flat keys."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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


class WindowsEvent(NamedTuple):
    """One event as it was written: its System part in evtx_dump's shape, EventData and UserData by name, the message.

    Values are JSON's; `text` and `texts` make of them what an event viewer shows.
    """

    system: Mapping[str, Any]
    data: Mapping[str, Any]
    user: Mapping[str, Any]
    message: Any = None


SYSTEM: Mapping[str, tuple[str, str]] = {
    "provider": ("Provider", "Name"), "guid": ("Provider", "Guid"), "event_id": ("EventID", ""),
    "channel": ("Channel", ""), "computer": ("Computer", ""), "record_id": ("EventRecordID", ""),
    "time": ("TimeCreated", "SystemTime"), "level": ("Level", ""), "task": ("Task", ""), "opcode": ("Opcode", ""),
    "keywords": ("Keywords", ""), "version": ("Version", ""), "pid": ("Execution", "ProcessID"),
    "tid": ("Execution", "ThreadID"), "activity": ("Correlation", "ActivityID"), "user_sid": ("Security", "UserID"),
}  # fmt: skip
"""Our names of what stands in the System part: the element, and the attribute where it is one."""
_NOTHING: Mapping[str, Any] = {}
_TEXTS, _NUMBERS = {str, type(None)}, {int, type(None)}


def decode(document: Mapping[str, Any]) -> WindowsEvent | None:
    """The event, or None when the document is no Windows event."""
    event = document.get("Event")
    if event.__class__ is dict and (system := event.get("System")).__class__ is dict:
        return _tree(event, system)
    winlog = document.get("winlog")
    if isinstance(winlog, dict) and "event_id" in winlog:
        return _winlogbeat(document, winlog)
    if "winlog.event_id" in document:
        return _winlogbeat(document, _undotted(document))
    if "Event.System.EventID" in document:
        return decode(_nested(document))
    if "EventID" in document and ("Channel" in document or "SourceName" in document or "ProviderName" in document):
        return _flat(document)
    return None


def system_text(system: Mapping[str, Any], name: str) -> str | None:
    """What the System part of one event says under one of our names."""
    element, attribute = SYSTEM[name]
    value = system.get(element)
    return _attribute(value, attribute) if attribute else text(value)


def system_texts(systems: Sequence[Mapping[str, Any]], name: str) -> list[str | None]:
    """The same of many events."""
    element, attribute = SYSTEM[name]
    values: list[Any] = [system.get(element) for system in systems]
    if not attribute or values.count(None) == len(values):
        return texts(values)
    try:
        return texts([value["#attributes"][attribute] for value in values])
    except (KeyError, TypeError):
        return [_attribute(value, attribute) for value in values]


def texts(values: list[Any]) -> list[str | None]:
    """`text` of each; the same list when all are text already."""
    kinds = set(map(type, values))
    if kinds <= _TEXTS:
        return values
    if kinds <= _NUMBERS:
        return [None if value is None else str(value) for value in values]
    return [value if value.__class__ is str else text(value) for value in values]


def several(value: Any) -> tuple[str, ...] | None:
    """The texts of a list, or the one of anything else; None when there is none."""
    found = tuple(item for item in texts(value if isinstance(value, list) else [value]) if item is not None)
    return found or None


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
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # JSON knows one kind of numbers: 5.0 is 5
    return str(value)


def _attribute(value: Any, name: str) -> str | None:
    if value.__class__ is dict:
        inner = value.get("#attributes", value)
        return text(inner.get(name)) if inner.__class__ is dict else text(value.get(name))
    return None


def _nested(document: Mapping[str, Any]) -> dict[str, Any]:
    """The tree of a document whose names are paths into it; names of data are taken whole, dots and all."""
    event: dict[str, dict[str, Any]] = {"System": {}, "EventData": {}, "UserData": {}}
    for name, value in document.items():
        part, _, path = name.removeprefix("Event.").partition(".")
        if path and part in event and name.startswith("Event."):
            node = event[part]
            *heads, last = path.split(".") if part != "EventData" else (path,)
            for head in heads:
                inner = node.setdefault(head, {})
                node = inner if isinstance(inner, dict) else {}
            node[last] = value
    return {"Event": event}


def _rejoined(system: dict[str, Any]) -> dict[str, Any]:
    """The System part with its attributes where they belong; evtx_dump can be told to write them beside."""
    joined: dict[str, Any] = {}
    for name, value in system.items():
        element = name.removesuffix("_attributes")
        if element == name:
            joined.setdefault(name, value)
        elif isinstance(value, dict):
            joined[element] = {"#attributes": value} | ({"#text": system[element]} if element in system else {})
    return joined


def _tree(event: dict[str, Any], system: dict[str, Any]) -> WindowsEvent:
    if "Provider_attributes" in system:
        system = _rejoined(system)
    data, user, rendering = event.get("EventData"), event.get("UserData"), event.get("RenderingInfo")
    if data.__class__ is not dict or "Data" in data or "#attributes" in data:
        data = _event_data(data)
    message = rendering.get("Message") if isinstance(rendering, dict) else None
    return WindowsEvent(system, data, _NOTHING if user is None else _user_data(user), message)


def _event_data(data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        return {} if data is None else {"Data": data}
    result = {k: v for k, v in data.items() if k not in ("Data", "#attributes")}
    if "Data" in data:
        result |= _unnamed(data["Data"])
    return result


def _unnamed(value: Any) -> dict[str, Any]:
    # Classic events have no names: Winlogbeat counts them param1…, Sigma rules ask for all of them as `Data`.
    inner = value.get("#text") if isinstance(value, dict) else value
    items = inner if isinstance(inner, list) else [inner]
    result: dict[str, Any] = {f"param{i}": item for i, item in enumerate(items, 1)}
    result["Data"] = "\n".join(t for item in items if (t := text(item)))
    return result


def _user_data(data: Any) -> dict[str, Any]:
    result: dict[str, Any] = {}
    if isinstance(data, dict):
        for name, inner in data.items():
            if isinstance(inner, dict):
                result.update({k: v for k, v in inner.items() if not k.startswith(("#", "xmlns"))})
            elif not name.startswith(("#", "xmlns")):
                result[name] = inner
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
    def get(name: str) -> Any:
        return _path(winlog, name)

    system = {
        "Provider": {"Name": get("provider_name"), "Guid": get("provider_guid")}, "EventID": get("event_id"),
        "Channel": get("channel"), "Computer": get("computer_name"), "EventRecordID": get("record_id"),
        "TimeCreated": {"SystemTime": document.get("@timestamp")}, "Level": _path(document, "log.level"),
        "Task": get("task"), "Opcode": get("opcode"), "Keywords": get("keywords"), "Version": get("version"),
        "Execution": {"ProcessID": get("process.pid"), "ThreadID": get("process.thread.id")},
        "Correlation": {"ActivityID": get("activity_id")}, "Security": {"UserID": get("user.identifier")},
    }  # fmt: skip
    data, user = winlog.get("event_data"), winlog.get("user_data")
    return WindowsEvent(
        system,
        data if isinstance(data, dict) else _NOTHING,
        user if isinstance(user, dict) else _NOTHING,
        document.get("message"),
    )


def _flat(document: Mapping[str, Any]) -> WindowsEvent:
    def get(*names: str) -> Any:
        return next((document[name] for name in names if document.get(name) is not None), None)

    system = {
        "Provider": {"Name": get("SourceName", "ProviderName"), "Guid": get("ProviderGuid")},
        "EventID": get("EventID"), "Channel": get("Channel"), "Computer": get("Hostname", "Computer", "host"),
        "EventRecordID": get("RecordNumber", "EventRecordID"),
        "TimeCreated": {"SystemTime": get("@timestamp", "EventTime", "TimeCreated", "SystemTime")},
        "Level": get("Level", "Severity"), "Task": get("Task"), "Opcode": get("Opcode", "OpcodeValue"),
        "Keywords": get("Keywords"), "Version": get("Version"),
        "Execution": {
            "ProcessID": get("ExecutionProcessID", "ProcessID"), "ThreadID": get("ExecutionThreadID", "ThreadID"),
        },
        "Correlation": {"ActivityID": get("ActivityID")}, "Security": {"UserID": get("UserID")},
    }  # fmt: skip
    inner = document.get("EventData")
    data = {k: v for k, v in document.items() if k not in _FLAT_SYSTEM and k != "EventData"}
    kind = text(document.get("EventType"))
    if kind is not None and kind not in _SEVERITIES:
        data["EventType"] = kind
    return WindowsEvent(system, data | (_event_data(inner) if inner is not None else {}), _NOTHING, get("Message"))
