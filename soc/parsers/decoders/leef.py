"""IBM QRadar's Log Event Extended Format 1.0 and 2.0: a header parted by bars, pairs parted by a tab or what it names.

Source: "IBM Security QRadar Log Event Extended Format (LEEF) Version 2".
"""

from __future__ import annotations

import re

from soc.parsers.decoders import devtime
from soc.parsers.decoders.cef import MAX_PAIRS, add

HEADER = ("@vendor", "@product", "@version", "@id")
_BEGIN = re.compile(r"(?:LEEF: ?)?([12])\.0\|")
_HEX = re.compile(r"(?:0?[xX])([0-9A-Fa-f]{1,4})")
_KEY = re.compile(r"[A-Za-z0-9_][\w.\[\]-]{0,63}", re.ASCII)
_SPELLED = re.compile(r"<0?09>|\\t|\\0x09")


def decode(text: str) -> dict[str, str]:
    """The header under `@vendor` … `@id`, the attributes under their keys, `@time`, `@format`; `{}`: it is no LEEF."""
    begin = _BEGIN.match(text)
    if begin is None:
        return {}
    parts = text[begin.end() :].split("|", 5 if begin[1] == "2" else 4)
    if len(parts) < 4:
        return {}
    pairs = {name: value.strip() for name, value in zip(HEADER, parts, strict=False)}
    pairs["@format"] = "LEEF"
    delimiter, rest = "\t", "|".join(parts[4:])
    if begin[1] == "2" and len(parts) > 5:
        named = _delimiter(parts[4])
        if named is not None:
            delimiter, rest = named, parts[5]
    _attributes(rest, delimiter, pairs)
    if (value := pairs.get("devTime")) and (stamp := devtime.normal(value, pairs.get("devTimeFormat", ""))):
        pairs["@time"] = stamp
    return pairs


def _delimiter(text: str) -> str | None:
    """A character, or its code as `x5E` or `0x5E`; nothing means a tab. None: this is no such field (LEEF 2.0 as some
    write it)."""
    if not text:
        return "\t"
    code = _HEX.fullmatch(text)
    if code is not None:
        value = int(code[1], 16)
        return chr(value) if value and not 0xD800 <= value <= 0xDFFF else "\t"
    return text if len(text) == 1 else None


def _attributes(text: str, delimiter: str, pairs: dict[str, str]) -> None:
    if delimiter == "\t" and "\t" not in text:
        # A relay that writes control characters out (rsyslog: #011 is undone elsewhere; others: <009>, \t).
        text = _SPELLED.sub("\t", text)
    last = ""
    for piece in text.split(delimiter, MAX_PAIRS)[:MAX_PAIRS]:
        name, equals, value = piece.partition("=")
        name = name.strip()
        if equals and _KEY.fullmatch(name):
            add(pairs, name, value.strip("\r\n"))
            last = name
        elif last and piece.strip():
            pairs[last] += delimiter + piece  # the delimiter stood in a value
