"""A row of a W3C extended log to named values (W3C WD-logfile-960323; Microsoft's fields of IIS and HTTP.sys)."""

from __future__ import annotations

import re
from collections.abc import Sequence

# A value has no blank, or stands in quotes in which a quote is doubled (section "Entries").
_VALUE = re.compile(r'"((?:[^"]|"")*)"(?=[ \t]|$)|(\S+)')
_ABSENT = "-"
AGENT = "cs(User-Agent)"


def decode(text: str, names: Sequence[str], *, is_local: bool = False) -> dict[str, str] | None:
    """Values by the names of `#Fields`, without those that are `-`; None when there are more or fewer than names.

    Instead of date, time and agent `@datetime`, date and time in UTC as the format has them (Windows Firewall: in local
    time), and `@user_agent`: IIS writes blanks as `+`.
    """
    values = [
        quoted.replace('""', '"') if found[0] == '"' and not bare else bare
        for found, quoted, bare in ((m[0], m[1] or "", m[2] or "") for m in _VALUE.finditer(text))
    ]
    if len(values) != len(names):
        return None
    result = {name: value for name, value in zip(names, values, strict=True) if value != _ABSENT}
    if "date" in result and "time" in result:
        result["@datetime"] = f"{result.pop('date')}T{result.pop('time')}{'' if is_local else 'Z'}"
    if AGENT in result:
        result["@user_agent"] = result.pop(AGENT).replace("+", " ")
    return result
