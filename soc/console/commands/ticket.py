"""`soc ticket …`: what people do about an alert, and the legal deadlines that run meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soc.console.commands.call import Call, command, group
from soc.console.commands.events import Limit
from soc.console.commands.playbook import RUNS
from soc.console.commands.shared import NOTES, system, title
from soc.console.i18n import pick, t
from soc.console.render import Column, short, word, yes_no
from soc.console.render import moment as shown_moment
from soc.console.text import clean, when
from soc.errors import UsageError
from soc.model.ticket import RESOLUTIONS, STATES

if TYPE_CHECKING:
    from soc.client import Answer

TICKETS = (
    Column("cmd.col.number", "number"),
    Column("cmd.col.created", "created_us", lambda us: when(us, seconds=False), drop=2),
    Column("cmd.col.level", "level", word("level")),
    Column("cmd.col.state", "state", word("state")),
    Column("cmd.col.assignee", "assignee", drop=1),
    Column("cmd.col.title", title, fold=True),
    Column("cmd.col.system", system, fold=True, drop=3),
)
TASKS = (
    Column("cmd.col.step", "id"),
    Column("cmd.col.tier", "tier"),
    Column("cmd.col.kind", "kind", word("task"), drop=2),
    Column("cmd.col.title", title, fold=True),
    Column("cmd.col.due", "due_us", lambda us: when(us, seconds=False)),
    Column("cmd.col.done", "done_us", lambda us: when(us, seconds=False)),
    Column("cmd.col.result", "result", fold=True, drop=1),
)
DEADLINES = (
    Column("cmd.col.id", "id"),
    Column("cmd.col.due", "due_us", lambda us: when(us, seconds=False)),
    Column("cmd.col.title", title, fold=True),
    Column("cmd.col.recipient", "recipient", fold=True),
    Column("cmd.col.citation", "citation", fold=True, drop=2),
    Column("cmd.col.met", "met_us", lambda us: when(us, seconds=False), drop=1),
)
MOVES = (
    Column("cmd.col.time", "at_us", shown_moment),
    Column("cmd.col.person", "person"),
    Column("cmd.col.before", "before", word("state")),
    Column("cmd.col.after", "after", word("state")),
    Column("cmd.col.reason", "reason", fold=True),
)
Id = Annotated[str, typer.Argument(metavar="TICKET", help="The ticket's number (KT-2026-000123) or id.")]


def add(app: typer.Typer) -> None:
    """Add the commands."""
    ticket = group(app, "ticket", "Tickets: list, look, move on, note, tick off steps, classify.")
    _reading(ticket)
    _changing(ticket)


def _reading(ticket: typer.Typer) -> None:
    @command(ticket, "list", "soc ticket list", "soc ticket list --state assigned --limit 20")
    def list_(
        call: Call,
        state: Annotated[str | None, typer.Option(help=f"One of {', '.join(STATES)}.")] = None,
        limit: Limit = 50,
        before: Annotated[str | None, typer.Option(help="Older than this cursor.")] = None,
    ) -> None:
        """List tickets, newest first."""
        answer = call.client.get("/v1/tickets", state=state, limit=limit, before=before)
        call.output.answer(answer, TICKETS, before=True)

    @command(ticket, "show", "soc ticket show KT-2026-000123")
    def show(call: Call, id: Id) -> None:
        """Show one ticket: steps, deadlines, runs, notes."""
        show_ticket(call, call.client.get(f"/v1/tickets/{id}"))


def _changing(ticket: typer.Typer) -> None:
    @command(
        ticket,
        "move",
        "soc ticket move KT-2026-000123 triage",
        "soc ticket move KT-2026-000123 assigned --assignee lan",
        "soc ticket move KT-2026-000123 closed --resolution resolved --reason 'blocked, password changed'",
    )
    def move(
        call: Call,
        id: Id,
        to: Annotated[str, typer.Argument(metavar="STATE", help=f"One of {', '.join(STATES)}.")],
        reason: Annotated[str, typer.Option(help="Why; needed to close, to reopen and to go back.")] = "",
        assignee: Annotated[str, typer.Option(help="To whom, for 'assigned'.")] = "",
        tier: Annotated[int | None, typer.Option(min=1, max=3, help="Hand over to this tier.")] = None,
        resolution: Annotated[str, typer.Option(help=f"For 'closed': one of {', '.join(RESOLUTIONS)}.")] = "",
        duplicate_of: Annotated[str | None, typer.Option(help="The other ticket, for 'duplicate'.")] = None,
    ) -> None:
        """Move a ticket on, or back with a reason."""
        asked = {"to": to, "reason": reason, "assignee": assignee, "tier": tier, "resolution": resolution,
                 "duplicate_of": duplicate_of}  # fmt: skip
        body = {name: value for name, value in asked.items() if value not in (None, "")}
        _changed(call, call.client.post(f"/v1/tickets/{id}/move", body), "cmd.ticket.moved")

    @command(ticket, "note", "soc ticket note KT-2026-000123 'the unit was called at 14:05'")
    def note(call: Call, id: Id, text: Annotated[str, typer.Argument(help="What to remember.")]) -> None:
        """Add a note."""
        _changed(call, call.client.post(f"/v1/tickets/{id}/note", {"text": text}), "cmd.ticket.noted")

    @command(ticket, "done", "soc ticket done KT-2026-000123 verify --result 'the account is not in use'")
    def done(
        call: Call,
        id: Id,
        step: Annotated[str, typer.Argument(help="The step, as `soc ticket show` names it.")],
        result: Annotated[str, typer.Option(help="What came of it.")] = "",
    ) -> None:
        """Tick off a step."""
        answer = call.client.post(f"/v1/tickets/{id}/tasks/{step}/done", {"result": result})
        _changed(call, answer, "cmd.ticket.stepped")

    @command(
        ticket, "classify", "soc ticket classify KT-2026-000123 --serious --flag gian_doan --reason 'portal is down'"
    )
    def classify(
        call: Call,
        id: Id,
        reason: Annotated[str, typer.Option(help="Why; the legal deadlines follow from it.")],
        serious: Annotated[bool, typer.Option("--serious/--not-serious", help="A serious incident (nghiêm trọng).")],
        flag: Annotated[
            list[str] | None, typer.Option(help="anqg, gian_doan, vuot_kha_nang, nguy_hiem, du_lieu_ca_nhan, luu_tru")
        ] = None,
    ) -> None:
        """Judge the incident; the deadlines that the law sets start from its detection."""
        if not reason.strip():
            raise UsageError(t("cmd.needs_reason"))
        body = {"serious": serious, "flags": flag or [], "reason": reason}
        answer = call.client.post(f"/v1/tickets/{id}/classify", body)
        _changed(call, answer, "cmd.ticket.classified")
        if not call.json:
            call.output.table(DEADLINES, answer.data.get("deadlines") or [])


def _changed(call: Call, answer: Answer, words: str) -> None:
    if call.json:
        call.output.envelope(answer)
        return
    call.output.remarks(answer)
    data = answer.data
    call.output.line(clean(t(words, number=data.get("number"), state=word("state")(data.get("state")))))


def show_ticket(call: Call, answer: Answer) -> None:
    """One ticket for people, or the envelope."""
    output, ticket = call.output, answer.data
    if call.json:
        output.envelope(answer)
        return
    output.remarks(answer)
    output.fields(_head(ticket))
    output.section("cmd.ticket.steps")
    output.table(TASKS, ticket.get("tasks") or [])
    _guidance(call, ticket)
    for key, heading, columns in (
        ("deadlines", "cmd.ticket.deadlines", DEADLINES), ("runs", "cmd.ticket.runs", RUNS),
        ("moves", "cmd.ticket.moves", MOVES), ("notes", "cmd.notes", NOTES),
    ):  # fmt: skip
        if ticket.get(key):
            output.section(heading)
            output.table(columns, ticket[key])


def _head(ticket: Mapping[str, Any]) -> list[tuple[str, Any]]:
    level = ticket.get("system_level")
    name = system(ticket)
    return [
        ("cmd.col.number", ticket.get("number")), ("cmd.col.id", ticket.get("id")), ("cmd.col.title", title(ticket)),
        ("cmd.col.level", word("level")(ticket.get("level"))), ("cmd.col.state", word("state")(ticket.get("state"))),
        ("cmd.col.assignee", ticket.get("assignee")), ("cmd.col.tier", ticket.get("tier")),
        ("cmd.col.serious", yes_no(ticket.get("serious"))), ("cmd.col.flags", ticket.get("flags")),
        ("cmd.col.system", f"{name} ({t('cmd.system.level', level=level)})" if level else name),
        ("cmd.col.unit", ticket.get("organization_name") or ticket.get("organization_id")),
        ("cmd.col.entity", ticket.get("entity")), ("cmd.col.detected", shown_moment(ticket.get("detected_us"))),
        ("cmd.col.created", shown_moment(ticket.get("created_us"))), ("cmd.col.playbook", ticket.get("playbook")),
        ("cmd.col.alerts", [short(id) for id in ticket.get("alert_ids") or ()]),
        ("cmd.col.resolution", word("resolution")(ticket.get("resolution"))),
    ]  # fmt: skip


def _guidance(call: Call, ticket: Mapping[str, Any]) -> None:
    """What the next open step asks for; a pipe gets the table only."""
    waiting = next((task for task in ticket.get("tasks") or () if not task.get("done_us")), None)
    if waiting is None or not call.output.terminal:
        return
    text = pick(str(waiting.get("guidance") or ""), str(waiting.get("guidance_vi") or ""))
    if text:
        call.output.section("cmd.ticket.guidance")
        call.output.text(text)
