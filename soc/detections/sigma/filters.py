"""Sigma filters: conditions that are joined to the rules that they name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sigma.filters import SigmaFilter
from sigma.rule import SigmaRule

from soc.content import Document
from soc.detections.sigma.modifiers import as_text
from soc.detections.sigma.quantity import written_out

_PREFIX = re.compile(r"_filt_[a-z]{10}_")


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
        said = {**document.data, "filter": written_out(as_text(document.data.get("filter")))}
        sigma = SigmaFilter.from_dict(said, policy=policy)
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
