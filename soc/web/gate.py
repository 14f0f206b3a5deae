"""The gate before every route: right host, right kind and length of body, a known caller."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from soc.errors import SocError, UsageError
from soc.store.cases import VIA
from soc.web import errors
from soc.web.auth import Peer, identify
from soc.web.errors import TooLarge, WrongMedia

if TYPE_CHECKING:
    from soc.pipeline import Services

JSON_BYTES = 1 << 20
PART_BYTES = 8 << 20
JSON, OCTETS = "application/json", "application/octet-stream"
_LOCAL = ("localhost", "127.0.0.1", "[::1]")
_SAFE = ("GET", "HEAD", "OPTIONS")
_log = logging.getLogger("soc.web")


class Gate:
    """ASGI middleware. `public` are the paths that need no caller."""

    def __init__(self, app: ASGIApp, services: Services, public: Collection[str]) -> None:
        self._app = app
        self._services = services
        self._public = frozenset(public)
        settings = services.settings
        self._hosts = frozenset((*_LOCAL, *map(_bracketed, (settings.web_host, *settings.web_names))))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            receive = await self._entered(scope, receive)
        except SocError as error:
            await _refusal(error)(scope, receive, send)
            return
        except Exception as error:  # whatever it is, no traceback leaves
            _log.exception("the gate failed")
            await errors.answer(SocError("the service made a mistake", hint=type(error).__name__))(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _entered(self, scope: Scope, receive: Receive) -> Receive:
        headers = Headers(scope=scope)
        self._check_host(headers)
        limit = _check_body(scope["method"], headers)
        if scope["path"] not in self._public:
            peer = scope.get("state", {}).get("peer", Peer())
            caller = await run_in_threadpool(identify, self._services, peer, headers)
            scope.setdefault("state", {})["caller"] = caller
            VIA.set(caller.via)  # what rooms write to the ledger in this request says how the person came in
        return _capped(receive, limit)

    def _check_host(self, headers: Headers) -> None:
        # A page that points its own name at 127.0.0.1 (DNS rebinding) still sends that name here.
        host = headers.get("host", "")
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if name.lower() not in self._hosts:
            raise UsageError(f"'{name[:100]}' is not a name of this service", hint=f"use {' or '.join(_LOCAL[:2])}")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host.lower()


def _check_body(method: str, headers: Headers) -> int:
    """How many bytes the body may have. Raises WrongMedia, TooLarge, UsageError."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if method not in _SAFE and kind not in (JSON, OCTETS):
        # Forms and plain text can be sent by any page without asking; these two types cannot.
        raise WrongMedia(f"a {method} has content type {JSON} or {OCTETS}, not '{kind[:100]}'")
    limit = PART_BYTES if kind == OCTETS else JSON_BYTES
    length = headers.get("content-length", "0")
    if not length.isdigit():
        raise UsageError("Content-Length is no number")
    if int(length) > limit:
        raise _too_large(limit)
    return limit


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is longer than {limit} bytes")


def _capped(receive: Receive, limit: int) -> Receive:
    """The same, but it refuses a body that grows beyond the limit whatever its headers said."""
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise _too_large(limit)
        return message

    return counted


def _refusal(error: SocError) -> Response:
    response = errors.answer(error)
    response.headers["connection"] = "close"  # the rest of a refused body is not read
    return response
