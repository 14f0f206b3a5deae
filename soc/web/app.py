"""`application`: the API over the services; a route that names no permission cannot exist."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from soc.web import errors, live
from soc.web.auth import ANYBODY, Allowed
from soc.web.envelope import Envelope
from soc.web.gate import Gate
from soc.web.routes import (
    alerts,
    coverage,
    events,
    filters,
    imports,
    ledger,
    lookbacks,
    mibs,
    national,
    packets,
    people,
    playbooks,
    relays,
    retention,
    rules,
    service,
    simulation,
    sources,
    systems,
    tickets,
)

if TYPE_CHECKING:
    from soc.pipeline import Services

PUBLIC = frozenset({"/v1/health", "/openapi.json"})
"""Paths that need no caller."""
KNOWN = frozenset({"/v1/me"})
"""Paths that every known person may call."""
FILES = frozenset({"/v1/packets"})
"""Paths that answer with a file instead of the envelope."""
STREAMS = frozenset({"/v1/events/tail", "/v1/changes"})
_NOUNS = (
    service, events, filters, sources, systems, alerts, tickets, playbooks, national, retention, rules, ledger, imports,
    people, simulation, relays, mibs, packets, lookbacks, coverage, live,
)  # fmt: skip


def application(services: Services, stop: threading.Event | None = None) -> FastAPI:
    """The ASGI application. Streams end when `stop` is set. Raises RuntimeError for a route without a permission."""
    # No documentation pages: they would load scripts from a foreign server.
    app = FastAPI(
        title="soc-toolkit", version="1", description=__doc__, docs_url=None, redoc_url=None,
        openapi_url="/openapi.json", redirect_slashes=False,
    )  # fmt: skip
    app.state.services = services
    app.state.stop = stop or threading.Event()
    for noun in _NOUNS:
        for route in noun.router.routes:
            if isinstance(route, APIRoute):
                _add(app, route)
    errors.install(app)
    check_permissions(app)
    app.add_middleware(Gate, services=services, public=PUBLIC)
    return app


def _add(app: FastAPI, route: APIRoute) -> None:
    """Every answer but a stream and a file is described as the envelope."""
    app.add_api_route(
        route.path,
        route.endpoint,
        methods=sorted(route.methods or ()),
        status_code=route.status_code,
        response_model=None if route.path in STREAMS | FILES else Envelope,
        openapi_extra=route.openapi_extra,
        tags=[route.path.split("/")[2]],
    )


def check_permissions(app: FastAPI) -> None:
    """Raises RuntimeError naming every route that neither asks for a permission nor is listed as open."""
    open_routes = [
        path_of(route)
        for route in app.routes
        if (permission_of(route) is None and path_of(route) not in PUBLIC)
        or (permission_of(route) == ANYBODY and path_of(route) not in KNOWN)
    ]
    if open_routes:
        raise RuntimeError(f"routes without a permission: {', '.join(open_routes)}")


def path_of(route: BaseRoute) -> str:
    """The path of a route; its type for what has none."""
    return str(getattr(route, "path", type(route).__name__))


def permission_of(route: BaseRoute) -> str | None:
    """The permission a route asks for, None when it asks for none."""
    if not isinstance(route, APIRoute):
        return None
    return next((each.permission for each in _calls(route.dependant) if isinstance(each, Allowed)), None)


def _calls(dependant: Dependant) -> Iterator[object]:
    for each in dependant.dependencies:
        yield each.call
        yield from _calls(each)
