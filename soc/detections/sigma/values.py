"""The text and number forms in which Sigma compares an event's values."""

from __future__ import annotations

import functools
import ipaddress
import json
import re
from typing import Any

_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)


def text_of(value: Any) -> str:
    """A value as text: truth values as `true` and `false`, whole numbers without a fraction, bytes as hex."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    return json.dumps(value, ensure_ascii=False, default=str)


def fold(text: str) -> str:
    """Lower case, character by character.

    `str.lower` on a whole word makes a final sigma of some `Σ` (the one letter whose lower case depends on what is
    beside it), so a literal would no longer be found inside a longer word.
    """
    return "".join(map(str.lower, text)) if "Σ" in text else text.lower()


def number_of(value: Any) -> int | float | None:
    """A value as a number; text only when it is a plain decimal one."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value
    if not isinstance(value, str):
        return None
    text = value.strip()
    if len(text) > 64 or not _NUMBER.fullmatch(text):
        return None
    return int(text) if text.lstrip("+-").isdigit() else float(text)


@functools.lru_cache(maxsize=65536)
def address_of(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """A value as an IP address, None when it is none."""
    try:
        return ipaddress.ip_address(text.strip().partition("%")[0])
    except ValueError:
        return None
