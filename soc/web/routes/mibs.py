"""MIB modules of the site: what names SNMP traps and their variables."""

from __future__ import annotations

import threading
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import Field
from starlette.responses import Response

from soc.parsers.mibs import packed
from soc.parsers.mibs.site import SiteMibs, summary
from soc.pipeline import places
from soc.web.auth import Allowed, Asking
from soc.web.envelope import Body, Id, Text, answer

router = APIRouter()
Read = Annotated[Asking, Depends(Allowed("source.read"))]
Manage = Annotated[Asking, Depends(Allowed("source.manage"))]
_changing = threading.Lock()


class Given(Body):
    """Files as `soc.parsers.mibs.packed` packs them; without `apply` nothing is changed."""

    files: Annotated[str, Field(max_length=1 << 20)]
    reason: Text = ""
    apply: bool = False


class Reason(Body):
    """Why; it stays in the ledger."""

    reason: Text = ""


def _mibs(ask: Asking) -> SiteMibs:
    ask.whole()
    return places.site_mibs(ask.services.settings)


@router.get("/v1/mibs")
def listed(ask: Read) -> Response:
    """The MIB modules that were added, with how much each names."""
    return answer("mib.list", [summary(document) for document in _mibs(ask).modules()])


@router.get("/v1/mibs/{id}")
def one(ask: Read, id: Id) -> Response:
    """One module: its objects, the words of their values, its notifications."""
    document = _mibs(ask).module(id)
    return answer("mib", {**summary(document), "table": document["table"]})


@router.post("/v1/mibs")
def add(ask: Manage, body: Given) -> Response:
    """Compile MIB files, say what would change and what is wrong; with `apply` what compiled is used from then on."""
    mibs = _mibs(ask)
    with _changing:
        planned, faults = mibs.plan(packed.unpack(body.files), by=ask.person.name, now_us=ask.now_us)
        changed = [each for each in planned if each.state != "unchanged"]
        if body.apply and changed:
            mibs.keep(planned)
            for each in changed:
                _entered(ask, f"mib.{each.state}", each.module, each.to_document(), body.reason)
    return answer(
        "mib.plan",
        {
            "modules": [each.to_document() for each in planned],
            "faults": [fault.to_document() for fault in faults],
            "applied": body.apply and bool(changed),
        },
    )


@router.post("/v1/mibs/{id}/remove")
def remove(ask: Manage, id: Id, body: Reason) -> Response:
    """Take a module away; `restore` brings it back."""
    mibs = _mibs(ask)
    with _changing:
        gone = mibs.remove(id)
        _entered(ask, "mib.removed", id, gone, body.reason)
    return answer("mib", {**gone, "removed": True})


@router.post("/v1/mibs/{id}/restore")
def restore(ask: Manage, id: Id, body: Reason) -> Response:
    """Undo the last replacement or removal of a module."""
    mibs = _mibs(ask)
    with _changing:
        back = mibs.restore(id)
        _entered(ask, "mib.restored", id, back, body.reason)
    return answer("mib", {**back, "restored": True})


def _entered(ask: Asking, act: str, module: str, document: dict[str, Any], reason: str) -> None:
    with ask.services.cases.begin(ask.person.name, ask.caller.via) as tx:
        tx.ledger(act, f"mib:{module}", None, document, reason)
