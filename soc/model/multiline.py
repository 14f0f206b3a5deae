"""Which lines belong together (stack traces): told by how a line begins."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

STACK = "stack"
"""The rule for stack traces of Java, Python, .NET, Go and the like, as they follow a line of a log."""
MAX_LINES = 1000
"""Lines of one record; what follows is a record of its own, both are flagged `oversize`."""
PATTERN, WAIT_S, MAX_BYTES = "multiline", "multiline.wait_s", "multiline.max_bytes"
"""Keys of `RawBlock.origin` of records that a parser is to join: the rule, how long the rest of a record is waited for,
and how large one may be."""
_LOOKED_AT = 1024
"""Bytes of a line that tell whether it begins a record."""
# White space; Java's causes and omissions; the heads of Python's tracebacks and what joins them; .NET's end of a trace.
_GOES_ON = re.compile(
    rb"[ \t]|Caused by: |Suppressed: |\.\.\. \d+ (?:more|common frames)|Traceback \(most recent call last\):"
    rb"|During handling of the above exception|The above exception was the direct cause|--- End of |goroutine \d+ \["
)
_TRACEBACK = b"Traceback (most recent call last):"
_RAISED = re.compile(rb"[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit|Warning|Iteration|Group)\b")


@lru_cache(maxsize=256)
def _start(pattern: str) -> Any:
    import re2  # only who joins lines pays for it

    return re2.compile(pattern.encode())


class Rule:
    """Whether a line goes on with the record before it: `stack`, or a pattern (RE2) by which every record begins."""

    def __init__(self, pattern: str, *, in_traceback: bool = False) -> None:
        self._start = None if pattern == STACK else _start(pattern)
        self.in_traceback = in_traceback
        """The line that ends a traceback of Python looks like any other; so much is remembered of those before it."""

    def goes_on(self, line: bytes) -> bool:
        """Whether it does; to be asked of every line in order."""
        if not line.strip():
            return True
        if self._start is not None:
            return self._start.match(line[:_LOOKED_AT]) is None
        if _GOES_ON.match(line) is not None:
            self.in_traceback = self.in_traceback or line.startswith(_TRACEBACK)
            return True
        is_raised = self.in_traceback and _RAISED.match(line) is not None
        self.in_traceback = False
        return is_raised
