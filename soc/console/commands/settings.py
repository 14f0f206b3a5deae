"""`soc config show`: the settings in use, and where each came from."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from soc.console.commands.call import Call, command, group
from soc.console.render import Column, plain

SETTINGS = (Column("cmd.col.setting", "name"), Column("cmd.col.value", "value", fold=True))
WITH_ORIGIN = (
    *SETTINGS,
    Column("cmd.col.origin", "origin", fold=True),
    Column("cmd.col.meaning", "meaning", fold=True, drop=1),
)


def add(app: typer.Typer) -> None:
    """Add the commands."""
    config = group(app, "config", "The settings in use.")

    @command(config, "show", "soc config show", "soc config show --origin", "soc config show --json", local=True)
    def show(
        call: Call, origin: Annotated[bool, typer.Option("--origin", help="Where each value came from.")] = False
    ) -> None:
        """Show every setting: flags over SOC_* over soc.toml over defaults."""
        rows: list[dict[str, Any]] = [vars(row) for row in call.settings.shown()]
        if call.json:
            call.output.document(
                {"schema": "soc.config/v1", "data": rows, "truncated": False, "warnings": [], "cursor": None}
            )
        elif call.output.terminal or origin:
            call.output.table(WITH_ORIGIN if origin else SETTINGS, rows)
        else:
            for row in rows:
                call.output.line(f"{row['name']}\t{plain(row['value'])}")
