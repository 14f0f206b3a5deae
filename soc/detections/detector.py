"""`Detector`: single-event rules over batches, and the projection that correlations and models read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from soc.detections.about import About, abouts
from soc.detections.exceptions import Exceptions
from soc.detections.garbage import uncollected
from soc.detections.load import DetectionSet
from soc.detections.profile import Profile
from soc.detections.sigma.bucket import BREAKS, Bucket, Condition
from soc.detections.sigma.evaluate import Columns, Row
from soc.detections.sigma.explanation import Explanation, explanation
from soc.detections.sigma.memory import Budget
from soc.detections.sigma.rule import Node, Route, Rule, Variant
from soc.model.batch import EventBatch
from soc.model.finding import Finding, Matched, finding_id

MAX_ROUTES = 4_096
"""Remembered (dataset, channel, event id) triples; a stranger can write any, so the memory begins anew when full."""

_WHOSE = ("site", "system_id", "organization_id", "import_id", "simulated")
Members = list[tuple[Rule, Variant]]
_Routed = tuple[Members, Bucket]


@dataclass(frozen=True)
class Hit:
    """A rule that held for the event at row `i`; `exception` is the id of the one that takes it, or ""."""

    i: int
    rule: Rule
    node: Node
    exception: str = ""


@dataclass(frozen=True)
class Failure:
    """A rule that could not be held against the event at row `i`, and why."""

    i: int
    rule: str
    why: str


class Detector:
    """Single-event detection. Not for several threads at once.

    `failures` are those of the batch that was matched or projected last: a rule that breaks stops no other.
    """

    def __init__(self, detections: DetectionSet, profile: Profile | None = None) -> None:
        """With a profile what everything costs is noted there, for a part of the speed."""
        self.detections = detections
        self._profile = profile
        rules = (*detections.rules, *detections.watched)
        self._members = [(rule, variant) for rule in rules for variant in rule.variants]
        self._by_way: dict[Route, list[int]] = {}
        for n, (_, variant) in enumerate(self._members):
            self._by_way.setdefault(variant.route, []).append(n)
        self._exceptions = Exceptions(detections.exceptions, rules)
        self._conditions: dict[int, Condition] = {}
        self._explanations: dict[int, Explanation] = {}  # by the id of a condition, which a rule keeps alive
        self._budget = Budget()
        self._buckets: dict[tuple[int, ...], _Routed] = {}
        self._routes: dict[tuple[str, str, str], _Routed | None] = {}
        referred = {rule for correlation in detections.correlations for rule in correlation.rules}
        quiet = referred - {rule for c in detections.correlations if c.generate for rule in c.rules}
        self._quiet = quiet | {rule.id for rule in detections.watched}
        self._wanted = referred | {rule.id for rule in detections.watched}
        self._needs = _needs(detections)
        self._silence = any(model.model == "source_silent" for model in detections.models)
        self._last: tuple[EventBatch, list[Hit]] | None = None
        self.failures: list[Failure] = []

    def match(self, batch: EventBatch) -> list[Finding]:
        """One finding per rule and event, in row order; one that an exception takes says so in `exception`.

        A rule that a correlation refers to is silent unless the correlation says `generate: true` (Sigma correlation
        specification, `generate`).
        """
        columns = Columns(batch)
        # What is excepted is never gone in silence.
        told = [hit for hit in self.hits(batch, columns) if hit.rule.id not in self._quiet or hit.exception]
        rows = list(dict.fromkeys(hit.i for hit in told))
        about = dict(zip(rows, abouts(batch.pick(rows)), strict=True)) if rows else {}
        findings = []
        row = Row(columns, -1)
        for hit in told:
            row = row if row.i == hit.i else Row(columns, hit.i)
            try:
                findings.append(finding_of(hit, about[hit.i], self._explanation(hit.node)(row)))
            except BREAKS as error:
                self._failed(hit.i, hit.rule, error)
        return findings

    def _explanation(self, node: Node) -> Explanation:
        found = self._explanations.get(id(node))
        if found is None:
            found = self._explanations[id(node)] = explanation(node)
        return found

    def hits(self, batch: EventBatch, columns: Columns | None = None) -> list[Hit]:
        """Every rule that holds, those that make no findings of their own included, in row order."""
        if self._last is not None and self._last[0] is batch:
            return self._last[1]
        columns = columns or Columns(batch)
        hits: list[Hit] = []
        self.failures = []
        for members, bucket, rows in self._routed(batch, columns):

            def broken(i: int, number: int, error: Exception, members: Members = members) -> None:
                self._failed(i, members[number][0], error)

            for i, number in bucket.hits(columns, rows, broken):
                rule, variant = members[number]
                hits.append(Hit(i, rule, variant.node, self._taken(rule, variant, columns, i)))
        unique: dict[tuple[int, str], Hit] = {}  # a site may map a log source to what another way of a rule sees too
        for hit in sorted(hits, key=lambda hit: hit.i):
            unique.setdefault((hit.i, hit.rule.id), hit)
        self._last = (batch, list(unique.values()))
        return self._last[1]

    def _taken(self, rule: Rule, variant: Variant, columns: Columns, i: int) -> str:
        """The exception that takes a hit; one that breaks takes none, so that the hit is seen."""
        if not self._exceptions:
            return ""
        row = Row(columns, i)
        try:
            return self._exceptions.taking(variant, row, _first(row, "event.created", _first(row, "@timestamp", 0)))
        except BREAKS as error:
            self._failed(i, rule, error)
            return ""

    def _failed(self, i: int, rule: Rule, error: Exception) -> None:
        self.failures.append(Failure(i, rule.id, f"{type(error).__name__}: {error}"[:200]))

    def _routed(self, batch: EventBatch, columns: Columns) -> list[tuple[Members, Bucket, list[int]]]:
        """The rows of each bucket, in order."""
        channels = columns.of("winlog.channel") or [None] * batch.n
        ids = columns.of("winlog.event_id") or [None] * batch.n
        keys = list(zip(channels, ids, strict=True))
        by_route = {keys[0]: range(batch.n)} if len(set(keys)) == 1 else _positions(keys)
        rows: dict[int, list[int]] = {}
        routed: dict[int, _Routed] = {}
        for (channel, event_id), some in by_route.items():
            found = self._bucket((batch.dataset, (channel or "").lower(), event_id or ""))
            if found is not None:
                routed[id(found)] = found
                rows.setdefault(id(found), []).extend(some)
        return [(*found, sorted(rows[key])) for key, found in routed.items()]

    def _bucket(self, route: tuple[str, str, str]) -> _Routed | None:
        if route in self._routes:
            return self._routes[route]
        if len(self._routes) >= MAX_ROUTES:
            self._routes.clear()
        numbers = tuple(sorted(n for way, some in self._by_way.items() if way.takes(*route) for n in some))
        if numbers and numbers not in self._buckets:
            with uncollected():
                members = [self._members[n] for n in numbers]
                conditions = [self._condition(n) for n in numbers]
                if self._profile is None:
                    bucket = Bucket(conditions, self._budget)
                else:
                    name, ids = " ".join(filter(None, route)), [rule.id for rule, _ in members]
                    bucket = self._profile.bucket(name, ids, conditions, self._budget)
                self._buckets[numbers] = (members, bucket)
        self._routes[route] = self._buckets[numbers] if numbers else None
        return self._routes[route]

    def _condition(self, number: int) -> Condition:
        found = self._conditions.get(number)
        if found is None:
            found = self._conditions[number] = Condition(self._members[number][1].node)
        return found

    def project(self, batch: EventBatch, findings: Sequence[Finding] = ()) -> list[dict[str, Any]]:
        """The documents of the `matched` log: events that correlations or models want, and who spoke."""
        return self.wanted(batch) + (_sources(batch) if self._silence else [])

    def wanted(self, batch: EventBatch) -> list[dict[str, Any]]:
        """Only the events: where no clock runs, as over files, nobody asks who spoke."""
        by_row: dict[int, list[str]] = {}
        for hit in self.hits(batch):
            if hit.rule.id in self._wanted and not hit.exception:
                by_row.setdefault(hit.i, []).append(hit.rule.id)
        few = batch.pick(list(by_row))
        columns = Columns(few)
        told = enumerate(zip(abouts(few), by_row.values(), strict=True))
        return [self._event(Row(columns, k), about, rules) for k, (about, rules) in told]

    def _event(self, row: Row, about: About, rules: list[str]) -> dict[str, Any]:
        names = dict.fromkeys(name for rule in rules for name in self._needs.get(rule, ()))
        fields = {name: _plain(row.values(name)) for name in names if row.values(name)}
        return {
            "kind": "event",
            "rules": rules,
            "position": about.position,
            "event_id": about.event_id,
            "at_us": about.at_us,
            "receipt_us": _first(row, "event.created", about.at_us),
            "fields": fields,
            "dataset": about.dataset,
            **_whose(about),
        }


def _positions(keys: Iterable[Any]) -> dict[Any, Sequence[int]]:
    found: dict[Any, list[int]] = {}
    for i, key in enumerate(keys):
        found.setdefault(key, []).append(i)
    return dict(found)


def _needs(detections: DetectionSet) -> dict[str, tuple[str, ...]]:
    """For each rule, the event fields that correlations group by and count, exceptions from them and models read."""
    needs: dict[str, dict[str, None]] = {}
    # Those that build on others come first, so that what they need of one reaches the rules under it.
    for correlation in reversed(detections.correlations):
        for rule in correlation.rules:
            names = (*correlation.needs(rule), *needs.get(correlation.id, ()))
            needs.setdefault(rule, {}).update(dict.fromkeys(names))
    for beneath in (parts for each in detections.exceptions for parts in each.beneath.values()):
        for rule, asked in beneath.items():
            needs.setdefault(rule, {}).update(dict.fromkeys(name for names in asked.values() for name in names))
    for model in detections.models:
        needs.setdefault(model.id, {}).update(dict.fromkeys(model.needs()))
    return {rule: tuple(names) for rule, names in needs.items()}


def _first(row: Row, name: str, default: Any = None) -> Any:
    values = row.values(name)
    return values[0] if values else default


def _plain(values: tuple[Any, ...]) -> Any:
    plain = [value.hex() if isinstance(value, bytes) else value for value in values]
    return plain[0] if len(plain) == 1 else plain


def _whose(about: About) -> dict[str, Any]:
    return {name: getattr(about, name) for name in _WHOSE}


def _sources(batch: EventBatch) -> list[dict[str, Any]]:
    """One document per site and source of the batch, as of its last event."""
    keys = zip(batch.values("soc.site"), batch.values("soc.source"), strict=True)
    spoke = {key: rows for key, rows in _positions(keys).items() if key[1] is not None}
    last = batch.pick([rows[-1] for rows in spoke.values()])
    columns, documents = Columns(last), []
    for k, (((_, source), rows), about) in enumerate(zip(spoke.items(), abouts(last), strict=True)):
        row, at_us = Row(columns, k), about.at_us
        receipt_us = _first(row, "event.created", at_us)
        document = {"kind": "sources", "source": source, "n": len(rows), "receipt_us": receipt_us, "at_us": at_us}
        drift_us = _drift_us(row, at_us, receipt_us)
        clock = {} if drift_us is None else {"drift_us": drift_us}
        documents.append({**document, **clock, "position": about.position, **_whose(about)})
    return documents


def _drift_us(row: Row, at_us: int, receipt_us: int) -> int | None:
    """By how much the device's own stamp is ahead of our receipt (µs); None when the device said no time."""
    claimed = _first(row, "soc.time.device")
    if claimed is not None:  # so far off that the event was placed by its receipt
        return int(claimed) - receipt_us
    return at_us - receipt_us if _first(row, "soc.time.basis") in ("device", "inferred") else None


def finding_of(hit: Hit, about: About, matched: Iterable[Matched] = ()) -> Finding:
    """What is told of a hit: about whom, by its event, and why."""
    rule = hit.rule
    return Finding(
        id=finding_id(rule.id, about.event_id),
        rule_id=rule.id,
        rule_version=rule.version,
        title=rule.title,
        level=rule.level,
        kind="sigma",
        dataset=about.dataset,
        event_ids=(about.event_id,),
        first_us=about.at_us,
        last_us=about.at_us,
        entity=about.entity,
        matched=tuple(dict.fromkeys(matched)),
        tags=rule.tags,
        title_vi=rule.title_vi,
        playbook=rule.playbook,
        position=about.position,
        exception=hit.exception,
        status=rule.status,
        **_whose(about),
    )
