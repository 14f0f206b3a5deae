"""Enrolment of distant units: a short-lived token buys a certificate, which renews itself; the hub's own authority."""

from __future__ import annotations

import base64
import datetime as dt
import fcntl
import hashlib
import hmac
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from soc.collectors.certify import AUTHORITY_DAYS, authority_of, fingerprint, key_in, named, new_key, pem_of, signed
from soc.errors import NotFound, PermissionRefused, UsageError
from soc.model.clock import Clock, utc
from soc.model.names import SHORT_NAME
from soc.store import files

TOKEN_MINUTES = 60
CERTIFICATE_DAYS = 90
RENEW_DAYS = 30
"""A certificate is renewed when it has fewer days left."""


@dataclass(frozen=True)
class Token:
    """What a unit needs to join: its name, the secret, and which authority to believe (SHA-256 of its certificate)."""

    name: str
    secret: str
    authority: str

    def __str__(self) -> str:
        return base64.urlsafe_b64encode(f"{self.name} {self.secret} {self.authority}".encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Token:
        """The inverse of `str`. Raises UsageError."""
        try:
            name, secret, authority = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode().split(" ")
        except ValueError as error:
            raise UsageError("this is no join token", hint="soc relay invite NAME at the centre prints one") from error
        return cls(checked_name(name), secret, authority)


def checked_name(name: str) -> str:
    """A unit's name: it becomes part of a folder's name and of every event's position. Raises UsageError."""
    if not SHORT_NAME.fullmatch(name):
        raise UsageError(f"'{name[:60]}' is no name for a unit", hint="small letters, digits and -, at most 40")
    return name


class Authority:
    """The hub's certificate authority and its book of units, in one folder of mode 0700. Thread-safe.

    A token is used once and for `TOKEN_MINUTES`; only its digest is kept. `forget` shuts a unit out at once.
    """

    def __init__(self, folder: Path, clock: Clock, names: tuple[str, ...] = ("localhost", "127.0.0.1")) -> None:
        self._folder, self._clock = folder, clock
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._alone():
            if not self.certificate.exists():
                self._make(names)

    @property
    def certificate(self) -> Path:
        """The authority's own certificate."""
        return self._folder / "ca.pem"

    @property
    def server(self) -> tuple[Path, Path]:
        """The hub's certificate and key."""
        return self._folder / "hub.pem", self._folder / "hub.key"

    def fingerprint(self) -> str:
        """Hex SHA-256 of the authority's certificate (DER)."""
        return fingerprint(self.certificate.read_bytes())

    def invite(self, name: str) -> Token:
        """A token for a unit; an earlier unused one is void. Raises UsageError."""
        token = Token(checked_name(name), secrets.token_urlsafe(24), self.fingerprint())
        with self._alone():
            book = self._book()
            entry = book.setdefault(name, {"joined_us": None, "serials": []})
            entry |= {"token": _digest(token.secret), "until_us": self._now_us() + TOKEN_MINUTES * 60_000_000}
            self._keep(book)
        return token

    def join(self, name: str, secret: str, request: bytes) -> bytes:
        """The unit's certificate (PEM) for its signing request. Raises PermissionRefused, UsageError."""
        with self._alone():
            book = self._book()
            entry = book.get(name, {})
            good = hmac.compare_digest(entry.get("token") or "-", _digest(secret))
            if not good or self._now_us() > entry["until_us"]:
                raise PermissionRefused(
                    "this token is not valid", hint="soc relay invite NAME at the centre gives a new one"
                )
            pem, serial = self._issue(name, request)
            entry |= {"token": None, "joined_us": self._now_us(), "serials": [serial]}
            self._keep(book)
        return pem

    def renew(self, name: str, serial: str, request: bytes) -> bytes:
        """A new certificate for a unit that shows a good one. Raises PermissionRefused, UsageError."""
        with self._alone():
            book = self._book()
            if serial not in book.get(name, {}).get("serials", ()):
                raise PermissionRefused(f"unit '{name}' is not enrolled here")
            pem, fresh = self._issue(name, request)
            book[name]["serials"] = [serial, fresh]  # the one shown stays good: this answer may be lost
            self._keep(book)
        return pem

    def knows(self, name: str, serial: str) -> bool:
        """Whether this certificate of this unit still counts."""
        with self._alone():
            return serial in self._book().get(name, {}).get("serials", ())

    def forget(self, name: str) -> None:
        """Shut a unit out. Raises NotFound."""
        with self._alone():
            book = self._book()
            if name not in book:
                raise NotFound(f"no unit '{name}'")
            del book[name]
            self._keep(book)

    def units(self) -> dict[str, dict[str, Any]]:
        """Name → when it joined (µs UTC, None = invited)."""
        with self._alone():
            return {name: {"joined_us": entry["joined_us"]} for name, entry in sorted(self._book().items())}

    def _issue(self, name: str, request: bytes) -> tuple[bytes, str]:
        try:
            asked = x509.load_pem_x509_csr(request)
            proven = asked.is_signature_valid
        except ValueError as error:
            raise UsageError(f"no certificate signing request: {error}") from error
        key = asked.public_key()
        if not proven or not isinstance(key, ec.EllipticCurvePublicKey):
            raise UsageError("a signing request needs an elliptic-curve key and its signature")
        authority = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        now = utc(self._clock.now_ns())
        until = now + dt.timedelta(days=CERTIFICATE_DAYS)
        # Never under the name that the request claims.
        made = signed(name, key, (authority, self._key()), (now, until), ExtendedKeyUsageOID.CLIENT_AUTH)
        return made.public_bytes(Encoding.PEM), f"{made.serial_number:x}"

    def _make(self, names: tuple[str, ...]) -> None:
        """The authority and the hub's own pair; the authority's certificate is written last, as the sign of success."""
        now = utc(self._clock.now_ns())
        key, authority = authority_of(named("soc relay authority"), now)
        own, until = new_key(), now + dt.timedelta(days=AUTHORITY_DAYS)
        hub = signed(
            "soc relay hub", own.public_key(), (authority, key), (now, until), ExtendedKeyUsageOID.SERVER_AUTH, names
        )
        files.replace(self._folder / "ca.key", pem_of(key))
        files.replace(self._folder / "hub.key", pem_of(own))
        files.replace(self._folder / "hub.pem", hub.public_bytes(Encoding.PEM))
        files.replace(self.certificate, authority.public_bytes(Encoding.PEM))

    def _key(self) -> ec.EllipticCurvePrivateKey:
        return key_in(self._folder / "ca.key")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other thread, and no other process (the hub and `soc serve` share the folder)."""
        with self._lock, (self._folder / "lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _book(self) -> dict[str, dict[str, Any]]:
        try:
            found: dict[str, dict[str, Any]] = orjson.loads((self._folder / "units.json").read_bytes())
        except FileNotFoundError:
            return {}
        return found

    def _keep(self, book: dict[str, dict[str, Any]]) -> None:
        files.replace(self._folder / "units.json", orjson.dumps(book))

    def _now_us(self) -> int:
        return self._clock.now_ns() // 1000


def request_for(key: ec.EllipticCurvePrivateKey, name: str) -> bytes:
    """A signing request (PEM) of a unit."""
    made = x509.CertificateSigningRequestBuilder().subject_name(named(name)).sign(key, hashes.SHA256())
    return made.public_bytes(Encoding.PEM)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
