"""`soc serve`: the API and the rooms behind it; who may come in at the first start."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import pwd
import re
import socket
import threading
from collections.abc import Iterator

from soc import pipeline
from soc.config import Settings
from soc.connectors.drivers.nftables import DemoWorld
from soc.errors import ConfigError, SocError, TryAgain
from soc.processes.process import STOP_S, on_reload, running

DEMO_PEOPLE = (("lan", "tier1"), ("minh", "tier3"), ("hoa", "manager"), ("tuan", "auditor"))
"""Who acts with `--as NAME` on a simulated site, beside one officer of the first owner unit."""
DEMO_OFFICER = "yte"
_log = logging.getLogger("soc.up")


def serve(settings: Settings) -> None:
    """The API, and alerts, tickets, playbooks, outbox and imports behind it, until stopped."""
    from soc.pipeline.services import NO_GATEWAY
    from soc.web import server

    with running(settings, "serve") as me, contextlib.ExitStack() as stack:
        world, why_not = stack.enter_context(_world()) if settings.simulated else (None, NO_GATEWAY)
        services = pipeline.Services.open(settings, me.clock, world=world, why_not=why_not)
        stack.callback(services.close)
        _first_people(services)
        unix = server.open_unix_socket(settings.socket)
        stack.callback(unix.close)
        tcp = _listen("web", settings.web_host, settings.web_port)
        stack.callback(tcp.close)
        threads = services.background(me.stop)

        def alive() -> None:
            me.tell_when_due({})
            me.ease()

        again = threading.Event()
        on_reload(again.set)
        me.ready(socket=str(settings.socket), port=tcp.getsockname()[1])
        try:
            server.serve(services, sock=unix, tcp=tcp, stop=me.stop, alive=alive, again=again)
        finally:
            me.stop.set()
            for thread in threads:
                thread.join(STOP_S)


@contextlib.contextmanager
def _world() -> Iterator[tuple[DemoWorld | None, str]]:
    """Two namespaces of our own for the firewall to act in; None, and why, where they cannot be had."""
    try:
        world = DemoWorld()
    except SocError as error:
        _log.warning("no network namespaces here, blocking stays a manual task: %s", error)
        yield None, str(error)
        return
    with world:
        yield world, ""


def _first_people(services: pipeline.Services) -> None:
    """The first start makes an admin for the uid that runs it; a simulated site gets its demo people too."""
    if services.access.people():
        return
    uid = os.getuid()
    name = re.sub(r"[^a-z0-9_.-]", "", pwd.getpwuid(uid).pw_name.lower()) or "admin"
    services.access.add_person(name, "admin", uid=uid, reason="first start")
    if not services.settings.simulated:
        return
    for person, role in DEMO_PEOPLE:
        services.access.add_person(person, role, reason="simulated site")
    units = sorted({s.organization_id for s in services.registry.systems()})
    if units:
        services.access.add_person(DEMO_OFFICER, "tier2-unit", units=units[1:2] or units[:1], reason="simulated site")


def _listen(section: str, host: str, port: int) -> socket.socket:
    """A listening TCP socket on the first free port from `port` on; `section` of soc.toml names it.

    Raises TryAgain when twenty are taken, ConfigError for an address or a port that cannot be had at all.
    """
    from soc.web import server

    for candidate in range(port, port + 20):
        try:
            sock = server.open_tcp_socket(host, candidate)
        except ConfigError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE:
                continue
            raise
        if candidate != port:
            print(f"{section}: port {port} is taken, listening on {candidate}", flush=True)
        return sock
    raise TryAgain(f"no free port from {port} to {port + 19} on {host}", hint=f"set [{section}] port in soc.toml")
