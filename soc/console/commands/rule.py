"""`soc rule`: what a set of rules is, before it is used; the other commands about rules stand beside this file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soc.console.commands import rule_bundle, rule_exception, rule_measures, rule_state, rule_test, rule_try, rule_write
from soc.console.commands.call import Call, command, group
from soc.console.i18n import number, t
from soc.console.render import Column, counted, word
from soc.errors import EXIT_FINDINGS, SocError, UsageError

if TYPE_CHECKING:
    from soc.detections.load import DetectionSet
    from soc.model.fields import FieldDictionary

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
    for part in (rule_test, rule_try, rule_write, rule_state, rule_exception, rule_measures, rule_bundle):
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
            if found["reasons"]:
                call.output.table(REASONS, found["reasons"])

    @command(rule, "lint", "soc rule lint my-rules/", "soc rule lint rule.yml --lists lists/", local=True)
    def lint(
        call: Call,
        paths: Annotated[list[Path], typer.Argument(help="Folders, files or zip archives of rules.")],
        lists: Lists = None,
        quiet: Annotated[bool, typer.Option("--errors", help="Only what makes a rule or a part of it dead.")] = False,
    ) -> int:
        """Name what is wrong with rules, with place and way out; exit 3 when one, or a part of it, can never hit."""
        from soc.detections.lint import lint as remarks_on

        detections, fields = _loaded(call, paths, lists, cached=False)
        remarks = [each for each in remarks_on(detections, fields) if each.is_blocking or not quiet]
        dead = sum(each.is_blocking for each in remarks)
        if call.json:
            rows = [{**asdict(each), "is_blocking": each.is_blocking} for each in remarks]
            refusals = [asdict(each) for each in detections.refused]
            data = {"loaded": detections.loaded, "remarks": rows, "refusals": refusals}
            call.output.own("soc.rule.lint/v1", data)
        else:
            for each in remarks:
                kind = t(f"cmd.rule.lint.{each.kind}")
                call.output.line(f"{each.path}:{each.line}: {kind}: {each.id}: {each.text}")
            counts = {"held": detections.loaded, "refused": len(detections.refused), "dead": dead,
                      "others": len(remarks) - dead}  # fmt: skip
            call.output.say(t("cmd.rule.linted", **{name: number(n) for name, n in counts.items()}))
        return EXIT_FINDINGS if dead else 0


def _loaded(
    call: Call, rules: list[Path] | None, lists: list[Path] | None, *, cached: bool = True
) -> tuple[DetectionSet, FieldDictionary]:
    """The rules, and the fields that parsers write; with every document unless they may come out of the cache."""
    from soc import content, pipeline
    from soc.detections.cache import default_folder
    from soc.detections.lists import read_lists
    from soc.detections.load import DetectionSet

    settings = call.settings
    paths = rules or [*content.roots("detections", settings.content_roots), *settings.rules]
    fields = pipeline.load_parsers(settings.content_roots).fields
    site_lists = read_lists([*settings.rule_lists, *(lists or ())])
    cache = default_folder() if cached else None
    loaded = DetectionSet.load(paths, fields=fields, lists=site_lists, cache=cache)
    if not loaded.loaded and not loaded.refused:
        raise UsageError(t("cmd.detect.no_rules", paths=", ".join(map(str, paths))))
    return loaded, fields


def _status(call: Call, rules: list[Path] | None, lists: list[Path] | None) -> dict[str, Any]:
    from soc.detections.status import status

    return status(_loaded(call, rules, lists)[0])


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
