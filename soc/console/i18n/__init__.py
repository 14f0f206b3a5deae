"""Words and numbers for people: Vietnamese or English, chosen by `SOC_LANG` or the locale."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

LANGUAGES = ("vi", "en")
Catalogue = Mapping[str, tuple[str, str]]
"""Message id to (Vietnamese, English); `{name}` stands for a parameter."""
_catalogue: dict[str, tuple[str, str]] = {}
_MARKS = {"vi": str.maketrans(",.", ".,"), "en": {}}
"""What stands between thousands and before decimals: 1.234,5 and 1,234.5."""


def language(environ: Mapping[str, str] = os.environ) -> str:
    """`vi` or `en`: `SOC_LANG`, else the locale; Vietnamese for a Vietnamese locale, English for every other."""
    chosen = environ.get("SOC_LANG") or environ.get("LC_ALL") or environ.get("LC_MESSAGES") or environ.get("LANG") or ""
    return "vi" if chosen.lower().startswith("vi") else "en"


def register(words: Catalogue) -> None:
    """Add a part's messages. Raises ValueError for an id that another part has with other words."""
    for id, pair in words.items():
        if _catalogue.setdefault(id, pair) != pair:
            raise ValueError(f"message '{id}' has two meanings")


def t(id: str, **params: Any) -> str:
    """The message in the language of now, its parameters filled in. Raises KeyError for an unknown id.

    A number among them is written as `number` writes it; one that counts nothing, such as a port, is handed in as text.
    """
    shown = {name: number(value) if _counts(value) else value for name, value in params.items()}
    return _catalogue[id][LANGUAGES.index(language())].format(**shown)


def _counts(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def number(value: Any, decimals: int = 1) -> str:
    """A number with its thousands apart, as the language writes it; a whole one without decimals, None as nothing."""
    if value is None:
        return ""
    text = f"{value:,}" if isinstance(value, int) else f"{value:,.{decimals}f}"
    return text.translate(_MARKS[language()])


def both(id: str, **params: Any) -> tuple[str, str]:
    """The message in Vietnamese and in English. Raises KeyError for an unknown id."""
    vietnamese, english = _catalogue[id]
    return vietnamese.format(**params), english.format(**params)


def pick(english: str, vietnamese: str) -> str:
    """Of a content's two texts the one for the language of now; English where there is no Vietnamese."""
    return vietnamese if vietnamese and language() == "vi" else english


def catalogue() -> dict[str, tuple[str, str]]:
    """Everything registered, for the tests."""
    return dict(_catalogue)
