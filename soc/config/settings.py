"""`Settings`: what a process needs to know, and where each value came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from soc.config.entries import Entry, Listen, National, Sense, UnitRules
from soc.config.knobs import HOME_MEANING, KNOBS, SECTIONS, TABLES, known_of
from soc.model.poll import Poll

DEFAULT = "default"
"""The origin of a value that nobody set."""
FLAG = "flag"
"""The origin of a value from the command line."""


@dataclass(frozen=True)
class Shown:
    """One knob as `soc config show` prints it: `web.port`, its value as JSON has it, where that came from, meaning."""

    name: str
    value: Any
    origin: str
    meaning: str


@dataclass(frozen=True)
class Settings:
    """Everything a process needs to know; `home` holds data, keys and logs."""

    home: Path
    site_id: str = "default"
    site_name: str = ""
    simulated: bool = False
    content_roots: tuple[Path, ...] = ()
    listen: tuple[Listen, ...] = ()
    queue_max_bytes: int = 8 << 30
    queue_high: int = 90
    queue_low: int = 70
    workers: int = 1
    correlators: int = 1
    search_mib: int = 256
    registry_files: tuple[Path, ...] = ()
    retention_profile: str = "2026"
    national: tuple[National, ...] = ()
    poll: tuple[Poll, ...] = ()
    sense: tuple[Sense, ...] = ()
    web_host: str = "127.0.0.1"
    web_port: int = 8600
    web_names: tuple[str, ...] = ()
    web_certificate: str = ""
    web_key: str = ""
    socket: Path = Path()
    rules: tuple[Path, ...] = ()
    rule_lists: tuple[Path, ...] = ()
    trusted_signers: tuple[str, ...] = ()
    rules_shadow: tuple[str, ...] = ("status=experimental",)
    exception_approval: bool = False
    rules_disable: tuple[str, ...] = ()
    rules_enable: tuple[str, ...] = ()
    unit_rules: tuple[UnitRules, ...] = ()
    lookback_share: int = 50
    backfill_days: int = 7
    relay_url: str = ""
    relay_name: str = ""
    relay_max_kib_s: int = 0
    relay_windows: tuple[str, ...] = ()
    relay_zone: str = ""
    relay_host: str = ""
    relay_port: int = 8601
    relay_names: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)

    def path(self, *parts: str) -> Path:
        """A path below `home`."""
        return self.home.joinpath(*parts)

    def shown(self) -> list[Shown]:
        """Every knob, in the order of the sections: the home, the plain ones, then each listener and destination."""
        rows = [Shown("home", str(self.home), self._origin("home"), HOME_MEANING)]
        for knob in KNOBS:
            value = _plain(getattr(self, knob.attribute))
            rows.append(Shown(knob.name, value, self._origin(knob.attribute), knob.meaning))
        for section in TABLES:
            for entry in getattr(self, section):
                rows += self._entry_shown(section, entry)
        return rows

    def _entry_shown(self, section: str, entry: Entry) -> Iterator[Shown]:
        # A table in the file replaces all default entries; its own missing keys are defaults.
        whole = self._origin(section)
        for key, value in _values(section, entry).items():
            name = f"{section}.{entry.name}.{key}"
            origin = self.origins.get(name, FLAG if whole == FLAG else DEFAULT)
            yield Shown(name, value, origin, known_of(section, entry)[key].meaning)

    def _origin(self, attribute: str) -> str:
        return self.origins.get(attribute, DEFAULT)

    def to_document(self) -> dict[str, Any]:
        """The settings in the shape of soc.toml, ready for JSON, with `home` beside the sections."""
        document: dict[str, Any] = {"home": str(self.home), **{section: {} for section in SECTIONS}}
        for knob in KNOBS:
            document[knob.section][knob.key] = _plain(getattr(self, knob.attribute))
        for section in TABLES:
            for entry in getattr(self, section):
                document[section][entry.name] = _values(section, entry)
        return document


def _values(section: str, entry: Entry) -> dict[str, Any]:
    """By key, as JSON has it."""
    if isinstance(entry, Poll):
        return {"driver": entry.driver, **{key: _plain(value) for key, value in entry.options.items()}}
    return {key: _plain(getattr(entry, key)) for key in known_of(section, entry)}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
