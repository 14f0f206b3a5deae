"""The service itself: is it there, who am I to it, how is it doing."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from soc.web.auth import ANYBODY, Allowed, Asking
from soc.web.envelope import answer

router = APIRouter()


def installed_version() -> str:
    """The version of this installation; `0` for a bare source tree."""
    try:
        return version("soc-toolkit")
    except PackageNotFoundError:
        return "0"


@router.get("/v1/health")
def health(request: Request) -> Response:
    """Whether the service answers. Needs no caller."""
    simulated = request.app.state.services.settings.simulated
    return answer("health", {"ok": True, "version": installed_version(), "simulated": simulated})


@router.get("/v1/me")
def me(ask: Annotated[Asking, Depends(Allowed(ANYBODY))]) -> Response:
    """Who the caller is and what they may do; for who sees all units also how many gaps the last hour has."""
    document = ask.caller.to_document(simulated=ask.services.settings.simulated)
    if ask.scope.units is None and "coverage.read" in document["permissions"]:
        document["coverage_gaps"] = ask.services.coverage_gaps
    return answer("me", document)


@router.get("/v1/status")
def status(ask: Annotated[Asking, Depends(Allowed("source.read"))]) -> Response:
    """Processes, queue lag, stores, outbox and the wall."""
    ask.whole()
    return answer("status", ask.services.status())


@router.get("/v1/certificates")
def certificates(ask: Annotated[Asking, Depends(Allowed("source.read"))]) -> Response:
    """The TLS certificates in use and how long each holds, as of the last hourly look."""
    ask.whole()
    return answer("certificates", ask.services.certificates.rows())
