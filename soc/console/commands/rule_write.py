"""`soc rule new` and `soc rule diff`: a rule to begin with, and what a change of one changes."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soc.console.commands.call import Call, command
from soc.console.commands.parse import Reading
from soc.console.i18n import number, t
from soc.console.render import Column, word
from soc.console.text import clean
from soc.errors import EXIT_FINDINGS, NotFound, UsageError
from soc.model.clock import VIETNAM, utc

if TYPE_CHECKING:
    from soc.content import Document

_EVENT_ID = re.compile(r"[0-9a-f]{32}")
_SHOWN = 10
CHANGES = (
    Column("cmd.col.rule", "rule", drop=1),
    Column("cmd.col.change", "what", word("rule.change")),
    Column("cmd.col.place", "where", fold=True),
    Column("cmd.col.before", "before", fold=True),
    Column("cmd.col.after", "after", fold=True),
)
HITS = (
    Column("cmd.col.change", "what", word("rule.change")),
    Column("cmd.col.rule", "rule", drop=1),
    Column("cmd.col.file", "file"),
    Column("cmd.col.record", "record", number, right=True),
)


def add(rule: typer.Typer) -> None:
    """Add the commands to the group `rule`."""

    @command(
        rule, "new", "soc rule new 'Encoded PowerShell' --from Security.evtx --record 17 --out new.yml",
        "soc rule new 'Root over SSH' --from 018f…c3 --field user.name --field event.outcome", local=True,
    )  # fmt: skip
    def new(
        call: Call,
        title: Annotated[str, typer.Argument(help="What it finds.")],
        source: Annotated[str, typer.Option("--from", help="A file of events, or the id of a stored event.")],
        record: Annotated[int, typer.Option(min=1, help="Which record of the file.")] = 1,
        field: Annotated[list[str] | None, typer.Option(help="Select by this field; default: what tells most.")] = None,
        author: Annotated[str, typer.Option(help="Who writes it.")] = "",
        out: Annotated[Path | None, typer.Option(help="Write it there; an existing file is not touched.")] = None,
    ) -> None:
        """Write a rule to begin with out of one event: log source, selection, a test that hits and one that misses."""
        from soc import pipeline
        from soc.detections.scaffold import scaffold

        today = utc(call.world.clock.now_ns()).astimezone(VIETNAM).date().isoformat()
        event = _event(call, source, record)
        fields = pipeline.load_parsers(call.settings.content_roots).fields
        text = scaffold(
            event, id=str(uuid.uuid4()), day=today, title=title, author=author, names=field or (), fields=fields
        )
        if out is None:
            call.output.text(text)
            return
        try:
            with out.open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise UsageError(f"{out}: {error.strerror}") from error
        call.output.say(t("cmd.rule.written", path=out))

    @command(
        rule, "diff", "soc rule diff old.yml new.yml", "soc rule diff sigma-2025.zip sigma-2026.zip --on Security.evtx",
        local=True,
    )  # fmt: skip
    def diff(
        call: Call,
        old: Annotated[Path, typer.Argument(help="A file, folder or zip archive of rules.")],
        new_: Annotated[Path, typer.Argument(metavar="NEW", help="The same, later.")],
        on: Annotated[list[str] | None, typer.Option("--on", help="Files of events: which hits come and go.")] = None,
    ) -> int:
        """Say in words what changed between two texts of rules, and which hits come and go; exit 3 on a change."""
        changes = list(_changes(old, new_))
        hits = list(_hits(call, old, new_, on)) if on else []
        if call.json:
            call.output.own("soc.rule.diff/v1", {"changes": changes, "hits": hits})
        else:
            call.output.table(CHANGES, changes)
            if hits:
                call.output.table(HITS, hits[:_SHOWN])
            come, gone = (sum(each["what"] == what for each in hits) for what in ("added", "removed"))
            if on:
                call.output.say(t("cmd.rule.diff.hits", come=number(come), gone=number(gone)))
        return EXIT_FINDINGS if changes or hits else 0


def _event(call: Call, source: str, record: int) -> dict[str, Any]:
    """The event as a flat document. Raises UsageError, NotFound."""
    if _EVENT_ID.fullmatch(source):
        found: dict[str, Any] = call.client.get(f"/v1/events/{source}").data
        return found
    from soc import pipeline

    for batches in Reading(call, [source]).blocks(pipeline.load_parsers(call.settings.content_roots)):
        for document in pipeline.ordered_documents(batches):
            if document["soc.record"] == record:
                return document
    raise NotFound(t("cmd.rule.no_record", path=clean(source), record=record))


def _documents(path: Path) -> dict[str, Document]:
    from soc import content
    from soc.detections.sigma.collection import merged
    from soc.detections.sigma.header import identity

    if not path.exists():
        raise UsageError(t("cmd.no_file", path=path))
    found: dict[str, Document] = {}
    for source in content.sources(path):
        for document in merged(content.decode(source.read(), source.path))[0]:
            name = identity(document)
            if name:
                found[name] = document
    return found


def _changes(old: Path, new: Path) -> Iterator[dict[str, Any]]:
    from soc.detections.difference import difference

    before, after = _documents(old), _documents(new)
    for name in dict.fromkeys((*before, *after)):
        if name not in after or name not in before:
            what = "removed" if name not in after else "added"
            title = str((before.get(name) or after[name]).data.get("title") or "")
            yield {"rule": name, "what": what, "where": title, "before": "", "after": ""}
            continue
        for change in difference(before[name], after[name]):
            yield {"rule": name, **vars(change)}


def _hits(call: Call, old: Path, new: Path, on: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Hits that only one of the two has, by rule, file and record."""
    from soc import pipeline
    from soc.detections.detect import detect
    from soc.detections.lists import read_lists
    from soc.detections.load import DetectionSet

    parsers, lists = pipeline.load_parsers(call.settings.content_roots), read_lists(call.settings.rule_lists)
    found: list[dict[tuple[str, str | None, int | None], None]] = []
    for path in (old, new):
        loaded = DetectionSet.load([path], fields=parsers.fields, lists=lists)
        batches = (batch for block in Reading(call, on).blocks(parsers) for batch in block)
        hits = (hit for hit in detect(loaded, batches, fields=parsers.fields) if "exception" not in hit)
        found.append(dict.fromkeys((hit["rule"], hit["file"], hit["record"]) for hit in hits))
    before, after = found
    for what, some, others in (("removed", before, after), ("added", after, before)):
        for rule, file, record in some:
            if (rule, file, record) not in others:
                yield {"what": what, "rule": rule, "file": file, "record": record}
