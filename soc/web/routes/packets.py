"""Captured packets of a flow, out of the rings of the monitoring points."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import Field
from starlette.responses import Response

from soc.web.auth import Allowed, Asking
from soc.web.envelope import Body, Text
from soc.web.times import moment_us

router = APIRouter()
PCAPNG = "application/octet-stream"


class Wanted(Body):
    """Which flow, of which time, and why; the reason stays in the ledger."""

    community_id: Annotated[str, Field(pattern=r"^1:[A-Za-z0-9+/]{27}=$")]
    since: Annotated[str | None, Field(max_length=40)] = None
    until: Annotated[str | None, Field(max_length=40)] = None
    reason: Annotated[Text, Field(min_length=1)]


@router.post("/v1/packets")
def packets(ask: Annotated[Asking, Depends(Allowed("packet.read"))], body: Wanted) -> Response:
    """The packets of a flow whose events the caller may see, as a pcapng file; each retrieval is in the ledger."""
    since_us, until_us = moment_us(body.since, ask.now_us), moment_us(body.until, ask.now_us)
    found = ask.services.flow_packets(ask.scope, body.community_id, since_us, until_us)
    with ask.change() as tx:
        said = {
            "packets": found.packets, "bytes": len(found.data), "points": list(found.points),
            "since_us": found.since_us, "until_us": found.until_us, "truncated": found.is_cut,
        }  # fmt: skip
        tx.ledger("packet.get", f"flow:{body.community_id}", None, said, body.reason)
    headers = {
        "content-disposition": 'attachment; filename="flow.pcapng"', "x-soc-packets": str(found.packets),
        "x-soc-truncated": str(found.is_cut).lower(), "x-content-type-options": "nosniff",
    }  # fmt: skip
    return Response(found.data, media_type=PCAPNG, headers=headers)
