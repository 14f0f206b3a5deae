"""Regular expressions of Sigma rules in RE2: linear time on whatever a stranger wrote."""

from __future__ import annotations

import functools
import re
from typing import Any

import re2

_FLAGS = {re.IGNORECASE: "i", re.MULTILINE: "m", re.DOTALL: "s"}


@functools.lru_cache(maxsize=16384)
def compile_re2(pattern: str) -> Any:
    """A compiled RE2 pattern; raises re2.error with RE2's reason."""
    options = re2.Options()
    options.log_errors = False  # the reason travels in the exception, not on stderr
    return re2.compile(pattern, options)


def with_flags(pattern: str, flags: str) -> str:
    """The pattern with inline flags (`i`, `m`, `s`) in front."""
    return f"(?{flags}){pattern}" if flags else pattern


def searches(pattern: str, text: str) -> bool:
    """Whether RE2 finds the pattern anywhere in the text."""
    try:
        data = text.encode()
    except UnicodeEncodeError:  # a lone surrogate has no UTF-8 form
        data = text.encode("utf-8", "replace")
    # Of bytes no places have to be turned into those of characters.
    return compile_re2(pattern).search(data) is not None


class QuietEngine:
    """The regex engine handed to pySigma, which asks for `compile` and `error` only."""

    error = re2.error

    def compile(self, pattern: str, flags: int = 0) -> Any:
        return compile_re2(with_flags(pattern, "".join(v for k, v in _FLAGS.items() if int(flags) & int(k))))
