"""Rules: their state and versions, exceptions from them, and the findings that made no alert."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import Field
from starlette.responses import Response

from soc.alerts.withheld import KIND, gathered
from soc.pipeline import promotion
from soc.pipeline.rule_exceptions import Plan
from soc.pipeline.rule_measures import MOST_ALERTS
from soc.web.auth import Allowed, Asking
from soc.web.envelope import Before, Body, Id, Limit, Name, Text, Words, answer, page, several
from soc.web.routes.alerts import behind

router = APIRouter()
Read = Annotated[Asking, Depends(Allowed("rule.read"))]
Manage = Annotated[Asking, Depends(Allowed("rule.manage"))]
Days = Annotated[int, Field(ge=1, le=366)]


class Decide(Body):
    """`live`, `shadow`, `off`, or `default` for what the settings say; and why. `untested`: live all the same."""

    state: Name
    reason: Text
    untested: bool = False


class Why(Body):
    """Why somebody does it."""

    reason: Text


class Agree(Body):
    """`version` of the exception that was looked at; and why."""

    version: Name
    reason: Text = ""


class RollBack(Why):
    """`version` null: the one before. With `forward` the roll-back is taken away."""

    version: Name | None = Field(default=None)
    forward: bool = False


class Except(Body):
    """One Sigma filter with `x-exception`, as YAML, and over how many days to look back; without `apply` it is only
    held against what was found."""

    definition: Annotated[str, Field(max_length=64 << 10)]
    days: Days = 30
    reason: Text = ""
    apply: bool = False


@router.get("/v1/rules")
def listed(ask: Read, state: Words = None) -> Response:
    """Every rule, correlation and model with its state (`live`, `shadow`, `off`), and what was refused and why."""
    wanted = several(state)
    rules = ask.services.rules
    with ask.read() as tx:
        found = rules.described(tx, rules.all())
    refused = [vars(each) for each in rules.loaded().refused]
    kept = [each for each in found if not wanted or each["state"] in wanted]
    return answer("rule.list", {"rules": kept, "refused": refused}, total=len(found))


@router.get("/v1/rules-in-shadow")
def in_shadow(ask: Read) -> Response:
    """Every rule in shadow: for how long, what it found, how people judged it, and whether it may be promoted."""
    ask.whole()
    with ask.read() as tx:
        return answer("rule.shadow", promotion.ready(ask.services.rules, tx))


@router.get("/v1/rules/{id}")
def one(ask: Read, id: Id) -> Response:
    """One rule with its log source, its known versions, newest first, and the definitions that it is made of."""
    rules = ask.services.rules
    rule = rules.one(id)
    document = rules.document(rule)
    data: dict[str, Any] = document.data if document else {}
    with ask.read() as tx:
        versions = [{k: v for k, v in each.items() if k != "text"} for each in rules.versions(tx, rule)]
        [shown] = rules.described(tx, [rule])
    more = {"logsource": data.get("logsource"), "versions": versions, "definitions": rules.definitions(rule)}
    return answer("rule", {**shown, **more})


@router.post("/v1/rules/{id}/state")
def decide(ask: Manage, id: Id, body: Decide) -> Response:
    """Turn a rule live, into shadow or off; it holds at once, for every unit that does not say otherwise."""
    ask.whole()
    rules = ask.services.rules
    with ask.change() as tx:
        rule = rules.decide(tx, id, body.state, ask.person.name, body.reason, untested=body.untested)
        [shown] = rules.described(tx, [rule])
    return answer("rule", shown)


@router.post("/v1/rules/{id}/rollback")
def rollback(ask: Manage, id: Id, body: RollBack) -> Response:
    """Use an earlier version of a rule again, or take that back; all processes take it up within seconds."""
    ask.whole()
    rules = ask.services.rules
    with rules.writing:
        if body.forward:
            return answer("rule.rollback", rules.forward(ask.change, id, body.reason))
        return answer("rule.rollback", rules.roll_back(ask.change, id, body.version, body.reason))


@router.post("/v1/rules/reload")
def reload(ask: Manage) -> Response:
    """Read all definitions again, in all processes; no event and no window of a correlation is lost."""
    ask.whole()
    return answer("rule.reload", ask.services.rules.reload())


@router.get("/v1/deaf-rules")
def deaf(ask: Read) -> Response:
    """Rules whose log source sent nothing for 30 days, with what they listen to."""
    ask.whole()
    return answer("rule.deaf", ask.services.measures.deaf())


@router.get("/v1/attack")
def attack(ask: Read) -> Response:
    """ATT&CK techniques and tactics with the rules that count (live, tested, fed by events of now) and the others."""
    ask.whole()
    return answer("rule.attack", ask.services.measures.attack())


@router.get("/v1/noise")
def noise(
    ask: Annotated[Asking, Depends(Allowed("alert.read"))], days: Annotated[int, Query(ge=1, le=366)] = 30
) -> Response:
    """Alerts by rule and day, the share that people judged false, top entities, and where an exception would help."""
    with ask.read() as tx:
        found = ask.find(tx, "alert", limit=MOST_ALERTS + 1)
    rows = ask.services.measures.noise((stored.document for _, stored in found[:MOST_ALERTS]), days)
    return answer("rule.noise", rows, truncated=len(found) > MOST_ALERTS)


@router.get("/v1/exceptions")
def exceptions(ask: Read) -> Response:
    """Every exception: whether it holds, what it took so far, and when last."""
    ask.whole()
    with ask.read() as tx:
        found = [*ask.services.approval.waiting(tx), *ask.services.exceptions.listed(tx)]
    return answer("exception.list", found)


@router.post("/v1/exceptions")
def put_exception(ask: Manage, body: Except) -> Response:
    """Say what an exception would have hidden; with `apply` put it in place, unless it would hide a known attack.

    Where a second person has to approve, it is `proposed` instead.
    """
    ask.whole()
    services = ask.services
    if not body.apply:
        _, plan = services.exceptions.plan(body.definition, body.days)
        return _planned(plan)
    with services.rules.writing:
        if services.settings.exception_approval:
            plan = services.approval.propose(ask.change, body.definition, body.days, body.reason, ask.person.name)
            return _planned(plan, proposed=True)
        return _planned(services.exceptions.put(ask.change, body.definition, body.days, body.reason), applied=True)


def _planned(plan: Plan, *, applied: bool = False, proposed: bool = False) -> Response:
    return answer("exception.plan", {**plan.to_document(), "applied": applied, "proposed": proposed})


@router.post("/v1/exceptions/{id}/approve")
def approve_exception(ask: Manage, id: Id, body: Agree) -> Response:
    """Put a proposed exception in place; whoever proposed it may not."""
    ask.whole()
    services = ask.services
    with services.rules.writing:
        with ask.read() as tx:
            services.access.require_other(ask.person, "rule.manage", services.approval.proposer(tx, id))
        return _planned(services.approval.approve(ask.change, id, body.version, body.reason), applied=True)


@router.post("/v1/exceptions/{id}/reject")
def reject_exception(ask: Manage, id: Id, body: Why) -> Response:
    """Let a proposed exception go."""
    ask.whole()
    with ask.services.rules.writing:
        return answer("exception", ask.services.approval.reject(ask.change, id, body.reason))


@router.post("/v1/exceptions/{id}/end")
def end_exception(ask: Manage, id: Id, body: Why) -> Response:
    """Take an exception away; what it took stays where it is."""
    ask.whole()
    with ask.services.rules.writing:
        return answer("exception", ask.services.exceptions.end(ask.change, id, body.reason))


@router.get("/v1/withheld")
def withheld(
    ask: Annotated[Asking, Depends(Allowed("alert.read"))],
    why: Words = None,
    rule: Words = None,
    exception: Annotated[str | None, Query(max_length=200)] = None,
    limit: Limit = 50,
    before: Before = None,
) -> Response:
    """Findings that made no alert, gathered by entity and hour, newest first; `why`: `exception`, `shadow`,
    `disabled`."""
    keys = {"why": several(why), "rule": several(rule), "exception": exception}
    with ask.read() as tx:
        found = ask.find(tx, KIND, limit=limit + 1, before=before, **keys)
    return page("withheld.list", [(id, stored.document) for id, stored in found], limit)


@router.get("/v1/withheld/{id}/events")
def withheld_events(ask: Annotated[Asking, Depends(Allowed("event.search"))], id: Id) -> Response:
    """The events of findings that made no alert."""
    with ask.read() as tx:
        found = ask.one(tx, KIND, id).document
    return behind(ask, gathered(found))
