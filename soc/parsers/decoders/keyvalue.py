"""`key=value key="quoted value"` text, as FortiGate and many firewalls write it."""

from __future__ import annotations

import re

_PAIR = re.compile(r'([A-Za-z_][\w.-]{0,63})=(?:"([^"\\]*(?:\\.[^"\\]*)*)"|([^\s"]\S*|))(?=[\s,;]|$)', re.DOTALL)
_ESCAPED = re.compile(r'\\(["\\])')
MAX_PAIRS = 512
"""More pairs than this stay in `event.original` only."""


def decode(text: str) -> dict[str, str]:
    """The pairs in order; a key that stands twice keeps its first value, so that quoted text cannot overrule it."""
    pairs: dict[str, str] = {}
    for key, quoted, bare in _PAIR.findall(text)[:MAX_PAIRS]:
        if key not in pairs:
            pairs[key] = bare or (_ESCAPED.sub(r"\1", quoted) if "\\" in quoted else quoted)
    return pairs
