"""`soc check`: runs the tests that definitions carry, in the room that owns them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soc.console.commands.call import Call, command
from soc.console.i18n import number, t
from soc.console.render import Column
from soc.errors import EXIT_FINDINGS, ContentError, UsageError

if TYPE_CHECKING:
    from soc.model.check import CheckResult

COLUMNS = (
    Column("cmd.col.place", lambda r: f"{r['path']}:{r['line']}", fold=True),
    Column("cmd.col.id", "id"),
    Column("cmd.col.fault", "message", fold=True),
)


def add(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "check", "soc check", "soc check /etc/soc/content", local=True)
    def check(
        call: Call,
        path: Annotated[
            Path | None, typer.Argument(help="A folder with parsers/, detections/, playbooks/, ...; default: the site.")
        ] = None,
    ) -> int:
        """Run the tests that definitions carry and read what has none: every fault with its place, exit 3."""
        from soc.content import KINDS

        if path is not None and not any((path / kind).is_dir() for kind in KINDS):
            raise UsageError(t("cmd.check.no_content", path=path), hint=", ".join(f"{path}/{kind}" for kind in KINDS))
        results = run_checks([path] if path is not None else list(call.settings.content_roots))
        faults = [r for r in results if not r.ok]
        _show(call, results, faults)
        call.output.say(t("cmd.check.summary", held=number(len(results) - len(faults)), failed=number(len(faults))))
        return EXIT_FINDINGS if faults else 0


def _show(call: Call, results: Sequence[CheckResult], faults: Sequence[CheckResult]) -> None:
    rows = [vars(r) | {"ok": r.ok} for r in (results if call.json else faults)]
    if call.json:
        call.output.own("soc.check/v1", rows)
    elif call.output.terminal and faults:
        call.output.table(COLUMNS, rows)
    else:
        for fault in faults:
            call.output.line(f"{fault.path}:{fault.line}: {fault.id}: {fault.message}")


def run_checks(site_roots: Sequence[Path]) -> list[CheckResult]:
    """What each room says of its content, over what ships and the site's roots."""
    from soc import content, detections, parsers, playbooks

    checks: dict[str, Callable[[Sequence[Path]], Iterable[CheckResult]]] = {
        "parsers": parsers.check, "detections": _with_fields(detections.check, site_roots),
        "playbooks": _playbooks(playbooks.check), "retention": _retention, "connectors": _connectors,
    }  # fmt: skip
    results: list[CheckResult] = []
    for kind, check in checks.items():
        folders = content.roots(kind, site_roots)
        try:
            results.extend(check(folders))
        except ContentError as error:
            results.extend(_faults(kind, error))
    return results


def _with_fields(check: Callable[..., list[CheckResult]], roots: Sequence[Path]) -> Any:
    """Rules read the fields that parsers add to the dictionary."""

    def run(folders: Sequence[Path]) -> list[CheckResult]:
        from soc import pipeline
        from soc.model.fields import FIELDS

        try:
            fields = pipeline.load_parsers(roots).fields
        except ContentError:
            fields = FIELDS  # the parsers' own check says what is wrong with them
        return check(folders, fields)

    return run


def _playbooks(check: Callable[[Sequence[Path]], list[CheckResult]]) -> Any:
    def run(folders: Sequence[Path]) -> list[CheckResult]:
        from soc.tickets.clocks import load_clocks

        results = check(folders)
        try:
            load_clocks(folders)
        except ContentError as error:
            results.extend(_faults("playbooks", error))
        return results

    return run


def _retention(folders: Sequence[Path]) -> list[CheckResult]:
    from soc.retention import ladder

    ladder.load_all(folders)
    return _read(folders)


def _connectors(folders: Sequence[Path]) -> list[CheckResult]:
    from soc.connectors.national import mapping

    mapping.load(folders)
    return _read(folders)


def _read(folders: Sequence[Path]) -> list[CheckResult]:
    """One result for each definition that was read without a fault."""
    from soc.content import documents
    from soc.model.check import CheckResult

    return [CheckResult(d.path, d.line("id"), id, True) for id, d in sorted(documents(folders).items())]


def _faults(kind: str, error: ContentError) -> list[CheckResult]:
    from soc.model.check import CheckResult

    return [CheckResult(fault.path, fault.line, kind, False, fault.message) for fault in error.faults]
