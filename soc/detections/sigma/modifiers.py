"""Where the modifiers appendix of Sigma 2.1 says more than pySigma does: its modifiers, completed before any rule."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from sigma import modifiers as sm
from sigma import types as st
from sigma.exceptions import SigmaModifiedError

from soc.detections.sigma.values import text_of

DASHES = ("-", "/", "\N{EN DASH}", "\N{EM DASH}", "\N{HORIZONTAL BAR}")
"""What `windash` takes for one another."""
MOST_EXACT = 2**53
"""Beyond it two whole numbers may be one float."""
MOST_DASHES = 3
"""pySigma's bound: each dash of a value multiplies its forms by five."""
_OF_TEXT = frozenset(
    ("contains", "startswith", "endswith", "windash", "base64", "base64offset", "wide", "utf16", "utf16le", "utf16be",
     "cased", "re", "cidr", "fieldref", "expand")
)  # fmt: skip
_OF_NUMBERS = frozenset(("lt", "lte", "gt", "gte"))
_A_DASH = re.compile(f"\\B[{re.escape(''.join(DASHES))}]\\b")


class WinDash(sm.SigmaWindowsDashModifier):  # type: ignore[misc]  # pySigma is typed as Any here
    """`windash` in each direction: pySigma replaces `-` and `/` of a rule, the appendix every one of the five."""

    def modify(self, val: st.SigmaString) -> st.SigmaExpansion:
        def each(placeholder: st.Placeholder) -> Iterator[str | st.Placeholder]:
            yield from DASHES if placeholder.name == "_windash" else (placeholder,)

        marked = val.replace_with_placeholder(_A_DASH, "_windash")
        if sum(isinstance(part, st.Placeholder) and part.name == "_windash" for part in marked.s) > MOST_DASHES:
            raise SigmaModifiedError(f"windash takes at most {MOST_DASHES} dashes in a value; write several values")
        return st.SigmaExpansion(list(marked.replace_placeholders(each)))


def complete() -> None:
    """Add to pySigma's modifiers what it lacks; `utf16le` is the appendix's first name of `wide`."""
    sm.modifier_mapping.setdefault("utf16le", sm.SigmaWideModifier)
    sm.modifier_mapping["windash"] = WinDash
    sm.reverse_modifier_mapping[WinDash.__name__] = "windash"


def as_text(detection: Any) -> Any:
    """A detection with numbers and truth values as text where a modifier is for text, and large numbers by themselves.

    The appendix: contains, startswith and endswith "can be applied on all types of fields"; pySigma refuses numbers,
    and makes a float of one that a float does not hold exactly.
    """
    match detection:
        case dict():
            return {key: _of(key, value) for key, value in detection.items()}
        case list():
            return [as_text(each) for each in detection]
        case int() if abs(detection) > MOST_EXACT:
            return str(detection)
    return detection


def _of(key: Any, value: Any) -> Any:
    said = key.split("|")[1:] if isinstance(key, str) else ()
    if not _OF_TEXT.isdisjoint(said):
        return _text(value)
    return value if not _OF_NUMBERS.isdisjoint(said) else as_text(value)


def _text(value: Any) -> Any:
    if isinstance(value, list):
        return [_text(each) for each in value]
    return text_of(value) if isinstance(value, bool | int | float) else value
