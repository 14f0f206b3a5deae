"""`[listen.<name>]` of soc.toml as the collectors take it."""

from __future__ import annotations

from collections.abc import Mapping

from soc.collectors.listeners import ListenerSpec, Tls
from soc.config import Listen, Settings
from soc.errors import ConfigError, nearest
from soc.pipeline import places


def check_products(settings: Settings) -> None:
    """A product that no parser has would bury every line of its files."""
    if not any(listen.product for listen in settings.listen):
        return
    known = places.load_parsers(settings).products
    for listen in settings.listen:
        if listen.product and listen.product not in known:
            raise ConfigError(
                f"[listen.{listen.name}] product: no parser '{listen.product}'{nearest(listen.product, known)}",
                hint="parsers/ has one file for each; a site's own lie in [content] roots",
            )


def spec_of(settings: Settings, listen: Listen) -> ListenerSpec:
    """A `[listen.<name>]` as the collectors take it; its files lie relative to SOC_HOME."""
    tls = None
    if listen.certificate:
        authority = settings.path(listen.clients_ca) if listen.clients_ca else None
        tls = Tls(settings.path(listen.certificate), settings.path(listen.key), authority, listen.clients)
    return ListenerSpec(
        name=listen.name,
        protocol=listen.protocol,
        host=listen.host,
        port=listen.port,
        site=listen.site or settings.site_id,
        max_bytes=listen.max_bytes,
        allow=listen.allow,
        rate=listen.rate,
        burst=listen.burst,
        rates=listen.rates,
        zone=listen.zone,
        system=listen.system,
        fallback=listen.fallback,
        tls=tls,
        tokens=settings.path(listen.tokens) if listen.tokens else None,
        users=settings.path(listen.users) if listen.users else None,
        paths=listen.paths,
        product=listen.product,
        multiline=listen.multiline,
        multiline_wait_s=listen.multiline_wait_s,
        guarded=settings.home,
    )


def say_ports(settings: Settings, ports: Mapping[str, int]) -> dict[str, int]:
    """Say which listeners had to take another port than theirs; the ports by listener."""
    for listen in settings.listen:
        if listen.port and ports.get(listen.name, listen.port) != listen.port:
            print(f"{listen.name}: port {listen.port} is taken, listening on {ports[listen.name]}", flush=True)
    return dict(ports)
