"""Bundles of definitions for places without a network: a zip with a signed list of what is in it.

`manifest.json` names every file with its SHA-256 and size, `manifest.sig` is the Ed25519 signature (RFC 8032) over it
in hex, the files lie below `files/`. What is not in the list, or not as it says, makes the whole bundle refused.
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from soc.content.document import MAX_BYTES
from soc.errors import ConfigError, PermissionRefused, UsageError

FORMAT = 1
MAX_FILES = 20_000
MAX_FILE = 8 * MAX_BYTES
"""Recorded events beside rules may be larger than a definition."""
MAX_TOTAL = 256 << 20
MAX_MANIFEST = 8 << 20
_MANIFEST, _SIGNATURE, _FILES = "manifest.json", "manifest.sig", "files/"
_PATH = re.compile(r"[^/.\\\x00-\x1f][^/\\\x00-\x1f]{0,199}(?:/[^/.\\\x00-\x1f][^/\\\x00-\x1f]{0,199}){0,15}")


@dataclass(frozen=True)
class Bundle:
    """A bundle whose signature and content were checked. `made_us` is µs UTC; `key` the signer's public key in hex."""

    name: str
    version: str
    made_us: int
    key: str
    files: Mapping[str, bytes] = field(repr=False)


def make(folder: Path, name: str, version: str, key: Ed25519PrivateKey, now_us: int) -> bytes:
    """A bundle of everything below a folder, but for hidden names. Raises UsageError for what could not be applied."""
    files = {path: (folder / path).read_bytes() for path in sorted(_paths(folder))}
    if not files:
        raise UsageError(f"{folder}: there is nothing in it")
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
    listed = {path: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for path, data in files.items()}
    manifest = {"format": FORMAT, "name": name, "version": version, "made_us": now_us, "key": public, "files": listed}
    _checked(manifest, f"{folder}")
    said = orjson.dumps(manifest, option=orjson.OPT_SORT_KEYS)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(_MANIFEST, said)
        archive.writestr(_SIGNATURE, key.sign(said).hex())
        for path, data in files.items():
            archive.writestr(_FILES + path, data)
    return out.getvalue()


def _paths(folder: Path) -> list[str]:
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return [path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts)]


def read(path: Path, trusted: Collection[str]) -> Bundle:
    """A bundle signed by one of these public keys (hex). Raises PermissionRefused for another signer or a broken
    signature, ConfigError for anything that is not as the list says."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            said = _member(archive, _MANIFEST, MAX_MANIFEST)
            signature = _member(archive, _SIGNATURE, 256)
            manifest = _manifest(said, signature, trusted, str(path))
            files = {name: _listed(archive, name, entry) for name, entry in manifest["files"].items()}
            extra = set(archive.namelist()) - {_MANIFEST, _SIGNATURE, *(_FILES + name for name in files)}
    except (
        OSError,
        KeyError,
        ValueError,
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
        RuntimeError,
        EOFError,
    ) as error:
        raise ConfigError(f"{path}: no bundle, or a damaged one: {error}") from error
    if extra:
        raise ConfigError(f"{path}: '{min(extra)[:200]}' is not in its signed list")
    return Bundle(manifest["name"], manifest["version"], manifest["made_us"], manifest["key"], files)


def _manifest(said: bytes, signature: bytes, trusted: Collection[str], place: str) -> dict[str, Any]:
    manifest = orjson.loads(said)
    signer = str(manifest.get("key", "")) if isinstance(manifest, dict) else ""
    if signer not in trusted:
        raise PermissionRefused(
            f"{place}: signed by {signer[:64] or 'nobody'}, whom nobody here trusts",
            hint="after comparing the key with its owner: --trust KEY, or [content] trust in soc.toml",
        )
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(signer)).verify(bytes.fromhex(signature.decode()), said)
    except InvalidSignature as error:
        raise PermissionRefused(f"{place}: its list was changed after it was signed") from error
    return _checked(manifest, place)


def _checked(manifest: dict[str, Any], place: str) -> dict[str, Any]:
    if manifest.get("format") != FORMAT:
        raise ConfigError(f"{place}: format {manifest.get('format')} is not known here")
    files = manifest["files"]
    if len(files) > MAX_FILES or sum(entry["bytes"] for entry in files.values()) > MAX_TOTAL:
        raise UsageError(f"{place}: more than {MAX_FILES} files or {MAX_TOTAL >> 20} MiB")
    for name, entry in files.items():
        if not _PATH.fullmatch(name) or entry["bytes"] > MAX_FILE:
            raise UsageError(f"{place}: '{name[:200]}' has a name that may not be, or more than {MAX_FILE >> 20} MiB")
    return manifest


def _listed(archive: zipfile.ZipFile, name: str, entry: Mapping[str, Any]) -> bytes:
    data = _member(archive, _FILES + name, int(entry["bytes"]))
    if len(data) != entry["bytes"] or hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise ValueError(f"'{name}' is not what the signed list says")
    return data


def _member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """At most one byte more than there may be is read, whatever the archive claims."""
    with archive.open(name) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"'{name}' is larger than it may be")
    return data
