"""`flow`: plain data as YAML on one line, for definitions that a command writes."""

from __future__ import annotations

import json
import re
from typing import Any

# What YAML 1.1 refuses, or takes for the end of a line inside of quotes (section 5.1 and 5.4); JSON leaves it as it is.
_UNSAFE = re.compile("[^\t\n\r -~\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


def flow(value: Any) -> str:
    """JSON, which YAML reads, in which nothing that stood in a log can break out of its place.

    Raises TypeError for what is no plain data.
    """
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))
