"""`CheckResult`: what `soc check` says of one test that a definition carries."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class CheckResult:
    """One test of one definition: where it stands (1-based line), whether it held, and what went otherwise."""

    path: str
    line: int
    id: str
    ok: bool
    message: str = ""
