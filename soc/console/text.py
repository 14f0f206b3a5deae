"""Safe and local text: what a log says can never steer the terminal; times are shown in Vietnam's zone."""

from __future__ import annotations

import datetime as dt
import unicodedata
from typing import Any

from soc.model.clock import VIETNAM

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Joiners that Vietnamese and emoji never need, and bidirectional marks, are of category Cf: all of it is spelled out.


def clean(value: Any, width: int | None = None) -> str:
    """The text with every control, format and unassigned character spelled out (`\\x1b`), cut to `width` with `…`."""
    text = "" if value is None else str(value)
    if not text.isascii() or not text.isprintable():
        text = "".join(_spelled(c) for c in text)
    return text if width is None or len(text) <= width else text[: max(width - 1, 0)] + "…"


def _spelled(character: str) -> str:
    if unicodedata.category(character) not in _HIDDEN:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def when(us: int | None, *, seconds: bool = True, zone: dt.tzinfo = VIETNAM) -> str:
    """`2026-11-20 14:03:05` in the zone shown to people; empty for no time."""
    if us is None:
        return ""
    at = dt.datetime.fromtimestamp(us / 1_000_000, dt.UTC).astimezone(zone)
    return at.strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")
