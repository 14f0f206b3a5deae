"""What stands at a dotted path of a JSON document; a list on the way stands for all of its elements.

`parameters[mode]` is the value of the pair called `mode` in a list of pairs: `[{"name": "mode", "value": 1}]`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import orjson

MOST = 1000
"""So many values of one path are taken."""
_SIMPLE = {str, int, float, bool, type(None)}
_VALUES = ("value", "Value", "multiValue", "intValue", "boolValue")


def values_at(tree: Any, path: str) -> list[Any]:
    """The values under `path`, without nulls: `a.b` of `{"a": [{"b": 1}, {"b": 2}]}` is `[1, 2]`.

    A name that has dots itself (`{"id.orig_h": …}`) comes before the path that they would be.
    """
    if isinstance(tree, list):
        found: list[Any] = []
        for element in tree[:MOST]:
            if isinstance(element, dict):
                found += values_at(element, path)
        return found[:MOST]
    if not isinstance(tree, dict):
        return []
    value = tree.get(path)
    if value is not None:
        return value[:MOST] if isinstance(value, list) else [value]
    head, dot, tail = path.partition(".")
    if head.endswith("]"):
        name, _, key = head[:-1].partition("[")
        paired = _paired(tree.get(name), key)
        return values_at(paired, tail) if dot else paired
    while dot:
        if head in tree:
            return values_at(tree[head], tail)
        more, dot, tail = tail.partition(".")
        head = f"{head}.{more}"
    return []


def _paired(pairs: Any, key: str) -> list[Any]:
    found: list[Any] = []
    for pair in pairs[:MOST] if isinstance(pairs, list) else ():
        if isinstance(pair, dict) and key in (pair.get("name"), pair.get("Name"), pair.get("key")):
            value = next((pair[word] for word in _VALUES if pair.get(word) is not None), None)
            found += value if isinstance(value, list) else [] if value is None else [value]
    return found[:MOST]


def stands(document: Mapping[str, Any], wanted: Mapping[str, Collection[str]]) -> bool:
    """Whether at every one of these paths stands one of its values, or with `*` any."""
    for path, allowed in wanted.items():
        found = values_at(document, path)
        if not found or not ("*" in allowed or any(str(as_text(value)) in allowed for value in found)):
            return False
    return True


def column_at(documents: Sequence[Mapping[str, Any]], path: str, *, many: bool) -> list[Any] | None:
    """The values of each document as a field takes them: one, or a list for `many`; what is nested or one too many is
    JSON text, what is not there None. None for the whole when no document has any."""
    found: list[Any] = [document.get(path) for document in documents]
    kinds = set(map(type, found))
    is_deep = "." in path or "[" in path
    if not kinds <= _SIMPLE or (is_deep and type(None) in kinds):
        return _walked(documents, path, found, many)
    if kinds == {type(None)}:
        return None
    if bool in kinds:
        found = [as_text(value) for value in found]
    return [None if value is None else [value] for value in found] if many else found


def _walked(documents: Sequence[Mapping[str, Any]], path: str, found: list[Any], many: bool) -> list[Any] | None:
    column = [
        _taken([value] if value.__class__ in _SIMPLE and value is not None else values_at(document, path), many)
        for document, value in zip(documents, found, strict=True)
    ]
    return column if any(value is not None for value in column) else None


def _taken(found: list[Any], many: bool) -> Any:
    if many:
        return [as_text(value) for value in found] or None
    if len(found) == 1:
        return as_text(found[0])
    return orjson.dumps(found).decode() if found else None


def as_text(value: Any) -> Any:
    """A text or number as it is, anything else as JSON text."""
    return orjson.dumps(value).decode() if isinstance(value, dict | list | bool) else value
