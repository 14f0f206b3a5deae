"""Syslog headers as devices really send them: RFC 3164 with its dialects, RFC 5424, a bare PRI, or nothing at all."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from soc.model.clock import DAY_US, VIETNAM
from soc.parsers import times
from soc.parsers.decoders import syslog_odd

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
    r"(?: \d{4}(?=:? ))?(?: (?:UTC|GMT|ICT|[+-]\d\d:?\d\d)(?=:? )| [A-Z]{3,4}(?=: ))?)"
    r"|(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?))"
    # A colon straight after the stamp means no host (ASA); ` host : ` is ASA with a device-id.
    r"(?:: *|(?= |$) *(?:([\w.:/-]{0,254}[\w./-](?:%\w{1,16})?)(?: +|$)(?:: +)?)?)"
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


def headless(texts: Sequence[str]) -> Headers:
    """Of records that are all message."""
    n = len(texts)
    return Headers([None] * n, [None] * n, [times.RECEIVED] * n, [None] * n, [None] * n, [None] * n, list(texts))


def decode(texts: Sequence[str], receipt_us: Sequence[int], zone: dt.tzinfo = VIETNAM) -> Headers:
    """The headers of these records and the messages behind them. Never raises; a record without one is all message."""
    if all(text[:1] in _DOCUMENT for text in texts):
        return headless([text.rstrip("\r\n\0") for text in texts])
    headers = Headers()
    seen: dict[tuple[str, int], times.Stamp] = {}
    for text, receipt in zip(texts, receipt_us, strict=True):
        found = _LEGACY.match(text)
        if found is None:
            _other(headers, text, receipt, zone, 0)
            continue
        pri, stamp, iso, host, program, pid = found.groups()
        key = (stamp or iso, receipt // DAY_US)
        at = seen.get(key)
        if at is None:
            at = seen[key] = times.bsd(stamp, receipt, zone) if stamp else times.iso(iso, zone)
        message = text[found.end() :].rstrip("\r\n\0")
        first = message[:1]
        if host in _NO_HOSTS or (first in _SUSPECT and (program is None or first == _BOM or program.isdigit())):
            row = _Row(pri, at, (host, program, pid), message)
            row = _looked_again(headers, row, text, found.start(4), receipt, zone, 0)
            headers.add(row.pri, row.at, row.who, row.message)
        else:
            headers.add(pri, at, (host, program, pid), message)
    return headers


@dataclass(frozen=True)
class _Row:
    pri: str | None
    at: times.Stamp
    who: syslog_odd.Who
    message: str


# A message that begins like this may be a second header, or the rest of the first.
_SUSPECT = frozenset("<[*.\ufeff0123456789JFMASOND")
_LEVELS = frozenset({"TRACE", "DEBUG", "INFO", "NOTICE", "WARN", "WARNING", "ERROR", "FATAL", "CRITICAL"})
_NO_HOSTS = syslog_odd.MONTHS | _LEVELS | {"last"}
_MAX_DEPTH = 3
_BARE_5424 = re.compile(r"1 (?:\d{4}-\d\d-\d\dT\S{8,30}|-) \S+ \S+ \S+ \S+ (?:-|\[)")


def _looked_again(
    headers: Headers, row: _Row, text: str, host_at: int, receipt: int, zone: dt.tzinfo, depth: int
) -> _Row:
    """The row, or what the device itself said where a relay put a header of its own before the device's."""
    host, program, pid = row.who
    message = row.message.removeprefix(_BOM)
    if host == "last" and message.startswith("message repeated "):
        return _Row(row.pri, row.at, (None, program, pid), f"last {message}")  # syslogd, RFC 3164 has no word on it
    if host in _LEVELS and row.pri is None and not depth:  # a line that an application wrote into its own file
        return _Row(None, row.at, (None, None, None), text[host_at:].rstrip("\r\n\0"))
    if host in syslog_odd.MONTHS:
        host, message = None, text[host_at:].rstrip("\r\n\0")
    elif program is not None and not program.isdigit():
        return _Row(row.pri, row.at, row.who, message)
    elif host is None and (found := syslog_odd.bracketed(message)) is not None:
        return _Row(row.pri, row.at, *found)
    inner = _inner(headers, message, receipt, zone, depth + 1) if depth < _MAX_DEPTH else None
    # Without a PRI, `2026-11-20T09:00:00Z INFO started` is an application's line, and INFO no host.
    if inner is None or (host and inner.who[0] and inner.pri is None and not inner.who[1]):
        return _Row(row.pri, row.at, row.who, row.message if host is None else message)
    at = row.at if inner.at[0] is None else inner.at
    return _Row(inner.pri or row.pri, at, (inner.who[0] or host, *inner.who[1:]), inner.message)


def _inner(headers: Headers, text: str, receipt: int, zone: dt.tzinfo, depth: int) -> _Row | None:
    """A header at the start of a message: one with a stamp, or RFC 5424 with or without its PRI."""
    found = _LEGACY.match(text)
    if found is not None:
        pri, stamp, iso, host, program, pid = found.groups()
        at = times.bsd(stamp, receipt, zone) if stamp else times.iso(iso, zone)
        row = _Row(pri, at, (host, program, pid), text[found.end() :].rstrip("\r\n\0"))
        return _looked_again(headers, row, text, found.start(4), receipt, zone, depth)
    if text[:1] == "<" and (found := _RFC5424.match(text)) is not None:
        return _rfc5424(headers, text, found, receipt, zone, depth)
    if _BARE_5424.match(text) and (found := _RFC5424.match(f"<0>{text}")) is not None:
        row = _rfc5424(headers, f"<0>{text}", found, receipt, zone, depth)
        return _Row(None, row.at, row.who, row.message)
    odd = syslog_odd.header(text, receipt, zone)
    if odd is None:
        return None
    return _Row(odd.priority, odd.stamp, odd.who, text[odd.end :].rstrip("\r\n\0"))


def _other(headers: Headers, text: str, receipt: int, zone: dt.tzinfo, depth: int) -> None:
    row = _inner(headers, text, receipt, zone, depth) if depth or not _PLAIN.match(text) else None
    if row is None and depth < _MAX_DEPTH and (rest := syslog_odd.without_junk(text)) is not None:
        _other(headers, rest, receipt, zone, depth + 1)
        return
    row = row or _without_stamp(text)
    headers.add(row.pri, row.at, row.who, row.message)


_DOCUMENT = frozenset("{[")
"""No header begins like this."""
# Most lines without a header begin with a word; nothing above finds anything in them.
_PLAIN = re.compile(r"[A-Za-z]{4}|[{\[]")


def _without_stamp(text: str) -> _Row:
    found = _PRI_ONLY.match(text)
    if found is not None:
        return _Row(found[1], _NO_STAMP, (None, found[2], found[3]), text[found.end() :].strip("\r\n\0 "))
    found = _TAG_ONLY.match(text)
    if found is not None:
        return _Row(None, _NO_STAMP, (None, found[1], found[2]), text[found.end() :].rstrip("\r\n\0"))
    return _Row(None, _NO_STAMP, (None, None, None), text.rstrip("\r\n\0"))


def _rfc5424(headers: Headers, text: str, found: re.Match[str], receipt: int, zone: dt.tzinfo, depth: int) -> _Row:
    pri, version, stamp, host, program, pid, msgid = (None if v == "-" else v for v in found.groups())
    if stamp and stamp[0] != "2" and (odd := syslog_odd.header(text, receipt, zone)) is not None:
        # Meraki puts the version before seconds since 1970, and then no other field of RFC 5424.
        return _Row(odd.priority, odd.stamp, odd.who, text[odd.end :].rstrip("\r\n\0"))
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
    result = _Row(pri, times.iso(stamp, zone) if stamp else _NO_STAMP, (host, program, pid), message)
    if program is None and message[:1] in _SUSPECT:
        return _looked_again(headers, result, text, end, receipt, zone, depth)
    return result


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
