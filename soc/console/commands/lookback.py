"""`soc backtest`, `soc hunt`, `soc job …`: rules and searches over what is stored, followed until they end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soc.console.chart import bars
from soc.console.commands.call import Call, command, group, moment
from soc.console.commands.events import Limit
from soc.console.commands.shared import title
from soc.console.i18n import number, t
from soc.console.progress import progress
from soc.console.render import Column, counted, short, size, word
from soc.console.render import moment as shown_moment
from soc.console.text import clean
from soc.errors import EXIT_PARTIAL, SocError, TryAgain, UsageError

if TYPE_CHECKING:
    from soc.client import Answer

POLL_S = 0.5
STUCK_S = 60.0
"""Without progress for so long it is not waited for: nobody may be working it off."""
OPEN = ("waiting", "running")
MOST_BYTES = 900_000
"""Rules of the caller's own, all together: the service takes no longer body."""
CURRENT = "current"


def _sought(job: Mapping[str, Any]) -> str:
    rules = [*job["rules"], *job["texts"]]
    shown = ", ".join(rules[:3]) + (f" … ({number(len(rules))})" if len(rules) > 3 else "")
    return " · ".join(filter(None, (shown, job["where"])))


JOBS = (
    Column("cmd.col.id", "id", short),
    Column("cmd.col.created", "created_us", shown_moment),
    Column("cmd.col.person", "asker"),
    Column("cmd.col.state", "state", word("lookback")),
    Column("cmd.col.hits", "hits", number, right=True),
    Column("cmd.col.sought", _sought, fold=True),
)
RULES = (
    Column("cmd.col.level", "level", word("level")),
    Column("cmd.col.title", title, fold=True),
    Column("cmd.col.hits", "new.hits", number, right=True),
    Column("cmd.col.alerts", "new.alerts", number, right=True),
    Column("cmd.col.alerts_a_day", "a_day", number, right=True),
    Column("cmd.col.precision", lambda r: _percent(r["new"]), right=True),
    Column("cmd.col.excepted", "excepted.new", number, right=True, drop=1),
)
DIFF = (
    Column("cmd.col.title", title, fold=True),
    Column("cmd.col.only_new", "diff.new", number, right=True),
    Column("cmd.col.only_old", "diff.old", number, right=True),
    Column("cmd.col.both", "diff.both", number, right=True),
    Column("cmd.col.precision_new", lambda r: _percent(r["new"]), right=True),
    Column("cmd.col.precision_old", lambda r: _percent(r["old"]), right=True),
)
ENTITIES = (
    Column("cmd.col.entity", "entity", fold=True),
    Column("cmd.col.hits", "hits", number, right=True),
    Column("cmd.col.rule", "title", fold=True, drop=1),
)
HITS = (
    Column("cmd.col.time", "last_us", shown_moment),
    Column("cmd.col.level", "level", word("level"), drop=1),
    Column("cmd.col.title", title, fold=True),
    Column("cmd.col.entity", "entity", fold=True),
    Column("cmd.col.event", lambda hit: hit["event_ids"][-1] if hit["event_ids"] else "", drop=2),
)
Since = Annotated[str | None, typer.Option(help="From: 15m, 1h, 7d, or a day or time (Vietnam's zone).")]
Until = Annotated[str | None, typer.Option(help="Until: as --since.")]
Days = Annotated[int, typer.Option(min=1, max=400, help="So many days back, when --since is not given.")]
Where = Annotated[str, typer.Option(metavar="QUERY", help="Only events that match this search text as well.")]
Why = Annotated[str, typer.Option("--why", help="What it is for; it stays in the ledger.")]
Wait = Annotated[bool, typer.Option(help="Stay until it ends; 'soc job show' looks later.")]
Id = Annotated[str, typer.Argument(metavar="JOB", help="The job's id, or its last 8 characters.")]


def add(app: typer.Typer) -> None:
    """Add the commands."""

    @command(
        app, "backtest", "soc backtest my-rule.yml --days 30",
        "soc backtest my-rule.yml --against current --why 'less noise from the scanner'",
    )  # fmt: skip
    def backtest(
        call: Call,
        rules: Annotated[
            list[str], typer.Argument(metavar="RULE", help="Rule files or folders, or ids of loaded rules.")
        ],
        days: Days = 30,
        since: Since = None,
        until: Until = None,
        where: Where = "",
        against: Annotated[str | None, typer.Option(help="'current': also the loaded rules of the same ids.")] = None,
        why: Why = "",
        wait: Wait = True,
    ) -> int:
        """What rules would have found: alerts a day, entities, precision, cost. Exit 4 when it was cancelled."""
        if against not in (None, CURRENT):
            raise UsageError(t("cmd.lookback.against", text=against))
        times = {"since": moment(since) or f"{days}d", "until": moment(until)}
        asked = {**_rules(rules), **times, "where": where, "against": against == CURRENT, "reason": why}
        return followed(call, "/v1/lookbacks", asked, wait, report)

    @command(app, "hunt", "soc hunt 'user.name:guest and event.outcome:success' --days 90", "soc hunt my-rule.yml")
    def hunt(
        call: Call,
        sought: Annotated[str, typer.Argument(metavar="RULE|QUERY", help="A rule file, or a search text.")],
        days: Days = 30,
        since: Since = None,
        until: Until = None,
        where: Where = "",
        why: Why = "",
        wait: Wait = True,
    ) -> int:
        """Look for something in everything that is stored, and list what was found. Exit 4 when it was cancelled."""
        is_rule = Path(sought).exists() or sought.endswith((".yml", ".yaml"))
        what = {**_rules([sought]), "where": where} if is_rule else {"where": _both(sought, where)}
        asked = {**what, "reason": why, "since": moment(since) or f"{days}d", "until": moment(until)}
        return followed(call, "/v1/lookbacks", asked, wait, _hits)

    job = group(app, "job", "Backtests, hunts and backfills: list, look, end.")

    @command(job, "list", "soc job list")
    def list_(call: Call, limit: Limit = 50) -> None:
        """List them, newest first: one's own, or everybody's for who sees all units."""
        call.output.answer(call.client.get("/v1/lookbacks", limit=limit), JOBS)

    @command(job, "show", "soc job show 3f9a2c1b")
    def show(call: Call, id: Id, wait: Wait = False) -> int:
        """How far one is, and its figures until now. Exit 4 when they are not all."""
        return _followed(call, call.whole_id("/v1/lookbacks", id), wait, report)

    @command(job, "hits", "soc job hits 3f9a2c1b --limit 500")
    def hits(call: Call, id: Id, limit: Limit = 100) -> None:
        """What it found, by time."""
        whole = call.whole_id("/v1/lookbacks", id)
        call.output.answer(call.client.get(f"/v1/lookbacks/{whole}/hits", limit=limit), HITS)

    @command(job, "cancel", "soc job cancel 3f9a2c1b")
    def cancel(call: Call, id: Id) -> None:
        """End it; what it found until then stays."""
        answer = call.client.post(f"/v1/lookbacks/{call.whole_id('/v1/lookbacks', id)}/cancel")
        if call.json:
            call.output.envelope(answer)
        else:
            call.output.line(t("cmd.lookback.cancelling", job=clean(short(answer.data["id"]))))


def _rules(named: Sequence[str]) -> dict[str, Any]:
    """Files as their texts, read with the caller's own rights; what is no file is the id of a loaded rule."""
    ids, texts = [], []
    for name in named:
        path = Path(name)
        files = sorted(p for p in path.rglob("*") if p.suffix in (".yml", ".yaml")) if path.is_dir() else [path]
        if path.exists() or path.suffix in (".yml", ".yaml"):
            texts += [{"name": str(file)[-200:], "text": file.read_text("utf-8", "replace")} for file in files]
        else:
            ids.append(name)
    if sum(len(each["text"]) for each in texts) > MOST_BYTES:
        raise UsageError(t("cmd.lookback.too_long", size=size(MOST_BYTES)))
    return {"rules": ids, "texts": texts}


def _both(one: str, other: str) -> str:
    return f"({one}) and ({other})" if one.strip() and other.strip() else one or other


Show = Callable[[Call, "Answer"], None]


def followed(call: Call, path: str, body: Mapping[str, Any], wait: bool, show: Show) -> int:
    """Hand a lookback in and stay until it ends, unless nobody waits; the exit code."""
    made = call.client.post(path, {name: value for name, value in body.items() if value is not None})
    if not wait:
        if call.json:
            call.output.envelope(made)
        else:
            call.output.remarks(made)
            call.output.line(str(made.data["id"]))
        return 0
    call.output.remarks(made)
    return _followed(call, str(made.data["id"]), wait, show)


def _followed(call: Call, id: str, wait: bool, show: Show) -> int:
    try:
        answer = _awaited(call, id) if wait else call.client.get(f"/v1/lookbacks/{id}")
    except KeyboardInterrupt:
        call.output.say(t("cmd.lookback.goes_on", job=short(id)))
        raise
    if answer.data["state"] == "failed":
        error = UsageError if answer.data.get("is_usage") else SocError
        raise error(answer.data["error"])
    show(call, answer)
    return EXIT_PARTIAL if answer.data["state"] == "cancelled" else 0


def _awaited(call: Call, id: str) -> Answer:
    with _bar(call) as draw:
        before, same = None, 0
        while True:
            answer = call.client.get(f"/v1/lookbacks/{id}")
            if answer.data["state"] not in OPEN:
                return answer
            draw(answer.data)
            now = (answer.data["state"], answer.data.get("events"))
            same = same + 1 if now == before else 0
            if same * POLL_S >= STUCK_S:
                raise TryAgain(t("cmd.lookback.stuck", seconds=int(STUCK_S)), hint=f"soc job show {short(id)}")
            before = now
            call.world.sleep(POLL_S)


@contextmanager
def _bar(call: Call) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A progress bar with the time left on stderr where a person watches; nothing otherwise."""
    with progress(call.output, t("cmd.lookback.waiting")) as bar:

        def draw(job: Mapping[str, Any]) -> None:
            said = t("cmd.lookback.looking", hits=number(job.get("hits", 0)))
            bar(description=said, completed=job.get("events", 0), total=job.get("events_total"))

        yield draw


def report(call: Call, answer: Answer) -> None:
    """The figures of a lookback, with bars by day where a person looks."""
    if call.json:
        call.output.envelope(answer)
        return
    job, output = answer.data, call.output
    days = max(job["span_s"] / 86_400, 1e-9)
    rules = [{**each, "a_day": round(each["new"]["alerts"] / days, 1)} for each in job.get("rules_found") or ()]
    output.remarks(answer)
    _say_partial(call, job)
    output.fields(_figures(job))
    output.table(RULES, rules)
    if job["against"]:
        output.section("cmd.lookback.diff")
        output.table(DIFF, rules)
    entities = [{**entity, "title": title(rule)} for rule in rules for entity in rule["entities"]]
    if output.terminal and rules:
        _chart(call, rules)
        output.section("cmd.lookback.entities")
        output.table(ENTITIES, sorted(entities, key=lambda each: -each["hits"])[:20])


def _hits(call: Call, answer: Answer) -> None:
    found = call.client.get(f"/v1/lookbacks/{answer.data['id']}/hits", limit=1000)
    if call.json:
        call.output.envelope(found)
        return
    _say_partial(call, answer.data)
    call.output.table(HITS, found.data)
    shown, total = number(len(found.data)), number(answer.data.get("hits", 0))
    call.output.say(t("cmd.lookback.found", shown=shown, total=total, job=short(answer.data["id"])))


def _say_partial(call: Call, job: Mapping[str, Any]) -> None:
    if job["state"] != "done":
        seen, total = number(job.get("events", 0)), number(job.get("events_total", 0))
        call.output.say(t("cmd.lookback.partial", state=word("lookback")(job["state"]), seen=seen, total=total))
    for side, failures in (job.get("failures") or {}).items():
        for rule, n in failures.items():
            call.output.say(t("cmd.lookback.broke", rule=rule, events=number(n), side=side))
    for side, left_out in (job.get("left_out") or {}).items():
        if left_out:
            call.output.say(t("cmd.lookback.left_out", what=counted("left_out", left_out), side=side))


def _figures(job: Mapping[str, Any]) -> list[tuple[str, Any]]:
    cost = t("cmd.lookback.cost", events=number(job.get("events")), cpu=number(float(job.get("cpu_s", 0))),
             bytes=size(job.get("bytes")))  # fmt: skip
    return [
        ("cmd.col.id", job["id"]), ("cmd.col.state", word("lookback")(job["state"])), ("cmd.col.sought", _sought(job)),
        ("cmd.col.first", shown_moment(job["since_us"])), ("cmd.col.last", shown_moment(job["until_us"])),
        ("cmd.col.hits", number(job.get("hits"))), ("cmd.col.cost", cost), ("cmd.col.reason", job.get("reason")),
    ]  # fmt: skip


def _chart(call: Call, rules: Sequence[Mapping[str, Any]]) -> None:
    """Hits of all rules by day."""
    days: dict[str, list[int]] = {}
    for rule in rules:
        for day in rule["days"]:
            counts = days.setdefault(day["day"], [0, 0])
            counts[0] += day.get("new", 0) + day.get("both", 0)
            counts[1] += day.get("alerts.new", 0)
    call.output.section("cmd.lookback.days")
    rows = [
        (day, float(n), t("cmd.lookback.day", hits=number(n), alerts=number(alerts)))
        for day, (n, alerts) in sorted(days.items())
    ]
    for line in bars(rows, call.output.console().width):
        call.output.line(clean(line))


def _percent(side: Mapping[str, Any]) -> str:
    """`75.0 % (8)`: of how many judged hits; empty without any."""
    if side["precision"] is None:
        return ""
    return f"{number(100.0 * side['precision'])} % ({number(side['judged'])})"
