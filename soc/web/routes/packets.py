"""Captured packets of a flow, out of the rings of the monitoring points."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import Field
from starlette.responses import Response, StreamingResponse

from soc.errors import NotFound, TryAgain
from soc.web.auth import Allowed, Asking
from soc.web.envelope import Body, Id, Text, answer
from soc.web.times import moment_us

router = APIRouter()
PCAPNG = "application/octet-stream"


class Wanted(Body):
    """Which flow, of which time, and why; the reason stays in the ledger."""

    community_id: Annotated[str, Field(pattern=r"^1:[A-Za-z0-9+/]{27}=$")]
    since: Annotated[str | None, Field(max_length=40)] = None
    until: Annotated[str | None, Field(max_length=40)] = None
    reason: Annotated[Text, Field(min_length=1)]


Read = Annotated[Asking, Depends(Allowed("packet.read"))]


@router.post("/v1/packets")
def packets(ask: Read, body: Wanted) -> Response:
    """The packets of a flow whose events the caller may see, as a pcapng file; each retrieval is in the ledger.

    Where distant units saw it, 202 and the request: they are asked, `GET /v1/packets/{id}` says how far they are.
    """
    since_us, until_us = moment_us(body.since, ask.now_us), moment_us(body.until, ask.now_us)
    flow, services = body.community_id, ask.services
    found = services.units.flow_packets(ask.scope, flow, since_us, until_us, ask.person.name, body.reason)
    if isinstance(found, str):
        rows = services.units.packet_asks().states(found)
        units = [row["unit"] for row in rows if row["unit"]]
        with ask.change() as tx:
            tx.ledger("packet.ask", f"flow:{flow}", None, {"request": found, "units": units}, body.reason)
        return answer("packet.request", {"id": found, "units": units}, status=202)
    with ask.change() as tx:
        said = {
            "packets": found.packets, "bytes": len(found.data), "points": list(found.points),
            "since_us": found.since_us, "until_us": found.until_us, "truncated": found.is_cut,
        }  # fmt: skip
        tx.ledger("packet.get", f"flow:{flow}", None, said, body.reason)
    return _file(iter((found.data,)), found.packets, found.is_cut)


@router.get("/v1/packets/{id}")
def asked(ask: Read, id: Id) -> Response:
    """How far each unit is with a request of the caller; of units also when they were last heard."""
    heard = {unit["name"]: unit["heard_us"] for unit in ask.services.units.relays()}
    rows = [{**row, "heard_us": heard.get(row["unit"])} for row in _mine(ask, id)]
    return answer("packet.request", {"id": id, "is_done": all(row["is_done"] for row in rows), "units": rows})


@router.get("/v1/packets/{id}/file")
def answered(ask: Read, id: Id) -> Response:
    """What the units sent, and what our own rings had, one capture section each; the retrieval is in the ledger."""
    rows = _mine(ask, id)
    waiting = [row["unit"] for row in rows if not row["is_done"]]
    if waiting:
        raise TryAgain(f"{', '.join(waiting)} did not answer yet", hint=f"GET /v1/packets/{id} says how far it is")
    if any(row["packets"] and not row["bytes"] for row in rows):
        raise NotFound(f"what was sent for request '{id}' gave way to later answers", hint="ask again")
    packets, is_cut = sum(row["packets"] for row in rows), any(row["is_cut"] for row in rows)
    if not packets:
        hint = "ring_max_bytes of the unit's [sense.*] sets how many are kept"
        raise NotFound(f"the packets of flow '{rows[0]['flow']}' have been overwritten", hint=hint)
    with ask.change() as tx:
        said = {"request": id, "packets": packets, "bytes": sum(row["bytes"] for row in rows), "truncated": is_cut}
        tx.ledger("packet.get", f"flow:{rows[0]['flow']}", None, said, rows[0]["reason"])
    return _file(ask.services.units.packet_asks().pieces(id), packets, is_cut)


def _mine(ask: Asking, id: str) -> list[dict[str, Any]]:
    """The state of a request that the caller made; another's does not exist for them."""
    rows = [row for row in ask.services.units.packet_asks().states(id) if row["actor"] == ask.person.name]
    if not rows:
        raise NotFound(f"no request '{id}' for packets")
    return rows


def _file(pieces: Iterator[bytes], packets: int, is_cut: bool) -> Response:
    headers = {
        "content-disposition": 'attachment; filename="flow.pcapng"', "x-soc-packets": str(packets),
        "x-soc-truncated": str(is_cut).lower(), "x-content-type-options": "nosniff",
    }  # fmt: skip
    return StreamingResponse(pieces, media_type=PCAPNG, headers=headers)
