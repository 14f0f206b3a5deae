"""`soc store …`: the event store's own files, while nothing of soc runs."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Annotated, Any

import typer

from soc.console.commands.call import Call, command, group
from soc.console.i18n import number, t
from soc.console.progress import progress
from soc.console.render import Column, size, word
from soc.errors import EXIT_PARTIAL

FILES = (
    Column("cmd.col.state", "state", word("rebuild")),
    Column("cmd.col.files", "files", number, right=True),
    Column("cmd.col.rows", "rows", number, right=True),
    Column("cmd.col.bytes", "bytes", size, right=True),
)
REFUSED = (
    Column("cmd.col.file", "path", fold=True),
    Column("cmd.col.why", "why", fold=True),
)
STATES = ("sealed", "merged", "unfinished", "refused")


def add(app: typer.Typer) -> None:
    """Add the commands."""
    store = group(app, "store", "The event store's own files.")

    @command(store, "rebuild", "soc store rebuild --dry-run", "soc store rebuild", local=True)
    def rebuild(
        call: Call,
        yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
        dry_run: Annotated[
            bool, typer.Option("--dry-run", help="Show what would be done, and change nothing.")
        ] = False,
    ) -> int:
        """Make a lost or unreadable manifest.db anew from the sealed files; stop soc first. Exit 4: not all of them."""

        def agreed(plan: Any) -> bool:
            if not dry_run:
                question = t("cmd.rebuild.ask", files=number(_count(plan)["sealed"]))
                call.confirm(question, yes=yes, show=lambda aside: _show(aside, plan))
            return not dry_run

        with progress(call.output, t("cmd.rebuild.files"), is_late=True) as bar:
            plan = call.processes.rebuild_store(
                call.settings, agreed, lambda done, total: bar(completed=done, total=total)
            )
        if call.json:
            files = [dataclasses.asdict(file) for file in plan.files]
            call.output.own("soc.store.rebuild/v1", {"applied": not dry_run, "files": files, "hot": list(plan.hot)})
        else:
            _show(call, plan)
            call.output.say(t("cmd.rebuild.planned" if dry_run else "cmd.rebuild.done"))
        return EXIT_PARTIAL if _count(plan)["refused"] else 0


def _count(plan: Any) -> Counter[str]:
    return Counter(file.state for file in plan.files)


def _show(call: Call, plan: Any) -> None:
    groups = {state: [file for file in plan.files if file.state == state] for state in STATES}
    call.output.table(FILES, [
        {"state": state, "files": len(some), "rows": sum(f.rows for f in some), "bytes": sum(f.bytes for f in some)}
        for state, some in groups.items() if some
    ])  # fmt: skip
    refused = [dataclasses.asdict(file) for file in plan.files if file.state == "refused"]
    if refused:
        call.output.table(REFUSED, refused)
