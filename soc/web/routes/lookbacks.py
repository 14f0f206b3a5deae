"""Lookbacks: rules or a search over the stored events, as jobs: asked for, followed, ended, their hits in pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import Field
from starlette.responses import Response

from soc.errors import Conflict, NotFound, UsageError
from soc.model.clock import DAY_US
from soc.model.lookback import OPEN, Lookback, RuleText
from soc.pipeline.lookback.run import view
from soc.pipeline.states import read_state, state_file
from soc.store.cases import Tx
from soc.web.auth import Allowed, Asking
from soc.web.envelope import EVENTS, PAGE, Body, Id, Limit, Name, Text, answer
from soc.web.routes.events import query_of
from soc.web.times import moment_us

router = APIRouter()
Hunt = Annotated[Asking, Depends(Allowed("event.hunt"))]
Read = Annotated[Asking, Depends(Allowed("event.search"))]
LONGEST_US = 400 * DAY_US
MOST_OPEN = 8
"""One person has at most so many at a time."""
MOST_JUDGED = 200_000
"""Events of closed alerts that hits are compared with, those closed last; `verdicts_cut` says when there were more."""


class Rules(Body):
    """A file of rules as the caller has it."""

    name: Name
    text: Annotated[str, Field(max_length=1_000_000)]


class Ask(Body):
    """What to look for: ids of loaded rules, rules as text, or a search text (`where`) alone; together `where` narrows.

    `against`: also what is loaded under the same ids, to compare with. `since` and `until` as in searches.
    """

    rules: list[Name] = Field(default=[], max_length=5000)
    texts: list[Rules] = Field(default=[], max_length=5000)
    where: Annotated[str, Field(max_length=20_000)] = ""
    since: Name = "30d"
    until: Name | None = None
    against: bool = False
    reason: Text = ""


@router.post("/v1/lookbacks", status_code=201)
def create(ask: Hunt, body: Ask) -> Response:
    """Hand one in; it runs beside the service and survives a restart. Each is in the ledger with its reason."""
    if not (body.rules or body.texts or body.where.strip()):
        raise UsageError("name rules, or what to search for")
    if body.against and not (body.rules or body.texts):
        raise UsageError("a search text alone has nothing to be compared with")
    query_of(ask, body.where)
    since_us = moment_us(body.since, ask.now_us)
    until_us = min(moment_us(body.until, ask.now_us) or ask.now_us, ask.now_us)
    if since_us is None or not 0 < until_us - since_us <= LONGEST_US:
        raise UsageError("the time to look through ends after it begins, at most 400 days later")
    if sum(each.asker == ask.person.name for each, _ in _open(ask)) >= MOST_OPEN:
        raise Conflict(f"'{ask.person.name}' has {MOST_OPEN} of them open", hint="soc job list; soc job cancel ID")
    units = None if ask.scope.units is None else tuple(sorted(ask.scope.units))
    job = Lookback(
        id=ask.services.new_id(), asker=ask.person.name, units=units, since_us=since_us, until_us=until_us,
        created_us=ask.now_us, rules=tuple(dict.fromkeys(body.rules)), where=body.where.strip(),
        texts=tuple(RuleText(each.name, each.text) for each in body.texts), against=body.against, reason=body.reason,
    )  # fmt: skip
    return handed_in(ask, job)


def handed_in(ask: Asking, job: Lookback) -> Response:
    """Into the ledger, then to work; the answer shows it."""
    with ask.change() as tx:
        verdicts, cut = _verdicts(ask, tx, job)
        tx.ledger("lookback.create", f"lookback:{job.id}", None, job.told(), job.reason)
    ask.services.lookbacks.create(job, verdicts)
    warnings = ["hits are compared with the newest closed alerts only"] if cut else []
    state = read_state(state_file(ask.services.settings, "lookback")) or {}
    if state.get("state") != "running":
        warnings.append("nobody works off lookbacks at the moment: soc lookback is not running")
    return answer("lookback", _shown(ask, job), warnings=warnings, status=201)


def _verdicts(ask: Asking, tx: Tx, job: Lookback) -> tuple[dict[str, str], bool]:
    """What people said of alerts of that time, by event; and whether there was more than is looked at."""
    found: dict[str, str] = {}
    before = None
    while some := ask.find(tx, "alert", limit=PAGE, before=before, status="closed"):
        for _, stored in some:
            alert = stored.document
            if alert["last_us"] >= job.since_us and alert["first_us"] < job.until_us:
                for id in alert["event_ids"]:
                    found.setdefault(id, alert["verdict"])
        if len(found) >= MOST_JUDGED:
            return found, True
        before = some[-1][0]
    return found, False


@router.get("/v1/lookbacks")
def listed(ask: Read, limit: Limit = 50) -> Response:
    """The newest ones, without their figures by rule."""
    jobs = ask.services.lookbacks
    seen = [job for id in reversed(jobs.ids()) if _may_see(ask, job := jobs.get(id))]
    rows = [{**_shown(ask, job), "rules_found": None} for job in seen[:limit]]
    return answer("lookback.list", rows, truncated=len(seen) > limit)


@router.get("/v1/lookbacks/{id}")
def one(ask: Read, id: Id) -> Response:
    """How far it is, and its figures until now: hits and alerts by day, entities, precision, new against old, cost."""
    return answer("lookback", _shown(ask, _job(ask, id)))


@router.get("/v1/lookbacks/{id}/hits")
def hits(
    ask: Read, id: Id, skip: Annotated[int, Query(ge=0)] = 0, limit: Annotated[int, Query(ge=1, le=EVENTS)] = 100
) -> Response:
    """What was found, by time; `total` counts all, of which the first ones are kept."""
    job, jobs = _job(ask, id), ask.services.lookbacks
    found = jobs.hits(job.id, skip, limit)
    total = jobs.state(job.id).get("hits", 0)
    return answer("lookback.hits", found, truncated=skip + len(found) < total, total=total)


@router.post("/v1/lookbacks/{id}/cancel")
def cancel(ask: Hunt, id: Id) -> Response:
    """End it; what it found until then stays."""
    job, jobs = _job(ask, id), ask.services.lookbacks
    if not jobs.is_open(job.id):
        raise Conflict(f"lookback '{id}' is {jobs.state(job.id)['state']} already")
    with ask.change() as tx:
        tx.ledger("lookback.cancel", f"lookback:{job.id}")
    jobs.cancel(job.id)
    return answer("lookback", _shown(ask, job))


def _job(ask: Asking, id: str) -> Lookback:
    job = ask.services.lookbacks.get(id)
    if not _may_see(ask, job):
        raise NotFound(f"no lookback '{id}'")
    return job


def _may_see(ask: Asking, job: Lookback) -> bool:
    """One's own, and for who sees all units those of everybody."""
    return ask.scope.units is None or (
        job.asker == ask.person.name and job.units is not None and set(job.units) <= ask.scope.units
    )


def _open(ask: Asking) -> Iterator[tuple[Lookback, dict[str, Any]]]:
    jobs = ask.services.lookbacks
    for id in jobs.ids():
        if (state := jobs.state(id))["state"] in OPEN:
            yield jobs.get(id), state


def _shown(ask: Asking, job: Lookback) -> dict[str, Any]:
    return view(job, ask.services.lookbacks.state(job.id))
