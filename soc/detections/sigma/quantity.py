"""`N of PATTERN` in conditions, which pySigma does not read: written out as the groups of N of which one holds."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable
from typing import Any

from sigma.exceptions import SigmaConditionError

MOST_GROUPS = 1_000
"""Groups of one quantity: beyond, the rule is refused by name."""
_QUANTITY = re.compile(r"(?<![\w*-])(\d{1,4})\s+of\s+([\w*]+)")


def written_out(detection: Any) -> Any:
    """A detection whose conditions have no quantity but pySigma's own `1 of`.

    Raises SigmaConditionError for more than there are, for none, and for too many groups.
    """
    if not isinstance(detection, dict) or "condition" not in detection:
        return detection
    names = [str(name) for name in detection if name not in ("condition", "rules")]

    def text(condition: Any) -> Any:
        return (
            _QUANTITY.sub(lambda found: _groups(found, names), condition) if isinstance(condition, str) else condition
        )

    condition = detection["condition"]
    each = [text(part) for part in condition] if isinstance(condition, list) else text(condition)
    return {**detection, "condition": each}


def _groups(found: re.Match[str], names: Iterable[str]) -> str:
    whole, n, pattern = found[0], int(found[1]), found[2]
    if n == 1:
        return whole
    wanted = re.compile("".join(".*" if part == "*" else re.escape(part) for part in re.split(r"(\*)", pattern)))
    meant = [
        name for name in names
        if (name[:1] != "_" if pattern == "them" else wanted.fullmatch(name) and (name[:1] != "_" or pattern[0] == "_"))
    ]  # fmt: skip
    if not 1 < n <= len(meant):
        raise SigmaConditionError(f"'{whole}': there are {len(meant)} such selections")
    if math.comb(len(meant), n) > MOST_GROUPS:
        raise SigmaConditionError(f"'{whole}' means more than {MOST_GROUPS} groups of selections")
    groups = (" and ".join(group) for group in itertools.combinations(meant, n))
    return f"({' or '.join(f'({group})' for group in groups)})"
