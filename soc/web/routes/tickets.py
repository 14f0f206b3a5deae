"""Tickets: the list, one with its runs, the lifecycle, tasks, notes and the judgement on severity."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import Field
from starlette.responses import Response

from soc.store.cases import Stored, Tx
from soc.web.auth import Allowed, Asking
from soc.web.envelope import PAGE, Before, Id, Limit, Name, Text, Versioned, Words, answer, page, several

router = APIRouter()
Read = Annotated[Asking, Depends(Allowed("ticket.read"))]
MoveIt = Annotated[Asking, Depends(Allowed("ticket.move"))]
NoteIt = Annotated[Asking, Depends(Allowed("ticket.note"))]


class Move(Versioned):
    """The next state of the lifecycle, with what that state asks for."""

    to: Name
    reason: Text = ""
    assignee: Name = ""
    tier: int | None = Field(default=None, ge=1, le=3)
    resolution: Name = ""
    duplicate_of: Name = ""


class Done(Versioned):
    """What came of a task."""

    result: Text = ""


class Note(Versioned):
    """What a person wants to remember."""

    text: Text


class Classify(Versioned):
    """Whether the incident is serious in the sense of the law, and why."""

    serious: bool
    flags: list[Name] = Field(default=[], max_length=20)
    reason: Text


def find_one(ask: Asking, tx: Tx, id: str) -> tuple[str, Stored]:
    """A ticket by id or number (`KT-2026-000123`), within the scope. Raises NotFound."""
    numbered = ask.find(tx, "ticket", limit=1, number=id)
    if numbered:
        return numbered[0]
    return id, ask.one(tx, "ticket", id)


def now(ask: Asking, tx: Tx, id: str) -> Response:
    """The ticket as it stands in this transaction, with its runs."""
    stored = ask.one(tx, "ticket", id)
    runs = [{**s.document, "version": s.version} for _, s in ask.find(tx, "run", limit=PAGE, ticket=id)]
    return answer("ticket", {**stored.document, "version": stored.version, "runs": runs})


@router.get("/v1/tickets")
def listed(ask: Read, state: Words = None, limit: Limit = 50, before: Before = None) -> Response:
    """Tickets, newest first."""
    with ask.read() as tx:
        found = ask.find(tx, "ticket", limit=limit + 1, before=before, state=several(state))
    return page("ticket.list", [(id, {**s.document, "version": s.version}) for id, s in found], limit)


@router.get("/v1/tickets/{id}")
def one(ask: Read, id: Id) -> Response:
    """A ticket by id or number, with the runs of its actions."""
    with ask.read() as tx:
        return now(ask, tx, find_one(ask, tx, id)[0])


@router.post("/v1/tickets/{id}/move")
def move(ask: MoveIt, id: Id, body: Move) -> Response:
    """Take the next step of the lifecycle."""
    words: dict[str, Any] = body.model_dump(exclude={"to", "version"})
    with ask.change() as tx:
        own, _ = find_one(ask, tx, id)
        if body.duplicate_of:
            words["duplicate_of"], _ = find_one(ask, tx, body.duplicate_of)
        ask.services.tickets.move(tx, own, body.to, ask.person, version=body.version, **words)
        return now(ask, tx, own)


@router.post("/v1/tickets/{id}/tasks/{task}/done")
def done(ask: NoteIt, id: Id, task: Id, body: Done | None = None) -> Response:
    """Record a task as done."""
    body = body or Done()
    with ask.change() as tx:
        own, _ = find_one(ask, tx, id)
        ask.services.tickets.step_done(tx, own, task, ask.person, body.result, version=body.version)
        return now(ask, tx, own)


@router.post("/v1/tickets/{id}/note")
def note(ask: NoteIt, id: Id, body: Note) -> Response:
    """Add a note."""
    with ask.change() as tx:
        own, _ = find_one(ask, tx, id)
        ask.services.tickets.note(tx, own, ask.person, body.text, version=body.version)
        return now(ask, tx, own)


@router.post("/v1/tickets/{id}/classify")
def classify(ask: MoveIt, id: Id, body: Classify) -> Response:
    """Record the judgement on severity; it starts the legal clocks."""
    with ask.change() as tx:
        own, _ = find_one(ask, tx, id)
        ask.services.tickets.classify(
            tx, own, ask.person, serious=body.serious, flags=body.flags, reason=body.reason, version=body.version
        )
        return now(ask, tx, own)
