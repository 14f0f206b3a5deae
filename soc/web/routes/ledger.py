"""The ledger: what people and the engine did, and whether the chain holds."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from soc.web.auth import Allowed, Asking
from soc.web.envelope import Limit, answer

router = APIRouter()


@router.get("/v1/ledger")
def listed(
    ask: Annotated[Asking, Depends(Allowed("ledger.read"))],
    after: Annotated[int, Query(ge=0, le=2**62)] = 0,
    limit: Limit = 100,
) -> Response:
    """Entries numbered above `after`, oldest first."""
    ask.whole()
    found = ask.services.cases.ledger_entries(after, limit + 1)
    more = len(found) > limit
    cursor = str(found[limit - 1].seq) if more else None
    return answer("ledger.list", [asdict(entry) for entry in found[:limit]], truncated=more, cursor=cursor)


@router.get("/v1/ledger/verify")
def verify(ask: Annotated[Asking, Depends(Allowed("ledger.verify"))]) -> Response:
    """Recompute the whole chain and hold it against its signed head."""
    ask.whole()
    verdict = ask.services.cases.verify_ledger()
    data = {"ok": verdict.ok, "entries": verdict.entries, "faults": list(verdict.faults)}
    return answer("ledger.verdict", data, warnings=verdict.warnings)
