"""Log sources: their accounts and habits, where they are heard, and whose they are."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.responses import Response

from soc.model.system import InformationSystem
from soc.pipeline import sources
from soc.registry import to_document
from soc.web.auth import Allowed, Asking
from soc.web.envelope import Body, Limit, Name, Text, answer
from soc.web.routes.systems import keep, writing
from soc.web.times import When, moment_us

router = APIRouter()
Read = Annotated[Asking, Depends(Allowed("source.read"))]
Manage = Annotated[Asking, Depends(Allowed("source.manage"))]


class Owned(Body):
    """A source's address, the system it belongs to, and why; without `apply` nothing is changed."""

    address: Name
    system: Name
    reason: Text = ""
    apply: bool = False


class Adopted(Owned):
    """And the site at which it is heard."""

    site: Name


@router.get("/v1/sources")
def listed(ask: Read, since: When = "24h", unknown: bool = False) -> Response:
    """Every source's account since the full hour before `since` (at most a week), and the totals; `balanced` is null
    while more waits than is counted. With `unknown` only those whose address no system owns."""
    accounts = ask.services.books.sources(moment_us(since, ask.now_us) or 0)
    # Totals of everybody would tell a unit about the others; its own sources it can add up.
    rows, totals = _mine(ask, accounts["sources"]), accounts["totals"] if ask.scope.units is None else None
    if unknown:
        rows, totals = [row for row in rows if not row["known"]], None
    return answer("source.list", {"since_us": accounts["since_us"], "sources": rows, "totals": totals})


@router.get("/v1/sources/points")
def points(ask: Read, since: When = "24h") -> Response:
    """Monitoring points: distant units and the listeners of every site, what they saw and since when they see. A
    person of some units is shown what their own sources are seen by."""
    since_us = moment_us(since, ask.now_us) or 0
    if ask.scope.units is None:
        return answer("source.points", ask.services.books.points(since_us))
    return answer("source.points", sources.points(_mine(ask, ask.services.books.sources(since_us)["sources"])))


@router.get("/v1/sources/dead")
def dead(ask: Read, limit: Limit = 100) -> Response:
    """Frames that could not become events, the newest first, with the reason; `total` counts all of them. Workers try
    them once more at each start."""
    ask.whole()
    kept = ask.services.books.kept_aside(limit)
    return answer("source.dead", kept["frames"], truncated=kept["total"] > limit, total=kept["total"])


@router.post("/v1/sources/adopt")
def adopt(ask: Manage, body: Adopted) -> Response:
    """Give a source to a system: its address comes into the system's `sources`. What is stored stays as it is."""
    ask.whole()
    with writing:
        registry = ask.services.registry
        system = sources.adopted(registry, body.site, body.address, body.system, ask.now_us)
        return _changed(ask, system, "source.adopt", body)


@router.post("/v1/sources/release")
def release(ask: Manage, body: Owned) -> Response:
    """Take a source from a system again, the undoing of `adopt`."""
    ask.whole()
    with writing:
        return _changed(ask, sources.released(ask.services.registry, body.address, body.system), "source.release", body)


def _changed(ask: Asking, system: InformationSystem, act: str, body: Owned) -> Response:
    before = ask.services.registry.get(system.id)
    if body.apply:
        keep(ask, system, act, body.reason)
    shown = {
        "address": body.address, "system": system.id, "name": system.name, "organization": system.organization_name,
        "site": system.site, "level": to_document(system)["levels"][-1]["level"],
        "before": list(before.sources) if before else [], "after": list(system.sources), "applied": body.apply,
    }  # fmt: skip
    return answer(act, shown)


def _mine(ask: Asking, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that the caller may see: all, or those of systems of their units."""
    if ask.scope.units is None:
        return rows
    systems = {s.id for s in ask.services.registry.systems() if ask.scope.allows(s.organization_id)}
    return [row for row in rows if row["system_id"] in systems]
