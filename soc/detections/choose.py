"""`chosen`: the definitions of a set that somebody wants; what is off everywhere costs no matching."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from soc.detections.correlation.definition import Correlation
from soc.detections.load import DetectionSet
from soc.model.rule_policy import RulePolicy


def chosen(detections: DetectionSet, policy: RulePolicy) -> DetectionSet:
    """Without what is off everywhere. A rule that is off stays as long as a correlation that is on counts it."""
    correlations = list(_wanted(detections.correlations, policy))
    counted = {id for correlation in correlations for id in correlation.rules}
    rules = (each for each in detections.rules if each.id in counted or not policy.is_off_everywhere(each))
    models = (each for each in detections.models if not policy.is_off_everywhere(each))
    return replace(detections, rules=tuple(rules), correlations=tuple(correlations), models=tuple(models))


def _wanted(correlations: Sequence[Correlation], policy: RulePolicy) -> Iterator[Correlation]:
    """Those that are on, and those that these refer to, in the order they came."""
    needed: set[str] = set()
    for each in reversed(correlations):  # what refers to another one stands behind it
        if each.id in needed or not policy.is_off_everywhere(each):
            needed |= {each.id, *each.rules}
    yield from (each for each in correlations if each.id in needed)
