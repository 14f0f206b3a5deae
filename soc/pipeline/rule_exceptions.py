"""Exceptions through the service: what one would have hidden, the refusal of hiding an attack, putting in place."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from soc import content
from soc.alerts.withheld import KIND, SHADOW, TOTAL
from soc.content import Document
from soc.detections import samples
from soc.detections.backtest import Backtest, columns_of, query_of, referable
from soc.detections.correlation.definition import Referable
from soc.detections.exceptions import by_name, is_exception, read_exception
from soc.detections.load import DetectionSet
from soc.detections.rule_exception import RuleException
from soc.detections.sigma.rule import Refused
from soc.detections.supposed import Supposed
from soc.errors import Conflict, ContentError, Fault, NotFound, UsageError
from soc.model.batch import EventBatch
from soc.model.cases import CaseTx as Tx
from soc.model.clock import DAY_US, VIETNAM, utc
from soc.model.finding import Finding
from soc.model.scope import Scope
from soc.pipeline import places
from soc.pipeline.lookback.slices import between
from soc.pipeline.lookback.slices import plan as slices
from soc.pipeline.rules import Begin, Rules, enter
from soc.store.events import EventStore

MOST_ALERTS = 1000
"""Alerts that a plan looks at, the newest; beyond, it says so."""
MOST_EVENTS = 500_000
"""Stored events that a plan looks at, the newest."""
MOST_JUDGED = 10_000
"""Closed alerts whose verdict is looked at."""
MOST_BYTES = 64 << 10
ENDING_DAYS, UNUSED_DAYS = 7, 60
"""An exception that ends so soon is said to; one that took nothing for so long may go."""
TRUE_POSITIVE = "true_positive"
_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ENGINE, PURPOSE, AXIS = "engine", "plan of an exception", "@timestamp"


@dataclass
class Plan:
    """What an exception would have taken in the last `days`, and why it must not be put in place.

    `hits` of its rules among the stored events, and how many of them it would have taken, also by day and entity.
    Of the `alerts` that were looked at, `hidden_alerts` would have lost all their events that are still stored;
    `gone_events` are not, or were never named by a large alert. `true_positives` are alerts of any age that were
    judged so; `tests` are faults of tests that held without it.
    """

    exception: dict[str, Any]
    days: int
    hits: int = 0
    taken: int = 0
    alerts: int = 0
    hidden_alerts: int = 0
    gone_events: int = 0
    by_day: Counter[str] = field(default_factory=Counter)
    entities: Counter[str] = field(default_factory=Counter)
    true_positives: list[str] = field(default_factory=list)
    tests: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def is_refused(self) -> bool:
        """Whether something that is known to be an attack would be hidden."""
        return bool(self.true_positives or self.tests)

    def to_document(self) -> dict[str, Any]:
        """Plain data."""
        return {
            **asdict(self), "by_day": dict(sorted(self.by_day.items())),
            "entities": dict(self.entities.most_common(10)), "refused": self.is_refused,
        }  # fmt: skip


class RuleExceptions:
    """Over the rules and the store of a service."""

    def __init__(self, rules: Rules, store: EventStore) -> None:
        self._rules, self._store = rules, store

    def listed(self, tx: Tx) -> list[dict[str, Any]]:
        """Every exception: whether it holds now, what it took so far and when last, and the titles of its rules."""
        titles = {rule.id: rule.title for rule in self._rules.all()}
        return [self._shown(tx, each, titles) for each in self._rules.loaded().exceptions]

    def _shown(self, tx: Tx, each: RuleException, titles: Mapping[str, str]) -> dict[str, Any]:
        now_us = self._rules.clock.now_ns() // 1000
        total = tx.get(TOTAL, f"exception:{each.id}")
        count, last_us = (total.document["count"], total.document["last_us"]) if total else (0, None)
        return {
            **_described(each, titles), "state": _standing(each, count, now_us), "count": count, "last_us": last_us,
            "is_ours": Path(each.path) == self._place(each.id),
        }  # fmt: skip

    def plan(self, definition: str, days: int) -> tuple[RuleException, Plan]:
        """What it would do. Raises ContentError, UsageError for what is no exception that can run."""
        found = self._read(definition)
        loaded = self._rules.loaded()
        rules = [each for each in referable(loaded) if each.id in found.rules]
        plan = Plan(_described(found, {rule.id: rule.title for rule in rules}), days)
        supposed = Supposed(loaded, found)
        counting = dict(_counting(loaded, set(found.rules)))
        plan.warnings += [f"what it takes is no longer counted by '{title}'" for title in counting.values()]
        self._search(plan, supposed)
        self._look(plan, supposed, [*found.rules, *counting])
        plan.tests = [fault for rule in rules for fault in self._tests(rule, loaded, supposed.always)]
        return found, plan

    def _read(self, definition: str) -> RuleException:
        document = _document(definition)
        loaded = self._rules.loaded()
        found = read_exception(document, by_name(loaded.rules, loaded.correlations), self._rules.parsers.fields)
        if isinstance(found, Refused):
            raise ContentError([Fault(found.path, found.line, found.reason)])
        if not _SAFE_ID.fullmatch(found.id):
            raise UsageError(f"'{found.id}' is no id of an exception: letters, digits, '.', '_', '-'")
        return found

    def _search(self, plan: Plan, supposed: Supposed) -> None:
        """Run rules and exception over the stored events of the last days: of too many the newest."""
        now_us = self._rules.clock.now_ns() // 1000
        scope, query, columns = Scope.everything(_ENGINE, PURPOSE), query_of(supposed.both), columns_of(supposed.both)
        found = slices(self._store, scope, query, AXIS, now_us - plan.days * DAY_US, now_us)
        newest = list(itertools.takewhile(lambda n: n <= MOST_EVENTS, itertools.accumulate(n for *_, n in found[::-1])))
        if len(newest) < len(found):
            looked = newest[-1] if newest else 0
            plan.warnings.append(f"only {looked} events were looked at, the newest; soc backtest looks at all")
        looker = Backtest(supposed.both)
        for begin_us, end_us, _ in found[len(found) - len(newest) :]:
            batches = self._store.scan(scope, between(query, AXIS, begin_us, end_us), columns)
            _count_hits(plan, supposed.own(looker.look(batches)))
        _count_hits(plan, supposed.own(looker.finish()))

    def _look(self, plan: Plan, supposed: Supposed, rules: list[str]) -> None:
        """Hold the exception against the events of alerts: all that were judged true positives, and the last days'."""
        since_us = self._rules.clock.now_ns() // 1000 - plan.days * DAY_US
        with self._rules.cases.read(_ENGINE) as tx:
            closed = tx.find("alert", keys={"rule": rules, "status": "closed"}, limit=MOST_JUDGED)
            recent = tx.find("alert", keys={"rule": rules}, limit=MOST_ALERTS + 1)
            recent += tx.find(KIND, keys={"rule": rules, "why": SHADOW}, limit=MOST_ALERTS)
        if len(recent) > MOST_ALERTS:
            plan.warnings.append(f"only {MOST_ALERTS} alerts were looked at, the newest")
        for id, stored in closed:
            if stored.document["verdict"] == TRUE_POSITIVE and self._taken(supposed, stored.document)[1]:
                plan.true_positives.append(id)
        for _, stored in recent[:MOST_ALERTS]:
            if stored.document["last_us"] >= since_us:
                _count_alert(plan, stored.document, *self._taken(supposed, stored.document))

    def _taken(self, supposed: Supposed, alert: Mapping[str, Any]) -> tuple[int, int]:
        """How many events of an alert are still stored, and how many of them the exception takes."""
        scope = Scope.everything(_ENGINE, PURPOSE)
        rows = self._store.get(scope, [bytes.fromhex(id) for id in alert["event_ids"]])
        by_dataset: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            by_dataset.setdefault(row["event.dataset"], []).append(row)
        fields = self._rules.parsers.fields
        batches = [EventBatch.from_rows(dataset, some, fields) for dataset, some in by_dataset.items()]
        return len(rows), supposed.taken(batches, alert)

    def _tests(self, rule: Referable, loaded: DetectionSet, always: RuleException) -> Iterator[str]:
        """Faults of the rule's own tests that there are only with the exception."""
        document = self._rules.document(rule)
        if document is None:
            return
        fields = self._rules.parsers.fields
        before = samples.outcomes(document, replace(loaded, exceptions=()), fields)
        after = samples.outcomes(document, replace(loaded, exceptions=(always,)), fields)
        for was, now in zip(before, after, strict=True):
            if now.fault and not was.fault:
                yield f"{rule.title}: {now.name}: {now.fault}"

    def checked(self, definition: str, days: int) -> tuple[RuleException, Plan]:
        """As `plan`; raises Conflict too when it would hide a known attack or its file is not ours to write."""
        found, plan = self.plan(definition, days)
        if plan.is_refused:
            what = [*(f"alert {id}" for id in plan.true_positives[:5]), *plan.tests[:5]]
            raise Conflict(f"'{found.title}' would hide what is known to be an attack: {'; '.join(what)}",
                           hint="describe less: a narrower selection, or fewer rules")  # fmt: skip
        self._writable(found.id, self._one(found.id))
        return found, plan

    def put(
        self, begin: Begin, definition: str, days: int, reason: str, settle: Callable[[Tx], None] | None = None
    ) -> Plan:
        """Put it in place; all processes take it up within seconds. Call it with the rules' `writing` held.

        `settle` may do more in the transaction of its ledger entry. Raises what `checked` raises.
        """
        found, plan = self.checked(definition, days)
        before = self._one(found.id)
        with self._rules.put(self._place(found.id), definition.encode()), begin() as tx:
            enter(tx, "exception", "put", found.id, _described(before, {}) if before else None, plan.exception, reason)
            if settle is not None:
                settle(tx)
        return plan

    def end(self, begin: Begin, id: str, reason: str) -> dict[str, Any]:
        """Take an exception away. Call it with the rules' `writing` held. Raises NotFound, UsageError, Conflict."""
        if not reason.strip():
            raise UsageError("an exception is ended with a reason")
        found = self._one(id)
        if found is None:
            raise NotFound(f"no exception '{id}'")
        path = self._writable(found.id, found)
        with self._rules.put(path, None), begin() as tx:
            enter(tx, "exception", "end", id, _described(found, {}), None, reason)
        return _described(found, {})

    def _one(self, id: str) -> RuleException | None:
        return next((each for each in self._rules.loaded().exceptions if each.id == id), None)

    def _writable(self, id: str, known: RuleException | None) -> Path:
        path = self._place(id)
        if known is not None and known.path != str(path):
            raise Conflict(f"exception '{id}' is kept in {known.path}", hint="edit that, then soc rule reload")
        return path

    def _place(self, id: str) -> Path:
        return self._rules.settings.path(places.DETECTIONS, "filters", f"{id}.yml")


def _document(definition: str) -> Document:
    if len(definition.encode()) > MOST_BYTES:
        raise UsageError(f"an exception has at most {MOST_BYTES >> 10} KiB")
    documents = content.loads(definition, "exception")
    if len(documents) != 1 or not is_exception(documents[0]):
        raise UsageError("an exception is one Sigma filter with 'x-exception'", hint="see docs/detections.md")
    return documents[0]


def _counting(loaded: DetectionSet, rules: set[str]) -> Iterator[tuple[str, str]]:
    """Id and title of the correlations that count these rules, through any number of steps."""
    for each in loaded.correlations:
        if rules & set(each.rules):
            rules |= {each.id}
            yield each.id, each.title


def _count_hits(plan: Plan, findings: Sequence[Finding]) -> None:
    plan.hits += len(findings)
    for finding in findings:
        if finding.exception:
            plan.taken += 1
            plan.by_day[utc(finding.last_us * 1000).astimezone(VIETNAM).date().isoformat()] += 1
            plan.entities[finding.entity] += 1


def _count_alert(plan: Plan, alert: Mapping[str, Any], here: int, taken: int) -> None:
    plan.alerts += 1
    plan.gone_events += max(alert["events_total"] - here, 0)
    plan.hidden_alerts += 0 < taken == here


def _standing(each: RuleException, taken: int, now_us: int) -> str:
    """expired | future | ending | unused | active."""
    if now_us >= each.until_us:
        return "expired"
    if now_us < each.since_us:
        return "future"
    if each.until_us - now_us <= ENDING_DAYS * DAY_US:
        return "ending"
    return "unused" if not taken and now_us - each.since_us >= UNUSED_DAYS * DAY_US else "active"


def _described(each: RuleException, titles: Mapping[str, str]) -> dict[str, Any]:
    day = utc(each.until_us * 1000 - 1).astimezone(VIETNAM).date()
    return {
        "id": each.id, "title": each.title, "rules": [{"id": id, "title": titles.get(id, "")} for id in each.rules],
        "owner": each.owner, "reason": each.reason, "ticket": each.ticket, "expires": day.isoformat(),
        "since_us": each.since_us, "until_us": each.until_us, "version": each.version, "path": each.path,
    }  # fmt: skip
