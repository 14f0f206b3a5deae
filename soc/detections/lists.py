"""Lists of a site that rules refer to as `%name%`: a text file each, one value a line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from soc.errors import ConfigError

MAX_VALUES = 100_000
MAX_BYTES = 8 << 20
SUFFIX = ".txt"


def read_lists(folders: Iterable[Path]) -> dict[str, list[str]]:
    """Values by the name of their file (`Domain_Controllers.txt` is `%Domain_Controllers%`); a later folder wins.

    Empty lines and those that begin with `#` say nothing. Raises ConfigError for a folder that is not there, a file
    that cannot be read or is too long.
    """
    found: dict[str, list[str]] = {}
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"{folder}: no such folder of lists")
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            found[path.stem] = _values(path)
    return found


def _values(path: Path) -> list[str]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path}: longer than {MAX_BYTES >> 20} MiB")
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    lines = (line.strip() for line in text.splitlines())
    values = list(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    if len(values) > MAX_VALUES:
        raise ConfigError(f"{path}: more than {MAX_VALUES} values")
    return values
