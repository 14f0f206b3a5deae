"""Events: search, one event, the most frequent values, the live tail."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from soc.errors import NotFound
from soc.model.query import Query as Tree
from soc.store.events import Aggregate
from soc.store.query import parse
from soc.web.auth import Allowed, Asking
from soc.web.envelope import EVENTS, Id, answer
from soc.web.live import Tail, streamed
from soc.web.times import When, moment_us

router = APIRouter()
Search = Annotated[Asking, Depends(Allowed("event.search"))]
SearchText = Annotated[str, Query(max_length=20_000, description="the search language of docs/search.md")]
_ID_BYTES = 16


def query_of(ask: Asking, text: str) -> Tree:
    """The tree of a search text. Raises QueryError with the column."""
    return parse(text, ask.services.fields, ask.services.filters.texts())


def id_bytes(text: str) -> bytes:
    """An event's id from its hex. Raises NotFound for what is no id."""
    try:
        id = bytes.fromhex(text)
    except ValueError:
        id = b""
    if len(id) != _ID_BYTES:
        raise NotFound(f"no event '{text[:64]}'")
    return id


@router.get("/v1/events")
def search(
    ask: Search,
    q: SearchText = "",
    since: When = None,
    until: When = None,
    limit: Annotated[int, Query(ge=1, le=EVENTS)] = 100,
    order: Literal["asc", "desc"] = "desc",
    cursor: Annotated[str | None, Query(max_length=100)] = None,
    count: bool = False,
) -> Response:
    """Events as flat ECS documents, newest first; `count` also counts all matches (`total`)."""
    page = ask.services.store.search(
        ask.scope, query_of(ask, q), limit=limit, order=order, cursor=cursor,
        since_us=moment_us(since, ask.now_us), until_us=moment_us(until, ask.now_us), count=count,
    )  # fmt: skip
    return answer("event.list", page.rows, truncated=page.truncated, cursor=page.cursor, total=page.total)


@router.get("/v1/events/top")
def top(
    ask: Search,
    field: Annotated[str, Query(min_length=1, max_length=200)],
    q: SearchText = "",
    since: When = None,
    until: When = None,
    limit: Annotated[int, Query(ge=1, le=EVENTS)] = 10,
) -> Response:
    """The most frequent values of a field, with their counts; null counts the events without it."""
    spec = Aggregate(group_by=(field,), limit=limit + 1)
    since_us, until_us = moment_us(since, ask.now_us), moment_us(until, ask.now_us)
    rows = ask.services.store.aggregate(ask.scope, query_of(ask, q), spec, since_us, until_us)
    found = [{"value": row[field], "count": row["count"]} for row in rows]
    return answer("event.top", found[:limit], truncated=len(found) > limit)


@router.get("/v1/events/tail")
async def tail(
    request: Request,
    ask: Search,
    q: SearchText = "",
    after: Annotated[str | None, Query(max_length=40, pattern=r"^\d{1,19}$")] = None,
) -> StreamingResponse:
    """New events as they come, one JSON object a line, with positions to go on from and a count of what was cut."""
    start = Tail(ask, query_of(ask, q), int(after) if after else ask.now_us)
    return streamed(request, start.lines(), "application/x-ndjson")


@router.get("/v1/events/{id}")
def one(ask: Search, id: Id) -> Response:
    """One event, whole."""
    found = ask.services.store.get(ask.scope, [id_bytes(id)])
    if not found:
        raise NotFound(f"no event '{id}'")
    return answer("event", found[0])
