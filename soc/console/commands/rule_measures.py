"""`soc rule coverage | noise | deaf`: what the rules of the service are worth."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from soc.console.commands.call import Call, command
from soc.console.commands.shared import title
from soc.console.i18n import both, number, t
from soc.console.render import Column, word
from soc.console.text import clean, when
from soc.errors import UsageError


def _others(row: Mapping[str, Any]) -> str:
    shown = (f"{title(each)} ({', '.join(map(word('rule.missing'), each['missing']))})" for each in row["others"])
    return "; ".join(shown)


def _per_day(n: float) -> str:
    return number(n) if n >= 0.05 or not n else f"<{number(0.1)}"


def _share(share: float | None) -> str:
    return "" if share is None else f"{number(round(share * 100))} %"


def _entities(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{entity} ({number(n)})" for entity, n in row["entities"].items())


TECHNIQUES = (
    Column("cmd.col.technique", "technique"),
    Column("cmd.col.tactic", lambda row: [word("tactic")(name) for name in row["tactics"]], fold=True, drop=1),
    Column("cmd.col.counted", lambda row: len(row["counted"]), number, right=True),
    Column("cmd.col.others", _others, fold=True, drop=2),
)
TACTICS = (
    Column("cmd.col.tactic", "tactic", word("tactic")),
    Column("cmd.col.techniques", "techniques", fold=True),
    Column("cmd.col.counted", lambda row: len(row["counted"]), number, right=True),
    Column("cmd.col.others", lambda row: len(row["others"]), number, right=True),
)
GAPS = (*TECHNIQUES[:2], Column("cmd.col.suggested", _others, fold=True))
NOISE = (
    Column("cmd.col.title", title, fold=True),
    Column("cmd.col.id", "rule", drop=5),
    Column("cmd.col.level", "level", word("level"), drop=3),
    Column("cmd.col.alerts", "alerts", number, right=True),
    Column("cmd.col.per_day", "per_day", _per_day, right=True),
    Column("cmd.col.judged", "judged", number, right=True, drop=4),
    Column("cmd.col.false_share", "share", _share, right=True),
    Column("cmd.col.entities", _entities, fold=True, drop=1),
)
DEAF = (
    Column("cmd.col.level", "level", word("level")),
    Column("cmd.col.id", "id", drop=1),
    Column("cmd.col.title", title, fold=True),
    Column("cmd.col.listens_to", "listens_to", fold=True),
)


def add(rule: typer.Typer) -> None:
    """Add the commands to the group `rule`."""

    @command(
        rule, "coverage", "soc rule coverage", "soc rule coverage --kill-chain",
        "soc rule coverage --gaps", "soc rule coverage --navigator layer.json --csv coverage.csv --png coverage.png",
    )  # fmt: skip
    def coverage(
        call: Call,
        kill_chain: Annotated[bool, typer.Option("--kill-chain", help="By tactic, in the order of an attack.")] = False,
        navigator: Annotated[
            Path | None, typer.Option(help="Also write a layer for the ATT&CK Navigator (format 4.5).")
        ] = None,
        gaps: Annotated[
            bool,
            typer.Option("--gaps", help="Only what is uncovered though data for a rule are there, and what it lacks."),
        ] = False,
        table: Annotated[
            Path | None, typer.Option("--csv", help="Also write a row for each technique and rule.")
        ] = None,
        picture: Annotated[
            Path | None, typer.Option("--png", help="Also draw it: tactics side by side, techniques by their rules.")
        ] = None,
    ) -> None:
        """Show which ATT&CK techniques are covered by rules that are live, tested and fed; and what others lack."""
        answer = call.client.get("/v1/attack")
        if navigator is not None:
            _write_layer(call, navigator, answer.data)
        if table is not None:
            _write_csv(call, table, answer.data)
        if picture is not None:
            _draw(call, picture, answer.data)
        if gaps:
            from soc.detections.attack import gaps as uncovered

            call.output.answer(answer, GAPS, uncovered(answer.data))
            return
        rows = answer.data["tactics" if kill_chain else "techniques"]
        call.output.answer(answer, TACTICS if kill_chain else TECHNIQUES, rows)
        if not call.json:
            every = number(len(answer.data["techniques"]))
            call.output.say(t("cmd.rule.coverage", counted=number(answer.data["counted"]), all=every))

    @command(rule, "noise", "soc rule noise", "soc rule noise --days 7 --json")
    def noise(call: Call, days: Annotated[int, typer.Option(min=1, max=366, help="Over so many days.")] = 30) -> None:
        """Show alerts by rule and day, how many were judged false, and where an exception would help."""
        answer = call.client.get("/v1/noise", days=days)
        call.output.answer(answer, NOISE, answer.data)
        for row in answer.data if not call.json else ():
            if row["advice"]:
                hint = f"soc rule except add {row['rule']} --when {row['advice']}"
                call.output.say(
                    t("cmd.rule.advice", title=clean(title(row)), share=number(round(row["share"] * 100)),
                      entity=clean(row["advice"]), command=clean(hint))
                )  # fmt: skip

    @command(rule, "deaf", "soc rule deaf", "soc rule deaf --json")
    def deaf(call: Call) -> None:
        """List the rules whose log source sent nothing for 30 days, with what they listen to."""
        answer = call.client.get("/v1/deaf-rules")
        call.output.answer(answer, DEAF, answer.data)
        if not call.json:
            call.output.say(t("cmd.rule.deaf", count=number(len(answer.data))))


def _write_csv(call: Call, path: Path, found: Mapping[str, Any]) -> None:
    from soc.detections.attack import csv_rows

    try:
        with path.open("w", encoding="utf-8", newline="") as out:
            csv.writer(out).writerows([_harmless(cell) for cell in row] for row in csv_rows(found))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    call.output.say(t("cmd.rule.csv", path=path))


def _draw(call: Call, path: Path, found: Mapping[str, Any]) -> None:
    from soc.detections import attack_picture

    rules = {each["id"] for row in found["techniques"] for each in (*row["counted"], *row["others"])}
    words = {
        "counted": number(found["counted"]), "all": number(len(found["techniques"])), "rules": number(len(rules)),
        "few": attack_picture.FEW, "most": attack_picture.MANY - 1, "many": attack_picture.MANY,
    }  # fmt: skip
    site, at = call.settings, f"{when(call.world.clock.now_ns() // 1000, seconds=False)} (Asia/Ho_Chi_Minh)"
    texts = {name: both(f"cmd.picture.{name}", **words) for name in attack_picture.TEXTS}
    texts["site"] = (f"{clean(site.site_name or site.site_id, 60)}, {at}", f"{clean(site.site_id, 60)}, {at}")
    try:
        path.write_bytes(attack_picture.draw(found, texts))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    call.output.say(t("cmd.rule.csv", path=path))


def _harmless(cell: object) -> str:
    """Titles come from strangers' rules: a spreadsheet would run what begins like a formula."""
    text = str(cell)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _write_layer(call: Call, path: Path, found: Mapping[str, Any]) -> None:
    from soc.detections.attack import layer

    name = f"soc-toolkit {call.settings.site_name or call.settings.site_id}"
    try:
        path.write_text(json.dumps(layer(found, name), ensure_ascii=False, indent=1) + "\n", "utf-8")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    call.output.say(t("cmd.rule.layer", path=path))
