"""`soc national …`: what was sent to the national centre, and the reference receiver."""

from __future__ import annotations

from typing import Annotated

import typer

from soc.console.commands.call import Call, command, group
from soc.console.commands.events import Limit
from soc.console.i18n import number, t
from soc.console.render import Column, moment, short, word, yes_no

DESTINATIONS = (
    Column("cmd.col.destination", "name"),
    Column("cmd.col.up", "up", yes_no),
    Column("cmd.col.queued", "queued", number, right=True),
    Column("cmd.col.acked", "acked", number, right=True),
    Column("cmd.col.refused", "refused", number, right=True),
    Column("cmd.col.dead", "dead", number, right=True, drop=2),
    Column("cmd.col.last_contact", lambda r: r.get("last_contact_us") or r.get("last_success_us"), moment),
    Column("cmd.col.error", "last_error", fold=True, drop=1),
)
MESSAGES = (
    Column("cmd.col.id", "id", short),
    Column("cmd.col.destination", "destination"),
    Column("cmd.col.sequence", "sequence", right=True),
    Column("cmd.col.kind", "kind", word("message")),
    Column("cmd.col.state", "state", word("outbox")),
    Column("cmd.col.tries", "tries", number, right=True, drop=1),
    Column("cmd.col.created", "document.created_us", moment),
    Column("cmd.col.system", "system_id", fold=True, drop=2),
    Column("cmd.col.error", "error", fold=True, drop=3),
)


def add(app: typer.Typer) -> None:
    """Add the commands."""
    national = group(app, "national", "The connection to the national centre.")

    @command(national, "status", "soc national status")
    def status(call: Call) -> None:
        """Each destination: whether it answers, what waits, what was acknowledged or refused."""
        answer = call.client.get("/v1/national")
        call.output.answer(answer, DESTINATIONS)
        if not call.json and any(row.get("simulated") for row in answer.data):
            call.output.say(t("cmd.national.simulated"))

    @command(
        national,
        "messages",
        "soc national messages --state pending",
        "soc national messages --destination reference --limit 20 --json",
    )
    def messages(
        call: Call,
        destination: Annotated[str | None, typer.Option(help="To this destination only.")] = None,
        state: Annotated[str | None, typer.Option(help="pending, sent, acked, rejected or dead.")] = None,
        limit: Limit = 100,
    ) -> None:
        """The messages in the outbox."""
        answer = call.client.get("/v1/national/messages", destination=destination, state=state, limit=limit)
        call.output.answer(answer, MESSAGES)

    @command(national, "serve", "soc national serve", "soc national serve --port 8643", local=True)
    def serve(
        call: Call,
        port: Annotated[int | None, typer.Option(help="Default: that of the first [national.<name>] url.")] = None,
        drop_replies: Annotated[
            int, typer.Option(help="Drop so many replies after the commit, to try the sender.")
        ] = 0,
    ) -> None:
        """Run the reference receiver: a real HTTPS server with client certificates, for tests and provincial nodes."""
        call.processes.receiver(call.settings, port=port, drop_replies=drop_replies)
