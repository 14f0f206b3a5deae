"""A JSON document to dotted names: nested objects are joined with dots, lists of plain values stay lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MAX_KEYS, MAX_DEPTH = 1000, 24


def flatten(document: Mapping[str, Any]) -> dict[str, Any]:
    """`{"a": {"b": 1}}` and `{"a.b": 1}` both give `{"a.b": 1}`. What is deeper or more than the bounds stays whole."""
    result: dict[str, Any] = {}
    _into(result, "", document, 0)
    return result


def _into(result: dict[str, Any], prefix: str, tree: Mapping[str, Any], depth: int) -> None:
    for key, value in tree.items():
        name = prefix + key
        if isinstance(value, dict) and value and depth < MAX_DEPTH and len(result) < MAX_KEYS:
            _into(result, f"{name}.", value, depth + 1)
        elif value is not None:
            result[name] = value
