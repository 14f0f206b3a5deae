"""ArcSight's Common Event Format: `CEF:0|vendor|product|version|id|name|severity|key=value …` to named values.

Source: what Trend Micro, Juniper, OPSWAT, Kaspersky and VMware document of their CEF. ArcSight's own paper was not open
to us: its rules and examples are known as others quote them.
"""

from __future__ import annotations

import re

from soc.parsers.decoders import devtime

MAX_PAIRS = 512
"""More pairs than this stay in `event.original` only."""
HEADER = ("@vendor", "@product", "@version", "@id", "@name", "@severity")
_BEGIN = re.compile(r"(?:CEF: ?)?([01])\|")
_PART = re.compile(r"((?:[^\\|]|\\.)*+)\|", re.DOTALL)
_KEY = re.compile(r"(?:^|(?<=[ \t\r\n]))([A-Za-z0-9_][\w.\[\]-]{0,63})=", re.ASCII)
_HEADER_ESCAPE = re.compile(r"\\([\\|])")
_ESCAPE = re.compile(r"\\([\\=|nrt])")
_MEANING = {"n": "\n", "r": "\r", "t": "\t"}
_TIMES = ("rt", "end", "start", "deviceReceiptTime")


def decode(text: str) -> dict[str, str]:
    """The header under `@vendor` … `@severity`, the extension under its keys, `@time`, `@format`; `{}`: it is no CEF.

    Values may hold blanks; a `=` in them is escaped. A key that stands twice keeps its first value, and the second
    stands under `key#2`, so that text inside a value cannot overrule what came before.
    """
    begin = _BEGIN.match(text)
    if begin is None:
        return {}
    pairs: dict[str, str] = {}
    at = begin.end()
    for name in HEADER:
        part = _PART.match(text, at)
        if part is None:
            # The last bar may be missing when there is no extension.
            if name != HEADER[-1]:
                return {}
            pairs[name], at = text[at:], len(text)
            break
        pairs[name], at = part[1], part.end()
    pairs = {name: _HEADER_ESCAPE.sub(r"\1", value).strip() for name, value in pairs.items()}
    pairs["@format"] = "CEF"
    _extension(text[at:], pairs)
    _moment(pairs)
    return pairs


def _extension(text: str, pairs: dict[str, str]) -> None:
    keys = list(_KEY.finditer(text))[:MAX_PAIRS]
    for key, after in zip(keys, [*keys[1:], None], strict=False):
        stop = len(text) if after is None else after.start()
        value = text[key.end() : stop].strip(" \t\r\n")
        add(pairs, key[1], _ESCAPE.sub(_unescaped, value) if "\\" in value else value)


def add(pairs: dict[str, str], name: str, value: str) -> None:
    """A pair; the second of a name goes under `name#2`, further ones stay in the original text."""
    if name not in pairs:
        pairs[name] = value
    elif pairs[name] != value:
        pairs.setdefault(f"{name}#2", value)


def _unescaped(found: re.Match[str]) -> str:
    return _MEANING.get(found[1], found[1])


def _moment(pairs: dict[str, str]) -> None:
    for name in _TIMES:
        if (value := pairs.get(name)) and (stamp := devtime.normal(value)) is not None:
            pairs["@time"] = stamp
            return
