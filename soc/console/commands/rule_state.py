"""`soc rule list | show | promote | shadow | disable | enable | rollback | reload`: rules of the running service."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from soc.console.commands.call import Call, command
from soc.console.i18n import number, t
from soc.console.render import Column, word, yes_no
from soc.console.render import moment as shown_moment
from soc.console.text import clean

RULES = (
    Column("cmd.col.state", "state", word("rule.is")),
    Column("cmd.col.level", "level", word("level")),
    Column("cmd.col.status", "status", drop=2),
    Column("cmd.col.id", "id", drop=3),
    Column("cmd.col.title", "title", fold=True),
    Column("cmd.col.version", "version", drop=1),
    Column("cmd.col.withheld", lambda row: sum(row["withheld"].values()) or None, number, right=True),
)
READY = (
    Column("cmd.col.ready", "is_ready", yes_no),
    Column("cmd.col.level", "level", word("level"), drop=1),
    Column("cmd.col.id", "id", drop=2),
    Column("cmd.col.title", "title", fold=True),
    Column("cmd.col.days_in_shadow", "days", lambda days: number(int(days)), right=True),
    Column("cmd.col.withheld", "withheld", number, right=True),
    Column("cmd.col.judged_true", "true", number, right=True),
    Column("cmd.col.judged_false", "false", number, right=True),
)
VERSIONS = (
    Column("cmd.col.version", "version"),
    Column("cmd.col.first_seen", "first_us", shown_moment),
    Column("cmd.col.used", lambda row: "*" if row["is_used"] else ""),
    Column("cmd.col.place", "path", fold=True),
)
Id = Annotated[str, typer.Argument(metavar="RULE", help="The rule's id or name.")]
Reason = Annotated[str, typer.Option(help="Why; it stays in the ledger.")]
STATES = {
    "promote": ("live", "Turn a rule live: what it finds makes alerts from now on."),
    "shadow": ("shadow", "Take a rule back into shadow: it matches, is counted, and makes no alert."),
    "disable": ("off", "Turn a rule off; what it still matches is counted and kept."),
    "enable": ("default", "Take a decision about a rule back: what soc.toml and its status say holds again."),
}


def add(rule: typer.Typer) -> None:
    """Add the commands to the group `rule`."""

    @command(rule, "list", "soc rule list", "soc rule list --state shadow,off", "soc rule list --ready")
    def list_(
        call: Call,
        state: Annotated[str | None, typer.Option(help="live, shadow, off; several with commas.")] = None,
        ready: Annotated[
            bool, typer.Option("--ready", help="Those in shadow: 90 days without a finding, or five true verdicts.")
        ] = False,
    ) -> None:
        """List the rules of the service with their state and what they withheld."""
        if ready:
            found = call.client.get("/v1/rules-in-shadow")
            call.output.answer(found, READY, found.data)
            return
        answer = call.client.get("/v1/rules", state=state)
        call.output.answer(answer, RULES, answer.data["rules"])
        if not call.json and answer.data["refused"]:
            call.output.say(t("cmd.rule.some_refused", count=number(len(answer.data["refused"]))))

    @command(rule, "show", "soc rule show 9b14315e-9dee-5227-a0ff-7f61e5f7f0a4")
    def show(call: Call, id: Id) -> None:
        """Show a rule: its state, who decided it, and the versions that are known."""
        answer = call.client.get(_path(id))
        if call.json:
            call.output.envelope(answer)
            return
        row: dict[str, Any] = answer.data
        decision, withheld = row["decision"] or {}, word("rule.withheld")
        call.output.fields([
            ("cmd.col.title", row["title"]), ("cmd.col.id", row["id"]),
            ("cmd.col.state", word("rule.is")(row["state"])),
            ("cmd.col.level", word("level")(row["level"])), ("cmd.col.status", row["status"]),
            ("cmd.col.person", decision.get("by")), ("cmd.col.time", shown_moment(decision.get("at_us"))),
            ("cmd.col.reason", decision.get("reason")),
            ("cmd.col.withheld", ", ".join(f"{withheld(why)}: {number(n)}" for why, n in row["withheld"].items())),
            ("cmd.col.place", f"{row['path']}:{row['line']}"),
        ])  # fmt: skip
        call.output.table(VERSIONS, row["versions"])

    for name, (state, help) in STATES.items():
        _decision(rule, name, state, help)

    @command(
        rule, "rollback", "soc rule rollback 9b14315e-… --reason 'noisy'",
        "soc rule rollback 9b14315e-… --forward --reason 'mended'",
    )  # fmt: skip
    def rollback(
        call: Call,
        id: Id,
        reason: Reason,
        version: Annotated[str | None, typer.Option(help="This one; default: the one before.")] = None,
        forward: Annotated[bool, typer.Option("--forward", help="Use the rule's own file again.")] = False,
    ) -> None:
        """Use an earlier version of a rule again; workers take it up within seconds."""
        body = {"reason": reason, "version": version, "forward": forward}
        answer = call.client.post(f"{_path(id)}/rollback", body)
        if call.json:
            call.output.envelope(answer)
        else:
            call.output.say(t("cmd.rule.rolled", before=answer.data["before"], after=answer.data["after"]))

    @command(rule, "reload", "soc rule reload")
    def reload(call: Call) -> None:
        """Read all definitions again in all processes: no event and no window of a correlation is lost."""
        answer = call.client.post("/v1/rules/reload", wait_s=120)
        if call.json:
            call.output.envelope(answer)
        else:
            call.output.say(t("cmd.rule.reloaded", **{name: number(n) for name, n in answer.data.items()}))


def _decision(rule: typer.Typer, name: str, state: str, help: str) -> None:
    def decide(call: Call, id: Id, reason: Reason) -> None:
        _decide(call, id, {"state": state, "reason": reason})

    def promote(
        call: Call,
        id: Id,
        reason: Reason,
        untested: Annotated[
            bool, typer.Option("--untested", help="Though it lacks a test that hits or one that misses.")
        ] = False,
    ) -> None:
        _decide(call, id, {"state": state, "reason": reason, **({"untested": True} if untested else {})})

    made = promote if name == "promote" else decide
    made.__doc__ = help
    command(rule, name, f"soc rule {name} 9b14315e-… --reason '90 days without a false positive'")(made)


def _decide(call: Call, id: str, body: dict[str, Any]) -> None:
    answer = call.client.post(f"{_path(id)}/state", body)
    if call.json:
        call.output.envelope(answer)
    else:
        call.output.remarks(answer)
        shown = word("rule.is")(answer.data["state"])
        call.output.say(t("cmd.rule.decided", title=clean(answer.data["title"]), state=shown))


def _path(id: str) -> str:
    return f"/v1/rules/{quote(id, safe='')}"
