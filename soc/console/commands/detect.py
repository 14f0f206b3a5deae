"""`soc detect`: rules over files, one hit a line, without any service."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soc.console.commands.call import Call, command
from soc.console.commands.parse import FORMAT_HELP, Files, Reading, writer
from soc.console.i18n import number, t
from soc.console.render import counted
from soc.errors import EXIT_FINDINGS, SocError, UsageError

if TYPE_CHECKING:
    from soc.detections.load import DetectionSet
    from soc.detections.profile import Cost, Profile
    from soc.model.joined import Joined
    from soc.parsers import ParserSet

REFUSED_SHOWN = 10
COSTS_SHOWN = 15


@dataclass
class Meter:
    """Counts what goes by, and the seconds spent before (reading, parsing) and behind (matching) this point."""

    events: int = 0
    unread: int = 0
    hits: Counter[tuple[str, str]] = field(default_factory=Counter)
    excepted: Counter[str] = field(default_factory=Counter)
    left_out: dict[str, int] = field(default_factory=dict)
    parse_s: float = 0.0
    match_s: float = 0.0
    load_s: float = 0.0
    profile: Profile | None = None

    def measured(self, blocks: Iterator[Joined]) -> Iterator[Joined]:
        """The same blocks, counted and timed."""
        while True:
            begun = time.perf_counter()
            block = next(blocks, None)
            self.parse_s += time.perf_counter() - begun
            if block is None:
                return
            self.events += sum(batch.n for batch in block.batches)
            self.unread += sum(batch.n for batch in block.batches if batch.dataset == "unparsed")
            handed = time.perf_counter()
            yield block
            # What the consumer did until it came back for more.
            self.match_s += time.perf_counter() - handed

    @property
    def seconds(self) -> float:
        """Wall time over the files, without loading rules."""
        return self.parse_s + self.match_s


def add(app: typer.Typer) -> None:
    """Add the command."""

    @command(
        app,
        "detect",
        "soc detect --rules rules/ Security.evtx",
        "soc detect --rules sigma/rules -P sysmon.yml --profile --flame costs.svg logs/*.json",
        local=True,
    )
    def detect(
        call: Call,
        files: Files,
        rules: Annotated[
            list[Path] | None,
            typer.Option("--rules", "-r", help="Folders, files or zip archives of Sigma rules; default: ours."),
        ] = None,
        lists: Annotated[
            list[Path] | None,
            typer.Option("--lists", help="Folders of lists that rules expand: NAME.txt is %NAME%."),
        ] = None,
        pipeline: Annotated[
            list[Path] | None,
            typer.Option("--pipeline", "-p", "-P", help="pySigma pipelines: files, or names of installed ones."),
        ] = None,
        format: Annotated[str, typer.Option(help=FORMAT_HELP)] = "auto",
        profile: Annotated[
            bool, typer.Option(help="Say what each rule, field and route cost, and which rules hit, on stderr.")
        ] = False,
        flame: Annotated[
            Path | None,
            typer.Option(help="Draw these costs as a flame graph: an .svg, otherwise folded stacks for other tools."),
        ] = None,
        refused: Annotated[bool, typer.Option("--refused", help="List every refused rule with its reason.")] = False,
        no_cache: Annotated[
            bool, typer.Option("--no-cache", help="Read all rules anew, and keep nothing for the next time.")
        ] = False,
        excepted: Annotated[
            bool, typer.Option("--excepted", help="Also write the hits that an exception takes.")
        ] = False,
        fail_on_hit: Annotated[bool, typer.Option("--fail-on-hit", help="Exit 3 when a rule hits.")] = False,
    ) -> int:
        """Run Sigma rules and correlations over files: one hit a line, with what matched."""
        from soc import pipeline as flow
        from soc.detections.profile import Profile

        meter = Meter(profile=Profile() if profile or flame else None)
        reading = Reading(call, files, format=format)
        parsers = flow.load_parsers(call.settings.content_roots)
        loaded = _load(call, rules, pipeline or (), lists or (), parsers, meter, keeps=not no_cache)
        write = writer(call)
        for hit in _hits(loaded, parsers, reading, meter):
            if excepted or "exception" not in hit:
                write(hit)
        _summary(call, loaded, meter, all_refused=refused)
        if profile:
            _profile(call, meter, loaded)
        if flame:
            _draw(meter, loaded, flame)
        return EXIT_FINDINGS if meter.hits and fail_on_hit else reading.exit_code


def _load(
    call: Call,
    rules: Sequence[Path] | None,
    pipelines: Sequence[Path],
    lists: Sequence[Path],
    parsers: ParserSet,
    meter: Meter,
    *,
    keeps: bool,
) -> DetectionSet:
    from soc import content
    from soc.detections.cache import default_folder
    from soc.detections.lists import read_lists
    from soc.detections.load import DetectionSet

    begun = time.perf_counter()
    settings = call.settings
    paths = rules or [*content.roots("detections", settings.content_roots), *settings.rules]
    loaded = DetectionSet.load(
        paths,
        pipelines=pipelines,
        fields=parsers.fields,
        lists=read_lists([*settings.rule_lists, *lists]),
        cache=default_folder() if keeps else None,
    )
    meter.load_s = time.perf_counter() - begun
    if not loaded.loaded and not loaded.refused:
        raise UsageError(t("cmd.detect.no_rules", paths=", ".join(map(str, paths))))
    return loaded


def _hits(loaded: DetectionSet, parsers: ParserSet, reading: Reading, meter: Meter) -> Iterator[dict[str, Any]]:
    from soc.detections.detect import detect

    blocks = meter.measured(reading.joined(parsers))
    for hit in detect(loaded, blocks, fields=parsers.fields, left_out=meter.left_out, profile=meter.profile):
        if "exception" in hit:
            meter.excepted[hit["exception"]] += 1
        else:
            meter.hits[hit["rule"], hit["title"]] += 1
        yield hit


def _summary(call: Call, loaded: DetectionSet, meter: Meter, *, all_refused: bool) -> None:
    say = call.output.say
    shown = loaded.refused if all_refused else loaded.refused[:REFUSED_SHOWN]
    for one in shown:
        say(str(one))
    if len(shown) < len(loaded.refused):
        say(t("cmd.detect.more_refused", count=number(len(loaded.refused) - len(shown))))
    rate = int(meter.events / meter.seconds) if meter.seconds else 0
    say(t("cmd.detect.summary", hits=number(sum(meter.hits.values())), events=number(meter.events), rate=number(rate),
          loaded=number(loaded.loaded), refused=number(len(loaded.refused))))  # fmt: skip
    if meter.unread:
        say(t("cmd.detect.unread", count=number(meter.unread)))
    if meter.left_out:
        say(t("cmd.detect.left_out", what=counted("left_out", meter.left_out)))
    for exception, count in meter.excepted.most_common():
        say(t("cmd.detect.excepted", count=number(count), exception=exception))


def _profile(call: Call, meter: Meter, loaded: DetectionSet) -> None:
    """By stage, route, field and rule, the dearest first; then the hits of each rule."""
    say = call.output.say
    for stage, seconds in (("load", meter.load_s), ("parse", meter.parse_s), ("match", meter.match_s)):
        each = seconds / meter.events * 1e6 if meter.events and stage != "load" else None
        cost = "" if each is None else t("cmd.detect.each", us=number(each))
        say(t(f"cmd.detect.stage.{stage}", seconds=number(seconds, 3), each=cost))
    if meter.profile is not None:
        titles = {rule.id: f"{rule.id}  {rule.title}" for rule in (*loaded.rules, *loaded.watched)}
        routes = sorted(meter.profile.routes, key=lambda route: -route.whole.ns)
        _costs(call, "route", {t("cmd.detect.routed", route=r.name, rules=number(r.rules)): r.whole for r in routes})
        _costs(call, "field", meter.profile.fields())
        _costs(call, "rule", {titles.get(rule, rule): cost for rule, cost in meter.profile.rules().items()})
    say(t("cmd.detect.by_rule"))
    for (rule, title), count in meter.hits.most_common():
        say(f"{number(count):>9}  {rule}  {title}")


def _costs(call: Call, kind: str, costs: Mapping[str, Cost]) -> None:
    call.output.say(t(f"cmd.detect.costs.{kind}"))
    for name, cost in list(costs.items())[:COSTS_SHOWN]:
        call.output.say(f"{number(cost.ns / 1e6):>9} ms {number(cost.asked):>9} {number(cost.held):>9}  {name}")
    if len(costs) > COSTS_SHOWN:
        call.output.say(t("cmd.detect.costs.more", count=number(len(costs) - COSTS_SHOWN)))


def _draw(meter: Meter, loaded: DetectionSet, path: Path) -> None:
    from soc.console.flame import folded, svg

    assert meter.profile is not None
    titles = {rule.id: rule.title for rule in (*loaded.rules, *loaded.watched)}
    matching = [((*stack[:-1], titles.get(stack[-1], stack[-1])), ns) for stack, ns in meter.profile.stacks()]
    rest = int(meter.match_s * 1e9) - sum(ns for _, ns in matching)
    stacks = [
        (("load",), int(meter.load_s * 1e9)),
        (("parse",), int(meter.parse_s * 1e9)),
        (("match",), max(rest, 0)),
        *((("match", *stack), ns) for stack, ns in matching),
    ]
    try:
        path.write_text(svg(stacks, "soc detect") if path.suffix.lower() == ".svg" else folded(stacks), "utf-8")
    except OSError as error:
        raise SocError(f"{path}: {error.strerror}") from error
