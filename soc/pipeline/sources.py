"""What people see of the sources beside their accounts: habits, whose they are, where they are heard, adoption."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import orjson

from soc.collectors.counters import EVERYBODY
from soc.collectors.uploads import LISTENER as IMPORT
from soc.config import Settings
from soc.errors import Conflict, NotFound, UsageError
from soc.model.system import InformationSystem
from soc.model.values import canonical_ip
from soc.pipeline import places
from soc.registry import Registry

Row = dict[str, Any]
EDGE, LISTENER = "edge", "listener"
"""Kinds of monitoring points: a distant unit with collectors of its own, and a listener of one site."""


def describe(rows: Iterable[Row], settings: Settings, registry: Registry, now_us: int) -> None:
    """Add to each row of the accounts: `known`, whether a system owns the address; `silence` (last_us, cadence_us,
    limit_us, silent) and `drift_us`, both None where `correlate` has not learned them."""
    habits = _habits(settings)
    for row in rows:
        habit = habits.get((row["site"], f"{row['site']}/{row['listener']}/{row['peer']}"))
        row["known"] = _is_known(registry, row, now_us)
        row["drift_us"] = None if habit is None else habit["drift_us"]
        row["silence"] = None
        if habit is not None:
            row["silence"] = {name: habit[name] for name in ("last_us", "cadence_us", "limit_us", "silent")}


def _habits(settings: Settings) -> dict[tuple[str, str], Row]:
    with suppress(OSError, ValueError):
        told = orjson.loads(places.habits(settings).read_bytes())
        return {(habit["site"], habit["source"]): habit for habit in told["sources"]}
    return {}


def _is_known(registry: Registry, row: Mapping[str, Any], now_us: int) -> bool:
    if "poll" in row or row["listener"] == IMPORT or not _is_address(row["peer"]):
        return True  # what we ask or read ourselves, and peers that stand for many
    return _owner(registry, row["site"], row["peer"], now_us) is not None


def _is_address(text: str) -> bool:
    try:
        canonical_ip(text)
    except ValueError:
        return False
    return True


def _owner(registry: Registry, site: str, peer: str, now_us: int) -> InformationSystem | None:
    """The system that names this peer, or has its address in a network; the first where several name it."""
    found = registry.by_source(site, peer, now_us) or registry.lookup(site, peer, now_us)
    named = (s for s in registry.systems() if s.site == site and s.retired is None and peer in s.sources)
    return found or next(named, None)


# monitoring points ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Heard:
    """Since when (µs UTC) each listener of each site has heard somebody, and the distant unit that a site's records
    come through."""

    since: Mapping[tuple[str, str], int]
    units: Mapping[str, str]

    @classmethod
    def read(cls, settings: Settings) -> Heard:
        """Out of the counters of the collector, of the polled sources and of the hub."""
        since: dict[tuple[str, str], int] = {}
        units: dict[str, str] = {}
        hub = sorted(places.relay_counters(settings).glob("*.json"))
        own = [("", path) for _, path in places.own_counters(settings)]
        for unit, path in (*own, *((path.stem.partition(".")[0], path) for path in hub)):
            with suppress(OSError, ValueError):
                for site, listener, at_us in orjson.loads(path.read_bytes()).get("since", []):
                    since[site, listener] = min(at_us, since.get((site, listener), at_us))
                    if unit:
                        units[site] = unit
        return cls(since, units)


def points(
    rows: Sequence[Row], settings: Settings | None = None, heard: Heard | None = None, relays: Sequence[Row] = ()
) -> list[Row]:
    """One row for each place that listens: the listeners of every site, out of the accounts' rows, and the distant
    units. With `settings` also listeners that heard nobody. `since_us` is the first record, for a unit its joining."""
    found = {(point["site"], point["listener"]): point for point in (_configured(settings) if settings else ())}
    for row in rows:
        if row["listener"] != IMPORT:
            point = found.setdefault((row["site"], row["listener"]), _point(row["site"], row["listener"]))
            _count(point, row)
    units = heard.units if heard else {}
    for key, at_us in (heard.since if heard else {}).items():
        if key in found:
            found[key]["since_us"] = at_us
    for (site, _), point in found.items():
        point["unit"] = units.get(site, "")
    edges = [_edge(relay, [p for p in found.values() if p["unit"] == relay["name"]]) for relay in relays]
    ordered = sorted(found.values(), key=lambda p: (p["site"], p["listener"]))
    return [*edges, *({**p, "datasets": sorted(p["datasets"]), "systems": sorted(p["systems"])} for p in ordered)]


def _configured(settings: Settings) -> Iterator[Row]:
    """The listeners and monitoring points of soc.toml, as points that heard nobody yet."""
    for listen in settings.listen:
        address = f"{listen.host}:{listen.port}"
        yield _point(listen.site or settings.site_id, listen.name, listen.protocol, address)
    for sense in settings.sense:
        yield _point(settings.site_id, sense.name, "packets", sense.interface)


def _point(site: str, listener: str, protocol: str = "", address: str = "") -> Row:
    return {
        "kind": LISTENER, "unit": "", "site": site, "listener": listener, "protocol": protocol, "address": address,
        "since_us": None, "last_seen_us": None, "sources": 0, "received": 0, "bytes": 0, "dropped": {},
        "datasets": set(), "systems": set(),
    }  # fmt: skip


def _count(point: Row, row: Row) -> None:
    if row["peer"] != EVERYBODY:
        point["sources"] += row["peers"]
    for name in ("received", "bytes"):
        point[name] += row[name]
    point["dropped"] = dict(Counter(point["dropped"]) + Counter(row["dropped"]))
    point["datasets"] |= set(row["datasets"])
    point["systems"] |= {row["system_id"]} - {""}
    firsts = [us for us in (point["since_us"], row["first_seen_us"]) if us]
    lasts = [us for us in (point["last_seen_us"], row["last_seen_us"]) if us]
    point["since_us"], point["last_seen_us"] = min(firsts, default=None), max(lasts, default=None)


def _edge(relay: Row, listeners: Sequence[Row]) -> Row:
    """A unit; what it sees is what its listeners see."""
    sites = ", ".join(sorted({point["site"] for point in listeners}))
    whole = _point(sites, "", "relay") | {"kind": EDGE, "unit": relay["name"]}
    for point in listeners:
        for name in ("sources", "received", "bytes"):
            whole[name] += point[name]
        whole["dropped"] = dict(Counter(whole["dropped"]) + Counter(point["dropped"]))
        whole["datasets"] |= point["datasets"]
        whole["systems"] |= point["systems"]
    whole |= {"since_us": relay.get("joined_us"), "last_seen_us": relay.get("heard_us")}
    return {**whole, "datasets": sorted(whole["datasets"]), "systems": sorted(whole["systems"])}


# adoption ------------------------------------------------------------------------------------------------------------


def adopted(registry: Registry, site: str, address: str, system_id: str, now_us: int) -> InformationSystem:
    """The system with this address among its `sources`.

    Raises NotFound for an unknown system, UsageError for what is no address or a system of another site or a retired
    one, Conflict when the address belongs to a system already.
    """
    system = _named(registry, system_id)
    address = _address(address)
    if system.site != site:
        raise UsageError(f"system '{system_id}' is at site '{system.site}', {address} is heard at site '{site}'")
    if system.retired is not None:
        raise UsageError(f"system '{system_id}' is retired since {system.retired}")
    owner = _owner(registry, site, address, now_us)
    if owner is not None:
        raise Conflict(f"{address} belongs to system '{owner.id}' already", hint=f"soc system show {owner.id}")
    return replace(system, sources=(*system.sources, address))


def released(registry: Registry, address: str, system_id: str) -> InformationSystem:
    """The system without this address among its `sources`; the undoing of `adopted`. Raises NotFound, UsageError."""
    system = _named(registry, system_id)
    address = _address(address)
    if address not in system.sources:
        raise NotFound(f"system '{system_id}' has no source {address}", hint=f"soc system show {system_id}")
    return replace(system, sources=tuple(source for source in system.sources if source != address))


def _named(registry: Registry, system_id: str) -> InformationSystem:
    system = registry.get(system_id)
    if system is None:
        raise NotFound(f"no system '{system_id}'", hint="soc system list")
    return system


def _address(text: str) -> str:
    try:
        return canonical_ip(text)
    except ValueError:
        raise UsageError(f"'{text}' is no address") from None
