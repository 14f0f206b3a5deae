"""What several documents of one file say together: rule collections of Sigma 1 (`action`)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from soc.content import Document
from soc.detections.sigma.header import OTHER_KINDS

ACTIONS = ("global", "reset", "repeat")


class UnknownAction(ValueError):
    """The document it is about, with an `action` that is none."""

    def __init__(self, document: Document) -> None:
        super().__init__(f"unknown action '{document.data['action']}'; one of {', '.join(ACTIONS)}")
        self.document = document


def merged(documents: Sequence[Document]) -> tuple[list[Document], list[UnknownAction]]:
    """The documents that stand for themselves, those of a collection merged with what is before them in the file.

    `global` is a template for the rules behind it until `reset`; `repeat` changes the rule before it (Sigma 1.0, rule
    collections). The second rule that has its id from there gets one derived from it (UUID version 5 over its number).
    """
    template: dict[Any, Any] = {}
    before: dict[Any, Any] = {}
    seen: dict[str, int] = {}
    result: list[Document] = []
    unknown: list[UnknownAction] = []
    for document in documents:
        data = document.data
        if not isinstance(data, dict) or not data.keys().isdisjoint(OTHER_KINDS):
            result.append(document)
            continue
        own = {key: value for key, value in data.items() if key != "action"}
        match data.get("action"):
            case "global":
                template = before = own
                continue
            case "reset":
                template = {}
                continue
            case "repeat":
                before = _updated(before, own)
            case None:
                before = _updated(template, own)
            case _:
                unknown.append(UnknownAction(document))
                continue
        result.append(replace(document, data=_numbered(before, own, seen)))
    return result, unknown


def _numbered(data: dict[Any, Any], own: Mapping[Any, Any], seen: dict[str, int]) -> dict[Any, Any]:
    id = str(data.get("id") or "")
    if not id:
        return data
    seen[id] = seen.get(id, 0) + 1
    if "id" in own or seen[id] == 1:
        return data
    try:
        return {**data, "id": str(uuid.uuid5(uuid.UUID(id), str(seen[id])))}
    except ValueError:
        return data  # no UUID: pySigma says so of each


def _updated(base: Mapping[Any, Any], more: Mapping[Any, Any]) -> dict[Any, Any]:
    """A new mapping: mappings inside are merged, everything else is replaced."""
    result = dict(base)
    for key, value in more.items():
        inner = result.get(key)
        result[key] = _updated(inner, value) if isinstance(value, dict) and isinstance(inner, dict) else value
    return result
