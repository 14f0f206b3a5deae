"""Documents that cloud services wrap around many events: `{"Records": [...]}` of CloudTrail, `records` of Azure and
`value` of Microsoft Graph."""

from __future__ import annotations

import re
from typing import Any

import orjson

_NAMES = ("Records", "records", "value")
_BEGINS = re.compile(rb'\{\s*(?:"@odata\.\w+"\s*:\s*"[^"]*"\s*,\s*){0,8}"(?:Records|records|value)"\s*:\s*\[')


def is_wrapper(text: bytes) -> bool:
    """Whether a document begins as one."""
    return _BEGINS.match(text) is not None


def unwrapped(document: Any) -> list[Any]:
    """The events of a wrapper, and last what else it says; any other document alone."""
    names = [name for name in document if not name.startswith("@odata.")] if isinstance(document, dict) else []
    if not names or names[0] not in _NAMES or not isinstance(document[names[0]], list):
        return [document]
    rest = {name: document[name] for name in names[1:]}
    return [*document[names[0]], *([rest] if rest else [])]


def opened(text: bytes, most: int | None = None) -> list[bytes]:
    """The events of a wrapper as JSON, any other text alone.

    With `most` also alone: one that holds nothing, more than so many, or what is no object.
    """
    if not is_wrapper(text):
        return [text]
    try:
        found = unwrapped(orjson.loads(text))
    except ValueError:
        return [text]
    if most is not None and (not 0 < len(found) <= most or not all(isinstance(each, dict) for each in found)):
        return [text]
    return [orjson.dumps(each) for each in found]
