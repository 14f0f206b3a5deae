"""`soc ledger …`: who did what when, and whether the chain holds."""

from __future__ import annotations

from typing import Annotated

import typer

from soc.console.commands.call import Call, command, group
from soc.console.commands.events import Limit
from soc.console.i18n import number, t
from soc.console.render import Column, moment
from soc.console.text import clean
from soc.errors import EXIT_FINDINGS

ENTRIES = (
    Column("cmd.col.number", "seq", right=True),
    Column("cmd.col.time", "at_us", moment),
    Column("cmd.col.person", "actor"),
    Column("cmd.col.via", "via", drop=1),
    Column("cmd.col.act", "act"),
    Column("cmd.col.object", "object", fold=True),
    Column("cmd.col.reason", "reason", fold=True, drop=2),
)


def add(app: typer.Typer) -> None:
    """Add the commands."""
    ledger = group(app, "ledger", "The ledger: every change of state, in a chain of hashes.")

    @command(ledger, "list", "soc ledger list", "soc ledger list --after 120 --limit 20 --json")
    def list_(
        call: Call,
        after: Annotated[int, typer.Option(min=0, help="Entries numbered above this.")] = 0,
        limit: Limit = 100,
    ) -> None:
        """List entries, oldest first."""
        call.output.answer(call.client.get("/v1/ledger", after=after, limit=limit), ENTRIES)

    @command(ledger, "verify", "soc ledger verify")
    def verify(call: Call) -> int:
        """Recompute the whole chain and hold it against its signed head. Exit 3 on a fault."""
        answer = call.client.get("/v1/ledger/verify")
        data = answer.data
        if call.json:
            call.output.envelope(answer)
        else:
            call.output.remarks(answer)
            for fault in data["faults"]:
                call.output.line(clean(fault))
            words = "cmd.ledger.holds" if data["ok"] else "cmd.ledger.broken"
            call.output.say(t(words, entries=number(data["entries"]), faults=number(len(data["faults"]))))
        return 0 if data["ok"] else EXIT_FINDINGS
