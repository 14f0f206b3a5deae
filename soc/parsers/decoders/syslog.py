"""Syslog headers as devices really send them: RFC 3164 with its dialects, RFC 5424, a bare PRI, or nothing at all."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from soc.model.clock import VIETNAM
from soc.parsers import times

FACILITIES = (
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
    "security", "console", "solaris-cron", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
    "local7",
)  # fmt: skip
SEVERITIES = ("emergency", "alert", "critical", "error", "warning", "notice", "informational", "debug")

_MONTH = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_LEGACY = re.compile(
    r"(?:<(\d{1,3})>)?"
    # Cisco: EMBLEM's leading colon, IOS's sequence number, `*` or `.` for a clock that is not set.
    r":? ?(?:\d{1,10}: )?[*.]?"
    rf"(?:((?:\d{{4}} )?{_MONTH} {{1,2}}\d{{1,2}}(?: \d{{4}})?,? \d\d:\d\d:\d\d(?:[.,]\d{{1,9}})?"
    r"(?: \d{4}(?=:? ))?(?: [A-Z]{3,4}(?=: ))?)"
    r"|(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?))"
    # A colon straight after the stamp means no host (ASA); ` host : ` is ASA with a device-id.
    r"(?:: *|(?= |$) *(?:([\w.:/-]{0,254}[\w./-])(?: +|$)(?:: +)?)?)"
    r"(?:([^\s\[:%<{\"=]{1,64})(?:\[([^\]\s]{0,32})\])?:(?: +|$))?"
)
_PRI_ONLY = re.compile(r"<(\d{1,3})>(?:([\w./-]{1,64})(?:\[([^\]\s]{0,32})\])?: +)?")
_TAG_ONLY = re.compile(r"([\w./-]{1,64})\[(\d{1,10})\]: +")
_RFC5424 = re.compile(r"<(\d{1,3})>(\d{1,2}) (\S{1,64}) (\S{1,255}) (\S{1,48}) (\S{1,128}) (\S{1,32}) ?")
_ELEMENT = re.compile(r'\[([^\s=\]"]{1,32})((?: [^\s=\]"]{1,32}="(?:[^"\\\]]|\\.)*")*) ?\]', re.DOTALL)
_PARAM = re.compile(r' ([^\s=\]"]{1,32})="((?:[^"\\\]]|\\.)*)"', re.DOTALL)
_ESCAPED = re.compile(r'\\(["\\\]])')
_BOM = "\ufeff"  # RFC 5424 section 6.4 puts it before UTF-8 text


@dataclass
class Headers:
    """One value a record in every list; None where the header did not say. Times are µs UTC."""

    priority: list[int | None] = field(default_factory=list)
    at_us: list[int | None] = field(default_factory=list)
    basis: list[str] = field(default_factory=list)
    host: list[str | None] = field(default_factory=list)
    program: list[str | None] = field(default_factory=list)
    pid: list[str | None] = field(default_factory=list)
    message: list[str] = field(default_factory=list)
    version: dict[int, str] = field(default_factory=dict)
    msgid: dict[int, str] = field(default_factory=dict)
    structured: dict[int, dict[str, Any]] = field(default_factory=dict)

    def add(
        self, pri: str | None, stamp: times.Stamp, who: tuple[str | None, str | None, str | None], message: str
    ) -> None:
        """Append one record; `who` is host, program and process."""
        priority = int(pri) if pri is not None else None
        self.priority.append(priority if priority is not None and priority < 192 else None)
        self.at_us.append(stamp[0])
        self.basis.append(stamp[1])
        self.host.append(who[0])
        self.program.append(who[1])
        self.pid.append(who[2])
        self.message.append(message)


_NO_STAMP: times.Stamp = (None, times.RECEIVED)


def decode(texts: Sequence[str], receipt_us: Sequence[int], zone: dt.tzinfo = VIETNAM) -> Headers:
    """The headers of these records and the messages behind them. Never raises; a record without one is all message."""
    headers = Headers()
    seen: dict[tuple[str, int], times.Stamp] = {}
    for text, receipt in zip(texts, receipt_us, strict=True):
        found = _LEGACY.match(text)
        if found is None:
            _other(headers, text, zone)
            continue
        pri, stamp, iso, host, program, pid = found.groups()
        key = (stamp or iso, receipt // times.DAY_US)
        at = seen.get(key)
        if at is None:
            at = seen[key] = times.bsd(stamp, receipt, zone) if stamp else times.iso(iso, zone)
        headers.add(pri, at, (host, program, pid), text[found.end() :].rstrip("\r\n\0"))
    return headers


def _other(headers: Headers, text: str, zone: dt.tzinfo) -> None:
    if text[:1] == "<":
        found = _RFC5424.match(text)
        if found is not None:
            _rfc5424(headers, text, found, zone)
            return
        found = _PRI_ONLY.match(text)
        if found is not None:
            headers.add(found[1], _NO_STAMP, (None, found[2], found[3]), text[found.end() :].strip("\r\n\0 "))
            return
    found = _TAG_ONLY.match(text)
    if found is not None:
        headers.add(None, _NO_STAMP, (None, found[1], found[2]), text[found.end() :].rstrip("\r\n\0"))
        return
    headers.add(None, _NO_STAMP, (None, None, None), text.rstrip("\r\n\0"))


def _rfc5424(headers: Headers, text: str, found: re.Match[str], zone: dt.tzinfo) -> None:
    pri, version, stamp, host, program, pid, msgid = (None if v == "-" else v for v in found.groups())
    row = len(headers.message)
    structured, end = structured_data(text, found.end())
    if version:
        headers.version[row] = version
    if msgid:
        headers.msgid[row] = msgid
    if structured:
        headers.structured[row] = structured
    # rsyslog's RSYSLOG_SyslogProtocol23Format writes two spaces: its own, and the one behind the colon of the tag.
    message = text[end:].removeprefix(" ").removeprefix(_BOM).lstrip(" ").rstrip("\r\n\0")
    headers.add(pri, times.iso(stamp, zone) if stamp else _NO_STAMP, (host, program, pid), message)


def structured_data(text: str, start: int) -> tuple[dict[str, Any], int]:
    """RFC 5424 section 6.3 from `start`: `{id: {name: value}}` and where it ends. What is malformed stays message."""
    if text.startswith("-", start):
        return {}, start + 1
    elements: dict[str, Any] = {}
    end = start
    while (found := _ELEMENT.match(text, end)) is not None:
        params = elements.setdefault(found[1], {})
        for name, escaped in _PARAM.findall(found[2]):
            value = _ESCAPED.sub(r"\1", escaped)
            params[name] = f"{params[name]}, {value}" if name in params else value
        end = found.end()
    return elements, end
