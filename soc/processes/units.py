"""Distant units: `soc relay hub` at the centre, `soc relay run` at the unit, and how one joins."""

from __future__ import annotations

import socket
import threading
from zoneinfo import ZoneInfo

from soc.collectors.packet_asks import Asks
from soc.collectors.relay import Link, Relay, join
from soc.config import Settings
from soc.errors import ConfigError
from soc.model.clock import VIETNAM
from soc.model.daily import Daily
from soc.pipeline import places
from soc.pipeline.states import read_states
from soc.processes.home import make_home
from soc.processes.process import STATE_S, running


def hub(settings: Settings) -> None:
    """The centre's door for distant units, until stopped."""
    from soc.collectors.hub import Hub, Intake

    with running(settings, "hub") as me:
        sock = _hub_socket(settings.relay_host or "127.0.0.1", settings.relay_port)
        intake = Intake(
            places.queue(settings), places.relay_counters(settings), me.clock, max_bytes=settings.queue_max_bytes
        )
        authority = places.relay_authority(settings, me.clock)
        me.ready(port=sock.getsockname()[1])
        asks = Asks(places.packet_asks(settings), me.clock)
        Hub(authority, intake, places.relay_health(settings), me.clock, asks).serve(sock, me.stop)


def _hub_socket(host: str, port: int) -> socket.socket:
    """The port that the units' settings name, or none: on another one nobody would find us. Raises ConfigError."""
    from soc.web import server

    try:
        return server.open_tcp_socket(host, port)
    except ConfigError as error:
        hint = f"units call this port: free it, or change it here and in each unit's url ([relay] port = {port} now)"
        raise ConfigError(f"the hub {error}", hint=hint) from error


def relay(settings: Settings) -> None:
    """A distant unit: hand the raw log to the centre until stopped. Raises ConfigError without [relay] url."""
    from soc.pipeline import flow_packets

    with running(settings, "relay") as me:
        sender = Relay(
            places.queue(settings),
            relay_link(settings),
            me.clock,
            max_bytes_s=settings.relay_max_kib_s * 1024,
            times=Daily(settings.relay_windows, ZoneInfo(settings.relay_zone) if settings.relay_zone else VIETNAM),
            health=lambda: {"processes": read_states(settings)},
            packets=lambda asked: flow_packets.answer(settings, asked),
        )
        me.ready(centre=settings.relay_url)
        thread = threading.Thread(target=sender.run, args=(me.stop,))
        thread.start()
        while thread.is_alive():
            me.tell_when_due({**sender.counts, "fault": sender.fault})
            thread.join(STATE_S)


def relay_link(settings: Settings) -> Link:
    """How the centre is reached. Raises ConfigError when the settings do not say."""
    if not settings.relay_url:
        raise ConfigError("[relay] url is not set", hint="soc relay join URL TOKEN tries it; soc.toml keeps it")
    return Link(settings.relay_url.rstrip("/"), settings.path("relay"))


def relay_join(settings: Settings, url: str, token: str) -> str:
    """Trade a token for a certificate below SOC_HOME/relay; the unit's name."""
    make_home(settings)
    return join(Link(url.rstrip("/"), settings.path("relay")), token)
