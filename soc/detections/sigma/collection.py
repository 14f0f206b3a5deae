"""What several documents of one file say together: rule collections of Sigma 1 (`action`), and Sigma filters."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sigma.filters import SigmaFilter
from sigma.rule import SigmaRule

from soc.content import Document

OTHER_KINDS = ("correlation", "anomaly", "filter", "mapping", "query")
"""The keys that make a document something else than a rule."""
SILENT_KINDS = ("filter", "mapping", "query")
"""Of these, those that find nothing by themselves and so carry no tests."""
ACTIONS = ("global", "reset", "repeat")
_PREFIX = re.compile(r"_filt_[a-z]{10}_")


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


@dataclass(frozen=True)
class Filter:
    """A Sigma filter: its condition must hold too, of every rule that it names and whose log source it covers.

    `rules` are ids and names; None is `any`.
    """

    document: Document
    rules: frozenset[str] | None
    sigma: SigmaFilter

    @classmethod
    def read(cls, document: Document, policy: Any) -> Filter:
        """Raises what pySigma raises for a malformed one."""
        sigma = SigmaFilter.from_dict(document.data, policy=policy)
        wanted = sigma.filter.rules
        rules = None if isinstance(wanted, str) else frozenset(reference.reference for reference in wanted)
        sigma.filter.rules = "any"  # whom it is for is decided here
        return cls(document, rules, sigma)

    def takes(self, data: Mapping[str, Any], rule: SigmaRule) -> bool:
        """Whether it is meant for this rule."""
        is_named = self.rules is None or bool(self.rules & {str(data.get("id")), str(data.get("name"))})
        return is_named and rule.logsource in self.sigma.logsource


def apply(filters: Iterable[Filter], data: Mapping[str, Any], rule: SigmaRule) -> list[Filter]:
    """Join those that are meant for the rule to its condition, in place; which they were."""
    taken = [filter_ for filter_ in filters if filter_.takes(data, rule)]
    for filter_ in taken:
        filter_.sigma.apply_on_rule(rule)
    return taken


def plain_name(identifier: str) -> str:
    """A name as its author wrote it, without what pySigma puts before those in filters."""
    return _PREFIX.sub("", identifier, count=1)


def shown(identifier: str) -> str:
    """A detection's name for people: pySigma puts a random prefix before those of filters."""
    return _PREFIX.sub("filter ", identifier, count=1)
