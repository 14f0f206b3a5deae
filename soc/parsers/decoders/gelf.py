"""GELF messages (payload specification 1.1): their own names, and the additional fields without the underscore."""

from __future__ import annotations

from typing import Any

import orjson

from soc.parsers.decoders.flat import MAX_KEYS, flatten

OWN = frozenset({"version", "host", "short_message", "full_message", "timestamp", "level", "facility", "line", "file"})


def decode(text: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """What the specification names, and the rest: `_user.name` is `user.name`; None for what is no GELF message.

    A message without `short_message` is none, but many senders forget `version` and `host`. A name with and one
    without underscore keep apart: the latter is no additional field, and stays with its prefix `gelf.`.
    """
    try:
        document = orjson.loads(text.rstrip("\0\r\n "))
    except ValueError:
        return None
    if not isinstance(document, dict) or not ("short_message" in document or "message" in document):
        return None
    own: dict[str, Any] = {}
    beside: dict[str, Any] = {}
    for name, value in list(document.items())[:MAX_KEYS]:
        if name in OWN:
            own[name] = value
        elif name.startswith("_") and len(name) > 1:
            beside[name[1:]] = value
        else:
            beside[f"gelf.{name}"] = value
    if "short_message" not in own:
        own["short_message"] = beside.pop("gelf.message")
    return own, flatten(beside)
