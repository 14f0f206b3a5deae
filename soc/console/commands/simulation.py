"""`soc simulate …`: the made-up province, and how much of what it did was noticed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from soc.console.commands.call import Call, command, group
from soc.console.i18n import number, t
from soc.console.render import Column, moment, short, word

PAGE = 1000
CAUGHT = (
    Column("cmd.col.attack", "name", word("attack")),
    Column("cmd.col.entity", "entity", fold=True),
    Column("cmd.col.seconds", "seconds", number, right=True),
    Column("cmd.col.alerts", lambda r: [short(id) for id in r["alerts"][:3]], fold=True),
)
MISSED = (
    Column("cmd.col.attack", "name", word("attack")),
    Column("cmd.col.entity", "entity", fold=True),
    Column("cmd.col.technique", "technique", drop=1),
    Column("cmd.col.time", "start_us", moment),
    Column("cmd.col.why", "why", word("missed"), fold=True),
)
FALSE = (
    Column("cmd.col.id", "id", short),
    Column("cmd.col.time", "created_us", moment),
    Column("cmd.col.title", "title", fold=True),
    Column("cmd.col.entity", "entity", fold=True),
)


def add(app: typer.Typer) -> None:
    """Add the commands."""
    simulate = group(app, "simulate", "A made-up province as real traffic, with the truth beside it.")

    @command(simulate, "run", "soc simulate run", "soc simulate run --rate 200", local=True)
    def run(call: Call, rate: Annotated[float | None, typer.Option(help="Background events a second.")] = None) -> None:
        """Send the province's packets to the running collector, until Ctrl-C."""
        call.processes.simulate(call.settings, rate=rate)

    @command(simulate, "probe", "soc simulate probe")
    def probe(call: Call) -> None:
        """Try a real TCP connection from the attacker's namespace to the gateway's service."""
        answer = call.client.get("/v1/simulation/probe")
        call.output.envelope(answer) if call.json else call.output.say(
            t("cmd.probe.reaches" if answer.data["reaches"] else "cmd.probe.blocked",
              source=answer.data["from"], target=answer.data["to"])
        )  # fmt: skip

    @command(simulate, "score", "soc simulate score", "soc simulate score --json")
    def score(call: Call) -> None:
        """What was raised against what the simulator did: caught, missed, false, seconds to alert."""
        found = call.processes.score(call.settings, _alerts(call))
        if call.json:
            call.output.document({"schema": "soc.simulate.score/v1", "data": found, "truncated": False,
                                  "warnings": [], "cursor": None})  # fmt: skip
        else:
            _show(call, found)


def _alerts(call: Call) -> list[Mapping[str, Any]]:
    """Every alert, page by page."""
    rows: list[Mapping[str, Any]] = []
    cursor = None
    while True:
        answer = call.client.get("/v1/alerts", limit=PAGE, before=cursor)
        rows += answer.data
        cursor = answer.cursor
        if not cursor or not answer.data:
            return rows


def _show(call: Call, found: Mapping[str, Any]) -> None:
    output = call.output
    for key, columns in (("caught", CAUGHT), ("missed", MISSED), ("false", FALSE)):
        rows = [{**row, "kind": key} for row in found[key]]
        if not output.terminal:
            output.table((Column("cmd.col.kind", "kind"), *columns), rows)
        elif found[key]:
            output.section(f"cmd.score.{key}")
            output.table(columns, rows)
    recall, slowest = found.get("recall"), found.get("slowest_s")
    output.say(
        t("cmd.score.summary", caught=number(len(found["caught"])), expected=number(found["expected"]),
          missed=number(len(found["missed"])), false=number(len(found["false"])),
          pending=number(len(found.get("pending") or ())),
          recall="–" if recall is None else f"{number(round(recall * 100))}%",
          slowest="–" if slowest is None else number(slowest))
    )  # fmt: skip
