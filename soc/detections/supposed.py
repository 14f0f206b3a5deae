"""`Supposed`: what an exception would take of events that are there already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from soc.detections.backtest import Backtest, picked
from soc.detections.correlation.excepting import Excepting
from soc.detections.load import DetectionSet
from soc.detections.rule_exception import RuleException
from soc.model.batch import EventBatch
from soc.model.finding import Finding

_EVER = 1 << 62


class Supposed:
    """An exception as if it held at all times, with the rules and correlations that it is about."""

    def __init__(self, loaded: DetectionSet, exception: RuleException) -> None:
        self.always = replace(exception, since_us=0, until_us=_EVER)
        meant = picked(loaded, exception.rules)
        beneath = [each for each in meant.exceptions if not set(each.rules) & set(exception.rules)]
        self.both = replace(meant, exceptions=(self.always, *beneath))

    def found(self, batches: Iterable[EventBatch]) -> list[Finding]:
        """What it is about finds in these events."""
        looker = Backtest(self.both)
        return self.own([*looker.look(batches), *looker.finish()])

    def own(self, findings: Iterable[Finding]) -> list[Finding]:
        """Those of what it is about, and not of a rule beneath."""
        return [finding for finding in findings if finding.rule_id in self.always.rules]

    def taken(self, batches: Iterable[EventBatch], alert: Mapping[str, Any]) -> int:
        """How many events of an alert it takes. A correlation that does not come about again, because events of it are
        gone, is judged by its group."""
        found = self.found(batches)
        taken = {id for finding in found if finding.exception for id in finding.event_ids}
        if not found:
            groups = (Excepting(each, [self.always]) for each in self.both.correlations if each.id == alert["rule_id"])
            return sum(bool(group.taking(alert["group"], (), 0)) for group in groups)
        return len(taken)
