"""Imports: a file in parts, each of which may be sent again, then its progress."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from soc.errors import NotFound
from soc.web.auth import Allowed, Asking
from soc.web.envelope import Body, Id, Name, answer

router = APIRouter()
Create = Annotated[Asking, Depends(Allowed("import.create"))]
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
OCTETS: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


class Begin(Body):
    """A file that is to come: its name, its size in bytes, what it holds."""

    name: Annotated[str, Field(min_length=1, max_length=1000)]
    size: int = Field(ge=0)
    format: Name = "auto"
    product: Name | None = None
    sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    resume: bool = False


async def octets(request: Request) -> bytes:
    """The body as it came; the gate has capped it."""
    return await request.body()


def _checked(id: str) -> str:
    if not _ID.fullmatch(id):  # an id names a folder
        raise NotFound(f"no import '{id}'")
    return id


@router.post("/v1/imports", status_code=201)
def begin(ask: Create, body: Begin) -> Response:
    """Announce a file; the answer says in how many parts of how many bytes it is sent, and which are there."""
    ask.whole()
    made = ask.services.uploads.begin(
        body.name, body.size, ask.person.name, format=body.format, product=body.product or None,
        sha256=body.sha256, is_resumed=body.resume,
    )  # fmt: skip
    return answer("import", made, status=201)


@router.put("/v1/imports/{id}/parts/{n}", openapi_extra=OCTETS)
def part(
    ask: Create, id: Id, n: Annotated[int, Path(ge=0, le=1_000_000)], data: Annotated[bytes, Depends(octets)]
) -> Response:
    """Part `n`, counted from 0; sent twice it is the same part."""
    ask.whole()
    ask.services.uploads.put(_checked(id), n, data)
    return answer("import.part", {"id": id, "n": n, "bytes": len(data)})


@router.post("/v1/imports/{id}/commit")
def commit(ask: Create, id: Id) -> Response:
    """All parts were sent; committed twice it is the same import."""
    ask.whole()
    made = ask.services.uploads.commit(_checked(id))
    with ask.change() as tx:
        if tx.get("import", id) is None:  # once, also when an answer was lost or two ask at the same time
            after = {"name": made["name"], "bytes": made["size"], "format": made["format"]}
            tx.put("import", id, after, None)
            tx.ledger("import.create", f"import:{id}", None, after)
            tx.change("import", id, "commit")
    return answer("import", made)


@router.get("/v1/imports/{id}")
def one(ask: Create, id: Id) -> Response:
    """How far an import is, and what it brought."""
    ask.whole()
    return answer("import", ask.services.imports.state(_checked(id), ask.scope))
