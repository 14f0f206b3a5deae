"""Errors as the API answers them: a status, a kind, one sentence and the way out; never a traceback."""

from __future__ import annotations

import logging
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from soc.errors import (
    ConfigError,
    Conflict,
    ContentError,
    DiskFull,
    NotFound,
    PermissionRefused,
    QueryError,
    SocError,
    TryAgain,
    UsageError,
)

_log = logging.getLogger("soc.web")
_STATUS: tuple[tuple[type[SocError], int], ...] = (
    (UsageError, 400), (QueryError, 400), (ConfigError, 400), (ContentError, 400),
    (PermissionRefused, 403), (NotFound, 404), (Conflict, 409), (DiskFull, 503), (TryAgain, 503),
)  # fmt: skip
_SHOWN_FAULTS = 10


class NotSignedIn(PermissionRefused):
    """Nobody we know: a token that is unknown, expired or revoked, or none at all. Answered as 401."""


class TooLarge(UsageError):
    """The body is longer than this route takes. Answered as 413."""


class WrongMedia(UsageError):
    """A body of a type that a foreign page could send on its own. Answered as 415."""


_OWN: dict[type[SocError], int] = {NotSignedIn: 401, TooLarge: 413, WrongMedia: 415}


def status_of(error: SocError) -> int:
    """The HTTP status of an error; 500 for what is nobody's mistake but ours."""
    own = _OWN.get(type(error))
    return own or next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def document_of(error: SocError) -> dict[str, Any]:
    """The body of an error's answer."""
    shown: dict[str, Any] = {
        "kind": _kind(error), "message": str(error), "hint": error.hint, "exit_code": error.exit_code,
    }  # fmt: skip
    if isinstance(error, QueryError):
        shown["column"] = error.column
    if isinstance(error, ContentError):
        shown["faults"] = [vars(fault) for fault in error.faults]
    return {"error": shown}


def _kind(error: SocError) -> str:
    """The name in `soc.errors`: the kinds of this module are answers of HTTP, no errors of their own."""
    return next(cls.__name__ for cls in type(error).__mro__ if cls.__module__ == "soc.errors")


def answer(error: SocError) -> Response:
    """The answer of an error."""
    headers = {"www-authenticate": "Bearer"} if isinstance(error, NotSignedIn) else None
    return Response(orjson.dumps(document_of(error)), status_of(error), headers, media_type="application/json")


def install(app: FastAPI) -> None:
    """Answer every error of the family, of validation and of HTTP itself in one shape."""
    app.add_exception_handler(SocError, _soc)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def _soc(_request: Request, error: Exception) -> Response:
    assert isinstance(error, SocError)
    if status_of(error) == 500:
        _log.error("%s: %s", type(error).__name__, error)
    return answer(error)


def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
    rest = len(faults) - _SHOWN_FAULTS
    more = [f"and {rest} more"] if rest > 0 else []
    return answer(UsageError("; ".join([*faults[:_SHOWN_FAULTS], *more]), hint="GET /openapi.json describes the call"))


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, SocError):  # FastAPI wraps what goes wrong while it reads a body
        return answer(error.__cause__)
    if error.status_code == 404:
        return answer(NotFound(f"no such path: {request.url.path}", hint="GET /openapi.json lists them"))
    response = answer(UsageError(str(error.detail)))
    response.status_code = error.status_code
    return response


def _unexpected(request: Request, error: Exception) -> Response:
    # The traceback goes to the service's own log; a stranger learns nothing of our insides.
    _log.error("%s %s failed: %s", request.method, request.url.path, type(error).__name__, exc_info=error)
    return answer(SocError("the service made a mistake", hint="its log says which"))
