"""The connection to the national centre: how each destination is doing, and the messages."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.responses import Response

from soc.config import National
from soc.store.cases import OutboxItem
from soc.web.auth import Allowed, Asking
from soc.web.envelope import Limit, Words, answer

router = APIRouter()
Read = Annotated[Asking, Depends(Allowed("national.read"))]
_ALL = 1_000_000


@router.get("/v1/national")
def status(ask: Read) -> Response:
    """Every destination: whether it answers, what waits, what was acknowledged or refused."""
    ask.whole()
    driver = ask.services.national
    known = driver.status() if driver is not None else {}
    with ask.read() as tx:
        counts = tx.outbox_counts()
    rows = [_destination(ask, entry, known.get(entry.name, {}), counts) for entry in ask.services.settings.national]
    return answer("national.list", rows)


def _destination(ask: Asking, entry: National, known: dict[str, Any], counts: dict[str, Any]) -> dict[str, Any]:
    states = counts.get(entry.name, {})
    return {
        **known, "name": entry.name, "url": entry.url, "simulated": ask.services.settings.simulated,
        "up": _is_up(known), "queued": states.get("pending", 0), "sent": states.get("sent", 0),
        "acked": states.get("acked", 0), "refused": states.get("rejected", 0), "dead": 0,
        "last_contact_us": known.get("last_success_us"),
    }  # fmt: skip


def _is_up(known: dict[str, Any]) -> bool | None:
    """By the last attempt; None before the first."""
    success, failure = known.get("last_success_us"), known.get("last_error_us")
    if success is None and failure is None:
        return None
    return (success or 0) >= (failure or 0)


@router.get("/v1/national/messages")
def messages(ask: Read, destination: Words = None, state: Words = None, limit: Limit = 100) -> Response:
    """What lies in the outbox, by destination, system and sequence."""
    most = limit + 1 if ask.scope.units is None else _ALL  # what others sent is left out below
    with ask.read() as tx:
        items = tx.outbox_items(destination, state, most)
    mine = [item for item in items if _is_mine(ask, item)]
    return answer("national.message.list", [asdict(item) for item in mine[:limit]], truncated=len(mine) > limit)


def _is_mine(ask: Asking, item: OutboxItem) -> bool:
    return ask.scope.allows(item.document.get("organization_id"))
