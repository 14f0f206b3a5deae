"""The compiled kernel (`native/`), where its wheel is there. Whoever uses it has pure code that gives the same results.

`SOC_KERNEL=off` leaves it out.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from types import ModuleType
from typing import Any

VERSION = 6
"""Of what the kernel offers; one of another version is left out."""


def _load() -> tuple[ModuleType | None, str]:
    if os.environ.get("SOC_KERNEL", "").lower() in ("off", "0", "no"):
        return None, "pure Python (SOC_KERNEL=off)"
    try:
        import soc_kernel
    except ImportError:
        return None, "pure Python (no kernel is built: make setup builds it where cargo is)"
    found = getattr(soc_kernel, "VERSION", None)
    if found != VERSION:
        return None, f"pure Python (the kernel has version {found}, {VERSION} is wanted: make setup)"
    return soc_kernel, f"compiled kernel {VERSION}"


kernel, WHICH = _load()
"""The module, or None; and in words which one is in use and why."""

failures: Counter[str] = Counter()
"""How often the kernel broke, by what it was asked for; the pure code did the work then."""


def failed(what: str, error: Exception) -> None:
    """Count a failure; the first of each kind is logged."""
    failures[what] += 1
    if failures[what] == 1:
        logging.getLogger(__name__).warning("the compiled kernel failed (%s: %s); pure Python is used", what, error)


def asked(name: str, *arguments: Any) -> Any:
    """What a function of the kernel gives; None where there is no kernel, or where it failed, which is counted."""
    if kernel is None:
        return None
    try:
        return getattr(kernel, name)(*arguments)
    except Exception as error:
        failed(name, error)
        return None
