"""One call of a command: its options, the way to the service, and the decorator that gives every command the same."""

from __future__ import annotations

import datetime as dt
import inspect
import os
import re
import select
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soc import config
from soc.config import Settings
from soc.console.i18n import commands as _words  # noqa: F401 -- registers what `t` says
from soc.console.i18n import t
from soc.console.render import Output
from soc.errors import EXIT_OK, NotFound, TryAgain, UsageError
from soc.model.clock import VIETNAM, Clock, SystemClock

if TYPE_CHECKING:
    from types import ModuleType

    from soc.client import Client

_RELATIVE = re.compile(r"\d+(s|m|h|d|w)")
_WHOLE_ID = 32
"""A UUID has 36 characters, an event's id 32; what is shorter is the end of one."""


def _connect(settings: Settings, **options: Any) -> Client:
    from soc.client import Client

    return Client.connect(settings, **options)


def _processes() -> ModuleType:
    from soc import processes

    return processes


@dataclass(frozen=True)
class World:
    """What lies outside a command, handed in so that tests can set it."""

    connect: Callable[..., Any] = _connect
    processes: Callable[[], Any] = _processes
    clock: Clock = field(default_factory=SystemClock)
    answer: Callable[[], str] = lambda: sys.stdin.readline()  # noqa: PLW0108 -- standard input of that moment
    sleep: Callable[[float], None] = time.sleep
    terminal: bool | None = None
    width: int | None = None


@dataclass(frozen=True)
class Call:
    """The options of one call; the client and the settings are made when a command asks for them."""

    world: World
    json: bool = False
    acting: str | None = None
    home: Path | None = None
    config: Path | None = None
    socket: Path | None = None
    url: str | None = None
    colour: bool = True
    no_input: bool = False
    kept: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def settings(self) -> Settings:
        """The settings with the flags over them. Raises ConfigError."""
        if "settings" not in self.kept:
            self.kept["settings"] = self.load()
        made: Settings = self.kept["settings"]
        return made

    def load(self) -> Settings:
        """The settings as they are now, read again. Raises ConfigError."""
        try:
            return config.load(self.config, home=self.home, overrides={"socket": self.socket})
        except PermissionError:
            # The home belongs to the service (design, section 3); to speak to it, its socket is enough.
            home = (self.home or config.default_home()).absolute()
            return Settings(home=home, socket=self.socket or config.default_socket(home))

    @property
    def client(self) -> Client:
        """The service. Raises TryAgain when it is not running, PermissionRefused when it does not know the caller."""
        if "client" not in self.kept:
            self.kept["client"] = self.world.connect(
                self.settings,
                socket=self.socket,
                url=self.url or os.environ.get("SOC_URL") or None,
                token=os.environ.get("SOC_TOKEN") or None,
                acting=self.acting,
            )
        made: Client = self.kept["client"]
        return made

    @property
    def output(self) -> Output:
        """Where this call writes."""
        if "output" not in self.kept:
            self.kept["output"] = Output(
                json=self.json, terminal=self.world.terminal, colour=self.colour, width=self.world.width
            )
        made: Output = self.kept["output"]
        return made

    @property
    def processes(self) -> Any:
        """`soc.processes`, imported only by the commands that start something."""
        return self.world.processes()

    def close(self) -> None:
        """Let go of the service."""
        client = self.kept.pop("client", None)
        if client is not None:
            client.close()

    def confirm(self, question: str, *, yes: bool, show: Callable[[Call], None] | None = None) -> None:
        """Ask a person; `--yes` answers. Raises UsageError for no, and where nobody can be asked.

        `show` puts before the question what it is about, on stderr: stdout holds only what was done, and whoever
        stops reading it (`| head`) cannot stop the command between the two.
        """
        if yes:
            return
        if self.no_input:
            raise UsageError(t("cmd.needs_yes"), hint=question)
        if show is not None:
            show(replace(self, kept={"output": self.output.aside(), "client": self.client}))
        self.output.err.write(f"{question} {t('cmd.ask')} ")
        self.output.err.flush()
        said = self.world.answer()
        if not said:
            raise UsageError(t("cmd.needs_yes"))
        if said.strip().lower() not in ("y", "yes", "c", "co", "có"):
            raise UsageError(t("cmd.declined"))

    def whole_id(self, path: str, text: str) -> str:
        """The id whose end a person typed, as tables show it. Raises NotFound, UsageError when several end so."""
        if len(text) >= _WHOLE_ID:
            return text
        rows = self.client.get(path, limit=1000).data
        found = [str(row["id"]) for row in rows if str(row["id"]) == text or str(row["id"]).endswith(text)]
        if len(found) > 1 and text not in found:
            raise UsageError(t("cmd.several", text=text, ids=", ".join(found[:5])))
        if not found:
            raise NotFound(t("cmd.no_such", text=text))
        return text if text in found else found[0]


def moment(text: str | None) -> str | None:
    """A time as the API takes it: 15m, 1h, 7d stay, a day or time without a zone is Vietnam's. Raises UsageError."""
    if text is None or _RELATIVE.fullmatch(text):
        return text
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(t("cmd.no_time", text=text), hint="15m, 1h, 7d, 2026-11-20, 2026-11-20T14:30") from None
    at = at if at.tzinfo else at.replace(tzinfo=VIETNAM)
    return at.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")


def pairs(texts: Sequence[str]) -> dict[str, str]:
    """`k=v` texts as a dict. Raises UsageError."""
    found: dict[str, str] = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise UsageError(t("cmd.no_pair", text=text), hint="address=203.0.113.9")
        found[key] = value
    return found


def _is_reader_gone() -> bool:
    """Whether whoever read our output (`| head`) stopped reading; another pipe may have broken as well."""
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError):
        return False
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


Json = Annotated[bool, typer.Option("--json", help="Print the API's envelope instead of a table.")]
Acting = Annotated[
    str | None, typer.Option("--as", metavar="NAME", help="Act as another person (simulated sites only).")
]
Function = Callable[..., int | None]


def group(app: typer.Typer, name: str, help: str) -> typer.Typer:
    """A noun: a group of commands below `app`."""
    made = typer.Typer(no_args_is_help=True, help=help, rich_markup_mode=None)
    app.add_typer(made, name=name)
    return made


def command(app: typer.Typer, name: str, *examples: str, local: bool = False) -> Callable[[Function], Function]:
    """Add a function as a command. Its first parameter is the `Call`; what it returns is the exit code.

    Every command takes `--json` also after its name; one that speaks to the service (not `local`) takes `--as` too.
    """
    epilog = "\b\n" + ("Example:\n" if len(examples) == 1 else "Examples:\n") + "".join(f"  {e}\n" for e in examples)

    def add(function: Function) -> Function:
        app.command(name, epilog=epilog)(_wrapped(function, local))
        return function

    return add


def _wrapped(function: Function, local: bool) -> Callable[..., None]:
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    keyword = inspect.Parameter.KEYWORD_ONLY
    added = [inspect.Parameter("json_after", keyword, default=False, annotation=Json)]
    if not local:
        added.append(inspect.Parameter("acting_after", keyword, default=None, annotation=Acting))

    def run(ctx: typer.Context, json_after: bool = False, acting_after: str | None = None, **arguments: Any) -> None:
        before: Call = ctx.obj
        call = replace(before, json=before.json or json_after, acting=acting_after or before.acting, kept={})
        try:
            code = function(call, **arguments)
            call.output.out.flush()
        except BrokenPipeError:
            if not _is_reader_gone():
                raise TryAgain(t("cmd.connection_lost")) from None
            code = EXIT_OK
        finally:
            call.close()
        if code:
            raise typer.Exit(code)

    context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    parameters = [context, *(p.replace(kind=keyword) for p in own), *added]
    run.__doc__, run.__name__ = function.__doc__, function.__name__
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run
