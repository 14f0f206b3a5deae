"""`soc alert …`: the queue of alerts, why each fired, and what a person says of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from soc.console.commands.call import Call, command, group
from soc.console.commands.events import Limit, show_events
from soc.console.commands.shared import NOTES, system, title
from soc.console.commands.ticket import show_ticket
from soc.console.i18n import number, t
from soc.console.render import Column, field_heading, short, word, yes_no
from soc.console.render import moment as shown_moment
from soc.console.text import clean, when
from soc.model.alert import VERDICTS

ALERTS = (
    Column("cmd.col.id", "id", short),
    Column("cmd.col.time", "last_us", lambda us: when(us, seconds=False)[5:]),
    Column("cmd.col.level", "level", word("level")),
    Column("cmd.col.status", "status", word("status"), drop=1),
    Column("cmd.col.title", title, fold=True),
    Column("cmd.col.entity", "entity", lambda e: str(e).partition("=")[2] or str(e), fold=True),
    Column("cmd.col.system", system, fold=True, drop=2),
)
WHY = (
    Column("cmd.col.selection", "selection"),
    Column("cmd.col.field", "field", fold=True),
    Column("cmd.col.value", "value", fold=True),
    Column("cmd.col.pattern", "pattern", fold=True),
)
Id = Annotated[str, typer.Argument(metavar="ALERT", help="The alert's id, or its last 8 characters.")]


def add(app: typer.Typer) -> None:
    """Add the commands."""
    alert = group(app, "alert", "Alerts: list, look, acknowledge, close, note, make a ticket.")
    _reading(alert)
    _changing(alert)


def _reading(alert: typer.Typer) -> None:
    @command(alert, "list", "soc alert list --status new --level high", "soc alert list --json --limit 5")
    def list_(
        call: Call,
        status: Annotated[str | None, typer.Option(help="new, acknowledged, escalated or closed.")] = None,
        level: Annotated[str | None, typer.Option(help="informational, low, medium, high or critical.")] = None,
        rule: Annotated[str | None, typer.Option(help="Of this rule only.")] = None,
        limit: Limit = 50,
        before: Annotated[str | None, typer.Option(help="Older than this cursor.")] = None,
    ) -> None:
        """List alerts, newest first."""
        answer = call.client.get("/v1/alerts", status=status, level=level, rule=rule, limit=limit, before=before)
        call.output.answer(answer, ALERTS, before=True)

    @command(alert, "show", "soc alert show 3f9a2c1b")
    def show(call: Call, id: Id) -> None:
        """Show one alert: why it fired, the system with its level and owner, the playbook that fits."""
        answer = call.client.get(f"/v1/alerts/{call.whole_id('/v1/alerts', id)}")
        if call.json:
            call.output.envelope(answer)
        else:
            call.output.remarks(answer)
            _show(call, answer.data)

    @command(alert, "events", "soc alert events 3f9a2c1b --fields @timestamp,user.name,source.ip")
    def events(
        call: Call, id: Id, fields: Annotated[str | None, typer.Option(help="Show these fields.")] = None
    ) -> None:
        """The events behind an alert."""
        show_events(call, call.client.get(f"/v1/alerts/{call.whole_id('/v1/alerts', id)}/events"), fields)


def _changing(alert: typer.Typer) -> None:
    @command(alert, "ack", "soc alert ack 3f9a2c1b")
    def ack(call: Call, id: Id) -> None:
        """Acknowledge: it is yours, and the clock to the first reaction stops."""
        _changed(call, id, "acknowledge", {}, "cmd.alert.acked")

    @command(alert, "close", "soc alert close 3f9a2c1b --verdict false_positive_logic --reason 'scanner of the centre'")
    def close(
        call: Call,
        id: Id,
        verdict: Annotated[str, typer.Option(help=f"One of {', '.join(VERDICTS)}.")],
        reason: Annotated[str, typer.Option(help="Why; it stays in the ledger.")],
    ) -> None:
        """Close with a verdict and its reason."""
        _changed(call, id, "close", {"verdict": verdict, "reason": reason}, "cmd.alert.closed")

    @command(alert, "note", "soc alert note 3f9a2c1b 'called the unit, nobody knows the address'")
    def note(call: Call, id: Id, text: Annotated[str, typer.Argument(help="What to remember.")]) -> None:
        """Add a note."""
        _changed(call, id, "note", {"text": text}, "cmd.alert.noted")

    @command(alert, "ticket", "soc alert ticket 3f9a2c1b", "soc alert ticket 3f9a2c1b --playbook ssh-brute-force")
    def ticket(
        call: Call,
        id: Id,
        playbook: Annotated[str | None, typer.Option(help="This playbook; default: the one that fits.")] = None,
    ) -> None:
        """Make a ticket of it, with the steps of its playbook."""
        whole = call.whole_id("/v1/alerts", id)
        answer = call.client.post(f"/v1/alerts/{whole}/ticket", {"playbook": playbook})
        call.output.say(t("cmd.alert.ticketed", number=clean(answer.data["number"])))
        show_ticket(call, answer)


def _changed(call: Call, id: str, verb: str, body: Mapping[str, Any], words: str) -> None:
    answer = call.client.post(f"/v1/alerts/{call.whole_id('/v1/alerts', id)}/{verb}", body)
    if call.json:
        call.output.envelope(answer)
    else:
        call.output.remarks(answer)
        call.output.line(clean(t(words, alert=short(answer.data.get("id") or id), title=title(answer.data))))


def _show(call: Call, alert: Mapping[str, Any]) -> None:
    output = call.output
    found = alert.get("system") or {}
    output.fields(
        [
            ("cmd.col.id", alert["id"]), ("cmd.col.title", title(alert)),
            ("cmd.col.level", word("level")(alert["level"])), ("cmd.col.status", word("status")(alert["status"])),
            ("cmd.col.verdict", word("verdict")(alert.get("verdict"))), ("cmd.col.reason", alert.get("reason")),
            ("cmd.col.owner", alert.get("owner")), ("cmd.col.entity", alert.get("entity")),
            ("cmd.col.rule", alert.get("rule_id")), ("cmd.col.risk", alert.get("risk")),
            ("cmd.col.first", shown_moment(alert.get("first_us"))),
            ("cmd.col.last", shown_moment(alert.get("last_us"))),
            ("cmd.col.raised", shown_moment(alert.get("created_us"))),
            ("cmd.alert.found_late", yes_no(alert.get("found_late") or None)),
            ("cmd.col.events", _events(alert)), ("cmd.alert.rest", alert.get("rest_query")),
            ("cmd.col.system", _system(alert, found)),
            ("cmd.col.unit", alert.get("organization_name") or alert.get("organization_id")),
            ("cmd.col.contact", found.get("contact")), ("cmd.col.playbook", _playbook(alert)),
            ("cmd.col.ticket", alert.get("ticket_id")),
        ]
    )  # fmt: skip
    if alert.get("why"):
        output.section("cmd.alert.why")
        output.table(WHY, alert["why"])
    if alert.get("explain"):
        output.section("cmd.alert.explain")
        output.fields((field_heading(name), value) for name, value in alert["explain"].items())
    if alert.get("notes"):
        output.section("cmd.notes")
        output.table(NOTES, alert["notes"])


def _events(alert: Mapping[str, Any]) -> str:
    """How many there are; `1,000 of 38,412` when the alert does not name them all."""
    total = number(alert.get("events_total"))
    return t("cmd.alert.shown", shown=number(alert["events_shown"]), total=total) if alert.get("rest_query") else total


def _system(alert: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    name = str(found.get("name") or system(alert))
    level = alert.get("system_level")
    return f"{name} ({t('cmd.system.level', level=level)})" if level else name


def _playbook(alert: Mapping[str, Any]) -> str:
    suggested = alert.get("suggested_playbook")
    return f"{title(suggested)} ({suggested['id']})" if suggested else str(alert.get("playbook") or "")
