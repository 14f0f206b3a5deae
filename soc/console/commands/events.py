"""`soc search` and `soc tail`: the stored events, and the new ones as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soc.console.commands.call import Call, command, moment
from soc.console.i18n import number, t
from soc.console.render import Column, field_heading, plain
from soc.console.render import moment as shown_moment
from soc.errors import QueryError, TryAgain

if TYPE_CHECKING:
    from soc.client import Answer

PAGE = 1000
TIMES = ("@timestamp", "event.created", "event.ingested", "event.start", "event.end")
RETRY_S = 1.0
"""Between two tries to go on with a broken tail."""
Query = Annotated[str, typer.Argument(help="What to look for, like 'source.ip:203.0.113.9 and event.outcome:failure'.")]
Since = Annotated[str | None, typer.Option(help="From: 15m, 1h, 7d, or a day or time (Vietnam's zone).")]
Until = Annotated[str | None, typer.Option(help="Until: as --since.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")]


def host(event: Mapping[str, Any]) -> Any:
    """What the event is from: the host it names, else who sent it."""
    return event.get("host.name") or event.get("winlog.computer_name") or event.get("soc.source")


def said(event: Mapping[str, Any]) -> Any:
    """What a person reads first: the line as it came, else the message, else what happened between whom."""
    text = event.get("event.original") or event.get("message")
    if text:
        return text
    names = ("event.action", "event.outcome", "source.ip", "destination.ip", "destination.port", "user.name")
    return " ".join(f"{name}={plain(event[name])}" for name in names if event.get(name) not in (None, ""))


EVENTS = (
    Column("cmd.col.time", "@timestamp", shown_moment),
    Column("cmd.col.dataset", "event.dataset"),
    Column("cmd.col.host", host),
    Column("cmd.col.message", said, fold=True),
)
TOP = (
    Column("cmd.col.value", "value", lambda v: t("cmd.no_value") if v is None else plain(v), fold=True),
    Column("cmd.col.count", "count", number, right=True),
)


def field_columns(names: str | None) -> tuple[Column, ...]:
    """The columns for `--fields a,b,c`; the usual ones without."""
    if not names:
        return EVENTS
    return tuple(_field(name.strip()) for name in names.split(",") if name.strip())


def _field(name: str) -> Column:
    return Column(field_heading(name), name, shown_moment if name in TIMES else None, fold=True)


def show_events(call: Call, answer: Answer, fields: str | None = None) -> None:
    """Events as the caller wants them."""
    call.output.answer(answer, field_columns(fields))


def add(app: typer.Typer) -> None:
    """Add the commands."""

    @command(
        app,
        "search",
        "soc search 'source.ip:203.0.113.9 and event.outcome:failure' --since 1h",
        "soc search '' --top source.ip --since 1d",
        "soc search --json user.name:root --limit 5",
    )
    def search(
        call: Call,
        query: Query = "",
        since: Since = None,
        until: Until = None,
        limit: Limit = 100,
        order: Annotated[str, typer.Option(help="desc (newest first) or asc.")] = "desc",
        fields: Annotated[str | None, typer.Option(help="Show these fields: source.ip,user.name")] = None,
        full: Annotated[bool, typer.Option("--full", help="Every field of each event.")] = False,
        count: Annotated[bool, typer.Option("--count", help="Also say how many match in all.")] = False,
        top: Annotated[str | None, typer.Option(metavar="FIELD", help="Count the commonest values instead.")] = None,
    ) -> None:
        """Search the stored events, newest first."""
        asked: dict[str, Any] = {"q": query, "since": moment(since), "until": moment(until)}
        with _Pointing(call, query):
            if top:
                answer = call.client.get("/v1/events/top", field=top, limit=limit, **asked)
                call.output.answer(answer, TOP)
                return
            answer = pages(call, limit, order=order, count=count or None, **asked)
        if full and not call.json:
            _full(call, answer)
        else:
            show_events(call, answer, fields)
        if answer.total is not None and not call.json:
            call.output.say(t("cmd.total", count=number(answer.total)))

    @command(app, "tail", "soc tail", "soc tail 'event.dataset:linux.sshd' --json")
    def tail(
        call: Call,
        query: Query = "",
        fields: Annotated[str | None, typer.Option(help="Show these fields: source.ip,user.name")] = None,
        limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="Stop after so many; 0 never.")] = 0,
    ) -> None:
        """Follow new events as they are stored; Ctrl-C ends it."""
        columns = field_columns(fields)
        with _Pointing(call, query):
            for count, event in enumerate(following(call, query), 1):
                if call.json:
                    call.output.document(event)
                else:
                    call.output.line(_line(columns, event, people=call.output.terminal))
                call.output.out.flush()
                if count == limit:
                    return


def pages(call: Call, limit: int, told: Callable[[int], None] = lambda n: None, **asked: Any) -> Answer:
    """One answer of up to `limit` events, over as many pages as that takes; `told` hears how many are there."""
    answer = call.client.get("/v1/events", limit=min(limit, PAGE), **asked)
    rows, warnings, total = list(answer.data), list(answer.warnings), answer.total
    asked.pop("count", None)
    told(len(rows))
    while answer.cursor and answer.data and len(rows) < limit:
        answer = call.client.get("/v1/events", limit=min(limit - len(rows), PAGE), cursor=answer.cursor, **asked)
        rows += answer.data
        told(len(rows))
        warnings += [w for w in answer.warnings if w not in warnings]
    return replace(answer, data=rows, warnings=warnings, total=total)


def following(call: Call, query: str) -> Iterator[dict[str, Any]]:
    """New events for ever; a broken stream goes on where it stopped, what was skipped is told."""
    position, has_begun = None, False
    while True:
        try:
            for item in call.client.stream("/v1/events/tail", q=query, after=position):
                has_begun = True
                position = item.get("position", position)
                if item.get("skipped"):
                    call.output.say(t("cmd.tail.skipped", count=number(item["skipped"])))
                if "event" in item:
                    yield item["event"]
            return
        except TryAgain as error:
            if not has_begun:
                raise
            call.output.say(t("cmd.tail.broken", why=error))
            call.world.sleep(RETRY_S)


def _line(columns: Sequence[Column], event: Mapping[str, Any], *, people: bool) -> str:
    if not people:
        return "\t".join(column.raw(event) for column in columns)
    return "  ".join(column.words(event) for column in columns)


def _full(call: Call, answer: Answer) -> None:
    call.output.remarks(answer)
    for event in answer.data:
        call.output.fields((field_heading(name), event[name]) for name in sorted(event))
        call.output.line("")


class _Pointing:
    """Shows where a search text is wrong; the error itself goes on."""

    def __init__(self, call: Call, query: str) -> None:
        self.call, self.query = call, query

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, QueryError) and self.query:
            self.call.output.say(f"  {self.query}\n  {' ' * (error.column - 1)}^")
