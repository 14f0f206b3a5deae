"""Rules over stored events: what they need of them, and the engine of the live stream, slice by slice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any, Protocol

import orjson

from soc.detections.about import ENTITIES, abouts
from soc.detections.correlation.definition import Correlation, Referable
from soc.detections.correlator import Correlator
from soc.detections.detector import Detector, Hit, finding_of
from soc.detections.load import DetectionSet
from soc.detections.sigma.evaluate import EVENT_DATA, USER_DATA
from soc.detections.sigma.rule import All, Route, Rule, names_of
from soc.model.batch import EventBatch
from soc.model.finding import Finding
from soc.model.position import Position
from soc.model.query import And, Equals, Exists, MatchAll, Or, Query, Wildcard
from soc.model.said import REST

BASE = (
    "@timestamp", "event.id", "event.created", "event.dataset", "soc.position", "soc.site", "soc.system.id",
    "organization.id", "soc.import.id", "soc.flags", "winlog.channel", "winlog.event_id",
)  # fmt: skip
"""What routing and every finding read."""
QUERY_RULE = "query"
"""The rule id of what a search text found."""


def picked(detections: DetectionSet, names: Collection[str]) -> DetectionSet:
    """The rules and correlations of these ids (or names), with what the correlations refer to; models stay out."""
    wanted: dict[str, Referable] = {}

    def take(one: Referable) -> None:
        if one.id not in wanted:
            wanted[one.id] = one
            for inner in getattr(one, "of", ()):
                take(inner)

    for each in referable(detections):
        if each.id in names or (each.name and each.name in names):
            take(each)
    return DetectionSet(
        rules=tuple(each for each in detections.rules if each.id in wanted),
        correlations=tuple(each for each in detections.correlations if each.id in wanted),
        exceptions=tuple(each for each in detections.exceptions if wanted.keys() & set(each.rules)),
    )


def referable(detections: DetectionSet) -> list[Referable]:
    """What can be asked for by id."""
    return [*detections.rules, *detections.correlations]


def unbroken(detections: DetectionSet, failures: Collection[str]) -> list[str]:
    """The ids of those that did not fail, and build on nothing that did."""

    def holds(each: Referable) -> bool:
        return each.id not in failures and all(map(holds, getattr(each, "of", ())))

    return sorted(each.id for each in referable(detections) if holds(each))


def columns_of(*sets: DetectionSet) -> tuple[str, ...] | None:
    """The fields that these read of an event, in order; None when a keyword searches all of them."""
    names = dict.fromkeys((*BASE, *ENTITIES))
    for detections in sets:
        read = [name for rule in detections.rules for variant in rule.variants for name in names_of(variant.node)]
        read += [name for each in detections.exceptions for name in each.reads()]
        if None in read:
            return None
        names.update(dict.fromkeys(filter(None, read)))
        for correlation in detections.correlations:
            names.update(dict.fromkeys(name for rule in correlation.rules for name in correlation.needs(rule)))
    twins = [USER_DATA + name.removeprefix(EVENT_DATA) for name in names if name.startswith(EVENT_DATA)]
    left = [REST] if twins else []
    return tuple({**names, **dict.fromkeys([*twins, *left])})


def query_of(*sets: DetectionSet) -> Query:
    """Every event that one of these rules is routed to, and few others."""
    routes = {variant.route for detections in sets for rule in detections.rules for variant in rule.variants}
    parts = tuple(_routed(route) for route in sorted(routes, key=repr))
    return MatchAll() if MatchAll() in parts else Or(parts)


def _routed(route: Route) -> Query:
    if not route.windows:
        return Or(tuple(_dataset(name) for name in route.datasets))
    # Channels are compared whatever their case, which a store cannot do on a keyword: they are left to the engine.
    here = Exists("winlog.channel")
    if route.event_ids is None:
        return here
    return And((here, Or(tuple(Equals("winlog.event_id", id) for id in sorted(route.event_ids)))))


def _dataset(name: str) -> Query:
    return Wildcard("event.dataset", name) if name.endswith("*") else Equals("event.dataset", name)


class Looker(Protocol):
    """Looks through events in the order of time, and can be put away and taken up again."""

    failures: Counter[str]

    def look(self, batches: Iterable[EventBatch]) -> list[Finding]: ...
    def finish(self) -> list[Finding]: ...
    def left_out(self) -> dict[str, int]: ...
    def snapshot(self) -> Any: ...
    def restore(self, state: Any) -> None: ...


class Backtest:
    """The rules of a set; correlations in event time, also across slices. `failures` counts events by broken rule.

    `by_receipt`: events come in the order in which they were received, as they did live.
    """

    def __init__(self, detections: DetectionSet, *, by_receipt: bool = False) -> None:
        self._clock = "receipt_us" if by_receipt else "at_us"
        self._detector, self._correlator = Detector(detections), Correlator(detections)
        self.failures: Counter[str] = Counter()

    def look(self, batches: Iterable[EventBatch]) -> list[Finding]:
        """The findings of one slice by time and id; its events lie behind those of the slices before."""
        findings: list[Finding] = []
        documents: list[dict[str, Any]] = []
        for batch in batches:
            findings += self._detector.match(batch)
            documents += self._detector.wanted(batch)
            self.failures.update(failure.rule for failure in self._detector.failures)
        documents.sort(key=lambda each: (each[self._clock], *_place(each["position"])))
        for document in documents:  # one by one: what is over between two of them is judged between them
            findings += self._correlator.feed([document], document[self._clock])
        if documents:
            findings += self._correlator.tick(documents[-1][self._clock])
        return sorted(findings, key=_when)

    def finish(self) -> list[Finding]:
        """Behind the last slice: what is found because nothing more came."""
        return self._correlator.finish()

    def left_out(self) -> dict[str, int]:
        """What correlations did not count, by reason."""
        return self._correlator.left_out()

    def snapshot(self) -> Any:
        """Everything that the next slice builds on, as plain data."""
        return {"correlator": orjson.loads(self._correlator.snapshot()), "failures": dict(self.failures)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `snapshot`."""
        self._correlator.restore(orjson.dumps(state["correlator"]))
        self.failures = Counter(state["failures"])


class QueryLooker:
    """Every event is a finding: the store's query did the choosing."""

    def __init__(self, text: str) -> None:
        self._rule = Rule(QUERY_RULE, "", "", text, "informational", ())
        self.failures: Counter[str] = Counter()

    def look(self, batches: Iterable[EventBatch]) -> list[Finding]:
        """The events of one slice by time and id."""
        found = []
        for batch in batches:
            found += [finding_of(Hit(i, self._rule, All(())), about) for i, about in enumerate(abouts(batch))]
        return sorted((replace(each, kind=QUERY_RULE) for each in found), key=_when)

    def finish(self) -> list[Finding]:
        """Nothing: no event waits for another."""
        return []

    def left_out(self) -> dict[str, int]:
        """Nothing: every event is a finding."""
        return {}

    def snapshot(self) -> Any:
        """Nothing: no event hangs together with another."""
        return None

    def restore(self, state: Any) -> None:
        """The inverse of `snapshot`."""


def _place(position: str) -> tuple[int, ...]:
    """Of events of one moment the order in which they came: most devices stamp whole seconds."""
    if not position:
        return ()
    at = Position.parse(position)
    return at.seq, at.ordinal, at.part


def _when(finding: Finding) -> tuple[int, str]:
    return finding.last_us, finding.id


def span_us(each: Referable) -> int:
    """How long before an event the oldest other one may be that it is joined with: of a rule 0, of a correlation its
    time frame and those under it."""
    return each.span_us + max(map(span_us, each.of), default=0) if isinstance(each, Correlation) else 0


def spans_us(detections: DetectionSet) -> int:
    """The longest of them."""
    return max(map(span_us, detections.correlations), default=0)
