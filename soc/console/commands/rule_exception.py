"""`soc rule except …`: exceptions from rules, and the findings that made no alert."""

from __future__ import annotations

import tempfile
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from soc.console.commands.call import Call, command, group
from soc.console.commands.events import show_events
from soc.console.commands.parse import FORMAT_HELP, Reading
from soc.console.i18n import number, t
from soc.console.render import Column, short, word
from soc.console.render import moment as shown_moment
from soc.console.text import clean
from soc.errors import EXIT_FINDINGS, NotFound, UsageError
from soc.model.clock import VIETNAM, utc

if TYPE_CHECKING:
    from soc.client import Answer

EXCEPTIONS = (
    Column("cmd.col.state", "state", word("rule.exception")),
    Column("cmd.col.id", "id", drop=3),
    Column("cmd.col.title", "title", fold=True),
    Column("cmd.col.rules", lambda r: [rule["title"] or rule["id"] for rule in r["rules"]], fold=True, drop=4),
    Column("cmd.col.answers_for", "owner"),
    Column("cmd.col.ticket", "ticket", drop=2),
    Column("cmd.col.expires", "expires"),
    Column("cmd.col.taken", "count", number, right=True),
    Column("cmd.col.last_seen", "last_us", shown_moment, drop=1),
)
WITHHELD = (
    Column("cmd.col.id", "id", short, drop=4),
    Column("cmd.col.why", "withheld", word("rule.withheld")),
    Column("cmd.col.level", "level", word("level"), drop=3),
    Column("cmd.col.title", "title", fold=True),
    Column("cmd.col.entity", "entity", fold=True),
    Column("cmd.col.exception", "exception", short, drop=2),
    Column("cmd.col.count", "count", number, right=True),
    Column("cmd.col.last_seen", "last_us", shown_moment, drop=1),
)
Reason = Annotated[str, typer.Option(help="Why; it stays in the ledger.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Proposed = Annotated[str, typer.Argument(metavar="EXCEPTION", help="Its id.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what it would do, and change nothing.")]


def add(rule: typer.Typer) -> None:
    """Add the commands to the group `rule`."""
    made = group(rule, "except", "Exceptions: what a rule hits and is known; with an owner, a reason and an end.")
    _adding(made)

    @command(made, "list", "soc rule except list", "soc rule except list --json")
    def list_(call: Call) -> None:
        """List the exceptions: whether they hold, until when, and what they took."""
        answer = call.client.get("/v1/exceptions")
        call.output.answer(answer, EXCEPTIONS, answer.data)

    @command(made, "approve", "soc rule except approve 5d0c9a3e-…")
    def approve(call: Call, id: Proposed, reason: Annotated[str, typer.Option(help="Why you agree.")] = "",
                yes: Yes = False) -> int:  # fmt: skip
        """Show what a proposed exception would have hidden, and put it in place; whoever proposed it may not."""
        waiting = [each for each in call.client.get("/v1/exceptions").data if each.get("definition")]
        definition = next((each["definition"] for each in waiting if each["id"] == id), None)
        if definition is None:
            raise NotFound(t("cmd.rule.except.no_proposal", exception=clean(id)), hint="soc rule except list")
        plan = call.client.post("/v1/exceptions", {"definition": definition}, wait_s=300)
        if plan.data["refused"]:
            _show(call, plan)
            return EXIT_FINDINGS
        asked = t("cmd.rule.except.ask", title=clean(plan.data["exception"]["title"]))
        call.confirm(asked, yes=yes, show=lambda aside: _show(aside, plan))
        body = {"version": plan.data["exception"]["version"], "reason": reason}
        _show(call, call.client.post(f"/v1/exceptions/{quote(id, safe='')}/approve", body, wait_s=300))
        return 0

    @command(made, "reject", "soc rule except reject 5d0c9a3e-… --reason 'too wide'")
    def reject(call: Call, id: Proposed, reason: Reason) -> None:
        """Let a proposed exception go."""
        _let_go(call, id, "reject", reason)

    @command(made, "end", "soc rule except end 5d0c9a3e-… --reason 'the scanner is gone'")
    def end(
        call: Call, id: Annotated[str, typer.Argument(metavar="EXCEPTION", help="Its id.")], reason: Reason
    ) -> None:
        """Take an exception away before its day; what it took stays findable."""
        _let_go(call, id, "end", reason)

    @command(rule, "withheld", "soc rule withheld", "soc rule withheld --why exception --rule 9b14315e-…")
    def withheld(
        call: Call,
        why: Annotated[str | None, typer.Option(help="exception, shadow or disabled; several with commas.")] = None,
        rule_id: Annotated[str | None, typer.Option("--rule", help="Of this rule.")] = None,
        exception: Annotated[str | None, typer.Option(help="Taken by this exception.")] = None,
        events: Annotated[str | None, typer.Option(metavar="ID", help="Show the events of this one instead.")] = None,
        limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 50,
    ) -> None:
        """List findings that made no alert, newest first: excepted, in shadow, or off for the unit."""
        if events is not None:
            id = call.whole_id("/v1/withheld", events)
            show_events(call, call.client.get(f"/v1/withheld/{quote(id, safe='')}/events"), None)
            return
        answer = call.client.get("/v1/withheld", why=why, rule=rule_id, exception=exception, limit=limit)
        call.output.answer(answer, WITHHELD, answer.data)


def _let_go(call: Call, id: str, act: str, reason: str) -> None:
    answer = call.client.post(f"/v1/exceptions/{quote(id, safe='')}/{act}", {"reason": reason})
    if call.json:
        call.output.envelope(answer)
    else:
        call.output.say(t(f"cmd.rule.except.done.{act}", title=clean(answer.data["title"])))


def _adding(made: typer.Typer) -> None:
    @command(
        made, "add", "soc rule except add 9b14315e-… --when source.ip=10.0.0.5 --reason 'weekly scan' --ticket T-17"
        " --expires 2027-04-30", "soc rule except add --file scanner.yml --dry-run",
    )  # fmt: skip
    def add_(
        call: Call,
        rule: Annotated[str | None, typer.Argument(metavar="[RULE]", help="The rule's id or name.")] = None,
        when: Annotated[
            list[str] | None, typer.Option(help="FIELD=VALUE of an event; * is wild. Every field, any value of one.")
        ] = None,
        reason: Annotated[str, typer.Option(help="Why these hits are no attack.")] = "",
        ticket: Annotated[str, typer.Option(help="Where it was decided.")] = "",
        expires: Annotated[str, typer.Option(help="Its last day, at most a year from now: 2027-04-30.")] = "",
        owner: Annotated[str | None, typer.Option(help="Who answers for it; default: you.")] = None,
        title: Annotated[str | None, typer.Option(help="What it is called.")] = None,
        file: Annotated[Path | None, typer.Option(help="Take the whole exception from a YAML file instead.")] = None,
        days: Annotated[int, typer.Option(min=1, max=366, help="Hold it against the alerts of so many days.")] = 30,
        yes: Yes = False,
        on: Annotated[list[str] | None, typer.Option("--on", help="Hold it against files of events too.")] = None,
        format: Annotated[str, typer.Option(help=FORMAT_HELP)] = "auto",
        dry_run: DryRun = False,
    ) -> int:
        """Show what an exception would have hidden, and put it in place. Exit 3 when it would hide a known attack."""
        text = _text(file) if file is not None else _made(call, rule, when or [], reason, ticket, expires, owner, title)
        body = {"definition": text, "days": days, "reason": reason}
        reading = Reading(call, on or [], format=format)
        plan = call.client.post("/v1/exceptions", body, wait_s=300)
        if on:
            plan.data["files"] = _in_files(call, text, plan, reading)
        if dry_run or plan.data["refused"]:
            _show(call, plan)
            return EXIT_FINDINGS if plan.data["refused"] else reading.exit_code
        asked = t("cmd.rule.except.ask", title=clean(plan.data["exception"]["title"]))
        call.confirm(asked, yes=yes, show=lambda aside: _show(aside, plan))
        done = call.client.post("/v1/exceptions", {**body, "apply": True}, wait_s=300)
        if on:
            done.data["files"] = plan.data["files"]
        _show(call, done)
        return reading.exit_code


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: {error}") from error


def _made(
    call: Call, rule: str | None, when: Sequence[str], reason: str, ticket: str, expires: str, owner: str | None,
    title: str | None,
) -> str:  # fmt: skip
    """The YAML of an exception."""
    from soc.content import flow

    if not rule or not when:
        raise UsageError(t("cmd.rule.except.needs"), hint="soc rule except add RULE --when source.ip=10.0.0.5 …")
    found = call.client.get(f"/v1/rules/{quote(rule, safe='')}").data
    if found["kind"] == "anomaly":
        raise UsageError(t("cmd.rule.except.no_source", title=clean(found["title"])))
    today = utc(call.world.clock.now_ns()).astimezone(VIETNAM).date().isoformat()
    person = owner or call.client.get("/v1/me").data["name"]
    said = {"owner": person, "reason": reason, "ticket": ticket, "expires": expires}
    return "\n".join((
        f"title: {flow(title or ', '.join((found['title'], *when)))}",
        f"id: {uuid.uuid4()}",
        f"date: {today}",
        *([f"logsource: {flow(found['logsource'])}"] if found["kind"] == "sigma" else []),
        "filter:",
        f"  rules: [{flow(found['id'])}]",
        f"  known: {flow(_selection(when))}",
        "  condition: not known",
        f"x-exception: {flow(said)}",
        "",
    ))  # fmt: skip


def _selection(when: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text in when:
        field, sign, value = text.partition("=")
        if not sign or not field:
            raise UsageError(t("cmd.no_pair", text=text), hint="source.ip=10.0.0.5")
        found.setdefault(field, []).append(value)
    return found


def _in_files(call: Call, text: str, plan: Answer, reading: Reading) -> dict[str, Any]:
    """What it would have taken of the hits in the caller's files: the rules are the service's, the work is ours."""
    from soc import content, pipeline
    from soc.detections.lists import read_lists
    from soc.detections.load import DetectionSet
    from soc.detections.supposed import Supposed

    parsers = pipeline.load_parsers(call.settings.content_roots)
    ids = [rule["id"] for rule in plan.data["exception"]["rules"]]
    rules = [data for id in ids for data in call.client.get(f"/v1/rules/{quote(id, safe='')}").data["definitions"]]
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "rules.yml")
        made.write_text("\n---\n".join([*dict.fromkeys(map(content.flow, rules)), text]), "utf-8")
        loaded = DetectionSet.load([made], fields=parsers.fields, lists=read_lists(call.settings.rule_lists))
    if loaded.refused:
        raise UsageError(t("cmd.rule.except.not_here", why=clean(loaded.refused[0].reason)))
    supposed = Supposed(loaded, loaded.exceptions[0])
    found = supposed.found(batch for block in reading.blocks(parsers) for batch in block)
    taken = Counter(finding.entity for finding in found if finding.exception)
    return {"hits": len(found), "taken": taken.total(), "entities": dict(taken.most_common(10))}


def _show(call: Call, plan: Answer) -> None:
    if call.json:
        call.output.envelope(plan)
        return
    data: Mapping[str, Any] = plan.data
    call.output.fields([
        ("cmd.col.title", data["exception"]["title"]),
        ("cmd.col.rules", ", ".join(rule["title"] or rule["id"] for rule in data["exception"]["rules"])),
        ("cmd.col.expires", data["exception"]["expires"]),
        ("cmd.rule.except.alerts", t("cmd.rule.except.of", days=data["days"], hidden=number(data["hidden_alerts"]),
                                     total=number(data["alerts"]))),
        ("cmd.rule.except.events", t("cmd.rule.except.of", days=data["days"], hidden=number(data["taken"]),
                                     total=number(data["hits"]))),
        *([("cmd.rule.except.files", t("cmd.rule.except.in_files", taken=number(files["taken"]),
                                      total=number(files["hits"])))] if (files := data.get("files")) else []),
        ("cmd.rule.except.gone", number(data["gone_events"])),
        ("cmd.rule.except.entities", ", ".join(f"{clean(e)} ({number(n)})" for e, n in data["entities"].items())),
    ])  # fmt: skip
    for warning in data["warnings"]:
        call.output.say(clean(warning))
    for what in (*data["true_positives"], *data["tests"]):
        call.output.say(t("cmd.rule.except.refused", what=clean(what)))
    if data.get("applied"):
        call.output.say(t("cmd.rule.except.applied"))
    if data.get("proposed"):
        call.output.say(t("cmd.rule.except.proposed", exception=clean(data["exception"]["id"])))
