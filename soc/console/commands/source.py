"""`soc source …`: who sends logs, how fast, whether every record is accounted for, and whose the sources are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from soc.console.commands.call import Call, command, group, moment
from soc.console.i18n import number, t
from soc.console.i18n.errors import told
from soc.console.render import Column, counted, size, word, yes_no
from soc.console.render import moment as shown_moment
from soc.console.text import clean
from soc.console.words import span


def _dropped(row: Mapping[str, Any]) -> int:
    return sum((row.get("dropped") or {}).values())


def _name(row: Mapping[str, Any]) -> str:
    return str(row.get("system_name") or row.get("system_id") or "")


def _guess(row: Mapping[str, Any]) -> str:
    guess = row.get("guess")
    return "" if not guess else f"{guess['product']} ({_percent(guess['share'])})"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{number(round(share * 100, 1))} %"


def _silence(row: Mapping[str, Any]) -> str:
    """How often it speaks; when it is silent, that it is."""
    habit = row.get("silence") or {}
    if habit.get("silent"):
        return t("cmd.source.silent")
    return "" if habit.get("cadence_us") is None else f"≤ {span(max(habit['cadence_us'] / 1e6, 1))}"


def drift(us: int | None) -> str:
    """By how much a clock is ahead of ours, from a second on; less may be the stamp's own coarseness."""
    if us is None:
        return ""
    return "0" if abs(us) < 1_000_000 else f"{'+' if us > 0 else '-'}{span(abs(us) / 1e6)}"


SOURCES = (
    Column("cmd.col.source", "peer"),
    Column("cmd.col.listener", "listener", drop=5),
    Column("cmd.col.system", _name, fold=True),
    Column("cmd.col.datasets", "datasets", drop=9),
    Column("cmd.col.last_seen", "last_seen_us", lambda us: shown_moment(us)[5:], drop=3),
    Column("cmd.col.silence", _silence),
    Column("cmd.col.drift", lambda row: drift(row.get("drift_us"))),
    Column("cmd.col.rate", "rate_per_s", number, right=True, drop=4),
    Column("cmd.col.received", "received", number, right=True),
    Column("cmd.col.bytes", "bytes", size, right=True, drop=10),
    Column("cmd.col.flagged", "flagged", number, right=True, drop=11),
    Column("cmd.col.stored", "stored", number, right=True, drop=7),
    Column("cmd.col.dropped", _dropped, number, right=True),
    Column("cmd.col.unparsed_share", "unparsed_share", _percent, right=True),
    Column("cmd.col.pending", "pending", number, right=True, drop=6),
    Column("cmd.col.lag", "lag_us", lambda us: span(us / 1e6) if us else "0", right=True, drop=8),
    Column("cmd.col.balanced", "balanced", yes_no, drop=2),
)
_BALANCE = {True: "cmd.source.balanced", False: "cmd.source.unbalanced", None: "cmd.source.behind"}


UNKNOWN = (
    Column("cmd.col.source", "peer"),
    Column("cmd.col.site", "site", drop=3),
    Column("cmd.col.listener", "listener", drop=4),
    Column("cmd.col.guess", _guess, fold=True),
    Column("cmd.col.first_seen", "first_seen_us", lambda us: shown_moment(us)[5:], drop=2),
    Column("cmd.col.last_seen", "last_seen_us", lambda us: shown_moment(us)[5:], drop=1),
    Column("cmd.col.received", "received", number, right=True),
    Column("cmd.col.unparsed_share", "unparsed_share", _percent, right=True),
)
POINTS = (
    Column("cmd.col.kind", "kind", word("source.point")),
    Column("cmd.col.relay_unit", "unit", drop=6),
    Column("cmd.col.site", "site"),
    Column("cmd.col.listener", "listener"),
    Column("cmd.col.protocol", "protocol", drop=4),
    Column("cmd.col.address", "address", drop=5),
    Column("cmd.col.sees_since", "since_us", shown_moment),
    Column("cmd.col.last_seen", "last_seen_us", lambda us: shown_moment(us)[5:], drop=3),
    Column("cmd.col.sources", "sources", number, right=True),
    Column("cmd.col.received", "received", number, right=True),
    Column("cmd.col.dropped", _dropped, number, right=True, drop=2),
    Column("cmd.col.datasets", "datasets", fold=True, drop=1),
)
DEAD = (
    Column("cmd.col.time", "received_us", shown_moment),
    Column("cmd.col.source", lambda r: f"{r['site']}/{r['listener']}/{r['peer']}", fold=True),
    Column("cmd.col.records", "records", number, right=True),
    Column("cmd.col.reason", "why", fold=True),
    Column("cmd.col.begins", "begins", fold=True, drop=1),
)
Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="The source's address, as the list shows it.")]
System = Annotated[str, typer.Option("--system", help="The system's id.")]
Reason = Annotated[str, typer.Option(help="Why; it stays in the ledger.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")]


def add(app: typer.Typer) -> None:
    """Add the commands."""
    source = group(app, "source", "Log sources: rate, silence, clocks, failures, accounting, whose they are.")

    @command(source, "list", "soc source list", "soc source list --since 1d", "soc source list --unknown")
    def list_(
        call: Call,
        since: Annotated[str | None, typer.Option(help="Count from: 1h, 1d, or a day or time; default 24h.")] = None,
        unknown: Annotated[bool, typer.Option("--unknown", help="Only those whose address no system owns.")] = False,
    ) -> None:
        """List the sources: received = queued + dropped, queued = stored + dead + pending."""
        answer = call.client.get("/v1/sources", since=moment(since), unknown="true" if unknown else None)
        call.output.answer(answer, UNKNOWN if unknown else SOURCES, answer.data["sources"])
        if not call.json and not unknown:
            _remarks(call, answer.data)

    @command(source, "points", "soc source points", "soc source points --since 7d")
    def points(
        call: Call,
        since: Annotated[str | None, typer.Option(help="Count from: 1h, 1d, or a day or time; default 24h.")] = None,
    ) -> None:
        """List the monitoring points: units and listeners, what they see and since when."""
        call.output.answer(call.client.get("/v1/sources/points", since=moment(since)), POINTS)

    @command(source, "dead", "soc source dead", "soc source dead --limit 10 --json")
    def dead(call: Call, limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 100) -> None:
        """List what could not become events, and why. Workers try it once more at each start."""
        call.output.answer(call.client.get("/v1/sources/dead", limit=limit), DEAD)

    @command(source, "adopt", "soc source adopt 10.20.0.1 --system portal --reason 'firewall of the portal'")
    def adopt(
        call: Call,
        address: Address,
        system: System,
        site: Annotated[str | None, typer.Option(help="Where it is heard; default: the system's site.")] = None,
        reason: Reason = "",
        yes: Yes = False,
        dry_run: DryRun = False,
    ) -> None:
        """Give a source that nobody owns to a system. 'soc source release' undoes it."""
        where = site or call.client.get(f"/v1/systems/{system}").data["site"]
        body = {"address": address, "system": system, "site": where, "reason": reason}
        _change(call, "adopt", body, yes=yes, dry_run=dry_run)

    @command(source, "release", "soc source release 10.20.0.1 --system portal")
    def release(
        call: Call, address: Address, system: System, reason: Reason = "", yes: Yes = False, dry_run: DryRun = False
    ) -> None:
        """Take a source from a system again."""
        _change(call, "release", {"address": address, "system": system, "reason": reason}, yes=yes, dry_run=dry_run)


def _change(call: Call, act: str, body: Mapping[str, Any], *, yes: bool, dry_run: bool) -> None:
    """Show what would change, ask, change it."""
    planned = call.client.post(f"/v1/sources/{act}", body)
    if not call.json:
        plan = planned.data
        words = {key: clean(plan[key]) for key in ("address", "system", "name", "organization", "site", "level")}
        call.output.say(t(f"cmd.source.{act}", **words))
        for key in ("before", "after"):
            call.output.say(f"  {t(f'cmd.col.{key}')}: {clean(', '.join(plan[key])) or '-'}")
        call.output.say(t("cmd.source.stored_stays"))
    if not dry_run:
        call.confirm(t("cmd.source.ask"), yes=yes)
        planned = call.client.post(f"/v1/sources/{act}", {**body, "apply": True})
    if call.json:
        call.output.envelope(planned)
    else:
        call.output.line(t("cmd.source.done" if planned.data["applied"] else "cmd.source.not_done"))


def _polled(poll: Mapping[str, Any]) -> str:
    """How a source that we ask is doing."""
    lag = ""
    if poll.get("lag_records") is not None:
        lag = t("cmd.source.lag", lag=t("cmd.source.lag.records", count=number(poll["lag_records"])))
    elif poll.get("lag_s") is not None:
        lag = t("cmd.source.lag", lag=t("cmd.source.lag.seconds", count=number(round(poll["lag_s"]))))
    return t(
        "cmd.source.poll",
        name=clean(poll["name"]), driver=clean(poll["driver"]), state=word("poll")(poll["state"]),
        when=shown_moment(poll.get("last_success_us")) or "-", errors=number(poll["errors_in_row"]),
        all_errors=number(poll["errors"]), lag=lag, fault=f": {clean(told(poll['fault']))}" if poll["fault"] else "",
        counts=f"; {counted('poll_count', poll['counts'])}" if poll.get("counts") else "",
    )  # fmt: skip


def _remarks(call: Call, data: Mapping[str, Any]) -> None:
    for row in data["sources"]:
        if row.get("poll"):
            call.output.say(_polled(row["poll"]))
        for name in ("dropped", "unbelieved", "refused", "forgotten"):
            for reason, count in sorted((row.get(name) or {}).items()):
                call.output.say(
                    t(f"cmd.source.{name}", peer=clean(row["peer"]), count=number(count), reason=clean(reason))
                )
    totals = data.get("totals")
    if totals is None:  # an owner unit's person sees its own sources only
        return
    call.output.say(
        t(_BALANCE[totals.get("balanced")],
          received=number(totals.get("received", 0)), stored=number(totals.get("stored", 0)),
          dropped=number(_dropped(totals)),
          dead=number(totals.get("dead", 0)), pending=number(totals.get("pending", 0)))
    )  # fmt: skip
