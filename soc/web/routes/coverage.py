"""Coverage: which rule saw the events of which time, and making up for what was missed."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import Field
from starlette.responses import Response

from soc.errors import Conflict, UsageError
from soc.model.lookback import Lookback
from soc.pipeline.coverage import ledger
from soc.pipeline.coverage.report import Coverage
from soc.web.auth import Allowed, Asking
from soc.web.envelope import Body, Name, Text, Words, answer, several
from soc.web.routes.lookbacks import LONGEST_US, handed_in
from soc.web.times import When, moment_us

router = APIRouter()


class Backfill(Body):
    """`rules` null: those that were at work and missed something; a rule that was not there yet has to be named."""

    rules: list[Name] | None = Field(default=None, min_length=1, max_length=5000)
    since: Name = "1d"
    until: Name | None = None
    reason: Text = ""


@router.get("/v1/coverage")
def show(
    ask: Annotated[Asking, Depends(Allowed("coverage.read"))],
    since: When = "1d",
    until: When = None,
    rule: Words = None,
) -> Response:
    """Rule × windows by status (evaluated, late, skipped, failed, backfilled), and the ranges that are not evaluated.

    `gaps` counts what a rule at work did not see; `begins_us` is when the ledger begins at all; `backfill` tells of the
    newest job that makes up for gaps unasked.
    """
    ask.whole()
    found, begins_us = _coverage(ask, since, until)
    report = found.report(_known(found, list(several(rule))) if rule else None)
    return answer("coverage", {**report, "begins_us": begins_us, "backfill": ask.services.backfills.told()})


@router.post("/v1/coverage/backfill", status_code=201)
def backfill(ask: Annotated[Asking, Depends(Allowed("coverage.backfill"))], body: Backfill) -> Response:
    """Hold rules against what they missed; findings become alerts, known ones add nothing. Answers the lookback."""
    ask.whole()
    found, _ = _coverage(ask, body.since, body.until)
    owed = found.owed(None if body.rules is None else _known(found, body.rules))
    if owed is None:
        raise Conflict("nothing was missed in that time", hint="soc coverage show")
    rules, since_us, until_us = owed
    job = Lookback(
        id=ask.services.new_id(), asker=ask.person.name, units=None, since_us=since_us, until_us=until_us,
        created_us=ask.now_us, rules=tuple(rules), by_receipt=True, backfill=True, reason=body.reason,
    )  # fmt: skip
    return handed_in(ask, job)


def _coverage(ask: Asking, since: str | None, until: str | None) -> tuple[Coverage, Any]:
    since_us = moment_us(since, ask.now_us)
    until_us = min(moment_us(until, ask.now_us) or ask.now_us, ask.now_us)
    if since_us is None or not 0 < until_us - since_us <= LONGEST_US:
        raise UsageError("the time to look at ends after it begins, at most 400 days later")
    return ledger.coverage(ask.services.settings, ask.services.store, since_us, until_us)


def _known(found: Coverage, rules: list[str]) -> list[str]:
    unknown = [rule for rule in rules if rule not in found.rules]
    if unknown:
        raise UsageError(f"no rule '{unknown[0]}' is at work here", hint="soc coverage show names those with gaps")
    return rules
