"""`soc coverage …`: which rules saw what was received, and making up for what they missed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from soc.console.commands.call import Call, command, group, moment
from soc.console.commands.lookback import Since, Until, Wait, Why, followed, report
from soc.console.commands.shared import making_up, title
from soc.console.i18n import number, t
from soc.console.render import Column, word
from soc.console.render import moment as shown_moment
from soc.errors import EXIT_FINDINGS

STATUSES = ("evaluated", "late", "skipped", "failed", "backfilled")


def _named(row: Mapping[str, Any]) -> str:
    """The rules of a range: the first by title, and how many in all."""
    first = title(row["rules"][0]) if row["rules"] else ""
    more = row["rules_total"] - 1
    return f"{first} … (+{number(more)})" if more > 0 else first


RANGES = (
    Column("cmd.col.first", "since_us", shown_moment),
    Column("cmd.col.last", "until_us", shown_moment),
    Column("cmd.col.state", "status", word("coverage")),
    Column("cmd.col.why", "why", word("coverage")),
    Column("cmd.col.events", "events", number, right=True),
    Column("cmd.col.rules", _named, fold=True),
)
Rules = Annotated[list[str] | None, typer.Option("--rule", help="These rules only (ids); may be given several times.")]


def add(app: typer.Typer) -> None:
    """Add the commands."""
    coverage = group(app, "coverage", "Which rules saw what was received, and what they missed.")

    @command(coverage, "show", "soc coverage show", "soc coverage show --since 7d --json")
    def show(call: Call, since: Since = "1d", until: Until = None, rule: Rules = None) -> int:
        """Which rules saw what was received, what they missed and why. Exit 3 when something is missing."""
        answer = call.client.get("/v1/coverage", since=moment(since), until=moment(until), rule=rule or None)
        found = answer.data
        call.output.remarks(answer)
        if call.json:
            call.output.envelope(answer)
        else:
            totals = [(f"cmd.coverage.{status}", number(found["totals"][status])) for status in STATUSES]
            whole = t("cmd.coverage.whole", rules=number(found["rules"]), windows=number(found["windows"]),
                      minutes=found["window_us"] // 60_000_000)  # fmt: skip
            call.output.fields(
                [
                    ("cmd.col.first", shown_moment(found["since_us"])),
                    ("cmd.col.last", shown_moment(found["until_us"])),
                    ("cmd.coverage.begins", shown_moment(found["begins_us"])), ("cmd.col.rules", whole), *totals,
                    ("cmd.coverage.gaps", number(found["gaps"])), ("cmd.backfill", making_up(found["backfill"])),
                ]
            )  # fmt: skip
            call.output.table(RANGES, found["ranges"])
        return EXIT_FINDINGS if found["gaps"] else 0

    @command(coverage, "backfill", "soc coverage backfill --since 2d --why 'the worker was down'")
    def backfill(
        call: Call, since: Since = "1d", until: Until = None, rule: Rules = None, why: Why = "", wait: Wait = True
    ) -> int:
        """Hold rules against what they missed; findings become alerts, none of them twice. Exit 4 when it was ended."""
        asked = {"since": moment(since), "until": moment(until), "rules": rule or None, "reason": why}
        return followed(call, "/v1/coverage/backfill", asked, wait, report)
