"""Reads what shippers post, record by record: documents of Elasticsearch, events of HEC, GELF, the journal."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from soc.parsers import winlogbeat
from soc.parsers.decoders import gelf, journal, windows
from soc.parsers.decoders.flat import flatten
from soc.parsers.documents import read
from soc.parsers.work import Work

_STREAM = re.compile(r"(?:\.ds-)?(?:logs|metrics|traces)-([a-z0-9_.]{1,64})-[^-].*")
_SHIPPER = ("agent.", "ecs.", "host.", "labels.", "log.", "tags")
_OF_THE_EVENT = ("@timestamp", "message", "event.created", "event.ingested", "event.original", "event.kind")


class Header(NamedTuple):
    """What a syslog header would say of a line."""

    program: str | None
    pid: str | None
    host: str | None


@dataclass
class Found:
    """One record: its ECS names, what the protocol says beside (`meta`, for a definition to map), the line inside and
    the program and process that wrote it, a name for its dataset, the `document` it came as; or an `event` of Windows
    or of a product that is known by its JSON, as it is. With `header` the line is all message, whatever it looks like:
    whoever took it has said who wrote it."""

    row: int
    names: dict[str, Any] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    line: str | None = None
    program: str | None = None
    pid: str | None = None
    header: Header | None = None
    extra: str = ""
    document: Mapping[str, Any] | None = None
    event: Mapping[str, Any] | None = None


def _elastic(row: int, text: str) -> Found | None:
    line, newline, body = text.partition("\n")
    document = read(body) if newline else None
    if document is None:
        return None
    names = flatten(document)
    if windows.decode(document) is not None:
        return Found(row, beside_event(names), event=winlogbeat.restored(document, names))
    return Found(row, names, extra=_stream(line), document=document)


def _document(row: int, text: str) -> Found | None:
    return _elastic(row, f"\n{text}")


def beside_event(names: Mapping[str, Any]) -> dict[str, Any]:
    """What stands beside a Windows event: all that Winlogbeat's modules found, else what a shipper says of itself."""
    if any(name.startswith("winlog.") for name in names):
        return {n: v for n, v in names.items() if not n.startswith("winlog.") and n not in _OF_THE_EVENT}
    return {n: v for n, v in names.items() if n.startswith(_SHIPPER)}


def _stream(line: str) -> str:
    """The dataset in the name of a data stream, `logs-<dataset>-<namespace>`."""
    action = read(line) or {}
    for meta in action.values():
        index = meta.get("_index") if isinstance(meta, dict) else None
        named = _STREAM.fullmatch(index) if isinstance(index, str) and len(index) < 256 else None
        return named[1] if named is not None else ""
    return ""


def _hec(row: int, text: str) -> Found | None:
    event = read(text)
    if event is None or not ("event" in event or "fields" in event):
        return None
    inner = event.pop("event", None)
    own = inner if isinstance(inner, dict) else read(inner) if isinstance(inner, str) and inner[:1] == "{" else None
    fields = event.pop("fields", None)
    if own is not None and windows.decode(own) is not None:
        inside = flatten(own)
        return Found(row, beside_event(inside), event, event=winlogbeat.restored(own, inside))
    names = flatten(fields) if isinstance(fields, dict) else {} if fields is None else {"fields": fields}
    kind = event.get("sourcetype")
    found = Found(row, names, event, extra=kind.replace(":", ".").lower() if isinstance(kind, str) else "")
    if own is not None:
        found.names |= flatten(own)
        found.document = own
    elif isinstance(inner, str):
        found.line = inner
        found.names["message"] = inner
    elif inner is not None:
        found.names["message"] = orjson.dumps(inner).decode()
    return found


def _gelf(row: int, text: str) -> Found | None:
    names = gelf.decode(text)
    if names is None:
        return None
    own, beside = names
    found = Found(row, beside, own)
    message = own.get("short_message")
    if isinstance(message, str):
        found.line = message
    return found


def entries(work: Work) -> tuple[list[str], list[Found | None]]:
    """Entries of systemd's journal as text, and what they say.

    One whose fields have line feeds or bytes is shown field by field, and kept beside as it came. What journald adds
    by itself (`_NAME`) and no definition maps stays in the original; fields that a program made up go along.
    """
    texts: list[str] = []
    found: list[Found | None] = []
    for row, record in enumerate(work.envelope.block.records()):
        fields = journal.decode(record)
        text = journal.readable(record)
        if text is None:
            work.envelope.keep(row, record, *(() if journal.is_utf8(record) else ("not_utf8",)))
            text = journal.shown(fields)
        texts.append(text)
        found.append(_entry(row, fields))
    return texts, found


def _entry(row: int, fields: dict[str, str | list[str]]) -> Found | None:
    first = {name: value[0] if isinstance(value, list) else value for name, value in fields.items()}
    if "MESSAGE" not in fields and "__REALTIME_TIMESTAMP" not in fields:
        return None
    header = Header(
        first.get("SYSLOG_IDENTIFIER") or first.get("_COMM"),
        first.get("SYSLOG_PID") or first.get("_PID"),
        first.get("_HOSTNAME"),
    )
    own = {name: value for name, value in fields.items() if isinstance(value, list) and name[:1] != "_"}
    return Found(row, own, dict(first), line=first.get("MESSAGE"), header=header)


READERS: dict[str, Callable[[int, str], Found | None]] = {
    "elastic": _elastic, "document": _document, "hec": _hec, "gelf": _gelf,
}  # fmt: skip
"""By format: a record's text to what it says, None for what is no such record."""
