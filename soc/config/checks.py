"""What a value must be: each check answers with the value as the settings hold it, or raises ValueError with the words
that end the sentence "'port' should be …"."""

from __future__ import annotations

import ipaddress
import re
import zoneinfo
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from soc.errors import nearest
from soc.model import daily
from soc.model.rule_policy import Selector

Check = Callable[[Any, Path], Any]
"""Of a value and the folder that relative paths are below."""


def text(value: Any, _base: Path) -> str:
    if not isinstance(value, str):
        raise ValueError("text")
    return value


def word(value: Any, _base: Path) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("text that is not empty")
    return value


def flag(value: Any, _base: Path) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def whole(least: int, most: int, words: str) -> Check:
    def check(value: Any, _base: Path) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError(words)
        return value

    return check


def path(value: Any, base: Path) -> Path:
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError("a path")
    return (base / Path(value).expanduser()).absolute()


def paths(value: Any, base: Path) -> tuple[Path, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str | Path) and str(item) for item in value):
        raise ValueError("a list of paths")
    return tuple(path(item, base) for item in value)


def one_of(*words: str) -> Check:
    def check(value: Any, _base: Path) -> str:
        if value not in words:
            hint = nearest(value, words) if isinstance(value, str) else ""
            raise ValueError(f"one of {', '.join(words)}{hint}")
        return str(value)

    return check


def words(value: Any, _base: Path) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) and item.strip() for item in value):
        raise ValueError("a list of texts that are not empty")
    return tuple(value)


def times(value: Any, base: Path) -> tuple[str, ...]:
    try:
        return tuple(daily.normal(span) for span in words(value, base))
    except ValueError as error:
        raise ValueError("a list of times such as '22:00-05:00'") from error


def multiline(value: Any, base: Path) -> str:
    import re2  # only who joins lines pays for it

    pattern = text(value, base)
    try:
        re2.compile(pattern)
    except re2.error as error:
        raise ValueError(f"'stack' or a pattern of RE2 ({error})") from error
    return pattern


def patterns(value: Any, base: Path) -> tuple[str, ...]:
    return tuple(str(path) for path in paths(value, base))


def selectors(value: Any, _base: Path) -> tuple[str, ...]:
    words = "a list of choices such as 'status=experimental', 'tag=attack.t1059*', 'level=low' or an id"
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise ValueError(words)
    for item in value:
        try:
            Selector.parse(item)
        except ValueError as error:
            raise ValueError(f"{words} ({error})") from None
    return tuple(value)


def zone(value: Any, _base: Path) -> str:
    words = "a time zone such as Asia/Ho_Chi_Minh"
    if not isinstance(value, str):
        raise ValueError(words)
    if value and value not in zoneinfo.available_timezones():
        raise ValueError(words + nearest(value, sorted(zoneinfo.available_timezones())))
    return value


def networks(value: Any, _base: Path) -> tuple[str, ...]:
    words = "a list of addresses or CIDR networks"
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise ValueError(words)
    for item in value:
        try:
            ipaddress.ip_network(item, strict=False)
        except ValueError:
            raise ValueError(f"{words} ('{item}' is none)") from None
    return tuple(value)


def rates(value: Any, _base: Path) -> tuple[tuple[str, int, int], ...]:
    """`{"10.1.0.0/16" = 500, "10.1.0.9" = [500, 5000]}`: records a second, or those and a burst, by network.

    The document of the settings has the same as a list of [network, rate, burst].
    """
    words = "a table of networks, each with a number of records a second, or with that and a burst: [500, 5000]"
    if isinstance(value, list | tuple) and all(isinstance(item, list | tuple) and item for item in value):
        value = {item[0]: list(item[1:]) for item in value}
    if not isinstance(value, Mapping):
        raise ValueError(words)
    found = []
    for network, given in value.items():
        numbers = given if isinstance(given, list | tuple) else [given]
        networks([network], _base)
        if not 1 <= len(numbers) <= 2 or not all(type(n) is int and 0 <= n <= _MOST_RECORDS for n in numbers):
            raise ValueError(f"{words} ('{network}' has {given!r})")
        found.append((str(network), numbers[0], numbers[1] if len(numbers) == 2 else 0))
    return tuple(found)


def url(value: Any, _base: Path) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"https?://[^\s/]+(/\S*)?", value):
        raise ValueError("an https:// address")
    return value


port = whole(0, 65535, "a port number from 0 to 65535")
# Two segments stay, each of 64 MiB and a group commit of up to as much; the next commit has to fit beside them.
share = whole(512 << 20, 1 << 62, "536870912 bytes (512 MiB) or more")
workers = whole(1, 64, "a whole number from 1 to 64")
# Two files of a ring and more: the one that is written, and one to look back into.
_ring_share = whole(64 << 20, 1 << 62, "0, or 67108864 bytes (64 MiB) or more")


def ring(value: Any, base: Path) -> int:
    return 0 if value == 0 and not isinstance(value, bool) else int(_ring_share(value, base))


days = whole(0, 400, "a whole number of days from 0 to 400")
mib = whole(64, 1 << 20, "a whole number of MiB from 64")
percent = whole(1, 100, "a percentage from 1 to 100")
_MOST_RECORDS = 10_000_000
records = whole(0, _MOST_RECORDS, "a whole number of records from 0 (no limit) to 10000000")
bytes = whole(1, 1 << 62, "a whole number of bytes above 0")
