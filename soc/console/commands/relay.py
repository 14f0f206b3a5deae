"""`soc relay …`: distant units that collect for themselves and hand their records to the centre."""

from __future__ import annotations

from typing import Annotated

import typer

from soc.console.commands.call import Call, command, group
from soc.console.i18n import number, t
from soc.console.render import Column, moment
from soc.console.text import clean

RELAYS = (
    Column("cmd.col.name", "name"),
    Column("cmd.col.joined", "joined_us", moment),
    Column("cmd.col.last_seen", "heard_us", moment),
    Column("cmd.col.pending", lambda r: _told(r).get("queue", {}).get("records"), number, right=True),
    Column("cmd.col.handed_on", lambda r: _told(r).get("records"), number, right=True),
)


def _told(row: object) -> dict[str, dict[str, int]]:
    health = row.get("health") if isinstance(row, dict) else None
    return health if isinstance(health, dict) else {}


def add(app: typer.Typer) -> None:
    """Add the commands."""
    relay = group(app, "relay", "Distant units: join them to the centre, see how they are.")

    @command(relay, "invite", "soc relay invite xa-dakbla")
    def invite(call: Call, name: Annotated[str, typer.Argument(help="The unit: small letters, digits and -.")]) -> None:
        """At the centre: print a token, good for an hour and once, with which a unit joins."""
        answer = call.client.post("/v1/relays", {"name": name})
        if call.json:
            call.output.envelope(answer)
        else:
            call.output.text(str(answer.data["token"]))
            call.output.say(t("cmd.relay.invited", name=clean(name)))

    @command(relay, "join", "soc relay join https://soc.tinh.example:8601 eGEtZGFrYmxh", local=True)
    def join(
        call: Call,
        url: Annotated[str, typer.Argument(help="The centre's hub.")],
        token: Annotated[str, typer.Argument(help="From soc relay invite.")],
    ) -> None:
        """At the unit: trade the token for a certificate. Then set [relay] url and start soc up."""
        name = call.processes.relay_join(call.settings, url, token)
        call.output.say(t("cmd.relay.joined", name=clean(name), url=clean(url)))

    @command(relay, "list", "soc relay list")
    def listed(call: Call) -> None:
        """At the centre: every unit, when it was last heard, and what waits there."""
        call.output.answer(call.client.get("/v1/relays"), RELAYS)

    @command(relay, "forget", "soc relay forget xa-dakbla --reason closed")
    def forget(
        call: Call,
        name: Annotated[str, typer.Argument(help="The unit.")],
        reason: Annotated[str, typer.Option(help="Why; it stays in the ledger.")],
    ) -> None:
        """At the centre: shut a unit out at once."""
        answer = call.client.post(f"/v1/relays/{name}/forget", {"reason": reason})
        if call.json:
            call.output.envelope(answer)
        call.output.say(t("cmd.relay.forgotten", name=clean(name)))

    @command(relay, "run", "soc relay run", local=True)
    def run(call: Call) -> None:
        """At the unit: hand the queue to the centre until stopped; soc up starts it."""
        call.processes.relay(call.settings)

    @command(relay, "hub", "soc relay hub", local=True)
    def hub(call: Call) -> None:
        """At the centre: take what units send until stopped; soc up starts it when [relay] host is set."""
        call.processes.hub(call.settings)
