"""`soc fields`: the names that searches and rules may use, with their types, without any service."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from soc.console.commands.call import Call, command
from soc.console.render import Column

FIELDS = (Column("cmd.col.field", "name", fold=True), Column("cmd.col.type_of", "type"))


def add(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "fields", "soc fields", "soc fields source.", local=True)
    def fields(call: Call, part: Annotated[str, typer.Argument(help="Only names in which this stands.")] = "") -> None:
        """List the fields of events: ECS names, those of the parsers and of the site; * stands for any name."""
        rows = [row for row in _known(call) if part in row["name"]]
        if call.json:
            call.output.own("soc.field.list/v1", rows)
        else:
            call.output.table(FIELDS, rows)


def _known(call: Call) -> list[dict[str, Any]]:
    from soc import pipeline
    from soc.model.fields import describe

    known = pipeline.load_parsers(call.settings.content_roots).fields
    families = [(f"{prefix}*", known.get(f"{prefix}x")) for prefix in known.families()]
    found = [*((field.name, field) for field in known), *families]
    return [{"name": name, "type": describe(field)} for name, field in sorted(found, key=lambda f: f[0]) if field]
