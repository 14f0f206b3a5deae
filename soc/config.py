"""soc.toml to frozen settings: every knob with its default and its meaning.

Precedence: flags > `SOC_*` environment > file > defaults. An unknown key is an error with its place and the nearest
name. `origins` remembers where each value came from, for `soc config show --origin`.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from soc.errors import ConfigError, nearest

PROTOCOLS = ("syslog-udp", "syslog-tcp", "netflow", "snmp-trap")


@dataclass(frozen=True)
class Listen:
    """One listener: where it binds and what it accepts."""

    name: str
    protocol: str
    port: int
    host: str = "127.0.0.1"
    max_bytes: int = 65536
    allow: tuple[str, ...] = ()
    fallback: bool = True


@dataclass(frozen=True)
class National:
    """One destination of the national connection; certificate files by path, relative to SOC_HOME."""

    name: str
    url: str
    mapping: str = "reference-json"
    ca: str = "national/ca.pem"
    certificate: str = "national/client.pem"
    key: str = "national/client.key"
    minimum_level: str = "high"
    sender_code: str = ""
    sender_name: str = ""


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
    workers: int = 1
    registry_files: tuple[Path, ...] = ()
    retention_profile: str = "2026"
    national: tuple[National, ...] = ()
    web_host: str = "127.0.0.1"
    web_port: int = 8600
    socket: Path = Path()
    rules: tuple[Path, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)

    def path(self, *parts: str) -> Path:
        """A path below `home`."""
        return self.home.joinpath(*parts)


DEFAULT_LISTEN = (
    Listen("syslog-udp", "syslog-udp", 5514),
    Listen("syslog-tcp", "syslog-tcp", 5514),
    Listen("netflow", "netflow", 2055),
    Listen("snmp-trap", "snmp-trap", 1162),
)

# section -> key -> (type, words, settings attribute)
_KEYS: dict[str, dict[str, tuple[type | tuple[type, ...], str, str]]] = {
    "site": {
        "id": (str, "text", "site_id"),
        "name": (str, "text", "site_name"),
        "simulated": (bool, "true or false", "simulated"),
    },
    "content": {
        "roots": (list, "a list of folders", "content_roots"),
        "rules": (list, "a list of folders or files of Sigma rules", "rules"),
    },
    "queue": {"max_bytes": (int, "a whole number of bytes", "queue_max_bytes")},
    "store": {"workers": (int, "a whole number", "workers")},
    "cases": {},
    "access": {},
    "registry": {"files": (list, "a list of files", "registry_files")},
    "retention": {"profile": (str, "2026 or legacy-2017", "retention_profile")},
    "web": {
        "host": (str, "an address", "web_host"),
        "port": (int, "a port number", "web_port"),
        "socket": (str, "a path", "socket"),
    },
}
_LISTEN_KEYS = {"protocol": str, "host": str, "port": int, "max_bytes": int, "allow": list, "fallback": bool}
_NATIONAL_KEYS = dict.fromkeys(
    ("url", "mapping", "ca", "certificate", "key", "minimum_level", "sender_code", "sender_name"), str
)
_ENVIRONMENT = {"SOC_SITE": "site_id", "SOC_WEB_PORT": "web_port", "SOC_WORKERS": "workers", "SOC_SOCKET": "socket"}


class _Reader:
    """Collects every fault of a file, so that a person mends them all at once."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.lines = text.splitlines()
        self.faults: list[str] = []

    def line(self, section: str, key: str | None = None) -> int:
        inside = False
        for number, line in enumerate(self.lines, 1):
            bare = line.strip()
            if bare.startswith("["):
                inside = bare.strip("[] ").replace('"', "") == section
                if inside and key is None:
                    return number
            elif key and bare.split("=")[0].strip() == key and (inside or not section):
                return number
        return 1

    def fault(self, section: str, key: str | None, message: str) -> None:
        self.faults.append(f"{self.path}:{self.line(section, key)}: {message}")

    def typed(self, section: str, key: str, value: Any, kind: Any, words: str) -> Any:
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self.fault(section, key, f"'{key}' should be {words}, not {value!r}")
            return None
        return value


def default_home(environ: Mapping[str, str] = os.environ) -> Path:
    """`SOC_HOME`, or `.soc/` of the working folder."""
    return Path(environ.get("SOC_HOME") or ".soc").absolute()


def default_socket(home: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """The API's socket, outside the home: `/run/soc/` for a service, `$XDG_RUNTIME_DIR/soc/` or /tmp for a person."""
    if home == Path("/var/lib/soc"):
        return Path("/run/soc/api.sock")
    runtime = environ.get("XDG_RUNTIME_DIR")
    base = Path(runtime) / "soc" if runtime else Path("/tmp") / f"soc-{os.getuid()}"  # noqa: S108 -- mode 0700 folder
    import hashlib

    tag = hashlib.sha256(str(home).encode()).hexdigest()[:8]
    return base / f"api-{tag}.sock"


def load(path: Path | None = None, *, environ: Mapping[str, str] = os.environ, home: Path | None = None) -> Settings:
    """Read the settings. `path` defaults to `$SOC_CONFIG`, then `<home>/soc.toml`. Raises ConfigError."""
    home = (home or default_home(environ)).absolute()
    chosen = path or (Path(environ["SOC_CONFIG"]) if environ.get("SOC_CONFIG") else home / "soc.toml")
    values: dict[str, Any] = {"listen": DEFAULT_LISTEN}
    origins: dict[str, str] = {}
    if chosen.exists():
        _read_file(chosen, values, origins)
    elif path is not None or environ.get("SOC_CONFIG"):
        raise ConfigError(f"{chosen}: no such file", hint="soc config show prints the settings in use")
    _read_environment(environ, values, origins)
    values.setdefault("socket", default_socket(home, environ))
    return Settings(home=home, origins=origins, **values)


def _read_file(path: Path, values: dict[str, Any], origins: dict[str, str]) -> None:
    text = path.read_text("utf-8")
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: no TOML: {error}") from error
    reader = _Reader(path, text)
    base = path.parent.absolute()
    for section, body in data.items():
        if section in ("listen", "national"):
            values[section] = _named(reader, section, body)
            origins[section] = str(path)
        elif section not in _KEYS:
            reader.fault(
                section, None, f"unknown section [{section}]{nearest(section, [*_KEYS, 'listen', 'national'])}"
            )
        elif not isinstance(body, dict):
            reader.fault("", section, f"[{section}] should be a table")
        else:
            _read_section(reader, section, body, values, origins, base)
    if reader.faults:
        raise ConfigError("\n".join(reader.faults))


def _read_section(
    reader: _Reader, section: str, body: dict[str, Any], values: dict[str, Any], origins: dict[str, str], base: Path
) -> None:
    known = _KEYS[section]
    for key, raw in body.items():
        if key not in known:
            reader.fault(section, key, f"unknown key '{key}' in [{section}]{nearest(key, known)}")
            continue
        kind, words, attribute = known[key]
        value = reader.typed(section, key, raw, kind, words)
        if value is None:
            continue
        if isinstance(value, list):
            value = tuple((base / str(item)).absolute() for item in value)
        elif attribute == "socket":
            value = Path(value)
        values[attribute] = value
        origins[attribute] = f"{reader.path}:{reader.line(section, key)}"


def _named(reader: _Reader, section: str, body: Any) -> tuple[Any, ...]:
    known: Mapping[str, type] = _LISTEN_KEYS if section == "listen" else _NATIONAL_KEYS
    made: list[Any] = []
    for name, entry in body.items() if isinstance(body, dict) else ():
        where = f"{section}.{name}"
        if not isinstance(entry, dict):
            reader.fault(section, name, f"[{where}] should be a table")
            continue
        keywords: dict[str, Any] = {}
        for key, raw in entry.items():
            if key not in known:
                reader.fault(where, key, f"unknown key '{key}' in [{where}]{nearest(key, known)}")
            elif reader.typed(where, key, raw, known[key], known[key].__name__) is not None:
                keywords[key] = tuple(raw) if isinstance(raw, list) else raw
        for needed in ("protocol", "port") if section == "listen" else ("url",):
            if needed not in entry:
                reader.fault(where, None, f"'{needed}' is missing in [{where}]")
        if section == "listen" and keywords.get("protocol", PROTOCOLS[0]) not in PROTOCOLS:
            protocol = str(keywords["protocol"])
            reader.fault(where, "protocol", f"unknown protocol '{protocol}'; one of {', '.join(PROTOCOLS)}")
        if not reader.faults:
            made.append(Listen(name, **keywords) if section == "listen" else National(name, **keywords))
    return tuple(made)


def _read_environment(environ: Mapping[str, str], values: dict[str, Any], origins: dict[str, str]) -> None:
    for variable, attribute in _ENVIRONMENT.items():
        text = environ.get(variable)
        if not text:
            continue
        value: Any = Path(text) if attribute == "socket" else text
        if attribute in ("web_port", "workers"):
            if not text.isdigit():
                raise ConfigError(f"{variable}: '{text}' should be a whole number")
            value = int(text)
        values[attribute] = value
        origins[attribute] = variable
