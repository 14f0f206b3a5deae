"""`soc filter …`: the named filters that searches and rules reuse."""

from __future__ import annotations

from typing import Annotated

import typer

from soc.console.commands.call import Call, command, group
from soc.console.render import Column

FILTERS = (
    Column("cmd.col.name", "name"),
    Column("cmd.col.title", "title", fold=True, drop=1),
    Column("cmd.col.query", "query", fold=True),
)
ONE = (*FILTERS, Column("cmd.col.file", "path", fold=True))


def add(app: typer.Typer) -> None:
    """Add the commands."""
    filter_ = group(app, "filter", "Named filters: 'filter:NAME' in a search, NAME in the condition of a rule.")

    @command(filter_, "list", "soc filter list")
    def list_(call: Call) -> None:
        """List the filters; those that cannot be used are told on stderr with the reason."""
        call.output.answer(call.client.get("/v1/filters"), FILTERS)

    @command(filter_, "show", "soc filter show jump_hosts")
    def show(call: Call, name: Annotated[str, typer.Argument(metavar="FILTER", help="The filter's name.")]) -> None:
        """Show what a filter looks for and the file it stands in."""
        found = call.client.get(f"/v1/filters/{name}")
        if call.json:
            call.output.envelope(found)
        else:
            call.output.fields([(column.heading, column.words(found.data)) for column in ONE])
