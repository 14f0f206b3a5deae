"""`soc config …`: the settings in use, where each came from, and reading them again."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from soc.console.commands.call import Call, command, group
from soc.console.i18n import t
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
            call.output.own("soc.config/v1", rows)
        elif call.output.terminal or origin:
            call.output.table(WITH_ORIGIN if origin else SETTINGS, rows)
        else:
            for row in rows:
                call.output.line(f"{row['name']}\t{plain(row['value'])}")

    @command(config, "reload", "soc config reload", "soc config reload --json", local=True)
    def reload(call: Call) -> None:
        """Have the running collector take the listeners of soc.toml as it is now; no connection is dropped."""
        said = call.processes.reload(call.settings)
        if call.json:
            call.output.own("soc.config.reload/v1", said)
            return
        for name, port in sorted(said["ports"].items()):
            call.output.line(f"{name}\t{port}")
        call.output.say(t("cmd.config.reloaded", count=len(said["ports"])))
        if said["restart"]:
            call.output.say(t("cmd.config.restart", names=", ".join(said["restart"])))
