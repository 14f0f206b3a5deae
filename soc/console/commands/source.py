"""`soc source list`: who sends logs, how fast, and whether every record is accounted for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from soc.console.commands.call import Call, command, group, moment
from soc.console.i18n import t
from soc.console.render import Column, number, word, yes_no
from soc.console.render import moment as shown_moment
from soc.console.text import clean


def _dropped(row: Mapping[str, Any]) -> int:
    return sum((row.get("dropped") or {}).values())


def _name(row: Mapping[str, Any]) -> str:
    return str(row.get("system_name") or row.get("system_id") or "")


SOURCES = (
    Column("cmd.col.source", "peer"),
    Column("cmd.col.listener", "listener", drop=5),
    Column("cmd.col.system", _name, fold=True),
    Column("cmd.col.datasets", "datasets", drop=4),
    Column("cmd.col.last_seen", "last_seen_us", lambda us: shown_moment(us)[5:]),
    Column("cmd.col.rate", "rate_per_s", number, right=True),
    Column("cmd.col.received", "received", number, right=True),
    Column("cmd.col.stored", "stored", number, right=True, drop=6),
    Column("cmd.col.dropped", _dropped, number, right=True),
    Column("cmd.col.unparsed", "unparsed", number, right=True, drop=3),
    Column("cmd.col.pending", "pending", number, right=True, drop=2),
    Column("cmd.col.balanced", "balanced", yes_no, drop=1),
)
_BALANCE = {True: "cmd.source.balanced", False: "cmd.source.unbalanced", None: "cmd.source.behind"}


def add(app: typer.Typer) -> None:
    """Add the commands."""
    source = group(app, "source", "Log sources: rate, last seen, failures, accounting.")

    @command(source, "list", "soc source list", "soc source list --since 1d")
    def list_(
        call: Call,
        since: Annotated[str | None, typer.Option(help="Count from: 1h, 1d, or a day or time; default 24h.")] = None,
    ) -> None:
        """List the sources: received = queued + dropped, queued = stored + dead + pending."""
        answer = call.client.get("/v1/sources", since=moment(since))
        call.output.answer(answer, SOURCES, answer.data["sources"])
        if not call.json:
            _remarks(call, answer.data)


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
        all_errors=number(poll["errors"]), lag=lag, fault=f": {clean(poll['fault'])}" if poll["fault"] else "",
    )  # fmt: skip


def _remarks(call: Call, data: Mapping[str, Any]) -> None:
    for row in data["sources"]:
        if row.get("poll"):
            call.output.say(_polled(row["poll"]))
        for reason, count in sorted((row.get("dropped") or {}).items()):
            call.output.say(t("cmd.source.dropped", peer=clean(row["peer"]), count=number(count), reason=clean(reason)))
    totals = data.get("totals")
    if totals is None:  # an owner unit's person sees its own sources only
        return
    call.output.say(
        t(_BALANCE[totals.get("balanced")],
          received=number(totals.get("received", 0)), stored=number(totals.get("stored", 0)),
          dropped=number(_dropped(totals)),
          dead=number(totals.get("dead", 0)), pending=number(totals.get("pending", 0)))
    )  # fmt: skip
