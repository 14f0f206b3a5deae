"""The simulated site's own little world: does the attacker reach the gateway at this moment?"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from soc.errors import NotFound
from soc.web.auth import Allowed, Asking
from soc.web.envelope import answer

router = APIRouter()


@router.get("/v1/simulation/probe")
def probe(ask: Annotated[Asking, Depends(Allowed("playbook.read"))]) -> Response:
    """One real TCP connection between the two namespaces, as the firewall in between lets it."""
    world = ask.services.world
    if world is None:
        raise NotFound(
            "there are no network namespaces here", hint="only a simulated site with unshare and nft has them"
        )
    target = f"{world.gateway_address}:{world.port}"
    return answer("simulation.probe", {"from": world.attacker_address, "to": target, "reaches": world.reaches()})
