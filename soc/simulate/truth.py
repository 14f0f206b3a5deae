"""`Truth`: what really happened, for the scorer alone; written line by line to a file that nobody else opens."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from soc.errors import StoreError
from soc.store.files import make_folder, store_error, sync_folder, write_all


@dataclass(frozen=True)
class Truth:
    """One attack. `technique` are ATT&CK ids, `entity` the tokens an alert may name it by (address, user, host).

    Times are µs UTC, `end_us` the planned end until it is over. `expect`: it should be detected.
    """

    id: str
    name: str
    technique: tuple[str, ...]
    entity: tuple[str, ...]
    site: str
    start_us: int
    end_us: int
    expect: bool = True

    @property
    def tags(self) -> tuple[str, ...]:
        """The techniques as Sigma tags (`attack.t1110.001`)."""
        return tuple(f"attack.{technique.lower()}" for technique in self.technique)

    def cut_short(self, at_us: int) -> Truth:
        """The same attack, ended before it did what it would be noticed by."""
        return replace(self, end_us=at_us, expect=False)

    def to_document(self) -> dict[str, Any]:
        """A JSON-able dict."""
        return {**asdict(self), "tags": list(self.tags)}


def truth_id(seed: int, name: str, start_us: int) -> str:
    """Names an attack of one run; the same attack of a later run is another."""
    return hashlib.blake2b(f"{seed}:{name}:{start_us}".encode(), digest_size=8).hexdigest()


class TruthFile:
    """Appends records, each durable on return; the file is its owner's alone (0600)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            make_folder(path.parent)
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            os.fchmod(self._fd, 0o600)
            sync_folder(path.parent)
        except OSError as error:
            raise store_error(error, f"cannot write {path}") from error

    def append(self, truth: Truth) -> None:
        """One line. Raises StoreError, DiskFull."""
        try:
            write_all(self._fd, json.dumps(truth.to_document(), ensure_ascii=False).encode() + b"\n")
            os.fsync(self._fd)
        except OSError as error:
            raise store_error(error, f"cannot write {self.path}") from error

    def close(self) -> None:
        """Let the file go."""
        os.close(self._fd)


def read(path: Path) -> list[dict[str, Any]]:
    """The records in order of their start; of several with one id the last counts. A torn last line is passed over.

    Raises StoreError when the file cannot be read or another line is damaged.
    """
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        hint = "soc simulate run, or make run, writes it"
        raise StoreError(f"cannot read {path}: {error.strerror}", hint=hint) from error
    found: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):
            continue  # written by a process that was killed: no attack had begun yet
        try:
            record = json.loads(line)
            found[record["id"]] = record
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{path}:{number}: no truth record") from error
    return sorted(found.values(), key=lambda record: (record["start_us"], record["id"]))
