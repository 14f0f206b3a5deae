"""The file, the environment and the flags to `Settings`."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from soc.config.entries import DEFAULT_LISTEN
from soc.config.file import read_file
from soc.config.knobs import KNOBS, TABLES
from soc.config.reading import Reading
from soc.config.settings import DEFAULT, FLAG, Settings
from soc.errors import ConfigError, nearest


def default_home(environ: Mapping[str, str] = os.environ) -> Path:
    """`SOC_HOME`, or `.soc/` of the working folder."""
    return Path(environ.get("SOC_HOME") or ".soc").absolute()


def default_socket(home: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """The API's socket, outside the home: `/run/soc/` for a service, `$XDG_RUNTIME_DIR/soc/` or /tmp for a person."""
    if home == Path("/var/lib/soc"):
        return Path("/run/soc/api.sock")
    runtime = environ.get("XDG_RUNTIME_DIR")
    base = Path(runtime) / "soc" if runtime else Path("/tmp") / f"soc-{os.getuid()}"  # noqa: S108 -- mode 0700 folder
    tag = hashlib.sha256(str(home).encode()).hexdigest()[:8]
    return base / f"api-{tag}.sock"


def load(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    home: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Read the settings. `path` defaults to `$SOC_CONFIG`, then `<home>/soc.toml`.

    `overrides` are what flags say, by the name of the `Settings` attribute; None means that the flag was not given.
    Raises ConfigError with every fault of the file, the environment and the flags, one a line.
    """
    origins: dict[str, str] = {}
    if home is not None or environ.get("SOC_HOME"):
        origins["home"] = "SOC_HOME" if home is None else FLAG
    home = (home or default_home(environ)).absolute()
    reading = Reading({"listen": DEFAULT_LISTEN}, origins)
    chosen, is_asked_for = _chosen(path, environ, home)
    if is_asked_for or chosen.exists():
        read_file(chosen, reading)
    _read_environment(environ, reading)
    _read_flags(overrides or {}, reading)
    _check_watermarks(reading)
    if reading.faults:
        raise ConfigError("\n".join(reading.faults))
    reading.values.setdefault("socket", default_socket(home, environ))
    return Settings(home=home, origins=origins, **reading.values)


def _check_watermarks(reading: Reading) -> None:
    high, low = (reading.values.get(f"queue_{name}", getattr(Settings, f"queue_{name}")) for name in ("high", "low"))
    if low >= high:
        place = reading.origins.get("queue_low") or reading.origins.get("queue_high", DEFAULT)
        reading.faults.append(f"{place}: [queue] 'low' should be below 'high', not {low} and {high}")


def _chosen(path: Path | None, environ: Mapping[str, str], home: Path) -> tuple[Path, bool]:
    """The file to read, and whether somebody named it."""
    named = path or (Path(environ["SOC_CONFIG"]) if environ.get("SOC_CONFIG") else None)
    return (named, True) if named else (home / "soc.toml", False)


def _read_environment(environ: Mapping[str, str], reading: Reading) -> None:
    for knob in KNOBS:
        variable = next((name for name in knob.variables if environ.get(name)), None)
        if variable is None:
            continue
        raw = _from_text(environ[variable], Settings.__dataclass_fields__[knob.attribute].default)
        value = reading.take(knob, raw, Path.cwd(), variable, variable)
        if value is not None:
            reading.values[knob.attribute] = value


def _from_text(text: str, default: Any) -> Any:
    """A variable's text as the type of the default, or the text itself, which the check then refuses by name."""
    if isinstance(default, bool):
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
    if isinstance(default, int):
        return int(text) if re.fullmatch(r"-?[0-9]{1,19}", text) else text
    return text.split(os.pathsep) if isinstance(default, tuple) else text


def _read_flags(overrides: Mapping[str, Any], reading: Reading) -> None:
    known = {knob.attribute: knob for knob in KNOBS}
    for attribute, raw in overrides.items():
        if raw is None:
            continue
        if attribute in TABLES:
            reading.values[attribute] = tuple(raw)
            reading.origins[attribute] = FLAG
        elif attribute not in known:
            reading.faults.append(f"{FLAG}: unknown setting '{attribute}'{nearest(attribute, [*known, *TABLES])}")
        else:
            value = reading.take(known[attribute], raw, Path.cwd(), FLAG, FLAG)
            if value is not None:
                reading.values[attribute] = value
