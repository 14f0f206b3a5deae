"""Keys and ciphers of SNMPv3's user-based security: RFC 3414 (MD5, SHA-1, DES), RFC 7860 (SHA-2), RFC 3826 (AES-128).

AES with 192 and 256 bits is no RFC: the key is extended as draft-blumenthal-aes-usm-04 says (net-snmp and most agents),
or, for the names that end in `-C`, as draft-reeder-snmpv3-usm-3desede-00 says (Cisco).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

try:
    from cryptography.hazmat.decrepit.ciphers.modes import CFB
except ImportError:  # cryptography before 47
    from cryptography.hazmat.primitives.ciphers.modes import CFB

PASSPHRASE_BYTES = 1 << 20
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


def mac(authentication: Authentication, key: bytes, message: bytes) -> bytes:
    """The truncated HMAC of a message whose authentication parameters are zero."""
    return hmac.digest(key, message, authentication.hash)[: authentication.mac_bytes]


def decrypt(privacy: Privacy, key: bytes, *, boots: int, time: int, salt: bytes, data: bytes) -> bytes:
    """The plaintext, with DES also its padding. Raises BadCipherText for a salt or a length that cannot be."""
    if len(salt) != 8:
        raise BadCipherText("privacy parameters of other than 8 bytes")
    if privacy.cipher == "des" and len(data) % 8:
        raise BadCipherText("cipher text that is no whole number of DES blocks")
    return _through(_cipher(privacy, key, boots, time, salt).decryptor, data)


def encrypt(privacy: Privacy, key: bytes, *, boots: int, time: int, salt: bytes, data: bytes) -> bytes:
    """The cipher text under an 8-byte salt that was never used with this key; DES pads with zeros."""
    if privacy.cipher == "des":
        data += bytes(-len(data) % 8)
    return _through(_cipher(privacy, key, boots, time, salt).encryptor, data)


def _through(make: Callable[[], CipherContext], data: bytes) -> bytes:
    context = make()
    return context.update(data) + context.finalize()


def _cipher(privacy: Privacy, key: bytes, boots: int, time: int, salt: bytes) -> Cipher[CBC | CFB]:
    if privacy.cipher == "des":
        vector = bytes(a ^ b for a, b in zip(key[8:16], salt, strict=True))
        return Cipher(TripleDES(key[:8] * 3), CBC(vector))  # three equal keys are single DES
    vector = boots.to_bytes(4, "big") + time.to_bytes(4, "big") + salt
    return Cipher(AES(key), CFB(vector))
