"""`soc retention …`: is every log kept as long as it is owed, what may go, who approved it, and the proof."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soc.console.commands.call import Call, command, group, moment
from soc.console.i18n import number, t
from soc.console.render import Column, short, size, word
from soc.console.render import moment as shown_moment
from soc.console.text import when
from soc.errors import EXIT_FINDINGS, NotFound, UsageError

if TYPE_CHECKING:
    from soc.client import Answer

HASH_SHOWN = 12
VERIFY_WAIT_S = 4 * 3600
"""How long it may take the service to read every file that is kept."""
APPLY_WAIT_S = 600
"""How long a deletion may take the service, which first lets a compaction end."""


def _gaps(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{_span(gap)} ({gap['cause']})" for gap in row["gaps"])


def _span(gap: Mapping[str, Any]) -> str:
    first, last = str(gap["first"]), str(gap["last"])
    return first if first == last else f"{first}..{last}"


def _reasons(item: Mapping[str, Any]) -> str:
    return "; ".join(" ".join([r["id"], *(f"{k}={v}" for k, v in r["params"].items())]) for r in item["reasons"])


def _reason_words(item: Mapping[str, Any]) -> str:
    return "; ".join(_said(reason) for reason in item["reasons"])


def _said(reason: Mapping[str, Any]) -> str:
    try:
        return t(f"cmd.{reason['id']}", **reason["params"])
    except KeyError:  # a message of a newer service
        return f"{reason['id']} {dict(reason['params'])}"


STANDINGS = (
    Column("cmd.col.system", "name", fold=True),
    Column("cmd.col.system_level", "level", right=True),
    Column("cmd.col.months", "required_months", right=True),
    Column("cmd.col.oldest", "oldest_day"),
    Column("cmd.col.covered", lambda r: f"{number(r['covered_days'])}/{number(r['expected_days'])}", right=True),
    Column("cmd.col.verdict", "verdict", word("retention")),
    Column("cmd.col.gaps", _gaps),
)
GAPS = (
    Column("cmd.col.system", "name", fold=True),
    Column("cmd.col.days", lambda r: _span(r["gap"])),
    Column("cmd.col.count", "gap.days", number, right=True),
    Column("cmd.col.why", "gap.cause", word("gap"), fold=True),
)
GROUPS = (
    Column("cmd.col.action", "action", word("action")),
    Column("cmd.col.days", lambda r: _span({"first": r["first"], "last": r["last"]})),
    Column("cmd.col.system_level", "level", right=True),
    Column("cmd.col.systems", "systems", fold=True),
    Column("cmd.col.files", "files", number, right=True),
    Column("cmd.col.rows", "rows", number, right=True, drop=1),
    Column("cmd.col.bytes", "bytes", size, right=True),
    Column("cmd.col.reason", "kinds", lambda ids: "; ".join(_kind(id) for id in ids), fold=True),
)
ITEMS = (
    Column("cmd.col.action", "action", word("action")),
    Column("cmd.col.day", "day"),
    Column("cmd.col.system_level", "level", right=True),
    Column("cmd.col.systems", "systems", fold=True),
    Column("cmd.col.rows", "rows", number, right=True),
    Column("cmd.col.bytes", "bytes", size, right=True),
    Column("cmd.col.reason", _reasons, fold=True),
)
PLANS = (
    Column("cmd.col.hash", "hash", lambda h: str(h)[:HASH_SHOWN]),
    Column("cmd.col.time", "now_us", shown_moment),
    Column("cmd.col.planned_by", "planner"),
    Column("cmd.col.delete", "delete", number, right=True),
    Column("cmd.col.keep", "keep", number, right=True),
    Column("cmd.col.bytes", "bytes", size, right=True),
    Column("cmd.col.state", "state", word("deletion")),
    Column("cmd.col.approved_by", "approver"),
)
HOLDS = (
    Column("cmd.col.id", "id", short),
    Column("cmd.col.systems", lambda r: r["systems"] or "*", fold=True),
    Column("cmd.col.first", "first_us", lambda us: when(us, seconds=False)),
    Column("cmd.col.last", "last_us", lambda us: when(us, seconds=False)),
    Column("cmd.col.case", "case"),
    Column("cmd.col.reason", "reason", fold=True),
    Column("cmd.col.person", "by"),
    Column("cmd.col.released", "released_us", lambda us: when(us, seconds=False)),
)
FAULTS = (
    Column("cmd.col.kind", "kind", word("proof")),
    Column("cmd.col.what", "what", fold=True),
    Column("cmd.col.fault", "message", fold=True),
)
CERTIFICATES = (
    Column("cmd.col.hash", "plan_hash", lambda h: str(h)[:HASH_SHOWN]),
    Column("cmd.col.issued", "issued_us", shown_moment),
    Column("cmd.col.planned_by", "planner"),
    Column("cmd.col.approved_by", "approver"),
    Column("cmd.col.files", lambda r: len(r["tombstones"]), number, right=True),
    Column("cmd.col.rows", lambda r: sum(s["rows"] for s in r["tombstones"]), number, right=True),
    Column("cmd.col.bytes", lambda r: sum(s["bytes"] for s in r["tombstones"]), size, right=True),
    Column("cmd.col.spared", lambda r: len(r.get("spared") or ()), number, right=True),
)


def add(app: typer.Typer) -> None:
    """Add the commands."""
    retention = group(app, "retention", "Retention by law: check, plan, hold, apply, verify.")
    _checking(retention)
    _deleting(retention)
    _holding(retention)


def _checking(retention: typer.Typer) -> None:
    @command(retention, "check", "soc retention check", "soc retention check --json")
    def check(call: Call) -> int:
        """Per system: level, months owed, oldest held, gaps, verdict. Exit 3 when one is in breach."""
        answer = call.client.get("/v1/retention")
        standings = answer.data["standings"]
        call.output.answer(answer, STANDINGS[:-1] if call.output.terminal else STANDINGS, standings)
        gaps = [{"name": row["name"], "gap": gap} for row in standings for gap in row["gaps"]]
        if gaps and call.output.terminal and not call.json:
            call.output.section("cmd.retention.gaps")
            call.output.table(GAPS, gaps)
        if not call.json:
            counts = Counter(row["verdict"] for row in standings)
            names = ("compliant", "on_course", "breach")
            call.output.say(", ".join(f"{word('retention')(name)}: {number(counts[name])}" for name in names))
            advice = max((row.get("advice_months") or 0 for row in standings), default=0)
            if advice:
                call.output.say(t("cmd.retention.advice.total", months=advice))
        return 0 if answer.data["compliant"] else EXIT_FINDINGS

    @command(retention, "verify", "soc retention verify", "soc retention verify --content --json")
    def verify(
        call: Call, content: Annotated[bool, typer.Option("--content", help="Read every event as well.")] = False
    ) -> int:
        """Hold every file, manifest.db, deletions and the ledger against what was signed. Exit 3 on a fault."""
        answer = call.client.get("/v1/retention/verify", content=content or None, wait_s=VERIFY_WAIT_S)
        data = answer.data
        ledger = [{"kind": "ledger", "what": "", "message": fault} for fault in data["ledger"]["faults"]]
        faults = [*data["faults"], *ledger]
        call.output.remarks(answer)
        if call.json:
            call.output.envelope(answer)
        elif faults:
            call.output.table(FAULTS, faults)
        if not call.json:
            counts = {name: number(data[name]) for name in ("segments", "tombstones", "certificates")}
            words = "cmd.retention.holds" if data["ok"] else "cmd.retention.broken"
            call.output.say(t(words, entries=number(data["ledger"]["entries"]), faults=number(len(faults)), **counts))
        return 0 if data["ok"] else EXIT_FINDINGS

    @command(retention, "certificates", "soc retention certificates")
    def certificates(call: Call) -> None:
        """The signed certificates of what was deleted."""
        call.output.answer(call.client.get("/v1/retention/certificates"), CERTIFICATES)


def _deleting(retention: typer.Typer) -> None:
    @command(retention, "plan", "soc retention plan", "soc retention plan --all")
    def plan(
        call: Call, all: Annotated[bool, typer.Option("--all", help="Every file with its reason.")] = False
    ) -> None:
        """Plan what may be deleted, and why the rest may not. Nothing is deleted."""
        show_plan(call, call.client.post("/v1/retention/plans", {}), all=all)

    @command(retention, "plans", "soc retention plans", "soc retention plans 5f0c6b1d9a3e --all")
    def plans(
        call: Call,
        hash: Annotated[str | None, typer.Argument(help="One plan, by the beginning of its hash.")] = None,
        all: Annotated[bool, typer.Option("--all", help="Every file with its reason.")] = False,
    ) -> None:
        """The plans that were made, or one with its items."""
        if hash is None:
            call.output.answer(call.client.get("/v1/retention/plans"), PLANS)
        else:
            show_plan(call, call.client.get(f"/v1/retention/plans/{_whole_hash(call, hash)}"), all=all)

    @command(retention, "apply", "soc retention apply 5f0c6b1d9a3e --reason 'yearly deletion, decision 12/QĐ'")
    def apply(
        call: Call,
        hash: Annotated[str, typer.Argument(help="The plan's hash, 12 characters or more.")],
        reason: Annotated[str, typer.Option(help="Why; it stays in the ledger.")],
        yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    ) -> None:
        """Approve a plan that somebody else made, and delete by it. Leaves a signed certificate."""
        whole = _whole_hash(call, hash)
        answer = call.client.get(f"/v1/retention/plans/{whole}")
        gone = [item for item in answer.data["items"] if item["action"] == "delete"]
        amount = {"files": number(len(gone)), "bytes": size(sum(item["bytes"] for item in gone))}
        call.confirm(t("cmd.retention.ask", **amount), yes=yes, show=lambda aside: show_plan(aside, answer))
        done = call.client.post(f"/v1/retention/plans/{whole}/apply", {"reason": reason}, wait_s=APPLY_WAIT_S)
        if call.json:
            call.output.envelope(done)
            return
        call.output.remarks(done)
        call.output.table(CERTIFICATES, [done.data])
        for spared in done.data.get("spared") or ():
            call.output.say(f"{spared['segment_id']}: {_said({'id': spared['reason'], 'params': {}})}")


def _holding(retention: typer.Typer) -> None:
    hold = group(retention, "hold", "Legal holds: what may not be deleted, whatever any plan says.")

    @command(
        hold,
        "add",
        "soc retention hold add --system portal --reason 'request 15/CV of the police'",
        "soc retention hold add --case KT-2026-000123 --reason evidence",
    )
    def add_hold(
        call: Call,
        reason: Annotated[str, typer.Option(help="The written request that it answers.")],
        system: Annotated[list[str] | None, typer.Option("--system", help="A system's id; repeat it.")] = None,
        since: Annotated[str | None, typer.Option(help="Events from this day or time on.")] = None,
        until: Annotated[str | None, typer.Option(help="Events until this day or time.")] = None,
        case: Annotated[str, typer.Option(help="The events of this ticket.")] = "",
    ) -> None:
        """Hold data from now on."""
        body = {"systems": system or [], "since": moment(since), "until": moment(until), "case": case, "reason": reason}
        answer = call.client.post("/v1/retention/holds", body)
        call.output.answer(answer, HOLDS, [answer.data])

    @command(hold, "list", "soc retention hold list --released")
    def list_(
        call: Call, released: Annotated[bool, typer.Option("--released", help="The lifted ones too.")] = False
    ) -> None:
        """List the holds."""
        call.output.answer(call.client.get("/v1/retention/holds", released=released), HOLDS)

    @command(hold, "release", "soc retention hold release 7d21c90e --reason 'the case is closed, 22/CV'")
    def release(
        call: Call,
        id: Annotated[str, typer.Argument(metavar="HOLD", help="The hold's id, or its last 8 characters.")],
        reason: Annotated[str, typer.Option(help="Why it may be lifted.")],
    ) -> None:
        """Lift a hold that somebody else set."""
        whole = call.whole_id("/v1/retention/holds", id)
        answer = call.client.post(f"/v1/retention/holds/{whole}/release", {"reason": reason})
        call.output.answer(answer, HOLDS, [answer.data])


def _whole_hash(call: Call, hash: str) -> str:
    """The hash of the stored plan that begins so. Raises UsageError, NotFound."""
    if len(hash) < HASH_SHOWN:
        raise UsageError(t("cmd.run.short_hash", count=HASH_SHOWN))
    if len(hash) >= 64:
        return hash
    rows = call.client.get("/v1/retention/plans").data
    found = [str(row["hash"]) for row in rows if str(row["hash"]).startswith(hash.lower())]
    if not found:
        raise NotFound(t("cmd.no_such", text=hash), hint="soc retention plans")
    if len(found) > 1:
        raise UsageError(t("cmd.several", text=hash, ids=", ".join(found)))
    return found[0]


def show_plan(call: Call, answer: Answer, *, all: bool = False) -> None:
    """What goes; with `all` what stays too, with the reason; and the hash that an approval is bound to."""
    if call.output.json:
        call.output.envelope(answer)
        return
    call.output.remarks(answer)
    plan = answer.data
    gone = [item for item in plan["items"] if item["action"] == "delete"]
    kept = [item for item in plan["items"] if item["action"] != "delete"]
    _items(call, plan, all=all)
    amount = size(sum(item["bytes"] for item in gone))
    call.output.say(t("cmd.retention.plan", delete=number(len(gone)), keep=number(len(kept)), bytes=amount))
    if gone:
        command = f"soc retention apply {plan['hash'][:HASH_SHOWN]} --reason ..."
        call.output.say(t("cmd.retention.next", command=command))


def _items(call: Call, plan: Mapping[str, Any], *, all: bool) -> None:
    if not call.output.terminal:
        call.output.table(ITEMS, plan["items"])
        return
    if all:
        call.output.table((*ITEMS[:-1], Column("cmd.col.reason", _reason_words, fold=True)), plan["items"])
    else:
        call.output.table(GROUPS, grouped(plan["items"]))
    call.output.fields(
        [
            ("cmd.col.hash", plan["hash"]), ("cmd.col.planned_by", plan["planner"]),
            ("cmd.col.time", shown_moment(plan["now_us"])), ("cmd.col.rule", plan["ladder_id"]),
        ]
    )  # fmt: skip


def grouped(items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Files with the same fate, level, systems and kinds of reason as one row, what goes first."""
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    for item in sorted(items, key=lambda item: (item["action"], item["level"], item["systems"], item["day"])):
        kinds = tuple(dict.fromkeys(reason["id"] for reason in item["reasons"]))
        key = (item["action"], item["level"], tuple(item["systems"]), kinds)
        row = groups.setdefault(
            key,
            {
                "action": item["action"], "level": item["level"], "systems": item["systems"], "kinds": kinds,
                "first": item["day"], "files": 0, "rows": 0, "bytes": 0,
            },
        )  # fmt: skip
        row["last"] = item["day"]
        row["files"] += 1
        row["rows"] += item["rows"]
        row["bytes"] += item["bytes"]
    return list(groups.values())


def _kind(id: str) -> str:
    try:
        return t(f"cmd.{id}.kind")
    except KeyError:
        return id
