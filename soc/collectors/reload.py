"""What has to be done to listeners that run, so that they become those of a changed file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from soc.collectors.listeners import ListenerSpec
from soc.errors import ConfigError

_SERVED = {"relp": "stream"}


@dataclass(frozen=True)
class Differences:
    """Listeners to open, names to end, and those that stay: changed or not, for their files are read again."""

    added: tuple[ListenerSpec, ...]
    removed: tuple[str, ...]
    kept: tuple[ListenerSpec, ...]


def differences(now: Sequence[ListenerSpec], wanted: Sequence[ListenerSpec]) -> Differences:
    """A listener stays when its name, its address and what serves it stay.

    Raises ConfigError when one wants an address that another one has now: letting it go first would lose what comes
    in between, and could not be taken back. Also when it wants the users of a running SNMP engine, which has one owner.
    """
    running = {spec.name: spec for spec in now}
    kept = tuple(spec for spec in wanted if spec.name in running and _place(spec) == _place(running[spec.name]))
    names = {spec.name for spec in kept}
    added = tuple(spec for spec in wanted if spec.name not in names)
    for spec in added:
        other = next((each for each in now if each.port and _address(each) == _address(spec)), None)
        if other is not None:
            raise ConfigError(
                f"[listen.{spec.name}] {spec.host} port {spec.port} belongs to the running [listen.{other.name}]",
                hint="another name or another kind of protocol on the same port needs a restart of soc collect",
            )
        if spec.users is not None and any(each.users == spec.users for each in now):
            raise ConfigError(
                f"[listen.{spec.name}] users: {spec.users} belongs to a running engine",
                hint="one more listener with the same users needs a restart of soc collect",
            )
    return Differences(added, tuple(name for name in running if name not in names), kept)


def _address(spec: ListenerSpec) -> tuple[bool, str, int]:
    return spec.is_stream, spec.host, spec.port


def _place(spec: ListenerSpec) -> tuple[str, str, int]:
    return _SERVED.get(spec.kind, spec.kind), spec.host, spec.port
