"""Information systems of the registry: the list, one, and the keeping of one."""

from __future__ import annotations

import re
import threading
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends
from pydantic import field_validator
from starlette.responses import Response

from soc.errors import NotFound, UsageError
from soc.model.system import InformationSystem
from soc.registry import Registry, to_document, validate
from soc.store import files
from soc.web.auth import Allowed, Asking
from soc.web.envelope import Body, Id, Text, answer

router = APIRouter()
Read = Annotated[Asking, Depends(Allowed("system.read"))]
_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
writing = threading.Lock()
"""Held from the look at the registry until what follows from it is written."""


class Keep(Body):
    """The whole definition of a system (kind: system), as its registry file would say it, and why it changes."""

    document: dict[str, Any]
    reason: Text = ""

    @field_validator("document")
    @classmethod
    def _can_be_kept(cls, document: dict[str, Any]) -> dict[str, Any]:
        """JSON lets lone surrogates and endless numbers in; what is written here has neither."""
        try:
            orjson.dumps(document)
        except TypeError as error:
            raise ValueError(str(error)) from error
        return document


def find_one(ask: Asking, id: str) -> InformationSystem:
    """A system that the caller may see. Raises NotFound."""
    system = ask.services.registry.get(id)
    if system is None or not ask.scope.allows(system.organization_id):
        raise NotFound(f"no system '{id}'")
    return system


@router.get("/v1/systems")
def listed(ask: Read) -> Response:
    """Every system that the caller may see, retired ones too."""
    mine = [s for s in ask.services.registry.systems() if ask.scope.allows(s.organization_id)]
    return answer("system.list", [to_document(s) for s in mine])


@router.get("/v1/systems/{id}")
def one(ask: Read, id: Id) -> Response:
    """One system."""
    return answer("system", to_document(find_one(ask, id)))


@router.put("/v1/systems/{id}")
def put(ask: Annotated[Asking, Depends(Allowed("system.manage"))], id: Id, body: Keep) -> Response:
    """Register a system or replace its definition; it is retired by its `retired` date, never deleted."""
    ask.whole()
    system = validate(body.document, f"system {id}")
    if system.id != id or not _SAFE_ID.fullmatch(id):
        raise UsageError(f"'{id}' is not the id of this definition, or no safe one: letters, digits, '.', '_', '-'")
    with writing:
        keep(ask, system, "system.put", body.reason)
    return answer("system", to_document(system))


def keep(ask: Asking, system: InformationSystem, act: str, reason: str) -> None:
    """Write a system's definition, use it, and enter it in the ledger; call it with `writing` held.

    Raises ContentError for a clash with another system, UsageError when its file is not ours to write.
    """
    services = ask.services
    others = [s for s in services.registry.systems() if s.id != system.id]
    before = services.registry.get(system.id)
    Registry([*others, system])  # raises ContentError for a clash, before anything is written
    path = services.settings.path("registry", f"{system.id}.yml")
    old = path.read_bytes() if path.exists() else None
    if old is None and before is not None:
        raise UsageError(
            f"system '{system.id}' is kept in a registry file of the site",
            hint="edit that file and restart the service",
        )
    if old is not None and {s.id for s in Registry.load(path).systems()} != {system.id}:
        raise UsageError(f"{path.name} in the registry's folder holds other systems", hint="choose another id")
    files.replace(path, orjson.dumps(to_document(system), option=orjson.OPT_INDENT_2))
    try:
        services.reload_registry()
        with ask.change() as tx:
            shown = None if before is None else to_document(before)
            tx.ledger(act, f"system:{system.id}", shown, to_document(system), reason)
            tx.change("system", system.id, "put", unit=system.organization_id)
    except BaseException:  # nothing may stand in the registry that the ledger does not know of
        path.unlink() if old is None else files.replace(path, old)
        services.reload_registry()
        raise
