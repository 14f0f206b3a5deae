"""`soc mib …`: a site's own MIBs, which name what SNMP traps carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from soc.console.commands.call import Call, command, group
from soc.console.i18n import number, t
from soc.console.render import Column, moment, word
from soc.console.text import clean
from soc.errors import EXIT_PARTIAL, EXIT_USAGE, UsageError

MAX_FILE = 4 << 20
COMPILED_S = 180.0
"""A megabyte of MIBs takes about ten seconds, and the compiler is stopped after 120."""
MIBS = (
    Column("cmd.col.mib", "module"),
    Column("cmd.col.objects", "objects", number, right=True),
    Column("cmd.col.labels", "labels", number, right=True, drop=3),
    Column("cmd.col.notifications", "notifications", number, right=True),
    Column("cmd.col.added", "added_us", moment, drop=2),
    Column("cmd.col.added_by", "by", drop=1),
    Column("cmd.col.file", "file", fold=True, drop=4),
)
PLAN = (
    Column("cmd.col.mib", "module"),
    Column("cmd.col.mib_change", "state", word("mib")),
    Column("cmd.col.objects", "objects", number, right=True),
    Column("cmd.col.notifications", "notifications", number, right=True),
    Column("cmd.col.file", "file", fold=True, drop=1),
)
NOTIFICATIONS = (
    Column("cmd.col.oid", "oid"),
    Column("cmd.col.name", "name"),
    Column("cmd.col.mib_severity", "severity", drop=1),
    Column("cmd.col.mib_text", "description", fold=True, drop=2),
)
OBJECTS = (
    Column("cmd.col.oid", "oid"),
    Column("cmd.col.name", "name"),
    Column("cmd.col.values", "values", fold=True, drop=1),
)
Module = Annotated[str, typer.Argument(metavar="MODULE", help="The module's name, as the list shows it.")]
Reason = Annotated[str, typer.Option(help="Why; it stays in the ledger.")]


def add(app: typer.Typer) -> None:
    """Add the commands."""
    mib = group(app, "mib", "MIBs of the site: names, values and severities of SNMP traps.")

    @command(mib, "add", "soc mib add HUAWEI-ALARM-MIB.mib", "soc mib add mibs/ --dry-run")
    def add_(
        call: Call,
        paths: Annotated[list[Path], typer.Argument(metavar="FILE|FOLDER...", help="MIB files, or folders of them.")],
        reason: Reason = "",
        yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    ) -> None:
        """Compile MIB files; what compiles is used within seconds. 'soc mib restore' and 'remove' undo it."""
        from soc.parsers.mibs import packed

        body = {"files": packed.pack(files_of(paths)), "reason": reason}
        planned = call.client.post("/v1/mibs", body, wait_s=COMPILED_S)
        changes = [row for row in planned.data["modules"] if row["state"] != "unchanged"]
        if not call.json:
            call.output.table(PLAN, planned.data["modules"])
            _faults(call, planned.data["faults"])
        if changes and not dry_run:
            call.confirm(t("cmd.mib.ask", count=number(len(changes))), yes=yes)
            planned = call.client.post("/v1/mibs", {**body, "apply": True}, wait_s=COMPILED_S)
        if call.json:
            call.output.envelope(planned)
        else:
            call.output.line(t("cmd.mib.added" if planned.data["applied"] else "cmd.mib.nothing"))
        if planned.data["faults"]:
            raise typer.Exit(EXIT_PARTIAL if planned.data["modules"] else EXIT_USAGE)

    @command(mib, "list", "soc mib list")
    def list_(call: Call) -> None:
        """List the modules that were added."""
        call.output.answer(call.client.get("/v1/mibs"), MIBS)

    @command(mib, "show", "soc mib show HUAWEI-ALARM-MIB")
    def show(call: Call, module: Module) -> None:
        """Show what a module names."""
        answer = call.client.get(f"/v1/mibs/{module}")
        if call.json:
            call.output.envelope(answer)
            return
        table = answer.data["table"]
        call.output.section("cmd.mib.notifications")
        call.output.table(NOTIFICATIONS, [{"oid": oid, **note} for oid, note in table["notifications"].items()])
        call.output.section("cmd.mib.objects")
        call.output.table(OBJECTS, _objects(table))

    @command(mib, "remove", "soc mib remove HUAWEI-ALARM-MIB")
    def remove(call: Call, module: Module, reason: Reason = "") -> None:
        """Take a module away. 'soc mib restore' undoes it."""
        _done(call, module, "remove", reason)

    @command(mib, "restore", "soc mib restore HUAWEI-ALARM-MIB")
    def restore(call: Call, module: Module, reason: Reason = "") -> None:
        """Undo the last replacement or removal of a module."""
        _done(call, module, "restore", reason)


def files_of(paths: Sequence[Path]) -> list[tuple[str, str]]:
    """Names and texts of files, folders gone through. Raises UsageError with all that cannot be read."""
    found: list[tuple[str, str]] = []
    wrong = [t("cmd.no_file", path=path) for path in paths if not path.exists()]
    for path in paths:
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files if path.exists() else ():
            if file.stat().st_size > MAX_FILE:
                wrong.append(t("cmd.mib.too_long", path=file))
            else:
                found.append((str(file), file.read_bytes().decode("utf-8", "replace")))
    if wrong:
        raise UsageError("\n".join(wrong))
    return found


def _objects(table: Mapping[str, Any]) -> list[dict[str, str]]:
    rows = []
    for oid, name in table["objects"].items():
        values = sorted(table["labels"].get(oid, {}).items(), key=lambda item: int(item[0]))
        rows.append({"oid": oid, "name": name, "values": ", ".join(f"{word}({n})" for n, word in values)})
    return rows


def _faults(call: Call, faults: Sequence[Mapping[str, Any]]) -> None:
    for fault in faults:
        hint = f" ({fault['hint']})" if fault["hint"] else ""
        call.output.say(clean(f"{fault['file']}:{fault['line']}: {fault['message']}{hint}"))


def _done(call: Call, module: str, act: str, reason: str) -> None:
    answer = call.client.post(f"/v1/mibs/{module}/{act}", {"reason": reason})
    if call.json:
        call.output.envelope(answer)
    else:
        call.output.line(clean(t(f"cmd.mib.{act}", module=answer.data["module"])))
