"""Log sources and their accounts: what came in, where it went, and whether it balances."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.responses import Response

from soc.web.auth import Allowed, Asking
from soc.web.envelope import answer
from soc.web.times import When, moment_us

router = APIRouter()


@router.get("/v1/sources")
def listed(ask: Annotated[Asking, Depends(Allowed("source.read"))], since: When = "24h") -> Response:
    """Every source's account since the full hour before `since` (at most a week), and the totals; `balanced` is null
    while more waits than is counted."""
    accounts = ask.services.sources(moment_us(since, ask.now_us) or 0)
    if ask.scope.units is None:
        return answer("source.list", accounts)
    # Totals of everybody would tell a unit about the others; its own sources it can add up.
    mine = [row for row in accounts["sources"] if _is_mine(ask, row)]
    return answer("source.list", {"since_us": accounts["since_us"], "sources": mine, "totals": None})


def _is_mine(ask: Asking, row: dict[str, Any]) -> bool:
    system = ask.services.registry.get(row["system_id"]) if row["system_id"] else None
    return system is not None and ask.scope.allows(system.organization_id)
