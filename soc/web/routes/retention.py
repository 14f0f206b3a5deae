"""Retention: standing, plans and their approval, holds, certificates and the proof of the whole."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends
from pydantic import Field
from starlette.responses import Response

from soc.errors import NotFound
from soc.retention import certificate
from soc.retention.check import Standing, is_compliant
from soc.retention.plan import Plan
from soc.store.cases import Stored, Tx
from soc.web.auth import Allowed, Asking
from soc.web.envelope import PAGE, Body, Id, Name, Text, answer
from soc.web.times import moment_us

router = APIRouter()
Read = Annotated[Asking, Depends(Allowed("retention.read"))]
HoldIt = Annotated[Asking, Depends(Allowed("retention.hold"))]
KIND = "retention_plan"
RUN = "retention_run"


class Apply(Body):
    """Why it is approved."""

    reason: Text = ""


class NewHold(Body):
    """What is held: systems, a span of event time, or the events of a case; at least one of them."""

    systems: list[Name] = Field(default=[], max_length=1000)
    since: Annotated[str, Field(max_length=40)] | None = None
    until: Annotated[str, Field(max_length=40)] | None = None
    case: Name = ""
    reason: Text


class Release(Body):
    """Why it may be lifted."""

    reason: Text


@router.get("/v1/retention")
def standings(ask: Read) -> Response:
    """Every system's standing against the law, and whether none is in breach."""
    found = [s for s in ask.services.retention.standings() if _is_mine(ask, s)]
    rows = [{**s.to_document(), "label": s.label} for s in found]
    return answer("retention.standing", {"standings": rows, "compliant": is_compliant(found)})


def _is_mine(ask: Asking, standing: Standing) -> bool:
    system = ask.services.registry.get(standing.system_id)
    return ask.scope.units is None or (system is not None and ask.scope.allows(system.organization_id))


@router.post("/v1/retention/plans", status_code=201)
def plan(ask: Annotated[Asking, Depends(Allowed("retention.plan"))]) -> Response:
    """Plan what may be deleted at this moment, and why the rest may not; nothing is deleted."""
    ask.whole()
    made = ask.services.retention.plan(ask.person.name)
    with ask.change() as tx:
        if tx.get(KIND, made.hash) is None:
            tx.put(KIND, made.hash, made.to_document(), None, keys={"planner": made.planner})
            after = {"delete": len(made.to_delete), "keep": len(made.items) - len(made.to_delete)}
            tx.ledger("retention.plan", f"plan:{made.hash}", None, after)
            tx.change("retention", made.hash, "plan")
    return answer("retention.plan", made.to_document(), status=201)


@router.get("/v1/retention/plans")
def plans(ask: Read) -> Response:
    """The plans that were made, newest first, without their items."""
    ask.whole()
    with ask.read() as tx:
        found = [_summary(tx, stored) for _, stored in tx.find(KIND, limit=PAGE + 1)]
    found.sort(key=lambda row: -row["now_us"])
    return answer("retention.plan.list", found[:PAGE], truncated=len(found) > PAGE)


def _summary(tx: Tx, stored: Stored) -> dict[str, Any]:
    made = Plan.from_document(stored.document)
    run = tx.get(RUN, made.hash)
    return {
        "hash": made.hash, "planner": made.planner, "now_us": made.now_us, "ladder_id": made.ladder_id,
        "delete": len(made.to_delete), "keep": len(made.items) - len(made.to_delete),
        "rows": sum(item.rows for item in made.to_delete), "bytes": sum(item.bytes for item in made.to_delete),
        "state": "planned" if run is None else run.document["state"],
        "approver": "" if run is None else run.document["approver"],
    }  # fmt: skip


@router.get("/v1/retention/plans/{hash}")
def one_plan(ask: Read, hash: Id) -> Response:
    """A plan with every item and its reasons."""
    return answer("retention.plan", _plan(ask, hash).to_document())


def _plan(ask: Asking, hash: str) -> Plan:
    ask.whole()
    with ask.read() as tx:
        stored = tx.get(KIND, hash)
    if stored is None:
        raise NotFound(f"no plan '{hash}'", hint="soc retention plan makes one")
    return Plan.from_document(stored.document)


@router.post("/v1/retention/plans/{hash}/apply")
def apply(
    ask: Annotated[Asking, Depends(Allowed("retention.approve"))], hash: Id, body: Apply | None = None
) -> Response:
    """Approve a plan somebody else made, and delete by it; answers the signed certificate."""
    made = _plan(ask, hash)
    reason = body.reason if body else ""
    done = ask.services.deletion.apply(made, hash, ask.person.name, reason)
    ask.services.proof.sign()
    with ask.change() as tx:
        tx.change("retention", hash, "apply")
    proof = orjson.loads(done.certificate.read_bytes())
    return answer("retention.certificate", {**proof, "name": done.certificate.name})


@router.get("/v1/retention/holds")
def holds(ask: Read, released: bool = False) -> Response:
    """Legal holds, oldest first; with `released` the lifted ones too."""
    ask.whole()
    found = ask.services.holds.list(released=released)
    return answer("retention.hold.list", [hold.to_document() for hold in found])


@router.post("/v1/retention/holds", status_code=201)
def hold(ask: HoldIt, body: NewHold) -> Response:
    """Hold data from now on, whatever any plan says."""
    ask.whole()
    made = ask.services.holds.add(
        ask.person.name, body.reason, systems=frozenset(body.systems), case=body.case,
        first_us=moment_us(body.since, ask.now_us), last_us=moment_us(body.until, ask.now_us),
    )  # fmt: skip
    return answer("retention.hold", made.to_document(), status=201)


@router.post("/v1/retention/holds/{id}/release")
def release(ask: HoldIt, id: Id, body: Release) -> Response:
    """Lift a hold; whoever set it may not."""
    ask.whole()
    return answer("retention.hold", ask.services.holds.release(id, ask.person.name, body.reason).to_document())


@router.get("/v1/retention/verify")
def verify(ask: Read, content: bool = False) -> Response:
    """Hold files, manifest.db, deletions and ledger against what was signed; with `content` every event."""
    ask.whole()
    return answer("retention.verdict", ask.services.proof.verify(content=content))


@router.get("/v1/retention/certificates")
def certificates(ask: Read) -> Response:
    """Every certificate of a deletion, as signed."""
    ask.whole()
    folder = ask.services.settings.path("proof", "certificates")
    found = certificate.read_all(folder) if folder.is_dir() else {}
    return answer("retention.certificate.list", [{**proof, "name": name} for name, proof in found.items()])
