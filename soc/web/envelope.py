"""The one shape of every JSON answer, and the limits of what may be asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import orjson
from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

PAGE = 1000
"""A list answers at most this many entries; `truncated` and `cursor` lead on."""
EVENTS = 1000
"""A search answers at most this many events."""


class Envelope(BaseModel):
    """Every JSON answer: `data` in the shape that `schema` names, and whether there is more.

    `total` counts all matches where somebody counted them, else null.
    """

    model_config = ConfigDict(populate_by_name=True)

    schema_: str = Field(alias="schema", examples=["soc.alert.list/v1"])
    data: Any
    truncated: bool = False
    warnings: list[str] = []
    cursor: str | None = None
    total: int | None = None


class Body(BaseModel):
    """A body: unknown keys and values of the wrong type are refused, not guessed."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Versioned(Body):
    """A change; with `version` it is refused when somebody changed the document first."""

    version: int | None = Field(default=None, ge=1)


Limit = Annotated[int, Query(ge=1, le=PAGE)]
Before = Annotated[str | None, Query(max_length=128, description="the cursor of the page before")]
Id = Annotated[str, Path(min_length=1, max_length=128)]
Words = Annotated[str | None, Query(max_length=200, description="one value, or several with commas")]
Text = Annotated[str, Field(max_length=10_000)]
Name = Annotated[str, Field(max_length=200)]


def answer(
    schema: str,
    data: Any,
    *,
    truncated: bool = False,
    warnings: Sequence[str] = (),
    cursor: str | None = None,
    total: int | None = None,
    status: int = 200,
) -> Response:
    """An enveloped answer; `schema` is `alert.list` for `soc.alert.list/v1`."""
    body = {
        "schema": f"soc.{schema}/v1", "data": data, "truncated": truncated, "warnings": list(warnings),
        "cursor": cursor, "total": total,
    }  # fmt: skip
    return Response(orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS), status, media_type="application/json")


def page(schema: str, found: Sequence[tuple[str, dict[str, Any]]], limit: int) -> Response:
    """A page out of `limit + 1` entries `(id, document)`: one too many means that there is more."""
    kept = found[:limit]
    more = len(found) > limit
    return answer(schema, [d for _, d in kept], truncated=more, cursor=kept[-1][0] if more else None)


def several(words: str | None) -> tuple[str, ...]:
    """`new,acknowledged` as its parts."""
    return tuple(part for part in (words or "").split(",") if part)
