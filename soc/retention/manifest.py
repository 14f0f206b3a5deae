"""The signed manifests, a chain: each says which files were sealed, merged and deleted since the one before.

What was signed once is not said anew: whoever changes a file, or what the store knows of it, is held against it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from soc.retention import certificate
from soc.retention.certificate import Tombstone
from soc.retention.keys import write_durable
from soc.retention.verify import Chain, file_digest, read_on

SCHEMA = "soc.retention.manifest/v2"
CERTIFICATES = "certificates"
FACTS = (
    "day", "rows", "bytes", "sha256", "content_root",
    "min_event_us", "max_event_us", "min_receipt_us", "max_receipt_us",
)  # fmt: skip


class Spans(Protocol):
    """How many rows a sealed file has, and from when to when they are; times are µs UTC, inclusive."""

    @property
    def rows(self) -> int: ...
    @property
    def min_event_us(self) -> int: ...
    @property
    def max_event_us(self) -> int: ...
    @property
    def min_receipt_us(self) -> int: ...
    @property
    def max_receipt_us(self) -> int: ...


class SealedFile(Spans, Protocol):
    """A segment with the place of its file; `sha256` is over its bytes, `content_root` over its events."""

    @property
    def id(self) -> str: ...
    @property
    def day(self) -> str: ...
    @property
    def level(self) -> int | str: ...
    @property
    def systems(self) -> frozenset[str]: ...
    @property
    def bytes(self) -> int: ...
    @property
    def sha256(self) -> str: ...
    @property
    def content_root(self) -> str: ...
    @property
    def path(self) -> Path | str: ...


@dataclass(frozen=True)
class Inventory:
    """What the store says of itself at one moment: the files it holds, those that were merged (and into which), and
    the tombstones. Paths are below `root`."""

    root: Path
    segments: Sequence[SealedFile]
    merged: Sequence[tuple[SealedFile, str]]
    tombstones: Sequence[Tombstone]

    @property
    def names(self) -> frozenset[str]:
        """The ids of all of them."""
        files = (*self.segments, *(file for file, _ in self.merged))
        return frozenset({file.id for file in files} | {stone.segment_id for stone in self.tombstones})


@dataclass(frozen=True)
class Signed:
    """A manifest that was written."""

    seq: int
    sha256: str
    added: int
    gone: int


class Manifests:
    """The manifests below a folder, signed with a key. For one thread."""

    def __init__(self, folder: Path, certificates: Path, key: Ed25519PrivateKey) -> None:
        self._folder, self._certificates, self._key = folder, certificates, key
        self._chain = Chain()

    def extend(self, inventory: Inventory, now_us: int) -> Signed | None:
        """Sign what came since the last manifest, durably; None when nothing did, or somebody else just signed.

        What the inventory says otherwise of a file that was signed is not taken: `verify` and `audit` tell it.
        """
        chain = self._chain
        read_on(self._folder, chain, inventory.names)
        added, gone = _news(chain, inventory)
        fresh = [c for c in certificate.digests(self._certificates) if c["name"] not in chain.certificates]
        if chain.seq and not (added or gone or fresh):
            return None
        seq = chain.seq + 1
        body = {
            "schema": SCHEMA, "seq": seq, "prev": chain.head, "made_us": now_us,
            "added": added, "gone": gone, "certificates": fresh,
        }  # fmt: skip
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{seq:08d}.json"
        with contextlib.suppress(FileExistsError):
            write_durable(path, certificate.sign(body, self._key), exclusive=True)
            return Signed(seq, file_digest(path), len(added), len(gone))
        return None


def _news(chain: Chain, inventory: Inventory) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    merged = {file.id: (document(file, inventory.root), into) for file, into in inventory.merged}
    held = {file.id: document(file, inventory.root) for file in inventory.segments}
    everything = {**{name: said for name, (said, _) in merged.items()}, **held}
    added = [said for name, said in sorted(everything.items()) if name not in chain.known]
    gone: list[dict[str, Any]] = [
        {"id": name, "into": into}
        for name, (said, into) in sorted(merged.items())
        if name not in chain.gone and chain.known.get(name, said) == said
    ]
    stones = sorted(map(certificate.tombstone_document, inventory.tombstones), key=lambda stone: stone["segment_id"])
    gone += [{"id": s["segment_id"], "tombstone": s} for s in stones if s["segment_id"] not in chain.gone]
    return added, gone


def document(file: SealedFile, root: Path) -> dict[str, Any]:
    """What is signed of a file; its path is relative to `root`, with `/`."""
    path = Path(file.path)
    relative = path.relative_to(root) if path.is_absolute() else path
    facts = {name: getattr(file, name) for name in FACTS}
    return {
        "id": file.id,
        "path": relative.as_posix(),
        "level": int(file.level),
        "systems": sorted(file.systems),
        **facts,
    }
