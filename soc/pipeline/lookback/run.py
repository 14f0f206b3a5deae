"""`Run`: one lookback, slice by slice, from its last durable point on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from soc.config import Settings
from soc.detections.about import ENTITIES
from soc.detections.backtest import (
    BASE,
    Backtest,
    Looker,
    QueryLooker,
    columns_of,
    picked,
    query_of,
    referable,
    spans_us,
    unbroken,
)
from soc.detections.load import DetectionSet
from soc.errors import NotFound, UsageError
from soc.model.clock import Clock
from soc.model.finding import Finding
from soc.model.lookback import CANCELLED, DONE, NEW, OLD, RUNNING, Lookback
from soc.model.query import And, Query
from soc.parsers import ParserSet
from soc.pipeline import places
from soc.pipeline.coverage import late
from soc.pipeline.coverage.ledger import note_backfill
from soc.pipeline.coverage.report import Backfill
from soc.pipeline.lookback.jobs import Jobs
from soc.pipeline.lookback.slices import Slice, between, plan
from soc.pipeline.lookback.tally import Tally, sided
from soc.store import files
from soc.store.events import EventStore
from soc.store.query import parse

SAVE_S = 2.0
"""A crash repeats at most about so much work."""
MAX_HITS = 10_000
"""Hits kept one by one; the figures count all."""
LATE_REACHES = 3
"""So many time frames before the first late event are read: which windows fire hangs on those that fired before."""
EVENT_IDS = 100
"""Events named by a kept hit, the last ones."""
Sink = Callable[[Sequence[Finding]], None]
"""Makes findings of a backfill durable on their way to alerts; told twice, they are the same findings."""


class Run:
    """Nothing is counted twice: hits, figures and the place to go on from are saved together.

    Raises UsageError when the rules or the search text cannot be used.
    """

    def __init__(
        self, settings: Settings, clock: Clock, parsers: ParserSet, store: EventStore, jobs: Jobs, id: str, sink: Sink
    ) -> None:
        self._settings, self._clock, self._parsers, self._store = settings, clock, parsers, store
        self._jobs, self._sink, self.job = jobs, sink, jobs.get(id)
        self._state = jobs.state(id)
        self._verdicts = jobs.verdicts(id)
        self._late = late.get(settings, self.job.late) if self.job.late else None
        self._rules = DetectionSet()
        where = parse(self.job.where, parsers.fields, places.saved_filters(settings, parsers.fields).texts())
        self._query, self._columns, self._lookers, self._reach_us = self._prepared(where)
        self._axis = "event.created" if self.job.by_receipt else "@timestamp"
        self._tallies = {rule: Tally.from_state(state) for rule, state in self._state.get("tallies", {}).items()}
        for side, state in self._state.get("lookers", {}).items():
            self._lookers[side].restore(state)
        self._hits: list[dict[str, Any]] = []
        self._found: list[Finding] = []
        self._plan: list[Slice] = []
        self._saved = time.monotonic()

    def _prepared(self, where: Query) -> tuple[Query, tuple[str, ...] | None, dict[str, Looker], int]:
        job = self.job
        if not job.rules and not job.texts:
            return where, tuple(dict.fromkeys((*BASE, *ENTITIES))), {NEW: QueryLooker(job.where)}, 0
        new, names = self._given()
        sets = {NEW: picked(new, names)}
        self._rules = sets[NEW]
        if job.against:
            sets[OLD] = picked(places.all_detections(self._settings, self._parsers), names)
        query = And((query_of(*sets.values()), where))
        lookers: dict[str, Looker] = {s: Backtest(d, by_receipt=job.by_receipt) for s, d in sets.items()}
        return query, columns_of(*sets.values()), lookers, spans_us(sets[NEW])

    def _given(self) -> tuple[DetectionSet, set[str]]:
        """Everything loaded with the caller's texts over it, and the ids that are meant."""
        folder = self._jobs.folder(self.job.id) / "rules"
        paths = {str(folder / f"{n:04d}.yml"): text for n, text in enumerate(self.job.texts)}
        for path, text in paths.items():
            files.replace(Path(path), text.text.encode())
        loaded = places.all_detections(self._settings, self._parsers, extra=[Path(path) for path in paths])
        refused = [each for each in loaded.refused if each.path in paths]
        if refused:
            raise UsageError("\n".join(f"{paths[r.path].name}:{r.line}: {r.reason}" for r in refused))
        known = {each.id: each for each in referable(loaded)}
        names = {id for id, each in known.items() if each.path in paths}
        for rule in self.job.rules:
            if rule not in known and rule not in {each.name for each in known.values()}:
                reasons = [str(each) for each in loaded.refused if each.id == rule]
                raise NotFound(f"no rule '{rule}' is loaded" + (f": {reasons[0]}" if reasons else ""))
        if not names and not self.job.rules:
            raise UsageError("there is no rule in what was given")
        return loaded, names | set(self.job.rules)

    def begin(self) -> None:
        """Plan what is to be read, or take the plan up again."""
        found = self._jobs.plan(self.job.id)
        if found is None:
            since_us, until_us = self.job.since_us, self.job.until_us
            if self.job.backfill:  # what a correlation joins with events of the gap, on either side of it
                since_us -= self._reach_us * (LATE_REACHES if self.job.late else 1)
                until_us = min(until_us + self._reach_us, self.job.created_us)
            found = plan(self._store, self.job.scope, self._query, self._axis, since_us, until_us)
            self._jobs.save_plan(self.job.id, found)
        self._plan = found
        fresh = {"at": 0, "events": 0, "bytes": 0, "cpu_s": 0.0, "hits": 0, "hits_kept": 0, "hits_bytes": 0}
        fresh |= {"started_us": self._now_us(), "events_total": sum(n for _, _, n in found), "slices": len(found)}
        self._state = {**fresh, **self._state, "state": RUNNING}

    def step(self) -> bool:
        """Look through the next slice; whether there may be more. What was found is durable now and then."""
        began = time.process_time()
        ended = ""
        if self._jobs.is_cancelled(self.job.id):
            ended = CANCELLED
        elif self._state["at"] >= len(self._plan):
            ended = DONE
            self._count_all({side: looker.finish() for side, looker in self._lookers.items()})
        else:
            self._look(self._plan[self._state["at"]])
            self._state["at"] += 1
        self._state["cpu_s"] += time.process_time() - began
        if ended or time.monotonic() - self._saved >= SAVE_S:
            self.save(ended or RUNNING)
        return not ended

    def _look(self, slice: Slice) -> None:
        query = between(self._query, self._axis, slice[0], slice[1])
        batches = list(self._store.scan(self.job.scope, query, self._columns))
        self._state["events"] += sum(batch.n for batch in batches)
        self._state["bytes"] += sum(c.to_arrow().nbytes for batch in batches for c in batch.columns.values())
        self._count_all({side: looker.look(batches) for side, looker in self._lookers.items()})

    def _count_all(self, found: Mapping[str, list[Finding]]) -> None:
        for finding, side in sided(found[NEW], found.get(OLD)):
            if not self.job.backfill or self._is_meant(finding):
                self._count(finding, side)

    def _is_meant(self, finding: Finding) -> bool:
        """Whether the event that completed it was received from the gap's beginning on (an id begins with its ms); when
        events came too late, whether they may have changed its window."""
        if self._late is None:
            return int(finding.event_ids[-1][:12], 16) >= self.job.since_us // 1000
        reach_us, whose = self._reach_us, (finding.site, finding.import_id or "", "simulated" * finding.simulated)
        return (
            finding.last_us >= self.job.since_us - reach_us
            and finding.first_us < self.job.until_us
            and self._late.means(finding.rule_id, (*whose, *finding.group.values()))
        )

    def _count(self, finding: Finding, side: str) -> None:
        tally = self._tallies.get(finding.rule_id)
        if tally is None:
            tally = self._tallies[finding.rule_id] = Tally(finding.title, finding.title_vi, finding.level)
        verdicts = (self._verdicts.get(id) for id in reversed(finding.event_ids))
        verdict = next((each for each in verdicts if each), None)
        tally.add(finding, side, verdict)
        self._state["hits"] += 1
        if self._state["hits_kept"] < MAX_HITS:
            self._state["hits_kept"] += 1
            self._hits.append(_hit(finding, side, verdict))
        if self.job.backfill:
            self._found.append(replace(finding, lookback=self.job.id))

    def save(self, state: str) -> None:
        """Everything up to the last whole slice, durable on return."""
        if self._found:
            self._sink(self._found)
            self._found = []
        at = self._jobs.add_hits(self.job.id, self._hits, self._state["hits_bytes"])
        self._hits = []
        self._state |= {
            "state": state, "hits_bytes": at, "at_us": self._now_us(),
            "tallies": {rule: tally.to_state() for rule, tally in self._tallies.items()},
            "lookers": {side: looker.snapshot() for side, looker in self._lookers.items()},
            "failures": {side: dict(looker.failures) for side, looker in self._lookers.items()},
            "left_out": {side: looker.left_out() for side, looker in self._lookers.items()},
        }  # fmt: skip
        if state != RUNNING:
            self._state["lookers"] = {}
        if state == DONE and self.job.backfill:
            self._note_backfill()
        self._jobs.save(self.job.id, self._state)
        self._saved = time.monotonic()

    def _note_backfill(self) -> None:
        held = set(unbroken(self._rules, self._lookers[NEW].failures))
        asked = {each.id: each.version for each in referable(self._rules) if each.id in self.job.rules}
        broke = {id: version for id, version in asked.items() if id not in held}
        seen = frozenset(asked.keys() - broke.keys())
        if self.job.late:
            late.looked_at(self._settings, self.job.late, seen)
            return
        made = Backfill(self.job.id, seen, self.job.since_us, self.job.until_us, broke)
        note_backfill(self._settings, made)

    def _now_us(self) -> int:
        return self._clock.now_ns() // 1000


def _hit(finding: Finding, side: str, verdict: str | None) -> dict[str, Any]:
    document: Mapping[str, Any] = finding.to_document()
    names = ("id", "rule_id", "title", "title_vi", "level", "kind", "dataset", "first_us", "last_us", "site",
             "system_id", "organization_id", "entity", "count", "group", "matched")  # fmt: skip
    kept = {name: document[name] for name in names}
    return {**kept, "event_ids": list(finding.event_ids[-EVENT_IDS:]), "side": side, "verdict": verdict}


def view(job: Lookback, state: Mapping[str, Any]) -> dict[str, Any]:
    """A lookback as people see it: what was asked, how far it is, and its figures."""
    asked = job.to_document()
    asked["texts"] = [each.name for each in job.texts]
    shown = {name: state[name] for name in state if name not in ("tallies", "lookers", "version", "hits_bytes")}
    reports = [{"rule": rule, **Tally.from_state(each).report()} for rule, each in state.get("tallies", {}).items()]
    reports.sort(key=lambda each: -sum(each["diff"].values()))
    span_s = (job.until_us - job.since_us) / 1_000_000
    return {**asked, **shown, "eta_s": _eta_s(state), "span_s": span_s, "rules_found": reports}


def _eta_s(state: Mapping[str, Any]) -> float | None:
    """Seconds left at the pace until now; None while nothing can be told."""
    if state["state"] != RUNNING or not state.get("events"):
        return None
    took_s = float(state["at_us"] - state["started_us"]) / 1_000_000
    left = max(int(state["events_total"]) - int(state["events"]), 0)
    return round(took_s * left / int(state["events"]), 1)
