"""`soc import`: files to the service, followed until every record is stored and searched for attacks."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from soc.console.commands.call import Call, command
from soc.console.i18n import errors, number, pick, t
from soc.console.progress import progress
from soc.console.render import Column, size, word
from soc.console.render import moment as shown_moment
from soc.console.text import clean
from soc.errors import EXIT_PARTIAL, EXIT_RUNTIME, SocError, UsageError
from soc.model.finding import LEVELS

POLL_S = 0.5
STUCK_S = 60.0
"""Without progress for so long the rest is not waited for: no worker may be running."""
SETTLED = 3
"""So many equal answers in a row: findings come a moment after the events they are about."""
Progress = Callable[[int, int], None]
FILES = (
    Column("cmd.col.file", "name", fold=True),
    Column("cmd.col.state", "state", word("import")),
    Column("cmd.col.records", "records", number, right=True, drop=2),
    Column("cmd.col.stored", "stored", number, right=True),
    Column("cmd.col.unparsed", "unparsed", number, right=True),
    Column("cmd.col.first", "first_at", shown_moment, drop=1),
    Column("cmd.col.last", "last_at", shown_moment, drop=1),
    Column("cmd.col.error", lambda row: errors.told(str(row.get("error") or "")), fold=True),
)
MEMBERS = (
    Column("cmd.col.file", "name", fold=True),
    Column("cmd.col.state", "state", word("import")),
    Column("cmd.col.format", "format"),
    Column("cmd.col.records", "records", number, right=True),
    Column("cmd.col.error", "why", fold=True),
)
DATASETS = (Column("cmd.col.dataset", "dataset", fold=True), Column("cmd.col.events", "count", number, right=True))
FINDINGS = (
    Column("cmd.col.level", "level", word("level")),
    Column("cmd.col.count", "count", number, right=True),
    Column("cmd.col.title", lambda r: pick(str(r.get("title") or ""), str(r.get("title_vi") or "")), fold=True),
    Column("cmd.col.rule", "rule"),
)


def add(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "import", "soc import /var/log/auth.log", "soc import --format evtx Security.evtx old/*.evtx")
    def import_(
        call: Call,
        files: Annotated[list[Path], typer.Argument(help="Files to send, read with your own rights.")],
        format: Annotated[str, typer.Option(help="auto, lines, json, csv, w3c, xml, evtx or pcap.")] = "auto",
        product: Annotated[str | None, typer.Option("--product", help="Take every record as this product.")] = None,
        wait: Annotated[bool, typer.Option(help="Stay until they are read and searched.")] = True,
        resume: Annotated[
            bool, typer.Option("--resume", help="A file that was imported already is not imported again.")
        ] = False,
    ) -> int:
        """Import files, detect over them, and say what was in them. Exit 4 when one could not be read whole."""
        _refuse(files)
        states = [_imported(call, path, format=format, product=product, wait=wait, resume=resume) for path in files]
        if call.json:
            call.output.document({"schema": "soc.import.list/v1", "data": states, "truncated": False,
                                  "warnings": [], "cursor": None})  # fmt: skip
        else:
            _summary(call, states)
        return EXIT_PARTIAL if any(state["state"] == "failed" or state.get("error") for state in states) else 0


def _refuse(files: Sequence[Path]) -> None:
    told = [t("cmd.no_file", path=path) for path in files if not path.exists()]
    told += [t("cmd.is_folder", path=path) for path in files if path.is_dir()]
    told += [t("cmd.unreadable", path=path) for path in files if path.exists() and not os.access(path, os.R_OK)]
    if told:
        raise UsageError("\n".join(told))


def _imported(call: Call, path: Path, *, format: str, product: str | None, wait: bool, resume: bool) -> dict[str, Any]:
    """What became of one file; an error of its own never stops the other files."""
    try:
        with _bar(call, path) as count:
            id = call.client.upload(path, format=format, product=product, resume=resume, progress=count)
        state = _followed(call, path, id) if wait else dict(call.client.get(f"/v1/imports/{id}").data)
    except OSError as error:
        state = {"state": "failed", "error": error.strerror or str(error)}
    except SocError as error:
        if error.exit_code != EXIT_RUNTIME:
            raise  # not of this file: no service, no right, a wrong option
        state = {"state": "failed", "error": str(error)}
    return {**state, "name": str(path)}


def _followed(call: Call, path: Path, id: str) -> dict[str, Any]:
    """Until everything is stored and nothing more is found, or nothing moves any more."""
    before: dict[str, Any] = {}
    same = 0
    with _bar(call, path, storing=True) as count:
        while True:
            state = dict(call.client.get(f"/v1/imports/{id}").data)
            count(state.get("stored") or 0, state.get("records") or 0)
            same = same + 1 if state == before else 1
            if state["state"] == "failed" or (_is_stored(state) and same >= SETTLED):
                return state
            if same * POLL_S >= STUCK_S:
                pending, seconds = number(state.get("pending")), number(int(STUCK_S))
                return {**state, "error": t("cmd.import.stuck", pending=pending, seconds=seconds)}
            before = state
            call.world.sleep(POLL_S)


def _is_stored(state: Mapping[str, Any]) -> bool:
    return state["state"] == "done" and not state.get("pending")


@contextmanager
def _bar(call: Call, path: Path, *, storing: bool = False) -> Iterator[Progress]:
    """A progress bar on stderr where a person watches; nothing otherwise."""
    words = t("cmd.import.storing" if storing else "cmd.import.sending", name=clean(path.name, 30))
    with progress(call.output, words, in_bytes=not storing) as bar:
        yield lambda done, total: bar(completed=done, total=total or None)


def _summary(call: Call, states: Sequence[Mapping[str, Any]]) -> None:
    output = call.output
    if output.terminal:  # the folder stands in every line otherwise, and the error below the table
        output.table(FILES[:-1], [{**state, "name": Path(state["name"]).name} for state in states])
    else:
        output.table(FILES, states)
    members = [member for state in states for member in state.get("members") or () if state.get("members_total", 1) > 1]
    if members:
        output.table(MEMBERS, members)
    for state in states:
        if state.get("error"):
            output.say(f"soc: {state['name']}: {state['error']}")
    if not output.terminal:
        return
    datasets: Counter[str] = Counter()
    findings: dict[str, dict[str, Any]] = {}
    for state in states:
        datasets.update(state.get("datasets") or {})
        for found in state.get("findings") or ():
            known = findings.setdefault(found["rule"], {**found, "count": 0})
            known["count"] += found["count"]
    output.section("cmd.import.by_dataset")
    output.table(DATASETS, [{"dataset": name, "count": count} for name, count in datasets.most_common()])
    output.section("cmd.import.findings")
    output.table(FINDINGS, sorted(findings.values(), key=_weight))
    failed = sum(state["state"] == "failed" for state in states)
    unparsed = sum(state.get("unparsed") or 0 for state in states)
    output.say(
        t("cmd.import.summary", files=number(len(states)), failed=number(failed), unparsed=number(unparsed),
          events=number(sum(datasets.values())), bytes=size(sum(state.get("size") or 0 for state in states)))
    )  # fmt: skip


def _weight(found: Mapping[str, Any]) -> tuple[int, int]:
    level = str(found.get("level"))
    return -(LEVELS.index(level) if level in LEVELS else -1), -int(found["count"])
