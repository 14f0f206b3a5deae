"""People and their tokens."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import Field
from starlette.responses import Response

from soc.access import Person
from soc.web.auth import Allowed, Asking
from soc.web.envelope import Body, Id, Name, Text, answer

router = APIRouter()
Manage = Annotated[Asking, Depends(Allowed("access.manage"))]


class NewPerson(Body):
    """`units` are owner units; `uid` is the login on this machine."""

    name: Name
    role: Name
    units: list[Name] = Field(default=[], max_length=1000)
    uid: int | None = Field(default=None, ge=0, lt=2**32 - 1)
    reason: Text = ""


class NewToken(Body):
    """How long it lives."""

    days: int = Field(default=90, ge=1, le=365)


def document(person: Person) -> dict[str, Any]:
    """A person as the API shows them."""
    return {
        "name": person.name, "role": person.role, "units": sorted(person.units), "uid": person.uid,
        "disabled": person.disabled,
    }  # fmt: skip


@router.get("/v1/people")
def listed(ask: Annotated[Asking, Depends(Allowed("access.read"))]) -> Response:
    """Everybody by name, disabled people too."""
    ask.whole()
    return answer("person.list", [document(person) for person in ask.services.access.people()])


@router.post("/v1/people", status_code=201)
def add(ask: Manage, body: NewPerson) -> Response:
    """Add a person."""
    ask.whole()
    person = ask.services.access.add_person(
        body.name, body.role, body.units, body.uid, by=ask.person.name, via=ask.caller.via, reason=body.reason
    )
    return answer("person", document(person), status=201)


@router.post("/v1/people/{name}/tokens", status_code=201)
def token(ask: Manage, name: Id, body: NewToken | None = None) -> Response:
    """A new token; its secret is shown this once."""
    ask.whole()
    days = (body or NewToken()).days
    secret = ask.services.access.issue_token(name, days=days, by=ask.person.name, via=ask.caller.via)
    return answer("token", {"secret": secret, "person": name, "days": days}, status=201)
