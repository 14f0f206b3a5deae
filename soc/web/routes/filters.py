"""Named filters: the search texts that searches and rules reuse."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from soc.errors import NotFound, nearest
from soc.web.auth import Allowed, Asking
from soc.web.envelope import Id, answer

router = APIRouter()
Search = Annotated[Asking, Depends(Allowed("event.search"))]


@router.get("/v1/filters")
def listed(ask: Search) -> Response:
    """The filters that `filter:NAME` may name; those that are refused are told as warnings."""
    found, refused = ask.services.filters.read()
    return answer(
        "filter.list", [asdict(found[name]) for name in sorted(found)], warnings=[str(each) for each in refused]
    )


@router.get("/v1/filters/{id}")
def one(ask: Search, id: Id) -> Response:
    """One filter by its name."""
    found, refused = ask.services.filters.read()
    if id not in found:
        reasons = [each.reason for each in refused if each.id == id]
        raise NotFound(f"filter '{id}': {reasons[0]}" if reasons else f"no filter '{id}'{nearest(id, found)}")
    return answer("filter", asdict(found[id]))
