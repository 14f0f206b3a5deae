"""The command line: global options, the commands, and what becomes of an error."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.main import get_command

from soc import __version__
from soc.console.commands import (
    alert,
    certificate,
    check,
    coverage,
    detect,
    events,
    fields,
    filters,
    imports,
    ledger,
    lookback,
    mib,
    national,
    packet,
    parse,
    person,
    playbook,
    process,
    relay,
    retention,
    rule,
    settings,
    simulation,
    source,
    status,
    store,
    system,
    ticket,
)
from soc.console.commands.call import Acting, Call, Json, World
from soc.console.i18n import LANGUAGES, t
from soc.console.i18n.errors import told
from soc.console.text import clean
from soc.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_RUNTIME, EXIT_USAGE, SocError, UsageError

_MISTYPED: type[Exception] = typer.BadParameter.__mro__[2]
"""Whatever is wrong with a command line; Typer has no public name for all of it (click's `ClickException`)."""
app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="soc: a Security Operations Center and log-analytics toolkit.",
    epilog="\b\nExamples:\n  soc up --simulate\n  soc search 'event.outcome:failure' --since 1h\n"
    "  soc alert list --status new\n  soc detect --rules rules/ Security.evtx\n",
)
for _part in (
    process, parse, detect, rule, check, fields, events, filters, lookback, coverage, source, imports, alert, ticket,
    playbook, national, retention, ledger, store, system, mib, relay, certificate, packet, person, status, settings,
    simulation,
):  # fmt: skip
    _part.add(app)


def _version(asked: bool) -> None:
    if asked:
        from soc.model.kernel import WHICH

        typer.echo(f"soc {__version__}, {WHICH}")
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    json: Json = False,
    acting: Acting = None,
    home: Annotated[Path | None, typer.Option(help="Data, keys and logs of the service; else SOC_HOME.")] = None,
    config: Annotated[Path | None, typer.Option(help="The settings file; else SOC_CONFIG, HOME/soc.toml.")] = None,
    socket: Annotated[Path | None, typer.Option(help="The service's socket; else SOC_SOCKET.")] = None,
    url: Annotated[str | None, typer.Option(help="The service over TCP, with SOC_TOKEN; else SOC_URL.")] = None,
    lang: Annotated[str | None, typer.Option(metavar="vi|en", help="Language; else SOC_LANG, the locale.")] = None,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours; else NO_COLOR.")] = False,
    no_input: Annotated[bool, typer.Option("--no-input", help="Never ask; what needs a yes needs --yes.")] = False,
    version: Annotated[bool, typer.Option("--version", is_eager=True, callback=_version, help="The version.")] = False,
) -> None:
    """Global options stand before the command; `--json` and `--as` may also stand after it."""
    if lang is not None:
        if lang not in LANGUAGES:
            raise UsageError(f"unknown language '{clean(lang)}'; one of {', '.join(LANGUAGES)}")
        os.environ["SOC_LANG"] = lang  # for the processes that a command starts as well
    ctx.obj = Call(
        ctx.obj or World(), json=json, acting=acting, home=home, config=config, socket=socket, url=url,
        colour=not (no_color or os.environ.get("NO_COLOR")), no_input=no_input,
    )  # fmt: skip


def run(arguments: Sequence[str] | None = None, world: World | None = None) -> int:
    """Run one command line and give its exit code; an expected error is one sentence with its way out."""
    try:
        # What `typer.Exit` carried; commands themselves give None.
        code = get_command(app).main(args=arguments, prog_name="soc", obj=world or World(), standalone_mode=False)
    except SystemExit as ending:
        return _flushed(ending.code if isinstance(ending.code, int) else EXIT_OK)
    except _MISTYPED as error:
        return _flushed(_say_mistyped(error))
    except typer.Abort:
        sys.stderr.write("Aborted!\n")
        return _flushed(EXIT_RUNTIME)
    except SocError as error:
        _tell(str(error), error.hint)
        return _flushed(error.exit_code)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return _flushed(EXIT_OK)
    except FileNotFoundError as error:
        _tell(t("cmd.no_file", path=error.filename), None)
        return EXIT_USAGE
    except OSError as error:
        _tell(f"{error.filename or ''}: {error.strerror or error}".removeprefix(": "), None)
        return EXIT_RUNTIME
    return _flushed(code or EXIT_OK)


def _say_mistyped(error: Any) -> int:
    """As Typer says it: usage, where help is, and the sentence in the reader's language."""
    sentence = error.format_message()
    if "\n" not in sentence:  # else it is the help of a group that was called without a command
        error.format_message = lambda: told(sentence)
    error.show()
    return int(error.exit_code)


def _tell(message: str, hint: str | None) -> None:
    first, *rest = told(message).split("\n")
    lines = [f"soc: {clean(first)}", *(f"     {clean(line)}" for line in rest)]
    lines += [f"  {clean(line)}" for line in told(hint or "").split("\n") if line]
    sys.stderr.write("\n".join(lines) + "\n")


def _flushed(code: int) -> int:
    """The reader of a pipe may have gone (`| head`): that is no error, and nothing is said about it."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more when it ends; that must find somewhere to write.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def main() -> None:
    """The entry point."""
    # Events are many small objects and few circles: searched as often as Python does by itself, reading them takes a
    # quarter longer (measured).
    gc.set_threshold(50_000, 20, 20)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a locale without Vietnamese still gets every line
    sys.exit(run())
