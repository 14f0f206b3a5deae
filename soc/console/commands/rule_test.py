"""`soc rule test`: the tests that stand in rules and beside them. Needs no service."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soc.console.commands.call import Call, command
from soc.console.i18n import number, t
from soc.console.render import Column, word
from soc.errors import EXIT_FINDINGS, UsageError

if TYPE_CHECKING:
    from soc.detections.results import RuleResult
    from soc.model.batch import EventBatch

MATCHES_SHOWN = 3
STATES = ("held", "failed", "untested", "refused")


def _matched(row: Mapping[str, Any]) -> str:
    """The first things that matched, or what the test wanted."""
    if row["reason"]:
        return str(row["reason"])
    found = [f"{m['field']}={m['value']}" for test in row["tests"] for m in test["matched"]]
    groups = [f"{name}={value}" for test in row["tests"] for group in test["groups"] for name, value in group.items()]
    return ", ".join(list(dict.fromkeys(found + groups))[:MATCHES_SHOWN])


COLUMNS = (
    Column("cmd.col.state", "state", word("rule.state")),
    Column("cmd.col.id", "id", drop=2),
    Column("cmd.col.title", "title", fold=True),
    Column("cmd.col.tests", lambda row: len(row["tests"]), number, right=True),
    Column("cmd.col.matched", _matched, fold=True, drop=1),
)


def add(rule: typer.Typer) -> None:
    """Add the command to the group `rule`."""

    @command(
        rule, "test", "soc rule test my-rules/", "soc rule test sigma/rules --failed --junit results.xml", local=True
    )  # fmt: skip
    def test(
        call: Call,
        paths: Annotated[list[Path], typer.Argument(help="Folders, files or zip archives of rules.")],
        lists: Annotated[list[Path] | None, typer.Option("--lists", help="Folders of lists that rules expand.")] = None,
        failed: Annotated[bool, typer.Option("--failed", help="Show only the rules that failed.")] = False,
        junit: Annotated[Path | None, typer.Option("--junit", help="Also write the results as JUnit XML.")] = None,
    ) -> int:
        """Run the tests in rules, and SigmaHQ's recorded events beside them; exit 3 when one fails."""
        found = list(_results(call, paths, lists or []))
        counts = Counter(dict.fromkeys(STATES, 0))
        counts.update(each.state for each in found)
        if junit is not None:
            _write_junit(junit, found)
        shown = [each.to_document() for each in found if each.state == "failed" or not failed]
        if call.json:
            call.output.own("soc.rule.test/v1", {"counts": dict(counts), "rules": shown})
            return EXIT_FINDINGS if counts["failed"] else 0
        if shown:
            call.output.table(COLUMNS, shown)
        for rule_ in found:
            for each in rule_.outcomes:
                if each.fault:
                    call.output.say(f"{each.path}:{each.line}: {rule_.id}: {each.fault}")
        call.output.say(t("cmd.rule.tested", **{state: number(n) for state, n in counts.items()}))
        return EXIT_FINDINGS if counts["failed"] else 0


def _results(call: Call, paths: list[Path], lists: list[Path]) -> Iterator[RuleResult]:
    from soc import pipeline
    from soc.detections.lists import read_lists
    from soc.detections.load import DetectionSet
    from soc.detections.results import results

    settings = call.settings
    parsers = pipeline.load_parsers(settings.content_roots)
    loaded = DetectionSet.load(paths, fields=parsers.fields, lists=read_lists([*settings.rule_lists, *lists]))
    if not loaded.loaded and not loaded.refused:
        raise UsageError(t("cmd.detect.no_rules", paths=", ".join(map(str, paths))))

    def read(path: Path, format: str) -> Iterator[EventBatch]:
        for batches in pipeline.parse_file(parsers, path, call.world.clock, format=format):
            yield from batches

    return results(loaded, parsers.fields, read)


def _write_junit(path: Path, results: list[RuleResult]) -> None:
    from soc.console import junit

    try:
        junit.write(path, results)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
