"""The signed list of every sealed file, tombstone and certificate: what `verify` holds the folder against."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from soc.retention import certificate
from soc.retention.certificate import Tombstone
from soc.retention.keys import write_durable

SCHEMA = "soc.retention.manifest/v1"
NAME = "manifest.json"
CERTIFICATES = "certificates"


class SealedFile(Protocol):
    """A segment with the place of its file; `sha256` is over the bytes of the file."""

    @property
    def id(self) -> str: ...
    @property
    def day(self) -> str: ...
    @property
    def level(self) -> int | str: ...
    @property
    def systems(self) -> frozenset[str]: ...
    @property
    def rows(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def sha256(self) -> str: ...
    @property
    def path(self) -> Path | str: ...


def build(
    segments: Iterable[SealedFile],
    tombstones: Iterable[Tombstone],
    certificates: Path,
    *,
    root: Path,
    key: Ed25519PrivateKey,
    now_us: int,
) -> bytes:
    """The manifest's bytes. Paths inside are relative to `root` (the store's own folder), with `/`."""
    body = {
        "schema": SCHEMA,
        "made_us": now_us,
        "segments": [_segment(segment, root) for segment in sorted(segments, key=lambda segment: segment.id)],
        "tombstones": sorted(map(certificate.tombstone_document, tombstones), key=lambda stone: stone["segment_id"]),
        "certificates": certificate.digests(certificates),
    }
    return certificate.sign(body, key)


def write(data: bytes, folder: Path) -> Path:
    """Write the manifest durably into the folder."""
    path = folder / NAME
    write_durable(path, data)
    return path


def _segment(segment: SealedFile, root: Path) -> dict[str, Any]:
    path = Path(segment.path)
    relative = path.relative_to(root) if path.is_absolute() else path
    return {
        "id": segment.id,
        "path": relative.as_posix(),
        "day": segment.day,
        "level": int(segment.level),
        "systems": sorted(segment.systems),
        "rows": segment.rows,
        "bytes": segment.bytes,
        "sha256": segment.sha256,
    }
