"""`soc playbook …`: plan an action, let another person approve it, run it, and take it back."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soc.console.commands.call import Call, command, group, pairs
from soc.console.commands.shared import title
from soc.console.i18n import errors, number, pick, t
from soc.console.render import Column, moment, plain, short, word
from soc.console.text import clean, when
from soc.errors import Conflict, UsageError

if TYPE_CHECKING:
    from soc.client import Answer

HASH_SHOWN = 12
"""So many characters of a plan's hash are enough to name it: 48 bits."""


def at_expiry(run: Mapping[str, Any]) -> int | None:
    """When the effect ends by itself, µs UTC; None before it was applied."""
    return (run.get("plan") or {}).get("expires_us") or None


PLAYBOOKS = (
    Column("cmd.col.id", "id"),
    Column("cmd.col.title", title, fold=True),
    Column("cmd.col.steps", lambda r: len(r.get("steps") or ()), right=True),
    Column("cmd.col.tags", "tags", fold=True),
)
STEPS = (
    Column("cmd.col.step", "id"),
    Column("cmd.col.tier", "tier"),
    Column("cmd.col.kind", "kind", word("task")),
    Column("cmd.col.title", title, fold=True),
    Column("cmd.col.action", lambda r: plain((r.get("action") or {}).get("verb"))),
    Column("cmd.col.minutes", "deadline_minutes", number, right=True),
)
RUNS = (
    Column("cmd.col.run", "id", short),
    Column("cmd.col.ticket", "ticket_number"),
    Column("cmd.col.step", "step_id", drop=2),
    Column("cmd.col.target", "plan.target", fold=True),
    Column("cmd.col.state", "state", word("run")),
    Column("cmd.col.planned_by", "requested_by", drop=4),
    Column("cmd.col.approved_by", "approved_by", drop=3),
    Column("cmd.col.expires", at_expiry, lambda us: when(us, seconds=False), drop=1),
)
HISTORY = (
    Column("cmd.col.time", "at_us", moment),
    Column("cmd.col.person", "actor"),
    Column("cmd.col.state", "state", word("run")),
    Column("cmd.col.note", "note", fold=True),
)
Run = Annotated[str, typer.Argument(metavar="RUN", help="The run's id, or its last 8 characters.")]


def add(app: typer.Typer) -> None:
    """Add the commands."""
    playbook = group(app, "playbook", "Playbooks: plan, approve, run, look, take back.")
    _reading(playbook)
    _planning(playbook)
    _acting(playbook)


def _reading(playbook: typer.Typer) -> None:
    @command(playbook, "list", "soc playbook list")
    def list_(call: Call) -> None:
        """List the playbooks."""
        call.output.answer(call.client.get("/v1/playbooks"), PLAYBOOKS)

    @command(playbook, "show", "soc playbook show ssh-brute-force")
    def show(call: Call, id: Annotated[str, typer.Argument(metavar="PLAYBOOK", help="Its id.")]) -> None:
        """Show one playbook with its steps."""
        answer = call.client.get(f"/v1/playbooks/{id}")
        if call.json:
            call.output.envelope(answer)
            return
        data = answer.data
        description = pick(str(data.get("description") or ""), str(data.get("description_vi") or ""))
        call.output.fields([("cmd.col.id", data["id"]), ("cmd.col.title", title(data)),
                            ("cmd.col.text", description), ("cmd.col.tags", data.get("tags"))])  # fmt: skip
        call.output.section("cmd.ticket.steps")
        call.output.table(STEPS, data.get("steps") or [])

    @command(
        playbook, "status", "soc playbook status", "soc playbook status 9c1e22f0", "soc playbook status --state applied"
    )
    def status(
        call: Call,
        run: Annotated[str | None, typer.Argument(metavar="RUN", help="One run; all without.")] = None,
        ticket: Annotated[str | None, typer.Option(help="Of this ticket only.")] = None,
        state: Annotated[str | None, typer.Option(help="In this state only.")] = None,
    ) -> None:
        """How far the runs are; one run with its plan and history."""
        if run is None:
            call.output.answer(call.client.get("/v1/runs", ticket=ticket, state=state), RUNS)
            return
        answer = _get(call, run)
        if call.json:
            call.output.envelope(answer)
            return
        show_plan(call, answer.data)
        call.output.section("cmd.run.history")
        call.output.table(HISTORY, answer.data.get("history") or [])


def _planning(playbook: typer.Typer) -> None:
    @command(
        playbook,
        "plan",
        "soc playbook plan KT-2026-000123 block-source",
        "soc playbook plan KT-2026-000123 block-source --set address=203.0.113.9",
    )
    def plan(
        call: Call,
        ticket: Annotated[str, typer.Argument(help="The ticket's number or id.")],
        step: Annotated[str, typer.Argument(help="The step, as `soc ticket show` names it.")],
        set: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A parameter.")] = None,
    ) -> None:
        """Plan the action of a step: the exact commands, target, expiry and way back. Nothing is done yet."""
        body = {"ticket": ticket, "step": step, "params": pairs(set or ())}
        answer = call.client.post("/v1/runs", body)
        if call.json:
            call.output.envelope(answer)
            return
        call.output.remarks(answer)
        show_plan(call, answer.data)
        if answer.data["state"] == "planned":
            id, hash = short(answer.data["id"]), answer.data["plan_hash"][:HASH_SHOWN]
            call.output.say(t("cmd.run.next.approve", command=f"soc playbook approve {id} --hash {hash}"))

    @command(playbook, "approve", "soc playbook approve 9c1e22f0 --hash 5f0c6b1d9a3e")
    def approve(
        call: Call,
        run: Run,
        hash: Annotated[str, typer.Option("--hash", help="The plan's hash, 12 characters or more, as the plan shows.")],
        yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    ) -> None:
        """Approve exactly this plan. Somebody else than who planned it; it holds for an hour."""
        answer = _get(call, run)
        data = answer.data
        whole = _bound(data, hash)
        question = t("cmd.run.ask", target=clean(data["plan"]["target"]))
        call.confirm(question, yes=yes, show=lambda aside: show_plan(aside, data))
        done = call.client.post(f"/v1/runs/{data['id']}/approve", {"plan_hash": whole})
        _said(call, done, "cmd.run.said.approved")
        if not call.json:
            call.output.say(t("cmd.run.next.run", command=f"soc playbook run {short(data['id'])}"))


def _acting(playbook: typer.Typer) -> None:
    @command(playbook, "run", "soc playbook run 9c1e22f0")
    def run_(call: Call, run: Run) -> int:
        """Do what was approved, and look whether the world shows it."""
        answer = call.client.post(f"/v1/runs/{call.whole_id('/v1/runs', run)}/run", {})
        _said(call, answer, "cmd.run.said.ran")
        return 1 if answer.data["state"] in ("failed", "unknown") else 0

    @command(playbook, "revert", "soc playbook revert 9c1e22f0")
    def revert(call: Call, run: Run) -> int:
        """Take it back before it expires by itself."""
        answer = call.client.post(f"/v1/runs/{call.whole_id('/v1/runs', run)}/revert", {})
        _said(call, answer, "cmd.run.said.reverted")
        return 1 if answer.data["state"] in ("failed", "unknown") else 0

    @command(playbook, "done", "soc playbook done 9c1e22f0 --note 'blocked on the firewall by hand'")
    def done(
        call: Call, run: Run, note: Annotated[str, typer.Option(help="What was done, where and by whom.")]
    ) -> None:
        """Record that a manual task was done by a person."""
        answer = call.client.post(f"/v1/runs/{call.whole_id('/v1/runs', run)}/done", {"note": note})
        _said(call, answer, "cmd.run.said.recorded")


def _get(call: Call, run: str) -> Answer:
    return call.client.get(f"/v1/runs/{call.whole_id('/v1/runs', run)}")


def _bound(run: Mapping[str, Any], hash: str) -> str:
    """The whole hash, when what was given is its beginning. Raises UsageError, Conflict."""
    whole = str(run.get("plan_hash") or "")
    if len(hash) < HASH_SHOWN:
        raise UsageError(t("cmd.run.short_hash", count=HASH_SHOWN))
    if not whole.startswith(hash.lower()):
        raise Conflict(t("cmd.run.other_hash", hash=whole[:HASH_SHOWN]), hint=t("cmd.run.look_again"))
    return whole


def _said(call: Call, answer: Answer, words: str) -> None:
    if call.json:
        call.output.envelope(answer)
        return
    call.output.remarks(answer)
    run = answer.data
    state = word("run")(run["state"])
    call.output.line(clean(t(words, run=short(run["id"]), target=run["plan"]["target"], state=state)))
    if at_expiry(run) and run["state"] in ("applied", "verified"):
        call.output.line(t("cmd.run.until", at=when(at_expiry(run))))
    if run.get("error"):
        call.output.say(errors.told(str(run["error"])))
    if run["state"] == "manual":
        call.output.say(t("cmd.run.is_manual", command=f"soc playbook done {short(run['id'])} --note ..."))


def show_plan(call: Call, run: Mapping[str, Any]) -> None:
    """Everything an approver agrees to."""
    plan = run["plan"]
    output = call.output
    output.fields(
        [
            ("cmd.col.run", run["id"]), ("cmd.col.ticket", run.get("ticket_number")),
            ("cmd.col.step", run.get("step_id")), ("cmd.col.state", word("run")(run["state"])),
            ("cmd.col.text", plan.get("text")), ("cmd.col.target", plan.get("target")),
            ("cmd.col.expires", _expiry(call, run)), ("cmd.col.planned_by", run.get("requested_by")),
            ("cmd.col.approved_by", run.get("approved_by")),
            ("cmd.col.approval_until", moment(run.get("approval_expires_us"))),
            ("cmd.col.error", run.get("error")), ("cmd.col.hash", run.get("plan_hash")),
        ]
    )  # fmt: skip
    _commands(call, "cmd.run.commands", plan.get("commands") or ())
    _commands(call, "cmd.run.way_back", plan.get("revert") or ())
    if run["state"] == "manual":
        output.say(t("cmd.run.is_manual", command=f"soc playbook done {short(run['id'])} --note ..."))


def _commands(call: Call, heading: str, commands: Any) -> None:
    call.output.section(heading)
    for words in commands:
        call.output.line(f"  {clean(shlex.join(words))}")


def _expiry(call: Call, run: Mapping[str, Any]) -> str:
    if at_expiry(run):
        return when(at_expiry(run))
    seconds = int(run["plan"].get("ttl_s") or 0)
    hours = number(seconds // 3600) if seconds % 3600 == 0 else number(seconds / 3600)
    now_us = call.world.clock.now_ns() // 1000
    return t("cmd.run.ttl", hours=hours, at=when(now_us + seconds * 1_000_000, seconds=False))
