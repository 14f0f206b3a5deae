"""`RuleException`: what of a rule's or a correlation's hits is known, who answers for it, and until when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from soc.detections.sigma.rule import Node, Route, Rule, Variant, names_of

Beneath = Mapping[str, Mapping[str, tuple[str, ...]]]
"""Of one correlation: for each rule beneath it, a name of the condition → the fields of an event that it means."""


@dataclass(frozen=True)
class RuleException:
    """One exception. `rules` are ids; `since_us` and `until_us` are µs UTC, the last day counts whole in Vietnam.

    Of single-event rules `filter` is its condition as a rule: what does not hold of an event that a rule hit is
    excepted. Of correlations it is `condition`, and `beneath` says for each of them what it reads of the events.
    """

    id: str
    title: str
    version: str
    rules: tuple[str, ...]
    owner: str
    reason: str
    ticket: str
    since_us: int
    until_us: int
    filter: Rule | None = field(default=None, repr=False)
    condition: Node | None = field(default=None, repr=False)
    beneath: Mapping[str, Beneath] = field(default_factory=dict, repr=False)
    path: str = ""
    line: int = 1

    def variant(self, route: Route) -> Variant | None:
        """What to ask of the events of a rule's route; None when the exception is about other ones."""
        variants = self.filter.variants if self.filter is not None else ()
        return next((variant for variant in variants if _covers(variant.route, route)), None)

    def reads(self) -> list[str | None]:
        """The fields that it reads of events; None stands for a keyword, which reads them all."""
        nodes = [variant.node for variant in self.filter.variants] if self.filter is not None else []
        kept = [name for parts in self.beneath.values() for part in parts.values() for names in part.values()
                for name in names]  # fmt: skip
        return [*kept, *(name for node in nodes for name in names_of(node))]


def _covers(own: Route, rule: Route) -> bool:
    """Whether every event of the rule's route may be asked with the names of the exception's route."""
    if own == rule:
        return True
    if own.windows != rule.windows:
        return False
    if own.windows:
        channels = not own.channels or (bool(rule.channels) and rule.channels <= own.channels)
        return channels and own.event_ids is None
    return set(rule.datasets) <= set(own.datasets)
