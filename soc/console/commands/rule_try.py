"""`soc rule try`: what a rule hits, while it is being written."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soc.console.commands.call import Call, command, moment
from soc.console.commands.events import pages
from soc.console.commands.parse import Reading
from soc.console.i18n import number, t
from soc.console.render import Column, short
from soc.console.render import moment as shown_moment
from soc.console.text import clean
from soc.errors import EXIT_FINDINGS, UsageError

if TYPE_CHECKING:
    from soc.detections.trial import Trial
    from soc.model.batch import EventBatch
    from soc.model.fields import FieldDictionary

LOOK_S = 0.2
MOST_EVENTS = 200_000
MOST_STORED = 20_000
"""Events of files and of the service that are kept in memory; what is left out is said."""
Told = Callable[[int], None]
_CLEAR = "\x1b[H\x1b[2J"


def _matched(hit: Mapping[str, Any]) -> str:
    found = [f"{m['field']}={m['value']}" for m in hit["matched"]]
    return ", ".join(found or [f"{name}={value}" for name, value in (hit.get("group") or {}).items()])


COUNTS = (
    Column("cmd.col.hits", "hits", number, right=True),
    Column("cmd.col.id", "id", short, drop=1),
    Column("cmd.col.title", "title", fold=True),
)
TIME = Column("cmd.col.time", "at_us", shown_moment)
RULE = Column("cmd.col.rule", "title", drop=2)
PLACE = (Column("cmd.col.file", "file", drop=1), Column("cmd.col.record", "record", number, right=True))
MATCHED = Column("cmd.col.matched", _matched, fold=True)


def add(rule: typer.Typer) -> None:
    """Add the command to the group `rule`."""

    @command(
        rule, "try", "soc rule try new.yml --on Security.evtx", "soc rule try new.yml --since 1h",
        "soc rule try five.yml --with base.yml --on auth.log --once",
    )  # fmt: skip
    def try_(
        call: Call,
        rule_file: Annotated[Path, typer.Argument(metavar="RULE", help="The file that is being written.")],
        on: Annotated[list[str] | None, typer.Option("--on", help="Files of events; - is standard input.")] = None,
        since: Annotated[str | None, typer.Option(help="Events of the service from then on: 1h, 1d, a time.")] = None,
        others: Annotated[list[Path] | None, typer.Option("--with", help="Rules that it refers to.")] = None,
        format: Annotated[str, typer.Option(help="auto, lines, json, csv, w3c, xml, evtx or pcap.")] = "auto",
        once: Annotated[bool, typer.Option("--once", help="Show it once; exit 3 when something is wrong.")] = False,
    ) -> int:
        """Show what a rule hits each time its file is saved; Ctrl-C ends it. Events are read once and kept."""
        if not rule_file.is_file():
            raise UsageError(t("cmd.no_file", path=rule_file))
        if not on and since is None:
            raise UsageError(t("cmd.rule.try.needs"), hint="--on FILE, --since 1h")
        batches, fields = _events(call, on or [], since, format)
        for saved, made in _trials(call, rule_file, others or [], batches, fields):
            _show(call, made, saved, batches)
            if once:
                return EXIT_FINDINGS if made.faults else 0
        return 0


def _events(call: Call, on: Sequence[str], since: str | None, format: str) -> tuple[list[EventBatch], FieldDictionary]:
    from soc import pipeline

    parsers = pipeline.load_parsers(call.settings.content_roots)
    found: list[EventBatch] = []
    held = 0
    with _told(call) as told:
        files = (batch for block in Reading(call, on, format=format).blocks(parsers) for batch in block)
        stored = _stored(call, since, parsers.fields, told) if since is not None else ()
        for batch in itertools.chain(files, stored):
            if held + batch.n > MOST_EVENTS:
                call.output.say(t("cmd.rule.try.capped", most=number(MOST_EVENTS)))
                break
            held += batch.n
            found.append(batch)
            told(held)
    return found, parsers.fields


@contextmanager
def _told(call: Call) -> Iterator[Told]:
    """How many events were read, where a person waits for them; nothing otherwise."""
    if not call.output.terminal:
        yield lambda n: None
        return
    console = call.output.console(call.output.err)
    with console.status(t("cmd.rule.try.reading", events=number(0))) as status:
        yield lambda n: status.update(t("cmd.rule.try.reading", events=number(n)))


def _stored(call: Call, since: str, fields: FieldDictionary, told: Told) -> Iterator[EventBatch]:
    """Events of the service, the newest."""
    from soc.model.batch import EventBatch

    answer = pages(call, MOST_STORED, told, since=moment(since))
    by_dataset: dict[str, list[dict[str, Any]]] = {}
    for row in answer.data:
        by_dataset.setdefault(str(row.get("event.dataset") or ""), []).append(row)
    if answer.truncated:
        call.output.say(t("cmd.rule.try.newest", most=number(MOST_STORED)))
    yield from (EventBatch.from_rows(dataset, rows, fields) for dataset, rows in by_dataset.items())


def _trials(
    call: Call, file: Path, others: Sequence[Path], batches: Sequence[EventBatch], fields: FieldDictionary
) -> Iterator[tuple[float, Trial]]:
    """One trial for each save, with the seconds it took; the first at once."""
    from soc.detections.lists import read_lists
    from soc.detections.trial import trial

    lists = read_lists(call.settings.rule_lists)
    before: tuple[int, int] | None = None
    while True:
        now = _stamp(file)
        if now is not None and now != before:
            before, begun = now, time.perf_counter()
            made = trial(file, others, batches, fields, lists)
            yield time.perf_counter() - begun, made
        call.world.sleep(LOOK_S)


def _stamp(file: Path) -> tuple[int, int] | None:
    """Editors replace a file by another: for a moment there may be none."""
    try:
        stat = file.stat()
    except FileNotFoundError:
        return None
    return stat.st_mtime_ns, stat.st_ino


def _show(call: Call, made: Trial, seconds: float, batches: Sequence[EventBatch]) -> None:
    events = sum(batch.n for batch in batches)
    counts = [{"id": id, "title": made.titles[id], "hits": n} for id, n in made.hits.items()]
    if call.json:
        data = {"events": events, "hits": counts, "first": made.first, "faults": made.faults, "excepted": made.excepted}
        call.output.own("soc.rule.try/v1", data)
        call.output.out.flush()
        return
    if call.output.terminal and not call.no_input:
        call.output.out.write(_CLEAR)
    if counts:
        call.output.table(COUNTS, counts)
    if made.first:
        _show_first(call, made)
    for fault in made.faults:
        call.output.say(clean(fault))
    call.output.say(
        t("cmd.rule.try.summary", hits=number(made.hits.total()), events=number(events), seconds=number(seconds),
          excepted=number(made.excepted))
    )  # fmt: skip
    call.output.out.flush()


def _show_first(call: Call, made: Trial) -> None:
    """The first hits, by their place in a file, or of stored events by their time."""
    hits = made.hits.total()
    if call.output.terminal:
        call.output.line("")
    if hits > len(made.first):
        call.output.say(t("cmd.rule.try.first", shown=number(len(made.first)), hits=number(hits)))
    rule = (RULE,) if len(made.hits) > 1 else ()
    place = PLACE if any(hit["record"] is not None for hit in made.first) else (TIME,)
    call.output.table((*rule, *place, MATCHED), made.first)
