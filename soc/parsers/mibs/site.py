"""The MIB modules that a site added: one file a module with its text and its table, and what they make of names."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from soc.errors import NotFound, StoreError, UsageError
from soc.parsers.decoders.snmp_names import LABELS, NOTIFICATIONS, OBJECTS, Names, Notification
from soc.parsers.mibs.compile import compiled, modules_in
from soc.parsers.mibs.standard import MODULES
from soc.store import files

MAX_FILES = 500
MAX_BYTES = 16 << 20
"""Of one `add`, and as much again may be there already."""
MAX_MODULES = 2000
_VERSION = 1
_log = logging.getLogger("soc.mibs")


@dataclass(frozen=True)
class Fault:
    """What is wrong with a file, where, and what may help."""

    file: str
    line: int
    message: str
    hint: str = ""

    def to_document(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {"file": self.file, "line": self.line, "message": self.message, "hint": self.hint}


@dataclass(frozen=True)
class Planned:
    """A module that would be added: `state` is `new`, `replaced` or `unchanged`."""

    module: str
    file: str
    state: str
    document: Mapping[str, Any]

    def to_document(self) -> dict[str, Any]:
        """Ready for JSON, without the text."""
        return {"state": self.state, **summary(self.document)}


def summary(document: Mapping[str, Any]) -> dict[str, Any]:
    """A module in one row."""
    table = document["table"]
    return {
        "module": document["module"], "file": document["file"], "added_us": document["added_us"],
        "by": document["by"], "objects": len(table["objects"]), "labels": len(table["labels"]),
        "notifications": len(table["notifications"]), "imports": table["imports"],
    }  # fmt: skip


class SiteMibs:
    """The modules below a folder. Whoever changes them sees to it that nobody else does at the same time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def stamp(self) -> int:
        """Another number after each change: that of the folder's own time, ns."""
        try:
            return self.folder.stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def modules(self) -> list[dict[str, Any]]:
        """All of them, by name; a damaged file is left out and said in the log."""
        return list(self._read())

    def module(self, name: str) -> dict[str, Any]:
        """One. Raises NotFound, StoreError."""
        path = self._path(name)
        if not path.is_file():
            raise NotFound(f"no MIB module '{name}'", hint="soc mib list")
        return _document(path)

    def names(self) -> Names:
        """The names of the standard modules and of these; where both name something, these do."""
        objects: dict[str, str] = dict(OBJECTS)
        labels: dict[str, Mapping[int, str]] = {oid: LABELS[name] for oid, name in OBJECTS.items() if name in LABELS}
        notifications = dict(NOTIFICATIONS)
        for document in self._read():
            table = document["table"]
            objects |= table["objects"]
            labels |= {oid: {int(n): word for n, word in words.items()} for oid, words in table["labels"].items()}
            notifications |= {oid: Notification(**note) for oid, note in table["notifications"].items()}
        return Names(objects, labels, notifications)

    def plan(self, given: Sequence[tuple[str, str]], *, by: str, now_us: int) -> tuple[list[Planned], list[Fault]]:
        """What adding these files (name, text) would do; a file with a fault leaves the others untouched.

        Raises UsageError for more than is taken at once, or when the compiler gives up.
        """
        if len(given) > MAX_FILES or sum(len(text) for _, text in given) > MAX_BYTES:
            raise UsageError(f"more than {MAX_FILES} files or {MAX_BYTES >> 20} MiB of MIBs at once")
        faults: list[Fault] = []
        of: dict[str, tuple[str, str]] = {}
        for file, text in given:
            found = modules_in(text)
            if not found:
                faults.append(Fault(file, 1, "no MIB module: nothing says 'NAME DEFINITIONS ::= BEGIN'"))
            for module in found:
                if module in of and of[module] != (file, text):
                    faults.append(Fault(file, 1, f"module '{module}' stands in {of[module][0]} too"))
                elif module in MODULES:
                    _log.info("MIB module %s of %s is a standard one and is used as it came", module, file)
                of.setdefault(module, (file, text))
        known = {document["module"]: document for document in self._read()}
        if len(known.keys() | of.keys()) > MAX_MODULES:
            raise UsageError(f"more than {MAX_MODULES} MIB modules", hint="soc mib remove")
        texts = {name: document["text"] for name, document in known.items()} | {m: t for m, (_, t) in of.items()}
        tables, found_faults = compiled(texts, list(of)) if of else ({}, [])
        for fault in found_faults:
            file = of[fault["module"]][0] if fault["module"] in of else fault["module"]
            faults.append(Fault(file, fault["line"], fault["message"], fault["hint"]))
        planned = [
            _planned(module, *of[module], table, known.get(module), by, now_us) for module, table in tables.items()
        ]
        return sorted(planned, key=lambda each: each.module), faults

    def keep(self, planned: Sequence[Planned]) -> None:
        """Make these durable; what they replace can be had back by `restore`. Raises StoreError."""
        files.make_folder(self.folder)
        for each in planned:
            if each.state == "unchanged":
                continue
            path = self._path(each.module)
            if path.exists():
                files.replace(self._before(each.module), path.read_bytes())
            files.replace(path, orjson.dumps(each.document))

    def remove(self, name: str) -> dict[str, Any]:
        """Take one away; `restore` brings it back. Raises NotFound, and UsageError while others import it."""
        document = self.module(name)
        users = [d["module"] for d in self._read() if name in d["table"]["imports"] and name not in MODULES]
        if users:
            raise UsageError(f"'{name}' is imported by {', '.join(users)}", hint="remove those first")
        self._path(name).replace(self._before(name))
        files.sync_folder(self.folder)
        return summary(document)

    def restore(self, name: str) -> dict[str, Any]:
        """Undo the last replacement or removal of a module. Raises NotFound."""
        before, path = self._before(name), self._path(name)
        if not before.is_file():
            raise NotFound(f"nothing to undo for MIB module '{name}'")
        document = _document(before)
        now = path.read_bytes() if path.exists() else None
        files.replace(path, before.read_bytes())
        if now is None:
            before.unlink()
            files.sync_folder(self.folder)
        else:
            files.replace(before, now)
        return summary(document)

    def _path(self, name: str) -> Path:
        if name not in modules_in(f"{name} DEFINITIONS ::= BEGIN"):
            raise NotFound(f"'{name[:64]}' is no name of a MIB module")
        return self.folder / f"{name}.json"

    def _before(self, name: str) -> Path:
        return self._path(name).with_suffix(".before")

    def _read(self) -> Iterator[dict[str, Any]]:
        for path in sorted(self.folder.glob("*.json")):
            try:
                yield _document(path)
            except StoreError as error:
                _log.error("%s; its names are not used", error)


def _planned(
    module: str, file: str, text: str, table: Mapping[str, Any], before: Mapping[str, Any] | None, by: str, now_us: int
) -> Planned:
    digest = hashlib.sha256(text.encode()).hexdigest()
    state = "new" if before is None else "replaced"
    if before is not None and before["sha256"] == digest and before["table"] == table:
        state = "unchanged"
    document = {
        "version": _VERSION, "module": module, "file": file, "sha256": digest, "added_us": now_us, "by": by,
        "text": text, "table": dict(table),
    }  # fmt: skip
    return Planned(module, file, state, document)


def _document(path: Path) -> dict[str, Any]:
    try:
        document = orjson.loads(path.read_bytes())
        if document["version"] > _VERSION:
            raise StoreError(f"the MIB {path} is of version {document['version']}, this soc reads up to {_VERSION}")
        summary(document)
        return dict(document)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"cannot read the MIB {path}: {error}", hint="soc mib add it again") from error
