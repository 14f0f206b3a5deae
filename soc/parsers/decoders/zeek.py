"""Rows of Zeek's own log format to the values that its JSON would have.

Source: https://docs.zeek.org/en/master/log-formats.html; the header's directives come with the block.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from soc.parsers.decoders.paths import MOST

PATH = "_path"
"""The name of the log, as Zeek's JSON streaming calls it."""
_ESCAPED = re.compile(r"(?:\\x[0-9a-fA-F]{2})+")


def rows(texts: Sequence[str], names: Sequence[str], header: Mapping[str, str]) -> list[dict[str, Any] | None]:
    """The values of each row by the names of its columns, without unset ones; None for one that has more or fewer."""
    separator, inner = header.get("separator") or "\t", header.get("set_separator") or ","
    unset, empty = header.get("unset_field") or "-", header.get("empty_field") or "(empty)"
    types = _types(header.get("types", ""))
    lists = [kind.startswith(("set[", "vector[")) for kind in types] + [False] * len(names)
    truths = [kind == "bool" for kind in types] + [False] * len(names)
    found: list[dict[str, Any] | None] = []
    for text in texts:
        values = text.split(separator)
        if len(values) != len(names):
            found.append(None)
            continue
        row: dict[str, Any] = {PATH: header.get("path", "")}
        for name, value, is_list, is_truth in zip(names, values, lists, truths, strict=False):
            if value == unset:
                continue
            if is_list:
                row[name] = [] if value == empty else [_plain(part) for part in value.split(inner)[:MOST]]
            elif is_truth:
                row[name] = value == "T"
            else:
                row[name] = "" if value == empty else _plain(value)
        found.append(row)
    return found


def _types(text: str) -> list[str]:
    try:
        types = orjson.loads(text)
    except ValueError:
        return []
    return [str(kind) for kind in types] if isinstance(types, list) else []


def _plain(value: str) -> str:
    if "\\x" not in value:
        return value
    return _ESCAPED.sub(lambda m: bytes.fromhex(m[0].replace("\\x", "")).decode("utf-8", "backslashreplace"), value)
