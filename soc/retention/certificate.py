"""Signed proof of a deletion: one JSON file per applied plan, canonical bytes, Ed25519."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from soc.model.canonical import canonical_bytes
from soc.retention.keys import public_hex, write_durable

SCHEMA = "soc.retention.certificate/v1"


class Tombstone(Protocol):
    """What the store leaves in place of a dropped segment."""

    @property
    def segment_id(self) -> str: ...
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
    def dropped_us(self) -> int: ...
    @property
    def authorisation(self) -> str: ...


@dataclass(frozen=True)
class Spared:
    """A segment that the plan would have deleted and that stayed, and why (message id)."""

    segment_id: str
    reason: str


@dataclass(frozen=True)
class Certificate:
    """Who planned and who approved what, and the tombstones of what was deleted. Times are µs UTC."""

    plan_hash: str
    ladder_id: str
    planner: str
    approver: str
    approved_us: int
    issued_us: int
    tombstones: tuple[Mapping[str, Any], ...]
    spared: tuple[Spared, ...] = ()

    @property
    def name(self) -> str:
        """The file name: the hash of the plan, so that a repeated run finds its own certificate."""
        return f"{self.plan_hash}.json"

    def signed(self, key: Ed25519PrivateKey) -> bytes:
        """The bytes of the file: RFC 8785, public key and signature inside, the signature over all but itself."""
        return sign({"schema": SCHEMA, **asdict(self)}, key)


def tombstone_document(tombstone: Tombstone) -> dict[str, Any]:
    """A tombstone as a JSON-able dict."""
    return {
        "segment_id": tombstone.segment_id,
        "day": tombstone.day,
        "level": int(tombstone.level),
        "systems": sorted(tombstone.systems),
        "rows": tombstone.rows,
        "bytes": tombstone.bytes,
        "sha256": tombstone.sha256,
        "dropped_us": tombstone.dropped_us,
        "authorisation": tombstone.authorisation,
    }


def sign(body: Mapping[str, Any], key: Ed25519PrivateKey) -> bytes:
    """Canonical bytes of the body with `public_key` and `signature` (both hex) added."""
    keyed = {**body, "public_key": public_hex(key)}
    return canonical_bytes({**keyed, "signature": key.sign(canonical_bytes(keyed)).hex()})


def write(folder: Path, certificate: Certificate, key: Ed25519PrivateKey) -> Path:
    """Write it durably under the folder; one that lies there already stands and is not signed again."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / certificate.name
    if not path.exists():
        write_durable(path, certificate.signed(key))
    return path


def read_all(folder: Path) -> dict[str, dict[str, Any]]:
    """Every certificate by file name, unverified; `verify` is what judges them."""
    return {path.name: json.loads(path.read_bytes()) for path in sorted(folder.glob("*.json"))}


def digests(folder: Path) -> Sequence[dict[str, str]]:
    """Name and hex SHA-256 of every certificate file, for the manifest."""
    paths = sorted(folder.glob("*.json"))
    return [{"name": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()} for path in paths]
