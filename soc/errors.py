"""The error family. Every error says where it happened and the way out.

    SocError                      exit 1   something failed while running
    ├── UsageError                exit 2   the command line is wrong
    ├── ConfigError               exit 2   soc.toml (or an environment variable) is wrong
    ├── ContentError              exit 2   a definition is wrong; carries *all* faults of the file
    ├── QueryError                exit 2   a search text is wrong; carries the column
    ├── PermissionRefused         exit 5   the caller may not do this
    ├── NotFound                  exit 1   no such thing, or not one the caller may see
    ├── Conflict                  exit 1   somebody changed it first, or the state does not allow it
    ├── StoreError                exit 1   the store cannot be read or written
    │   ├── NewerStore            exit 2   written by a newer version of soc
    │   ├── UnfitEvents           exit 1   the store can never take these events; it goes on with others
    │   └── DiskFull              exit 75  no room; nothing was acknowledged
    ├── TryAgain                  exit 75  busy or unreachable for the moment
    └── NonCompliant              exit 3   a check found something

The exit codes are those of the design's contract: 0 ok · 1 runtime · 2 usage or configuration · 3 findings or
non-compliant · 4 partial · 5 permission · 75 try again · 130 interrupted.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

EXIT_OK = 0
EXIT_RUNTIME = 1
EXIT_USAGE = 2
EXIT_FINDINGS = 3
EXIT_PARTIAL = 4
EXIT_PERMISSION = 5
EXIT_TRY_AGAIN = 75
EXIT_INTERRUPTED = 130


class SocError(Exception):
    """The root: one clear sentence in `str(error)`, an exit code, and optionally the way out in `hint`."""

    exit_code: int = EXIT_RUNTIME

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(SocError):
    """The command line is wrong."""

    exit_code = EXIT_USAGE


class ConfigError(SocError):
    """soc.toml or an environment variable is wrong."""

    exit_code = EXIT_USAGE


@dataclass(frozen=True, order=True)
class Fault:
    """One thing wrong with a definition: where it stands (1-based line) and what was expected instead."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


class ContentError(SocError):
    """A definition is wrong. `faults` holds every fault found, in file and line order."""

    exit_code = EXIT_USAGE

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults: tuple[Fault, ...] = tuple(sorted(faults))
        super().__init__("\n".join(map(str, self.faults)))


class QueryError(SocError):
    """A search text is wrong; `column` is 1-based."""

    exit_code = EXIT_USAGE

    def __init__(self, message: str, *, column: int = 1, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.column = column


class PermissionRefused(SocError):
    """The caller may not do this."""

    exit_code = EXIT_PERMISSION


class NotFound(SocError):
    """No such thing, or none that the caller may see (the two are not told apart on purpose)."""


class Conflict(SocError):
    """Somebody changed it first, or its state does not allow the change."""


class StoreError(SocError):
    """The store cannot be read or written."""


class NewerStore(StoreError):
    """The store was written by a newer version of soc."""

    exit_code = EXIT_USAGE


class UnfitEvents(StoreError):
    """The store can never take these events as they are; others it takes."""


class DiskFull(StoreError):
    """No room on the disk; nothing of the refused write was acknowledged."""

    exit_code = EXIT_TRY_AGAIN


class TryAgain(SocError):
    """Busy or unreachable for the moment."""

    exit_code = EXIT_TRY_AGAIN


class NonCompliant(SocError):
    """A check found something; the data went to stdout already."""

    exit_code = EXIT_FINDINGS


def nearest(name: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the closest known name, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean '{close[0]}'?)" if close else ""
