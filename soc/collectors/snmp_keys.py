"""Keys and ciphers of SNMPv3's user-based security: RFC 3414 (MD5, SHA-1, DES), RFC 7860 (SHA-2), RFC 3826 (AES-128).

AES with 192 and 256 bits is no RFC: the key is extended as draft-blumenthal-aes-usm-04 says (net-snmp and most agents),
or, for the names that end in `-C`, as draft-reeder-snmpv3-usm-3desede-00 says (Cisco).
"""

from __future__ import annotations

import hashlib
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, ECB

try:
    from cryptography.hazmat.decrepit.ciphers.modes import CFB
except ImportError:  # cryptography before 47
    from cryptography.hazmat.primitives.ciphers.modes import CFB

PASSPHRASE_BYTES = 1 << 20
_VECTOR = struct.Struct(">II8s")  # RFC 3826 section 3.1.2.1: boots, time, salt
Extension = Literal["", "blumenthal", "reeder"]


class BadCipherText(ValueError):
    """The cipher text cannot be what its user sent."""


@dataclass(frozen=True)
class Authentication:
    """One HMAC: the name hashlib has for its hash, and how many bytes of it a message carries."""

    hash: str
    mac_bytes: int


@dataclass(frozen=True)
class Privacy:
    """One cipher: bytes of its localised key, and how a digest that is shorter is extended."""

    cipher: Literal["des", "aes"]
    key_bytes: int
    extension: Extension = ""


AUTHENTICATIONS: Mapping[str, Authentication] = {
    "MD5": Authentication("md5", 12),
    "SHA": Authentication("sha1", 12),
    "SHA-224": Authentication("sha224", 16),
    "SHA-256": Authentication("sha256", 24),
    "SHA-384": Authentication("sha384", 32),
    "SHA-512": Authentication("sha512", 48),
}
PRIVACIES: Mapping[str, Privacy] = {
    "DES": Privacy("des", 16),
    "AES": Privacy("aes", 16),
    "AES-192": Privacy("aes", 24, "blumenthal"),
    "AES-256": Privacy("aes", 32, "blumenthal"),
    "AES-192-C": Privacy("aes", 24, "reeder"),
    "AES-256-C": Privacy("aes", 32, "reeder"),
}


def _digest(name: str, data: bytes) -> bytes:
    return hashlib.new(name, data, usedforsecurity=False).digest()


def passphrase_key(passphrase: bytes, hash_name: str) -> bytes:
    """Ku of RFC 3414 appendix A.2: the hash of 2**20 bytes of the passphrase, repeated. Takes milliseconds."""
    repeated = passphrase * (PASSPHRASE_BYTES // len(passphrase) + 1)
    return _digest(hash_name, repeated[:PASSPHRASE_BYTES])


def localised(key: bytes, engine_id: bytes, hash_name: str) -> bytes:
    """Kul of RFC 3414 section 2.6: the key of one user at one engine."""
    return _digest(hash_name, key + engine_id + key)


def privacy_key(kul: bytes, engine_id: bytes, hash_name: str, privacy: Privacy) -> bytes:
    """The localised key at the length the cipher needs. Takes milliseconds with the Cisco extension."""
    key = last = kul
    while len(key) < privacy.key_bytes:
        if privacy.extension == "reeder":
            last = localised(passphrase_key(last, hash_name), engine_id, hash_name)
        else:
            last = _digest(hash_name, key)
        key += last
    return key[: privacy.key_bytes]


class Mac:
    """The truncated HMAC of one localised key; its two padded hashes are begun once (RFC 2104 section 4)."""

    def __init__(self, authentication: Authentication, key: bytes) -> None:
        self.size = authentication.mac_bytes
        inner = hashlib.new(authentication.hash, usedforsecurity=False)
        outer = inner.copy()
        padded = key.ljust(inner.block_size, b"\0")  # a localised key is as long as its hash: never longer than a block
        inner.update(bytes(byte ^ 0x36 for byte in padded))
        outer.update(bytes(byte ^ 0x5C for byte in padded))
        self._inner, self._outer = inner, outer

    def digest(self, message: bytes) -> bytes:
        """Of a message whose authentication parameters are zero."""
        inner = self._inner.copy()
        inner.update(message)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()[: self.size]


class Seal:
    """The cipher of one localised key. Thread-safe.

    To decrypt, CFB needs the cipher block by block over what is known already, and CBC the same of its inverse (NIST SP
    800-38A, 6.2 and 6.3). So one context without a mode serves all messages of a key: a quarter of the time.
    """

    def __init__(self, privacy: Privacy, key: bytes) -> None:
        self._privacy, self._key = privacy, key
        self._lock = threading.Lock()
        if privacy.cipher == "des":
            # three equal keys are single DES
            self._blocks = Cipher(TripleDES(key[:8] * 3), ECB()).decryptor().update  # noqa: S305 -- see above
        else:
            self._blocks = Cipher(AES(key), ECB()).encryptor().update  # noqa: S305 -- see above

    def decrypt(self, *, boots: int, time: int, salt: bytes, data: bytes) -> bytes:
        """The plaintext, with DES also its padding. Raises BadCipherText for a salt or a length that cannot be."""
        if len(salt) != 8:
            raise BadCipherText("privacy parameters of other than 8 bytes")
        n = len(data)
        if self._privacy.cipher == "des":
            if n % 8:
                raise BadCipherText("cipher text that is no whole number of DES blocks")
            with self._lock:
                return _xor(self._blocks(data), _des_vector(self._key, salt) + data[:-8], n)
        known = _VECTOR.pack(boots, time, salt) + data
        with self._lock:
            return _xor(self._blocks(known[: -(-n // 16) * 16]), data, n)

    def encrypt(self, *, boots: int, time: int, salt: bytes, data: bytes) -> bytes:
        """The cipher text under an 8-byte salt that was never used with this key; DES pads with zeros."""
        cipher: Cipher[CBC | CFB]
        if self._privacy.cipher == "des":
            data += bytes(-len(data) % 8)
            cipher = Cipher(TripleDES(self._key[:8] * 3), CBC(_des_vector(self._key, salt)))
        else:
            cipher = Cipher(AES(self._key), CFB(_VECTOR.pack(boots, time, salt)))
        context = cipher.encryptor()
        return context.update(data) + context.finalize()


def _des_vector(key: bytes, salt: bytes) -> bytes:
    """RFC 3414 section 8.1.1.1: the pre-IV, the second half of the key, and the salt."""
    return _xor(key[8:16], salt, 8)


def _xor(a: bytes, b: bytes, n: int) -> bytes:
    """The first n bytes."""
    return (int.from_bytes(a[:n], "big") ^ int.from_bytes(b[:n], "big")).to_bytes(n, "big")
