"""Syslog headers beyond RFC 3164 and its common dialects: what the regular patterns of `syslog` do not match."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass

from soc.parsers import times

MONTHS = frozenset(times.MONTHS)
_CLOCK = r"\d\d:\d\d:\d\d(?:[.,]\d{1,9})?"
_ZONE = r"(?: ?Z| ?[+-]\d\d:?\d\d| (?:UTC|GMT|ICT))?"

# Cisco: sequence number, origin-id, another sequence number, then a clock (`*` or `.`: not set) or the time since boot.
_CISCO = re.compile(
    r"(?:<(\d{1,3})>)?:? ?(?:\d{1,10}: )?(?:([A-Za-z][\w.-]{0,63}|\d{1,3}(?:\.\d{1,3}){3}): )?(?:\d{1,10}: )?[*.]?"
    r"(?:([A-Z][a-z]{2} {1,2}\d{1,2}(?: \d{4})? \d\d:\d\d:\d\d(?:\.\d{1,9})?(?: [A-Z]{3,4})?)"
    r"|\d{1,3}[ywd]\d{1,3}[wdh]|\d{1,3}:\d\d:\d\d): (?=%[A-Z])"
)
# Only behind a PRI: without one such a line belongs to an application, and the stamp to its message.
_STAMPED = re.compile(
    r"<(\d{1,3})>(?:"
    rf"(?:[A-Za-z]{{3}},? )?(?P<day>\d{{1,2}})[ -](?P<month>[A-Za-z]{{3}})[ -](?P<year>\d{{4}})[ :](?P<at>{_CLOCK})"
    rf"(?P<zone>{_ZONE})"
    rf"|[A-Za-z]{{3}} (?P<ctime>[A-Za-z]{{3}} {{1,2}}\d{{1,2}} {_CLOCK}(?: (?:UTC|GMT|ICT))? \d{{4}})"
    rf"|(?P<big>\d{{4}}[-/]\d\d[-/]\d\d[ T]{_CLOCK}{_ZONE})"
    rf"|(?P<first>\d\d)[/.](?P<second>\d\d)[/.](?P<last>\d{{4}})[ -](?P<clock>{_CLOCK})"
    rf"|(?P<bsd>[A-Za-z]{{3}} {{1,2}}\d{{1,2}} (?:\d{{4}} )?{_CLOCK})"
    r"|(?:1 )?(?P<epoch>\d{10}(?:\.\d{1,9}|\d{3})?)"
    r")(?=[ :]):? *"
)
_WHO = re.compile(r"([\w.:/-]{1,255}(?:%\w{1,16})?) +([^\s\[:%<{\"=]{1,64})(?:\[([^\]\s]{0,32})\])?:(?: +|$)")
_TAG = re.compile(r"([^\s\[:%<{\"=]{1,64})\[([^\]\s]{0,32})\]:(?: +|$)")
_BRACKETED = re.compile(
    r"\[([0-9A-Fa-f:.]{2,45})\](?::\d{1,5})?:? +(?:([^\s\[:%<{\"=]{1,64})(?:\[([^\]\s]{0,32})\])?:(?: +|$))?"
)
_MERAKI = re.compile(r"([\w.:-]{1,64}) +")

# Before a header: byte order marks, NULs, blanks, a PRI that is none, a PRI that a relay put before another one.
_JUNK = re.compile(r"[\ufeff\0\s]+|<(?!\d{1,3}>) ?(-?\d{0,10}) ?>|<\d{1,3}>(?=<\d{1,3}>)")
# Telegraf counts octets (RFC 6587 section 3.4.1) in datagrams too.
_COUNTED = re.compile(r"([1-9]\d{0,4}) (?=<\d{1,3}>)")
_AFTER_PRI = re.compile(r"(<\d{1,3}>)[\ufeff\0\s]+(?=\S)")

Who = tuple[str | None, str | None, str | None]
"""Host, program and process."""


@dataclass(frozen=True)
class Odd:
    """A header that was understood after all; `end` is where its message begins."""

    priority: str | None
    stamp: times.Stamp
    who: Who
    end: int


def header(text: str, receipt_us: int, zone: dt.tzinfo) -> Odd | None:
    """An unusual header at the start of this text, or None."""
    found = _CISCO.match(text)
    if found is not None:
        stamp = times.bsd(found[3], receipt_us, zone) if found[3] else (None, times.RECEIVED)
        return Odd(found[1], stamp, (found[2], None, None), found.end())
    found = _STAMPED.match(text)
    if found is None:
        return None
    end, who = found.end(), _who(text, found.end())
    if who is not None:
        return Odd(found[1], _stamp(found, receipt_us, zone), who[0], who[1])
    if found["epoch"] and (host := _MERAKI.match(text, end)):
        return Odd(found[1], _stamp(found, receipt_us, zone), (host[1], None, None), host.end())
    return Odd(found[1], _stamp(found, receipt_us, zone), (None, None, None), end)


def _who(text: str, at: int) -> tuple[Who, int] | None:
    found = _WHO.match(text, at)
    if found is not None:
        return (found[1], found[2], found[3]), found.end()
    found = _TAG.match(text, at)
    return ((None, found[1], found[2]), found.end()) if found is not None else None


def _stamp(found: re.Match[str], receipt_us: int, zone: dt.tzinfo) -> times.Stamp:
    parts = found.groupdict()
    if parts["epoch"]:
        seconds = parts["epoch"]
        return times.epoch(seconds if "." in seconds else int(seconds))
    if parts["big"]:
        text = parts["big"].replace("/", "-").replace(" ", "T", 1).replace(" ", "")
        return times.iso(text.removesuffix("ICT") + ("+07:00" if text.endswith("ICT") else ""), zone)
    if parts["ctime"]:
        return times.bsd(_moved_year(parts["ctime"].title()), receipt_us, zone)
    if parts["bsd"]:
        return times.bsd(parts["bsd"].title(), receipt_us, zone)
    if parts["month"]:
        month = times.MONTHS.get(parts["month"].title())
        return _numbers(parts["year"], month, parts["day"], parts["at"], (parts["zone"] or "").strip(), zone)
    first, second = int(parts["first"]), int(parts["second"])
    if first <= 12 and second <= 12 and first != second:
        return None, times.RECEIVED  # day or month first? A guess would move events by months
    day, month = (first, second) if first > 12 else (second, first)
    return _numbers(parts["last"], month, day, parts["clock"], "", zone)


def _moved_year(text: str) -> str:
    """`Nov 20 09:00:00 Utc 2026` as `Nov 20 2026 09:00:00 UTC`."""
    month, day, clock, *rest = text.split()
    return " ".join([month, day, rest[-1], clock, *(word.upper() for word in rest[:-1])])


def _numbers(year: str, month: int | None, day: str | int, clock: str, offset: str, zone: dt.tzinfo) -> times.Stamp:
    if month is None:
        return None, times.RECEIVED
    offset = {"UTC": "Z", "GMT": "Z", "ICT": "+07:00"}.get(offset, offset)
    return times.iso(f"{year}-{month:02}-{int(day):02}T{clock}{offset}", zone)


def without_junk(text: str) -> str | None:
    """The text without what stands before its header, None when nothing does."""
    found = _JUNK.match(text)
    if found is not None:
        digits = found[1] or ""
        priority = f"<{digits}>" if digits.isdigit() and len(digits) <= 3 else ""
        return priority + text[found.end() :]
    found = _COUNTED.match(text)
    if found is not None:
        rest = text[found.end() :]
        return rest if int(found[1]) in (len(rest), len(rest.encode("utf-8", "replace"))) else None
    found = _AFTER_PRI.match(text)
    return found[1] + text[found.end() :] if found is not None else None


def bracketed(message: str) -> tuple[Who, str] | None:
    """Host, program and process when the host is an address in brackets, and the message behind them."""
    found = _BRACKETED.match(message)
    return ((found[1], found[2], found[3]), message[found.end() :]) if found is not None else None


def utf16(record: bytes) -> str | None:
    """The text of a record in UTF-16, with a byte order mark or told by its NULs; None when it is none.

    Where a line feed cut the stream, half of it stands at an end; it goes.
    """
    if record.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _wide(record[2:], "utf-16-le" if record[0] == 0xFF else "utf-16-be")
    if len(record) < 8:
        return None
    half = len(record) // 2
    even, odd = record[0::2].count(0), record[1::2].count(0)
    if max(even, odd) * 10 < half * 6 or min(even, odd) * 10 > half:
        return None
    if odd > even:
        return _wide(record, "utf-16-le")
    if record[0] == 0 and len(record) % 2:
        return _wide(record[1:], "utf-16-le")  # the high half of a line feed, then little endian
    return _wide(record, "utf-16-be")


def _wide(record: bytes, encoding: str) -> str | None:
    try:
        return record[: len(record) // 2 * 2].decode(encoding).rstrip("\r\n\0")
    except UnicodeDecodeError:
        return None
