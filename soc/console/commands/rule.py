"""`soc rule`: what a set of rules is, before it is used; the other commands about rules stand beside this file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from soc.console.commands import rule_exception, rule_measures, rule_state, rule_test, rule_try, rule_write
from soc.console.commands.call import Call, command, group
from soc.console.i18n import t
from soc.console.render import Column, counted, number, word
from soc.errors import EXIT_FINDINGS, SocError, UsageError

REASONS = (
    Column("cmd.col.rules", "rules", number, right=True),
    Column("cmd.col.reason", "reason", fold=True),
)
REFUSALS = (
    Column("cmd.col.place", lambda r: f"{r['path']}:{r['line']}", fold=True),
    Column("cmd.col.id", "id", drop=1),
    Column("cmd.col.reason", "reason", fold=True),
)
RULES = (
    Column("cmd.col.id", "id", drop=2),
    Column("cmd.col.level", "level", word("level")),
    Column("cmd.col.title", "title", fold=True),
    Column("cmd.col.tests", "tests", number, right=True),
    Column("cmd.col.place", lambda r: f"{r['path']}:{r['line']}", fold=True, drop=1),
)
Rules = Annotated[
    list[Path] | None, typer.Option("--rules", "-r", help="Folders, files or zip archives; default: ours.")
]
Lists = Annotated[list[Path] | None, typer.Option("--lists", help="Folders of lists that rules expand.")]


def add(app: typer.Typer) -> None:
    """Add the commands."""
    rule = group(app, "rule", "Detection rules: read, tested, put into use, excepted from.")
    for part in (rule_test, rule_try, rule_write, rule_state, rule_exception, rule_measures):
        part.add(rule)

    @command(
        rule, "status", "soc rule status", "soc rule status --rules sigma-main.zip --refused",
        "soc rule status --untested --json", local=True,
    )  # fmt: skip
    def status(
        call: Call,
        rules: Rules = None,
        lists: Lists = None,
        refused: Annotated[bool, typer.Option("--refused", help="List every refused rule.")] = False,
        untested: Annotated[bool, typer.Option("--untested", help="List the rules that carry no test.")] = False,
    ) -> None:
        """Count rules by level and ATT&CK tactic, and say why others are refused."""
        found = _status(call, rules, lists)
        found["deaf"] = None if rules else _deaf(call)
        if call.json:
            call.output.own("soc.rule.status/v1", found)
            return
        if refused:
            call.output.table(REFUSALS, found["refusals"])
        elif untested:
            call.output.table(RULES, [each for each in found["rules"] if not each["tests"]])
        else:
            call.output.fields(_figures(found))
            call.output.table(REASONS, found["reasons"])

    @command(rule, "lint", "soc rule lint my-rules/", "soc rule lint rule.yml --lists lists/", local=True)
    def lint(
        call: Call,
        paths: Annotated[list[Path], typer.Argument(help="Folders, files or zip archives of rules.")],
        lists: Lists = None,
    ) -> int:
        """Name every rule that cannot run, with its place and the reason; exit 3 when there is one."""
        found = _status(call, paths, lists)
        if call.json:
            data = {"loaded": found["loaded"], "refusals": found["refusals"]}
            call.output.own("soc.rule.lint/v1", data)
        else:
            for each in found["refusals"]:
                call.output.line(f"{each['path']}:{each['line']}: {each['id']}: {each['reason']}")
            call.output.say(t("cmd.rule.linted", held=number(found["loaded"]), refused=number(found["refused"])))
        return EXIT_FINDINGS if found["refused"] else 0


def _status(call: Call, rules: list[Path] | None, lists: list[Path] | None) -> dict[str, Any]:
    from soc import content, pipeline
    from soc.detections.cache import default_folder
    from soc.detections.lists import read_lists
    from soc.detections.load import DetectionSet
    from soc.detections.status import status

    settings = call.settings
    paths = rules or [*content.roots("detections", settings.content_roots), *settings.rules]
    fields = pipeline.load_parsers(settings.content_roots).fields
    site_lists = read_lists([*settings.rule_lists, *(lists or ())])
    loaded = DetectionSet.load(paths, fields=fields, lists=site_lists, cache=default_folder())
    if not loaded.loaded and not loaded.refused:
        raise UsageError(t("cmd.detect.no_rules", paths=", ".join(map(str, paths))))
    return status(loaded)


def _deaf(call: Call) -> list[dict[str, Any]] | None:
    """The rules that no log source feeds; None where no service says so."""
    try:
        found: list[dict[str, Any]] = call.client.get("/v1/deaf-rules").data
    except SocError:
        return None
    return found


def _figures(found: dict[str, Any]) -> list[tuple[str, Any]]:
    return [
        ("cmd.rule.loaded", f"{number(found['loaded'])} ({counted('kind', found['kinds'])})"),
        ("cmd.rule.levels", counted("level", found["levels"])),
        ("cmd.rule.tactics", counted("tactic", found["tactics"])),
        ("cmd.rule.techniques", number(len(found["techniques"]))),
        ("cmd.rule.untested", number(found["untested"])),
        ("cmd.rule.refused", number(found["refused"])),
        ("cmd.rule.deaf_count", None if found["deaf"] is None else number(len(found["deaf"]))),
    ]
