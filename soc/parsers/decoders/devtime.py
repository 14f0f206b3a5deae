"""Time stamps in CEF and LEEF: epoch in ms, ISO 8601, `MMM dd yyyy HH:mm:ss[.SSS] [zone]`, or a Java pattern."""

from __future__ import annotations

import datetime as dt
import re

from soc.parsers.times import MONTHS

_PLAIN = re.compile(r"([A-Za-z]{3}) {1,2}(\d{1,2}),? (\d{4}),? (\d\d):(\d\d):(\d\d)(?:[.,:](\d{1,9}))?(?: ?(.{1,40}))?")
_OFFSET = re.compile(r"(?:GMT|UTC)?([+-])(\d\d):?(\d\d)")
# RFC 5322 section 4.3 knows the American names; the others are those of our neighbours.
_ZONES = {
    "UTC": "+00:00", "GMT": "+00:00", "Z": "+00:00", "ICT": "+07:00", "JST": "+09:00", "SGT": "+08:00",
    "EST": "-05:00", "EDT": "-04:00", "CST": "-06:00", "CDT": "-05:00", "MST": "-07:00", "MDT": "-06:00",
    "PST": "-08:00", "PDT": "-07:00",
}  # fmt: skip
_DIGITS = re.compile(r"\d{9,19}(?:\.\d{1,9})?")
_TOKENS = re.compile(r"'[^']*'|([A-Za-z])\1*|[^A-Za-z']")
_JAVA = {
    "yyyy": "%Y", "yy": "%y", "MMM": "%b", "MM": "%m", "dd": "%d", "d": "%d", "HH": "%H", "H": "%H", "hh": "%I",
    "mm": "%M", "ss": "%S", "SSS": "%f", "SSSSSS": "%f", "a": "%p", "EEE": "%a", "X": "%z", "XX": "%z", "XXX": "%z",
    "Z": "%z", "ZZ": "%z", "ZZZ": "%z",
}  # fmt: skip


def normal(text: str, pattern: str = "") -> str | None:
    """The stamp as ISO 8601 text, without an offset where it names no zone, or as digits (an epoch); None: no stamp."""
    text = text.strip()
    if not text or len(text) > 80:
        return None
    if pattern and (found := _by_pattern(text, pattern)) is not None:
        return found
    if _DIGITS.fullmatch(text):
        return text
    plain = _PLAIN.fullmatch(text)
    if plain is None:
        return text if _is_iso(text) else None
    month, day, year, hour, minute, second, fraction, zone = plain.groups()
    number, offset = MONTHS.get(month.title()), _offset(zone)
    if number is None or offset is None:
        return None
    return f"{year}-{number:02}-{int(day):02}T{hour}:{minute}:{second}.{(fraction or '0')[:6]}{offset}"


def _offset(zone: str | None) -> str | None:
    if not zone:
        return ""
    if zone.upper() in _ZONES:
        return _ZONES[zone.upper()]
    found = _OFFSET.fullmatch(zone)
    return f"{found[1]}{found[2]}:{found[3]}" if found is not None else None


def _is_iso(text: str) -> bool:
    try:
        dt.datetime.fromisoformat(text.replace(",", "."))
    except ValueError:
        return False
    return True


def _by_pattern(text: str, pattern: str) -> str | None:
    """By a pattern of java.text.SimpleDateFormat; None when it has letters that are not known here, or does not fit."""
    if len(pattern) > 64:
        return None
    form: list[str] = []
    for token in _TOKENS.finditer(pattern):
        piece = token[0]
        if piece[0] == "'":
            form.append((piece[1:-1] or "'").replace("%", "%%"))
        elif token[1] is None:
            form.append("%%" if piece == "%" else piece)
        elif piece in _JAVA:
            form.append(_JAVA[piece])
        elif token[1] == "z":
            return None  # a zone by name: the other forms know it
        else:
            return None
    try:
        return dt.datetime.strptime(text, "".join(form)).isoformat()  # noqa: DTZ007 - the zone follows, or is assumed
    except (ValueError, OverflowError, re.error):  # re.error: a part that stands twice, `HH HH`
        return None
