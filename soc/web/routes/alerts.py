"""Alerts: the list, one with its context, and what people decide about them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import Field
from starlette.responses import Response

from soc.alerts.rest import rest_query
from soc.model.alert import Alert
from soc.model.run import Playbook
from soc.registry import to_document
from soc.store.cases import Tx
from soc.web.auth import Allowed, Asking
from soc.web.envelope import EVENTS, Before, Id, Limit, Name, Text, Versioned, Words, answer, page, several
from soc.web.routes.events import id_bytes

router = APIRouter()
Read = Annotated[Asking, Depends(Allowed("alert.read"))]


class Close(Versioned):
    """What it turned out to be, and why."""

    verdict: Name
    reason: Text


class Note(Versioned):
    """What a person wants to remember."""

    text: Text


class MakeTicket(Versioned):
    """`playbook` null: the one that fits."""

    playbook: Name | None = Field(default=None)


def document(alert: Alert | dict[str, Any], version: int) -> dict[str, Any]:
    """An alert as the API shows it."""
    plain = alert.to_document() if isinstance(alert, Alert) else alert
    return {**plain, "version": version}


def now(ask: Asking, tx: Tx, id: str) -> Response:
    """The alert as it stands in this transaction."""
    stored = ask.one(tx, "alert", id)
    return answer("alert", document(stored.document, stored.version))


@router.get("/v1/alerts")
def listed(
    ask: Read,
    status: Words = None,
    level: Words = None,
    rule: Words = None,
    limit: Limit = 50,
    before: Before = None,
) -> Response:
    """Alerts, newest first."""
    keys = {"status": several(status), "level": several(level), "rule": several(rule)}
    with ask.read() as tx:
        found = ask.find(tx, "alert", limit=limit + 1, before=before, **keys)
    return page("alert.list", [(id, document(s.document, s.version)) for id, s in found], limit)


@router.get("/v1/alerts/{id}")
def one(ask: Read, id: Id) -> Response:
    """An alert with its information system and the playbook that fits.

    `events_shown` of `events_total` are named; when that is not all, `rest_query` finds the others.
    """
    with ask.read() as tx:
        stored = ask.one(tx, "alert", id)
    alert = Alert.from_document(stored.document)
    system = ask.services.registry.get(alert.system_id) if alert.system_id else None
    playbook = ask.services.playbooks.match(alert)
    context = {
        "system": to_document(system) if system is not None and ask.scope.allows(system.organization_id) else None,
        "suggested_playbook": None if playbook is None else _suggested(playbook),
        "events_shown": len(alert.event_ids),
        "rest_query": rest_query(alert, ask.services.fields) if alert.events_total > len(alert.event_ids) else None,
    }
    return answer("alert", {**document(stored.document, stored.version), **context})


def _suggested(playbook: Playbook) -> dict[str, Any]:
    return {"id": playbook.id, "title": playbook.title, "title_vi": playbook.title_vi, "steps": playbook.steps}


@router.get("/v1/alerts/{id}/events")
def events(ask: Annotated[Asking, Depends(Allowed("event.search"))], id: Id) -> Response:
    """The events behind an alert; `warnings` says when some are gone, and how to find those not kept by name."""
    with ask.read() as tx:
        alert = ask.one(tx, "alert", id).document
    return behind(ask, Alert.from_document(alert))


def behind(ask: Asking, alert: Alert) -> Response:
    """The events of an alert, or of what was gathered like one."""
    ids = alert.event_ids[:EVENTS]
    found = ask.services.store.get(ask.scope, [id_bytes(i) for i in ids])
    missing = len(ids) - len(found)
    warnings = [f"{missing} of {len(ids)} events are no longer here"] if missing else []
    total = alert.events_total
    if total > len(ids):
        query = rest_query(alert, ask.services.fields)
        warnings.append(f"showing {len(ids):,} of {total:,} events; all of them: {query}")
    return answer("event.list", found, truncated=total > len(ids), warnings=warnings, total=total)


@router.post("/v1/alerts/{id}/acknowledge")
def acknowledge(
    ask: Annotated[Asking, Depends(Allowed("alert.acknowledge"))], id: Id, body: Versioned | None = None
) -> Response:
    """Take an alert."""
    with ask.change() as tx:
        ask.one(tx, "alert", id)
        ask.services.alerts.acknowledge(tx, id, ask.person, version=body.version if body else None)
        return now(ask, tx, id)


@router.post("/v1/alerts/{id}/close")
def close(ask: Annotated[Asking, Depends(Allowed("alert.close"))], id: Id, body: Close) -> Response:
    """Judge an alert."""
    with ask.change() as tx:
        ask.one(tx, "alert", id)
        ask.services.alerts.close(tx, id, ask.person, body.verdict, body.reason, version=body.version)
        return now(ask, tx, id)


@router.post("/v1/alerts/{id}/note")
def note(ask: Annotated[Asking, Depends(Allowed("alert.note"))], id: Id, body: Note) -> Response:
    """Add a note."""
    with ask.change() as tx:
        ask.one(tx, "alert", id)
        ask.services.alerts.note(tx, id, ask.person, body.text, version=body.version)
        return now(ask, tx, id)


@router.post("/v1/alerts/{id}/ticket", status_code=201)
def ticket(
    ask: Annotated[Asking, Depends(Allowed("ticket.create"))], id: Id, body: MakeTicket | None = None
) -> Response:
    """Make a ticket of an alert, with the steps of its playbook."""
    body = body or MakeTicket()
    with ask.change() as tx:
        stored = ask.one(tx, "alert", id)
        ask.same_version("alert", id, stored, body.version)
        alert = Alert.from_document(stored.document)
        playbooks = ask.services.playbooks
        playbook = playbooks.get(body.playbook) if body.playbook else playbooks.match(alert)
        made = ask.services.tickets.create_from_alert(tx, alert, ask.person, playbook)
        kept = ask.one(tx, "ticket", made.id)
    return answer("ticket", {**kept.document, "version": kept.version, "runs": []}, status=201)
