"""Distant units: invite one, see them all, shut one out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from soc.web.auth import Allowed, Asking
from soc.web.envelope import Body, Id, Name, Text, answer

router = APIRouter()
Manage = Annotated[Asking, Depends(Allowed("source.manage"))]


class NewRelay(Body):
    """The unit's name: small letters, digits and `-`."""

    name: Name


class Reason(Body):
    """Why; it stays in the ledger."""

    reason: Text = ""


@router.get("/v1/relays")
def listed(ask: Annotated[Asking, Depends(Allowed("source.read"))]) -> Response:
    """Every unit that was invited, with what it last said of itself."""
    ask.whole()
    return answer("relay.list", ask.services.units.relays())


@router.post("/v1/relays", status_code=201)
def invite(ask: Manage, body: NewRelay) -> Response:
    """A token with which a unit joins, shown once."""
    ask.whole()
    token = ask.services.units.authority().invite(body.name)
    with ask.services.cases.begin(ask.person.name, ask.caller.via) as tx:
        tx.ledger("relay.invite", f"relay:{body.name}", None, {"name": body.name}, "")
    return answer("relay.token", {"name": body.name, "token": str(token)}, status=201)


@router.post("/v1/relays/{id}/forget")
def forget(ask: Manage, id: Id, body: Reason) -> Response:
    """Shut a unit out at once; what it sent before stays."""
    ask.whole()
    ask.services.units.authority().forget(id)
    with ask.services.cases.begin(ask.person.name, ask.caller.via) as tx:
        tx.ledger("relay.forget", f"relay:{id}", {"name": id}, None, body.reason)
    return answer("relay", {"name": id, "forgotten": True})
