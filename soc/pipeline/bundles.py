"""A bundle into a folder of a site: what the site changed stays, what upstream changed comes in."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from soc.content import decode
from soc.content.bundle import Bundle, make
from soc.content.merge import merged
from soc.errors import Conflict, ContentError
from soc.model.clock import Clock
from soc.retention import keys
from soc.store import files

HIDDEN = ".bundle"
"""Below the folder: what was last taken of each bundle (`<name>/base/`), and texts that could not be merged
(`<name>/conflicts/`). Nobody reads definitions below hidden names."""
WRITTEN = ("added", "updated", "merged")
GONE = "removed"
CONFLICTS = ("conflict", "removed_conflict")


@dataclass(frozen=True, order=True)
class Step:
    """What becomes of one file.

    `added`, `updated`, `removed`: the site had not touched it. `kept`: only the site changed it. `merged`: both did, in
    different lines. `conflict`: both did, in the same lines, or what came out could not be read: the site's stays, and
    upstream's lies beside. `removed_conflict`: the site changed what upstream took away: it stays. `same`: nothing.
    """

    path: str
    change: str
    data: bytes | None = None


class Installed:
    """One bundle's part of a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._own = folder / HIDDEN / name

    def plan(self, bundle: Bundle, *, keep: Collection[str] = (), older: bool = False) -> list[Step]:
        """What would become of each file. `keep` are paths whose conflict was settled: the site's text stays.

        Raises Conflict for a bundle that is older than what is here.
        """
        here = self._manifest()
        if not older and bundle.made_us < here.get("made_us", 0):
            raise Conflict(
                f"'{bundle.name}' {bundle.version} is older than {here['version']}, which is here",
                hint="--older takes it all the same",
            )
        names = sorted({*bundle.files, *self._names(here)})
        return [step for name in names if (step := self._step(name, bundle.files.get(name), name in keep))]

    def apply(self, bundle: Bundle, steps: list[Step]) -> None:
        """Do what was planned. After a crash in the midst the same again finishes it: each file is whole at all times,
        and what was last taken is noted behind it."""
        for step in steps:
            self._write(bundle, step)
        told = {"version": bundle.version, "made_us": bundle.made_us, "key": bundle.key, "files": sorted(bundle.files)}
        files.replace(self._own / "installed.json", orjson.dumps(told))

    def _write(self, bundle: Bundle, step: Step) -> None:
        place, base = self._folder / step.path, self._own / "base" / step.path
        beside, upstream = self._own / "conflicts" / step.path, bundle.files.get(step.path)
        if step.change in WRITTEN:
            assert step.data is not None
            files.replace(place, step.data, mode=0o640)
        elif step.change == GONE:
            place.unlink(missing_ok=True)
        if step.change in CONFLICTS:
            files.replace(beside, upstream if upstream is not None else b"")
            return  # the base stays, so that the next time asks again
        beside.unlink(missing_ok=True)
        if upstream is None:
            base.unlink(missing_ok=True)
        else:
            files.replace(base, upstream, mode=0o640)

    def _step(self, name: str, theirs: bytes | None, is_settled: bool) -> Step | None:
        base, mine = _read(self._own / "base" / name), _read(self._folder / name)
        if mine == theirs:
            return Step(name, "same")
        if is_settled or theirs == base:
            return Step(name, "kept") if mine is not None or base is not None else None
        if mine == base:
            return (
                Step(name, GONE) if theirs is None else Step(name, "updated" if base is not None else "added", theirs)
            )
        if theirs is None:
            return Step(name, "removed_conflict")
        if mine is None:
            return Step(name, "kept") if base is not None else Step(name, "added", theirs)
        together = _together(name, base or b"", mine, theirs) if base is not None else None
        return Step(name, "conflict") if together is None else Step(name, "merged", together)

    def _manifest(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = orjson.loads((self._own / "installed.json").read_bytes())
        except FileNotFoundError:
            return {}
        return found

    def _names(self, here: Mapping[str, Any]) -> Iterator[str]:
        yield from here.get("files", ())
        root = self._own / "base"  # also those of a run that was cut off
        yield from (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def _together(name: str, base: bytes, mine: bytes, theirs: bytes) -> bytes | None:
    """Both sides' changes; None when they meet, or what comes out cannot be read or says the same twice."""
    try:
        text = merged(base.decode(), mine.decode(), theirs.decode())
        if text is None:
            return None
        data = text.encode()
        if name.endswith((".yml", ".yaml")):
            decode(data, name)
    except (UnicodeDecodeError, ContentError):
        return None
    return data


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def write(folder: Path, name: str, version: str, key: Path, out: Path, clock: Clock) -> str:
    """Make a bundle with the key in that file (made at the first use); the public key, for those who trust it."""
    signer = keys.load_or_create(key)
    files.replace(out, make(folder, name, version, signer, clock.now_ns() // 1000), mode=0o640)
    return keys.public_hex(signer)
