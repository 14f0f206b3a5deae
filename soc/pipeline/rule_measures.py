"""What the rules of a service are worth: fed or deaf, ATT&CK coverage, noise; from the store and the alerts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from soc.alerts.noise import noise
from soc.detections.anomaly.model import Definition
from soc.detections.attack import Standing, coverage
from soc.detections.correlation.definition import Correlation
from soc.detections.results import results
from soc.detections.sigma.rule import Route
from soc.model.batch import EventBatch
from soc.model.clock import DAY_US
from soc.model.query import And, Between, Exists
from soc.model.scope import Scope
from soc.pipeline.files import parse_file
from soc.pipeline.rules import AnyRule, Rules
from soc.store.events import EventStore
from soc.store.events.nouns import Aggregate

SILENT_DAYS = 30
"""A log source that said nothing for so long feeds no rule."""
MOST_ALERTS = 20_000
PAGE = 1000
_ENGINE = "engine"
Seen = Mapping[tuple[str, str, str], int]
"""Dataset, Windows channel (lower case) and event id ("" elsewhere) → receipt of the newest event, µs UTC."""


class Measures:
    """Over the rules and the store of a service."""

    def __init__(self, rules: Rules, store: EventStore) -> None:
        self._rules, self._store = rules, store

    def seen(self) -> Seen:
        """Which kinds of events came in the last `SILENT_DAYS`, and when last."""
        since = Between("event.created", low=self._rules.clock.now_ns() // 1000 - SILENT_DAYS * DAY_US)
        scope = Scope.everything(_ENGINE, "which rules are fed")
        found: dict[tuple[str, str, str], int] = {}
        for row in self._store.aggregate(scope, since, Aggregate(("event.dataset",), max=("event.created",))):
            found[str(row["event.dataset"] or ""), "", ""] = row["max(event.created)"]
        windows = Aggregate(("event.dataset", "winlog.channel", "winlog.event_id"), max=("event.created",))
        for row in self._store.aggregate(scope, And((since, Exists("winlog.channel"))), windows):
            key = (row["event.dataset"], str(row["winlog.channel"]).lower(), str(row["winlog.event_id"] or ""))
            found[key] = row["max(event.created)"]
        return found

    def deaf(self) -> list[dict[str, Any]]:
        """The definitions whose log source was silent for `SILENT_DAYS`, with what they listen to."""
        seen = self.seen()
        return [
            {"id": each.id, "title": each.title, "title_vi": each.title_vi, "level": each.level, "path": each.path,
             "line": each.line, "listens_to": sorted({_words(route) for route in _routes(each)})}
            for each in self._rules.all()
            if not _is_fed(each, seen)
        ]  # fmt: skip

    def attack(self) -> dict[str, Any]:
        """See `coverage`: the tests of all definitions are run for it."""
        seen = self.seen()
        tested = results(self._rules.tested(), self._rules.parsers.fields, self._read)
        return coverage(self._standings(seen, {each.id: each.state for each in tested}))

    def _standings(self, seen: Seen, tests: Mapping[str, str]) -> Iterator[Standing]:
        with self._rules.cases.read(_ENGINE) as tx:
            decisions = self._rules.decisions(tx)
        for each in self._rules.all():
            state, tested = self._rules.state(each, decisions), tests.get(each.id, "untested")
            fed = _is_fed(each, seen)
            yield Standing(each.id, each.title, each.level, each.tags, state, tested, fed, each.title_vi)

    def _read(self, path: Path, format: str) -> Iterator[EventBatch]:
        for batches in parse_file(self._rules.parsers, path, self._rules.clock, format=format):
            yield from batches

    def noise(self, alerts: Iterable[Mapping[str, Any]], days: int) -> list[dict[str, Any]]:
        """See `soc.alerts.noise`; only alerts of the last `days`."""
        since_us = self._rules.clock.now_ns() // 1000 - days * DAY_US
        return noise((alert for alert in alerts if alert["last_us"] >= since_us), days)


def _routes(rule: AnyRule) -> list[Route]:
    """The events that a definition needs; none when it only needs that something comes."""
    if isinstance(rule, Correlation):
        return [route for each in rule.of for route in _routes(each)]
    watched = rule.watch if isinstance(rule, Definition) else rule
    return [variant.route for variant in watched.variants] if watched is not None else []


def _is_fed(rule: AnyRule, seen: Seen) -> bool:
    """Whether events come for it; a correlation needs all of its rules (an alternative may be one of them)."""
    if isinstance(rule, Correlation):
        fed: Iterable[bool] = (_is_fed(each, seen) for each in rule.of)
        return any(fed) if rule.expression is not None else all(fed)
    routes = _routes(rule)
    if not routes:
        return bool(seen)
    return any(route.takes(*key) for route in routes for key in seen)


def _words(route: Route) -> str:
    if not route.windows:
        return ", ".join(route.datasets)
    channels = ", ".join(sorted(route.channels)) or "windows"
    return channels if route.event_ids is None else f"{channels} {', '.join(sorted(route.event_ids))}"
