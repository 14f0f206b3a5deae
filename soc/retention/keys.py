"""The Ed25519 key that signs certificates and manifests (RFC 8032)."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from soc.errors import ConfigError


def load_or_create(path: Path) -> Ed25519PrivateKey:
    """The key in that PEM file, mode 0600; made on the first call. Raises ConfigError for anything else in it."""
    try:
        return _load(path)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    key = Ed25519PrivateKey.generate()
    data = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        write_durable(path, data, mode=0o600, exclusive=True)
    except FileExistsError:  # another process was first: its key is the key
        return _load(path)
    return key


def public_hex(key: Ed25519PrivateKey) -> str:
    """The 32 raw bytes of the public key as hex."""
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def write_durable(path: Path, data: bytes, *, mode: int = 0o600, exclusive: bool = False) -> None:
    """Write, fsync, and rename into place, then fsync the folder: after a crash the file is whole or absent.

    With `exclusive` an existing file is left alone and FileExistsError is raised.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if exclusive:
        try:
            os.link(temporary, path)  # link refuses an existing name, rename would replace it
        finally:
            temporary.unlink()
    else:
        temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _load(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path}: no usable private key: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path}: expected an Ed25519 key")
    return key
