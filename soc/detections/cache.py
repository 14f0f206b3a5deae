"""What reading rule files gave, kept by their content: the next start reads no YAML that did not change."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson

from soc.content import Document
from soc.detections.sigma.rule import Refused, Rule
from soc.detections.sigma.stored import plain, restored
from soc.model.fields import FieldDictionary

KEPT_FILES = 4
"""Caches in one folder: one for each set of parsers, pipelines and versions; the oldest go."""
MAX_FILES = 20_000
"""Rule files that one cache remembers: a person's sets take turns, and rules change."""
MAX_BYTES = 256 << 20
_SOURCES = Path(__file__).parent
_log = logging.getLogger("soc.detections")


@dataclass(frozen=True)
class Kept:
    """A rule document that was read before: number `n` of the file with this digest."""

    identity: str
    path: str
    digest: str
    n: int


class RuleCache:
    """One file below `folder`: a digest, then JSON. Whatever is wrong with it makes it empty, never a start fail."""

    def __init__(self, folder: Path, context: str) -> None:
        self._path = folder / f"rules-{context[:16]}.json"
        self._files, self._filters = self._read()
        self._fresh: dict[str, list[Any]] = {}
        self._used: set[str] = set()

    def _read(self) -> tuple[dict[str, list[Any]], str]:
        try:
            if self._path.stat().st_size > MAX_BYTES:
                return {}, ""
            digest, _, data = self._path.read_bytes().partition(b"\n")
            if digest.decode() != _digest(data):
                raise ValueError("it is damaged")
            found = orjson.loads(data)
            return dict(found["files"]), str(found["filters"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            if not isinstance(error, FileNotFoundError):
                _log.warning("%s cannot be used, rules are read anew: %s", self._path, error)
            return {}, ""

    def look(self, digest: str, path: str) -> list[Kept] | None:
        """The rules of a file with this content; None when it must be read."""
        found = self._files.get(digest)
        if found is None:
            return None
        return [Kept(str(identity), path, digest, n) for n, (identity, _) in enumerate(found)]

    def holds_for(self, beside: Sequence[Document]) -> bool:
        """Whether what is kept was read with just these Sigma filters and log sources; if not it is forgotten."""
        digest = _digest(orjson.dumps([each.data for each in beside], default=str, option=orjson.OPT_NON_STR_KEYS))
        if digest == self._filters:
            return True
        self._files, self._filters = {}, digest
        return False

    def get(self, kept: Kept) -> Rule | Refused:
        """What reading it gave."""
        self._used.add(kept.digest)
        return restored(self._files[kept.digest][kept.n][1], kept.path)

    def put(self, data_digest: str, read: Sequence[tuple[str, Rule | Refused]]) -> None:
        """Keep what the documents of one file gave, in order, each with its identity."""
        self._fresh[data_digest] = [[identity, plain(each)] for identity, each in read]

    def save(self) -> None:
        """Write it when something is new; beyond a bound without what no file had this time. Failure is only logged."""
        if not self._fresh:
            return
        files = self._files | self._fresh
        if len(files) > MAX_FILES:
            files = {digest: files[digest] for digest in self._used | self._fresh.keys() if digest in files}
        fresh = self._path.with_suffix(f".{os.getpid()}.new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            data = orjson.dumps({"filters": self._filters, "files": files})
            fresh.write_bytes(_digest(data).encode() + b"\n" + data)
            fresh.replace(self._path)
            others = sorted(self._path.parent.glob("rules-*.json"), key=lambda path: path.stat().st_mtime_ns)
            for old in others[:-KEPT_FILES]:
                old.unlink()
        except (OSError, TypeError) as error:
            _log.info("rules are not kept for the next start: %s", error)
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)


def context_of(
    fields: FieldDictionary,
    pipelines: Sequence[Path | str],
    datasets: Collection[str] | None,
    lists: Mapping[str, Sequence[str]],
) -> str:
    """A digest of all that decides what a rule becomes beside its file: code, pySigma, fields, pipelines, lists."""
    parts = [sys.version, version("pysigma")]
    parts += [f"{name}:{fields.get(name)}" for name in sorted(fields.names())]
    parts += [repr((dataset, sorted(names.items()))) for dataset, names in sorted(fields.called.items())]
    parts += ["*"] if datasets is None else sorted(datasets)
    parts += [repr((name, list(values))) for name, values in sorted(lists.items())]
    digest = hashlib.sha256("\n".join(parts).encode())
    texts = [*(path.read_bytes() for path in sorted(_SOURCES.rglob("*.py"))), *map(_text_of, pipelines)]
    for text in texts:
        digest.update(_digest(text).encode())
    return digest.hexdigest()


def _text_of(pipeline: Path | str) -> bytes:
    """What decides what a pipeline does: the bytes of its file, or its name."""
    path = Path(pipeline)
    return path.read_bytes() if path.is_file() else str(pipeline).encode()


def default_folder() -> Path:
    """Where a person's own commands keep it: `soc` below XDG_CACHE_HOME, else below `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "soc"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
