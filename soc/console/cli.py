"""The command line: `soc parse`, `soc detect` and `soc check`, which need no service."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import orjson
import typer

from soc import content, pipeline
from soc.detections import check as check_detections
from soc.detections.load import DetectionSet
from soc.errors import EXIT_FINDINGS, EXIT_USAGE, SocError
from soc.model.clock import SystemClock
from soc.parsers import check as check_parsers

app = typer.Typer(no_args_is_help=True, help="A Security Operations Center and log-analytics toolkit.")
Files = Annotated[list[str], typer.Argument(help="Files to read; - is standard input.")]


def _paths(files: list[str]) -> list[Path | None]:
    return [None if name == "-" else Path(name) for name in files]


def _print(document: object) -> None:
    sys.stdout.buffer.write(orjson.dumps(document) + b"\n")


@app.command()
def parse(
    files: Files,
    product: Annotated[str | None, typer.Option("--as", help="Take every record as this product.")] = None,
    format: Annotated[str, typer.Option(help="auto, lines, json, evtx.")] = "auto",
) -> None:
    """Normalise files: one flat ECS document a line. Example: soc parse auth.log"""
    parsers = pipeline.load_parsers()
    for path in _paths(files):
        for batches in pipeline.parse_file(parsers, path, SystemClock(), format=format, product=product):
            for document in pipeline.ordered_documents(batches):
                _print(document)


@app.command()
def detect(
    files: Files,
    rules: Annotated[list[Path], typer.Option(help="Folders or files of Sigma rules.")],
    fail_on_hit: Annotated[bool, typer.Option(help="Exit 3 when a rule hits.")] = False,
) -> None:
    """Run Sigma rules over files: one hit a line. Example: soc detect --rules rules/ Security.evtx"""
    parsers = pipeline.load_parsers()
    loaded = DetectionSet.load(rules, fields=parsers.fields)
    hits = 0
    for hit in pipeline.detect_files(loaded, parsers, _paths(files), SystemClock()):
        hits += 1
        _print(hit)
    typer.echo(f"{hits} hits, {loaded.loaded} rules loaded, {len(loaded.refused)} refused", err=True)
    if hits and fail_on_hit:
        raise typer.Exit(EXIT_FINDINGS)


@app.command()
def check(path: Annotated[Path | None, typer.Argument(help="A folder with parsers/ and detections/.")] = None) -> None:
    """Run the tests that definitions carry. Example: soc check"""
    roots = [path] if path else []
    results = [*check_parsers(content.roots("parsers", roots)), *check_detections(content.roots("detections", roots))]
    for result in results:
        if not result.ok:
            typer.echo(f"{result.path}:{result.line}: {result.id}: {result.message}")
    typer.echo(f"{sum(r.ok for r in results)} held, {sum(not r.ok for r in results)} failed", err=True)
    if not all(r.ok for r in results):
        raise typer.Exit(EXIT_FINDINGS)


def main() -> None:
    """Run the command line; an expected error is one sentence and its exit code."""
    try:
        app()
    except SocError as error:
        typer.echo(f"soc: {error}" + (f"\n  {error.hint}" if error.hint else ""), err=True)
        raise SystemExit(error.exit_code) from None
    except FileNotFoundError as error:
        typer.echo(f"soc: {error.filename}: no such file", err=True)
        raise SystemExit(EXIT_USAGE) from None
