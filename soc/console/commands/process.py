"""`soc up`, the processes it starts, and `soc console`."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Any

import typer

from soc.config import Sense, Settings
from soc.console.commands.call import Call, command
from soc.console.i18n import number, t
from soc.console.progress import progress
from soc.console.text import clean
from soc.errors import UsageError

DEMO_ANALYST = "lan"
"""The tier-1 analyst of a simulated site: who started it is its administrator, and those do not judge alerts."""


def add(app: typer.Typer) -> None:
    """Add the commands."""

    @command(app, "up", "soc up", "soc up --simulate --no-console", local=True)
    def up(
        call: Call,
        simulate: Annotated[bool, typer.Option("--simulate", help="A made-up province sends real packets.")] = False,
        console: Annotated[
            bool | None, typer.Option("--console/--no-console", help="Open the console; default: on a terminal.")
        ] = None,
        seed: Annotated[int, typer.Option(help="Of the made-up province.")] = 1,
    ) -> None:
        """Start everything, watch it, and stop it in order on Ctrl-C."""
        settings = call.settings
        if simulate:
            with _history(call) as written:
                settings = call.processes.prepare_simulation(settings.home, seed=seed, progress=written)
        call.kept["settings"] = settings
        opens = call.output.terminal if console is None else console
        call.processes.up(
            settings,
            simulate=simulate,
            config=call.config,
            ready=lambda states, stop: _ready(call, states, stop, opens=opens),
        )

    _single(app)

    @command(app, "console", "soc console", "soc console --as lan")
    def console_(call: Call) -> None:
        """Open the console: alerts as they come, tickets, playbooks."""
        _open_console(call)


def _point(settings: Settings, interface: str, name: str | None) -> Sense:
    """The monitoring point of this name, or of this interface; a new one with the defaults when there is none."""
    found = [s for s in settings.sense if s.name == name or (name is None and s.interface == interface)]
    if name is not None and not found:
        raise UsageError(t("cmd.sense.unknown", name=name))
    return replace(found[0], interface=interface) if found else Sense(interface, interface)


def _single(app: typer.Typer) -> None:
    """One command for each process, as `soc up`, systemd or an orchestrator starts them."""

    @command(app, "collect", "soc collect", local=True)
    def collect(call: Call) -> None:
        """Listen and queue; never parses. SIGHUP reads the listeners of soc.toml again."""
        call.processes.collect(call.settings, call.load)

    @command(app, "poll", "soc poll", local=True)
    def poll(call: Call) -> None:
        """Ask the sources of [poll.<name>] and queue; never parses."""
        call.processes.poll(call.settings)

    @command(app, "sense", "soc sense eth1", "soc sense eth1 --promiscuous --filter 'not port 22'", local=True)
    def sense(
        call: Call,
        interface: Annotated[str, typer.Argument(help="Network interface whose packets are followed.")],
        name: Annotated[str | None, typer.Option(help="Its [sense.<name>] in soc.toml; else by the interface.")] = None,
        expression: Annotated[str | None, typer.Option("--filter", help="Only these packets (pcap-filter).")] = None,
        promiscuous: Annotated[
            bool | None, typer.Option("--promiscuous/--no-promiscuous", help="Packets for others too.")
        ] = None,
    ) -> None:
        """Follow the packets of an interface: flows, DNS, HTTP, TLS, QUIC, DHCP, ARP; needs CAP_NET_RAW."""
        entry = _point(call.settings, interface, name)
        if expression is not None:
            entry = replace(entry, filter=expression)
        if promiscuous is not None:
            entry = replace(entry, promiscuous=promiscuous)
        counts = call.processes.sense(call.settings, entry)
        if call.json:
            call.output.document(counts)
        else:
            shown = {key: number(counts.get(key, 0)) for key in ("packets", "flow_packets", "unread", "kernel_drops")}
            call.output.say(t("cmd.sense.ended", interface=interface, **shown))

    @command(app, "work", "soc work --index 0", local=True)
    def work(call: Call, index: Annotated[int, typer.Option(min=0, help="Which of the workers.")] = 0) -> None:
        """Queue to store: parse, enrich, match single events."""
        call.processes.work(call.settings, index)

    @command(app, "correlate", "soc correlate", local=True)
    def correlate(call: Call, index: Annotated[int, typer.Option(min=0, help="Which of the correlators.")] = 0) -> None:
        """Correlations and anomaly models over what matched."""
        call.processes.correlate(call.settings, index)

    @command(app, "lookback", "soc lookback", local=True)
    def lookback(call: Call) -> None:
        """Work off the backtests and hunts that people ask for, with a share of one core."""
        call.processes.lookback(call.settings)

    @command(app, "serve", "soc serve", local=True)
    def serve(call: Call) -> None:
        """The API, alerts, tickets, playbooks, outbox, retention."""
        call.processes.serve(call.settings)

    @command(app, "compact", "soc compact", local=True)
    def compact(call: Call) -> None:
        """Seal and merge files of the store."""
        call.processes.compact(call.settings)


def _ready(call: Call, states: Mapping[str, Any], stop: threading.Event, *, opens: bool) -> None:
    """Says where to look; opens the console where a person sits."""
    say, settings = call.output.say, call.settings
    port = (states.get("serve") or {}).get("port") or settings.web_port
    say(t("cmd.up.ready", home=clean(settings.home)))
    wanted = {listen.name: listen.port for listen in settings.listen}
    for name, at in ((states.get("collect") or {}).get("ports") or {}).items():
        moved = at != (wanted.get(name) or at)
        say(f"  {name}: {at}" + (f"  ({t('cmd.up.moved', port=str(wanted[name]))})" if moved else ""))
    if port != settings.web_port:
        say(f"  API: {port}  ({t('cmd.up.moved', port=str(settings.web_port))})")
    scheme = "https" if settings.web_certificate else "http"
    say(t("cmd.up.api", socket=settings.socket, url=f"{scheme}://{settings.web_host}:{port}"))
    if settings.simulated:
        say(t("cmd.simulated"))
    say(t("cmd.up.look"))
    if opens:
        _console_beside(call, stop)
        if not stop.is_set():
            say(t("cmd.up.goes_on"))


def _console_beside(call: Call, stop: threading.Event) -> None:
    """The console in a process of its own: a terminal that goes away must not keep us from stopping in order."""
    acting = call.acting or (DEMO_ANALYST if call.settings.simulated else None)
    person = ("--as", acting) if acting else ()
    file = ("--config", str(call.config)) if call.config else ()
    home = ("--home", str(call.settings.home))
    console = subprocess.Popen((sys.executable, "-m", "soc", *home, *file, *person, "console"))
    while console.poll() is None and not stop.wait(0.2):
        pass
    if console.poll() is None:
        console.terminate()
        console.wait()


@contextmanager
def _history(call: Call) -> Iterator[Callable[[int, int, int], None]]:
    """A progress bar while the simulated past is written, on a terminal; one line at the end otherwise."""
    rows = 0
    if not call.output.err.isatty():

        def count(_done: int, _total: int, stored: int) -> None:
            nonlocal rows
            rows = stored

        yield count
        if rows:
            call.output.say(t("cmd.up.history", rows=number(rows)))
        return
    with progress(call.output, t("cmd.up.history.days")) as bar:
        yield lambda done, total, stored: bar(completed=done, total=total)


def _open_console(call: Call) -> None:
    from soc.console.screens.app import run

    service: Any = call.client
    run(service)
