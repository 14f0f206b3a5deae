"""Playbooks, and the runs of their actions: plan, approve, run, revert, done by hand."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import Field
from starlette.responses import Response

from soc.model.run import Run
from soc.model.ticket import Ticket
from soc.web.auth import Allowed, Asking
from soc.web.envelope import Before, Body, Id, Limit, Name, Text, Words, answer, page, several
from soc.web.routes.tickets import find_one

router = APIRouter()
Read = Annotated[Asking, Depends(Allowed("playbook.read"))]
RunIt = Annotated[Asking, Depends(Allowed("playbook.run"))]


class Plan(Body):
    """An action step of a ticket; `params` overrides what the ticket's observables give."""

    ticket: Name
    step: Name
    params: dict[Name, Annotated[str, Field(max_length=500)] | int] = Field(default={}, max_length=20)


class Approve(Body):
    """The hash of the plan that was looked at."""

    plan_hash: Name


class ByHand(Body):
    """What was done, and where."""

    note: Text


@router.get("/v1/playbooks")
def listed(ask: Read) -> Response:
    """Every playbook, by id."""
    found = ask.services.playbooks.playbooks
    return answer("playbook.list", [found[id] for id in sorted(found)])


@router.get("/v1/playbooks/{id}")
def one(ask: Read, id: Id) -> Response:
    """One playbook with its steps."""
    return answer("playbook", ask.services.playbooks.get(id))


@router.get("/v1/runs")
def runs(ask: Read, ticket: Words = None, state: Words = None, limit: Limit = 50, before: Before = None) -> Response:
    """Runs, newest first."""
    with ask.read() as tx:
        own = find_one(ask, tx, ticket)[0] if ticket else None
        found = ask.find(tx, "run", limit=limit + 1, before=before, ticket=own, state=several(state))
    return page("run.list", [(id, {**s.document, "version": s.version}) for id, s in found], limit)


@router.get("/v1/runs/{id}")
def run(ask: Read, id: Id) -> Response:
    """One run with its plan and its history."""
    return _stands(ask, id)


@router.post("/v1/runs", status_code=201)
def plan(ask: Annotated[Asking, Depends(Allowed("playbook.plan"))], body: Plan) -> Response:
    """What an action would do; nothing is done yet."""
    with ask.read() as tx:
        _, stored = find_one(ask, tx, body.ticket)
    params: dict[str, Any] = dict(body.params)
    made = ask.services.engine.plan(Ticket.from_document(stored.document), body.step, params, ask.person)
    return _stands(ask, made.id, status=201)


@router.post("/v1/runs/{id}/approve")
def approve(ask: Annotated[Asking, Depends(Allowed("playbook.approve"))], id: Id, body: Approve) -> Response:
    """Agree to exactly this plan; whoever asked for it may not."""
    _seen(ask, id)
    return _shown(ask, ask.services.engine.approve(id, body.plan_hash, ask.person))


@router.post("/v1/runs/{id}/run")
def carry_out(ask: RunIt, id: Id) -> Response:
    """Carry an approved plan out and verify it."""
    _seen(ask, id)
    return _shown(ask, ask.services.engine.run(id, ask.person))


@router.post("/v1/runs/{id}/revert")
def revert(ask: Annotated[Asking, Depends(Allowed("playbook.revert"))], id: Id) -> Response:
    """Undo what was done, and verify that it is undone."""
    _seen(ask, id)
    return _shown(ask, ask.services.engine.revert(id, ask.person))


@router.post("/v1/runs/{id}/done")
def done(ask: RunIt, id: Id, body: ByHand) -> Response:
    """Record that a manual run was carried out by a person."""
    _seen(ask, id)
    return _shown(ask, ask.services.engine.done_by_hand(id, ask.person, body.note))


def _seen(ask: Asking, id: str) -> None:
    with ask.read() as tx:
        ask.one(tx, "run", id)


def _stands(ask: Asking, id: str, *, status: int = 200) -> Response:
    with ask.read() as tx:
        stored = ask.one(tx, "run", id)
    return answer("run", {**stored.document, "version": stored.version}, status=status)


def _shown(ask: Asking, made: Run) -> Response:
    return _stands(ask, made.id)
