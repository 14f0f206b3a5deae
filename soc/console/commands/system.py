"""`soc system …`: the information systems, their levels, owners and networks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soc.console.commands.call import Call, command, group, pairs
from soc.console.i18n import t
from soc.console.render import Column, at
from soc.console.text import clean
from soc.errors import ContentError, UsageError, nearest

if TYPE_CHECKING:
    from soc.client import Answer
    from soc.content import Document

_QUOTED = re.compile(r"'(\w+)'")
LISTS = ("networks", "hosts", "points", "links", "sources")
TEXTS = ("name", "code", "organization_id", "organization_name", "site", "registered", "contact", "type", "retired")
KEYS_HELP = f"{', '.join((*TEXTS, *LISTS))}; level with since (and decision) adds a decision."


def _level(row: Mapping[str, Any]) -> Any:
    levels = row.get("levels") or [{}]
    return levels[-1].get("level")


SYSTEMS = (
    Column("cmd.col.id", "id"),
    Column("cmd.col.name", "name", fold=True),
    Column("cmd.col.system_level", _level, right=True),
    Column("cmd.col.unit", "organization_name", fold=True),
    Column("cmd.col.site", "site", drop=2),
    Column("cmd.col.networks", "networks", fold=True, drop=1),
    Column("cmd.col.retired", "retired", drop=3),
)
LEVELS = (
    Column("cmd.col.since", "since"),
    Column("cmd.col.system_level", "level", right=True),
    Column("cmd.col.decision", "decision", fold=True),
)
Id = Annotated[str, typer.Argument(metavar="SYSTEM", help="The system's id.")]


def add(app: typer.Typer) -> None:
    """Add the commands."""
    system = group(app, "system", "Information systems: whose they are, their level, their networks.")

    @command(system, "list", "soc system list")
    def list_(call: Call) -> None:
        """List the systems."""
        call.output.answer(call.client.get("/v1/systems"), SYSTEMS)

    @command(system, "show", "soc system show portal")
    def show(call: Call, id: Id) -> None:
        """Show one system."""
        _show(call, call.client.get(f"/v1/systems/{id}"))

    @command(system, "add", "soc system add portal.yml", "soc system add portal.yml --reason 'decision 15/QĐ-UBND'")
    def add_system(
        call: Call,
        file: Annotated[Path, typer.Argument(help="A definition (kind: system), YAML or JSON; several in one file.")],
        reason: Annotated[str, typer.Option(help="Why; it stays in the ledger.")] = "",
    ) -> None:
        """Register the systems of a file, one after the other; every fault of one with its line."""
        for document in _documents(file):
            body = {"document": document.data, "reason": reason}
            try:
                _kept(call, call.client.put(f"/v1/systems/{document.data['id']}", body))
            except ContentError as error:
                raise _placed(error, document) from None

    @command(
        system,
        "set",
        "soc system set portal contact='Phòng CNTT, 0260 3 862 000'",
        "soc system set portal level=4 since=2026-12-01 decision=15/QĐ-UBND",
    )
    def set_(
        call: Call,
        id: Id,
        values: Annotated[list[str], typer.Argument(metavar="KEY=VALUE...", help=KEYS_HELP)],
        reason: Annotated[str, typer.Option(help="Why; it stays in the ledger.")] = "",
    ) -> None:
        """Change a system's definition."""
        document = dict(call.client.get(f"/v1/systems/{id}").data)
        changed = {**document, **changes(document, pairs(values))}
        _kept(call, call.client.put(f"/v1/systems/{id}", {"document": changed, "reason": reason}))


def _documents(file: Path) -> list[Document]:
    """The definitions of a file. Raises ContentError with the lines of what is no YAML."""
    from soc.content import load

    if not file.is_file():
        raise UsageError(t("cmd.no_file", path=file))
    found = load(file)
    if not found:
        raise UsageError(t("cmd.system.empty", path=file))
    nameless = [d.fault("'id' is missing") for d in found if not isinstance(at(d.data, "id"), str)]
    if nameless:
        raise ContentError(nameless)
    return found


def _placed(error: ContentError, document: Document) -> ContentError:
    """The service's faults with the lines of the file: it knows the document, not where it stood."""
    faults = []
    for fault in error.faults:
        key = next((key for key in _QUOTED.findall(fault.message) if key in document.data), None)
        faults.append(document.fault(fault.message, *([key] if key else [])))
    return ContentError(faults)


def changes(document: Mapping[str, Any], values: Mapping[str, str]) -> dict[str, Any]:
    """What `key=value` texts make of a definition. Raises UsageError for an unknown key."""
    made: dict[str, Any] = {}
    decision = {key: values[key] for key in ("level", "since", "decision") if key in values}
    for key, value in values.items():
        if key in LISTS:
            made[key] = [part.strip() for part in value.split(",") if part.strip()]
        elif key in TEXTS:
            made[key] = value
        elif key not in decision:
            known = (*TEXTS, *LISTS, "level", "since", "decision")
            raise UsageError(t("cmd.system.unknown_key", key=key) + nearest(key, known), hint=", ".join(known))
    return made | ({"levels": _levels(document.get("levels") or [], decision)} if decision else {})


def _levels(levels: Sequence[Mapping[str, Any]], decision: Mapping[str, str]) -> list[dict[str, Any]]:
    if "level" not in decision or "since" not in decision or not decision["level"].isdigit():
        raise UsageError(t("cmd.system.level_since"), hint="level=4 since=2026-12-01 decision=15/QĐ-UBND")
    new = {**decision, "level": int(decision["level"])}
    return [*(dict(level) for level in levels if level.get("since") != new["since"]), new]


def _kept(call: Call, answer: Answer) -> None:
    if call.json:
        call.output.envelope(answer)
    else:
        call.output.remarks(answer)
        call.output.line(clean(t("cmd.system.kept", system=answer.data["id"], name=answer.data["name"])))


def _show(call: Call, answer: Answer) -> None:
    if call.json:
        call.output.envelope(answer)
        return
    call.output.remarks(answer)
    data = answer.data
    names = ("id", "name", "code", "organization_id", "organization_name", "site", "type", "registered", "retired",
             "contact", *LISTS)  # fmt: skip
    headings = {"organization_id": "unit_id", "organization_name": "unit"}
    call.output.fields((f"cmd.col.{headings.get(name, name)}", data.get(name)) for name in names)
    call.output.section("cmd.system.levels")
    call.output.table(LEVELS, data.get("levels") or [])
