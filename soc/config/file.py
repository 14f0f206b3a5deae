"""soc.toml: every fault with the line it stands on."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from soc.config.entries import POLL_NAME, STREAMS, TLS_NEEDED, TLS_UNUSED, Entry, Listen
from soc.config.knobs import KNOBS, MADE, SECTIONS, TABLES, driver_knobs
from soc.config.reading import Reading
from soc.errors import ConfigError, nearest
from soc.model import poll as polls
from soc.model.poll import Poll

_BARE = r"(?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')"
_DOTTED = rf"{_BARE}(?:\s*\.\s*{_BARE})*"
_HEADER = re.compile(rf"\s*\[\[?\s*({_DOTTED})\s*\]")
_KEY = re.compile(rf"\s*({_DOTTED})\s*=")


class _Lines:
    """Where tables and keys stand in a TOML text; tomllib does not tell."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.known_of: dict[tuple[str, ...], int] = {}
        table: tuple[str, ...] = ()
        for number, line in enumerate(text.splitlines(), 1):
            if header := _HEADER.match(line):
                table = _parts(header[1])
                self._note(table, number)
            elif key := _KEY.match(line):
                self._note((*table, *_parts(key[1])), number)

    def _note(self, keys: tuple[str, ...], number: int) -> None:
        for end in range(1, len(keys) + 1):
            self.known_of.setdefault(keys[:end], number)

    def place(self, *keys: str) -> str:
        """`soc.toml:12` of these keys, or of the nearest table around them."""
        for end in range(len(keys), 0, -1):
            if keys[:end] in self.known_of:
                return f"{self.path}:{self.known_of[keys[:end]]}"
        return f"{self.path}:1"


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in re.findall(_BARE, dotted))


def _parsed(path: Path) -> tuple[dict[str, Any], str]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
        return tomllib.loads(text), text
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file", hint="soc config show prints the settings in use") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: no UTF-8 text: {error.reason} at byte {error.start}") from error
    except tomllib.TOMLDecodeError as error:
        said = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", str(error), re.S)
        if said is None:
            raise ConfigError(f"{path}: no TOML: {error}") from error
        place = f"{said[2]}:{said[3]}" if said[2] else str(max(1, len(text.splitlines())))
        raise ConfigError(f"{path}:{place}: no TOML: {said[1]}") from error


def read_file(path: Path, reading: Reading) -> None:
    data, text = _parsed(path)
    lines = _Lines(path, text)
    for section, body in data.items():
        if section not in SECTIONS:
            what = f"section [{section}]" if isinstance(body, dict) else f"key '{section}' outside of a section"
            reading.faults.append(f"{lines.place(section)}: unknown {what}{nearest(section, SECTIONS)}")
        elif not isinstance(body, dict):
            reading.faults.append(f"{lines.place(section)}: [{section}] should be a table, not {body!r}")
        elif section in TABLES:
            reading.values[section] = tuple(_entries(section, body, lines, reading))
            reading.origins[section] = lines.place(section)
        else:
            _read_section(section, body, lines, reading)
    taken = {"import", *(listen.name for listen in reading.values["listen"])}
    for poll in reading.values.get("poll", ()):
        if poll.name in taken:
            place = lines.place("poll", poll.name)
            reading.faults.append(f"{place}: [poll.{poll.name}] the name is taken by a listener or by uploads")
    taken |= {poll.name for poll in reading.values.get("poll", ())}
    for sense in reading.values.get("sense", ()):
        place = lines.place("sense", sense.name)
        if sense.name in taken:
            reading.faults.append(f"{place}: [sense.{sense.name}] the name is taken by a listener or by uploads")
        if not POLL_NAME.fullmatch(sense.name):
            reading.faults.append(f"{place}: [sense.{sense.name}] a name has letters, digits, '.', '_' and '-'")


def _read_section(section: str, body: dict[str, Any], lines: _Lines, reading: Reading) -> None:
    known = {knob.key: knob for knob in KNOBS if knob.section == section}
    for key, raw in body.items():
        place = lines.place(section, key)
        if key not in known:
            reading.faults.append(f"{place}: unknown key '{key}' in [{section}]{nearest(key, known)}")
            continue
        value = reading.take(known[key], raw, lines.path.parent, place, place)
        if value is not None:
            reading.values[known[key].attribute] = value


def _entries(section: str, body: dict[str, Any], lines: _Lines, reading: Reading) -> Iterator[Entry]:
    taken: dict[tuple[Any, ...], str] = {}
    for name, entry in body.items():
        if not isinstance(entry, dict):
            reading.faults.append(f"{lines.place(section, name)}: [{section}.{name}] should be a table, not {entry!r}")
            continue
        made = _entry(section, name, entry, lines, reading)
        if made is None:
            continue
        if isinstance(made, Listen) and made.port:
            address = (made.protocol in STREAMS, made.host, made.port)
            other = taken.setdefault(address, name)
            if other != name:
                place = lines.place(section, name, "port")
                reading.faults.append(f"{place}: [listen.{other}] has {made.host} port {made.port} already")
        yield made


def _entry(section: str, name: str, entry: dict[str, Any], lines: _Lines, reading: Reading) -> Entry | None:
    known, where, before = TABLES[section], f"{section}.{name}", len(reading.faults)
    if section == "poll":
        known = driver_knobs(entry.get("driver"))
    values: dict[str, Any] = {}
    for key, raw in entry.items():
        place = lines.place(section, name, key)
        if key not in known:
            reading.faults.append(f"{place}: unknown key '{key}' in [{where}]{nearest(key, known)}")
            continue
        values[key] = reading.take(known[key], raw, lines.path.parent, place, place, f"{where}.{key}")
    if section == "poll":
        return _poll(name, values, lines, reading, before)
    for needed in fields(MADE[section]):
        if needed.name != "name" and needed.default is MISSING and needed.name not in entry:
            reading.faults.append(f"{lines.place(section, name)}: '{needed.name}' is missing in [{where}]")
    if section == "listen":
        if "port" not in entry and entry.get("protocol") != "file":
            reading.faults.append(f"{lines.place(section, name)}: 'port' is missing in [{where}]")
        place = lines.place(section, name, "protocol")
        reading.faults += [*_tls_faults(place, where, entry), *_file_faults(place, where, entry)]
    return MADE[section](name, **values) if len(reading.faults) == before else None


def _poll(name: str, given: dict[str, Any], lines: _Lines, reading: Reading, before: int) -> Poll | None:
    where, driver = f"poll.{name}", given.get("driver")
    options = polls.OPTIONS.get(driver or "", {})
    missing = [key for key, option in options.items() if option.default is polls.NEEDED and key not in given]
    for key in missing if driver else ("driver",) if "driver" not in given else ():
        reading.faults.append(f"{lines.place('poll', name)}: '{key}' is missing in [{where}]")
    if not POLL_NAME.fullmatch(name):
        reading.faults.append(f"{lines.place('poll', name)}: [{where}] a name has letters, digits, '.', '_' and '-'")
    if len(reading.faults) > before or driver is None:
        return None
    values = {key: given.get(key, option.default) for key, option in options.items()}
    for key, fault in polls.faults(driver, values):
        reading.faults.append(f"{lines.place('poll', name, key)}: [{where}] {fault}")
    return Poll(name, driver, values)


def _file_faults(place: str, where: str, entry: Mapping[str, Any]) -> Iterator[str]:
    """What a listener needs, and what has no meaning for it: files have paths, the others a port."""
    if entry.get("protocol") == "file":
        if not entry.get("paths"):
            yield f"{place}: 'paths' is missing in [{where}]: which files?"
        for key in ("port", "allow", "certificate", "tokens", "users"):
            if entry.get(key):
                yield f"{place}: '{key}' has no meaning in [{where}]: files are followed, nothing is listened to"
        return
    for key in ("paths", "product"):
        if entry.get(key):
            yield f"{place}: '{key}' in [{where}] goes with protocol = \"file\""
    if entry.get("multiline") and not str(entry.get("protocol")).startswith(("syslog-", "relp")):
        yield f"{place}: 'multiline' in [{where}] goes with files, syslog and RELP"


def _tls_faults(place: str, where: str, entry: Mapping[str, Any]) -> Iterator[str]:
    protocol = entry.get("protocol")
    given = [key for key in ("certificate", "key") if entry.get(key)]
    if protocol in TLS_NEEDED:
        for key in ("certificate", "key"):
            if key not in given:
                yield f"{place}: '{key}' is missing in [{where}]: {protocol} speaks TLS"
    elif protocol in TLS_UNUSED and (given or entry.get("clients_ca") or entry.get("clients")):
        yield f"{place}: [{where}] {protocol} does not speak TLS; did you mean '{TLS_UNUSED[protocol]}'?"
    if entry.get("clients") and not entry.get("clients_ca"):
        yield f"{place}: 'clients' in [{where}] needs 'clients_ca', the CA that signed their certificates"
