"""`soc person …`: who may act, in which role, for which units."""

from __future__ import annotations

from typing import Annotated

import typer

from soc.console.commands.call import Call, command, group
from soc.console.i18n import t
from soc.console.render import Column, word, yes_no
from soc.console.text import clean

PEOPLE = (
    Column("cmd.col.name", "name"),
    Column("cmd.col.role", "role", word("role")),
    Column("cmd.col.units", "units", fold=True),
    Column("cmd.col.uid", "uid"),
    Column("cmd.col.disabled", "disabled", yes_no),
)


def add(app: typer.Typer) -> None:
    """Add the commands."""
    person = group(app, "person", "People: roles, units, tokens.")

    @command(person, "list", "soc person list")
    def list_(call: Call) -> None:
        """List the people."""
        call.output.answer(call.client.get("/v1/people"), PEOPLE)

    @command(
        person,
        "add",
        "soc person add lan --role tier1 --uid 1001",
        "soc person add yte --role tier2-unit --unit H40.15",
    )
    def add_person(
        call: Call,
        name: Annotated[str, typer.Argument(help="Small letters, digits, '.', '_', '-'.")],
        role: Annotated[str, typer.Option(help="tier1, tier2-unit, tier3, manager, auditor or admin.")],
        unit: Annotated[list[str] | None, typer.Option("--unit", help="An owner unit's id; repeat it.")] = None,
        uid: Annotated[int | None, typer.Option(help="The login on this machine that is this person.")] = None,
        reason: Annotated[str, typer.Option(help="Why; it stays in the ledger.")] = "",
    ) -> None:
        """Add a person."""
        body = {"name": name, "role": role, "units": unit or [], "uid": uid, "reason": reason}
        answer = call.client.post("/v1/people", body)
        call.output.answer(answer, PEOPLE, [answer.data])

    @command(person, "token", "soc person token lan --days 30", "export SOC_TOKEN=$(soc person token lan)")
    def token(
        call: Call,
        name: Annotated[str, typer.Argument(help="Whose token.")],
        days: Annotated[int, typer.Option(min=1, max=365, help="How long it lives.")] = 90,
    ) -> None:
        """Issue a token for the API; its secret is shown this once."""
        answer = call.client.post(f"/v1/people/{name}/tokens", {"days": days})
        if call.json:
            call.output.envelope(answer)
            return
        call.output.line(clean(answer.data["secret"]))
        call.output.say(t("cmd.person.token", name=name, days=days))
