"""The signed head of a ledger chain, kept in a file outside the database, so that a removed last entry is missed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from soc.errors import StoreError
from soc.model.canonical import canonical_bytes
from soc.store.cases.database import sync_folder


@dataclass(frozen=True)
class Head:
    """The last entry of a chain: its number (0 for an empty chain) and its hash."""

    chain: str
    seq: int
    hash: str

    def signed_bytes(self) -> bytes:
        """What the signature covers: RFC 8785 bytes of the three fields."""
        return canonical_bytes({"chain": self.chain, "hash": self.hash, "seq": self.seq})

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """Raises KeyError, TypeError, ValueError when the document is no head."""
        return cls(str(document["chain"]), int(document["seq"]), str(document["hash"]))


class BadHead(Exception):
    """The head file is missing, unreadable, of another chain, or its signature does not hold."""


def load_key(path: Path) -> Ed25519PrivateKey:
    """The signing key (PEM, PKCS 8), made with mode 0600 when the file is missing. Raises StoreError."""
    try:
        if not path.exists():
            _make_key(path)
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read the signing key {path}: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise StoreError(f"the signing key {path} is no Ed25519 key")
    return key


def _make_key(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_durably(path, pem)


def write_durably(path: Path, content: bytes) -> None:
    """Replace a file: the old content or the new one survives any crash, never a part. Mode 0600."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


class HeadFile:
    """Reads and replaces the head file of one chain."""

    def __init__(self, path: Path, chain: str, key: Ed25519PrivateKey) -> None:
        self.path = path
        self.chain = chain
        self._key = key
        self._public: Ed25519PublicKey = key.public_key()

    def write(self, head: Head) -> None:
        """Sign and replace. Raises OSError."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        signature = self._key.sign(head.signed_bytes()).hex()
        body = {"chain": head.chain, "seq": head.seq, "hash": head.hash, "signature": signature}
        write_durably(self.path, orjson.dumps(body, option=orjson.OPT_APPEND_NEWLINE))

    def read(self) -> Head:
        """The head whose signature holds. Raises BadHead with the reason."""
        try:
            document = orjson.loads(self.path.read_bytes())
            head = Head.of(document)
            self._public.verify(bytes.fromhex(document["signature"]), head.signed_bytes())
        except FileNotFoundError as error:
            raise BadHead(f"the signed head {self.path} is missing") from error
        except OSError as error:
            raise BadHead(f"the signed head {self.path} cannot be read: {error.strerror}") from error
        except InvalidSignature as error:
            raise BadHead(f"the signature of the head {self.path} does not hold") from error
        except (KeyError, TypeError, ValueError) as error:
            raise BadHead(f"the signed head {self.path} is damaged") from error
        if head.chain != self.chain:
            raise BadHead(f"the signed head {self.path} belongs to chain '{head.chain}'")
        return head
