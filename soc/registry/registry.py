"""`Registry`: whose address is this, at this site, at this time; and what events are told about it."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from soc.errors import ContentError, Fault
from soc.model.batch import EventBatch
from soc.model.clock import DAY_US, VIETNAM_US
from soc.model.system import InformationSystem
from soc.registry.definition import load_systems, validate
from soc.registry.enrich import enrich
from soc.registry.networks import NetworkMap, address_key

_EPOCH = dt.date(1970, 1, 1).toordinal()
_MAX_DAY = dt.date.max.toordinal() - _EPOCH
CACHE_ENTRIES = 200_000
"""Answers kept per registry; a scan over many addresses empties the cache instead of the memory."""
Candidates = list[InformationSystem]


def local_day(at_us: int) -> int:
    """The local day (Asia/Ho_Chi_Minh) of µs UTC, as days since 1970-01-01."""
    return (at_us + VIETNAM_US) // DAY_US


def date_of(day: int) -> dt.date:
    """The date of a `local_day`; beyond the calendar's ends, the end."""
    return dt.date.fromordinal(min(max(day, 1 - _EPOCH), _MAX_DAY) + _EPOCH)


class Registry:
    """The information systems. Does not change: a changed registry is a new one.

    Raises ContentError when two systems have one id, or one network of one site at the same time.
    """

    def __init__(self, systems: Sequence[InformationSystem]) -> None:
        self._systems = {system.id: system for system in systems}
        self._networks: dict[str, NetworkMap[Candidates]] = {}
        self._sources: dict[tuple[str, str], Candidates] = {}
        self._cache: dict[tuple[str, str, int], InformationSystem | None] = {}
        self._source_cache: dict[tuple[str, str, int], InformationSystem | None] = {}
        self._place(systems)

    @classmethod
    def load(cls, *origins: Path | str | Mapping[str, Any]) -> Self:
        """From files or folders of YAML, and from documents; a document replaces the system of its id in a file.

        Raises ContentError with every fault, OSError for a file that cannot be read.
        """
        systems: dict[str, InformationSystem] = {}
        faults: list[Fault] = []
        for origin in sorted(origins, key=lambda o: isinstance(o, Mapping)):
            try:
                for system in cls._read(origin):
                    if system.id in systems and not isinstance(origin, Mapping):
                        faults.append(Fault(str(origin), 1, f"id '{system.id}' stands in another file already"))
                    systems[system.id] = system
            except ContentError as error:
                faults.extend(error.faults)
        if faults:
            raise ContentError(faults)
        return cls(list(systems.values()))

    @staticmethod
    def _read(origin: Path | str | Mapping[str, Any]) -> list[InformationSystem]:
        if isinstance(origin, Mapping):
            return [validate(origin, f"system {origin.get('id', '?')}")]
        return load_systems(Path(origin))

    def _place(self, systems: Sequence[InformationSystem]) -> None:
        faults = []
        if len(self._systems) < len(systems):
            ids = [system.id for system in systems]
            faults = [Fault(f"system {i}", 1, "stands twice") for i in sorted(set(ids)) if ids.count(i) > 1]
        for system in self._systems.values():
            networks = self._networks.setdefault(system.site, NetworkMap())
            for network in (*system.networks, *_host_networks(system)):
                candidates = networks.set_default(network, [])
                faults.extend(_clashes(system, network, candidates))
                candidates.append(system)
            for source in system.sources:
                self._sources.setdefault((system.site, source), []).append(system)
        if faults:
            raise ContentError(faults)

    def systems(self) -> list[InformationSystem]:
        """All of them, retired ones too, in the order they were given."""
        return list(self._systems.values())

    def get(self, id: str) -> InformationSystem | None:
        """The system of that id, or None."""
        return self._systems.get(id)

    def lookup(self, site: str, address: str, at_us: int) -> InformationSystem | None:
        """The system whose network at this site holds the address; the narrowest that was not retired that day."""
        return self.on_day(site, address, local_day(at_us))

    def on_day(self, site: str, address: str, day: int) -> InformationSystem | None:
        """`lookup` for a `local_day`; answers are cached."""
        key = (site, address, day)
        if key in self._cache:
            return self._cache[key]
        if len(self._cache) >= CACHE_ENTRIES:
            self._cache.clear()
        system = self._cache[key] = self._search(site, address, date_of(day))
        return system

    def _search(self, site: str, address: str, day: dt.date) -> InformationSystem | None:
        networks = self._networks.get(site)
        number = address_key(address)
        if networks is None or number is None:
            return None
        for candidates in networks.matches(number):
            system = _in_force(candidates, day)
            if system is not None:
                return system
        return None

    def by_source(self, site: str, peer: str, at_us: int) -> InformationSystem | None:
        """The system that names this peer among its `sources`; None when none or several do that day."""
        return self.source_on_day(site, peer, local_day(at_us))

    def source_on_day(self, site: str, peer: str, day: int) -> InformationSystem | None:
        """`by_source` for a `local_day`; answers are cached."""
        key = (site, peer, day)
        if key in self._source_cache:
            return self._source_cache[key]
        if len(self._source_cache) >= CACHE_ENTRIES:
            self._source_cache.clear()
        date = date_of(day)
        active = [s for s in self._sources.get((site, peer), ()) if _is_active(s, date)]
        system = self._source_cache[key] = active[0] if len(active) == 1 else None
        return system

    def enrich(self, batch: EventBatch) -> EventBatch:
        """The batch with `soc.system.*` and `organization.*`; see `soc.registry.enrich`."""
        return enrich(self, batch)


def _host_networks(system: InformationSystem) -> list[str]:
    """The hosts that are addresses, as networks of one address; names are for people."""
    found = []
    for host in system.hosts:
        key = address_key(host)
        if key is not None:
            found.append(str(ipaddress.ip_network(host)))
    return [network for network in found if network not in system.networks]


def _is_active(system: InformationSystem, day: dt.date) -> bool:
    # The time before registration counts as active: an old log that is imported belongs to somebody too.
    return system.retired is None or day < system.retired


def _in_force(candidates: Candidates, day: dt.date) -> InformationSystem | None:
    """Of those that had this network one after the other, the one of that day."""
    active = sorted((s for s in candidates if _is_active(s, day)), key=lambda s: s.registered)
    begun = [s for s in active if s.registered <= day]
    if begun:
        return begun[-1]
    return active[0] if active else None


def _clashes(system: InformationSystem, network: str, others: Candidates) -> list[Fault]:
    return [
        Fault(f"system {system.id}", 1, f"network {network} at site '{system.site}' belongs to '{other.id}' already")
        for other in others
        if _overlap(system, other)
    ]


def _overlap(one: InformationSystem, other: InformationSystem) -> bool:
    first, second = sorted((one, other), key=lambda s: s.registered)
    return first.retired is None or second.registered < first.retired
