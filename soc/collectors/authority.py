"""A site's own certificate authority: certificates for its listeners and web page, and for devices that send over
mutual TLS (RFC 5425). Its key stays in a folder of mode 0700."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from soc.collectors.certify import authority_of, key_in, named, new_key, pem_of, signed
from soc.errors import UsageError
from soc.model.clock import Clock, utc
from soc.store import files

DAYS = 397
"""How long a certificate holds unless told otherwise: what browsers accept at most (CA/Browser Forum BR, 6.3.2)."""
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,62}[A-Za-z0-9])?")


@dataclass(frozen=True)
class Issued:
    """The files of a new certificate, and of the authority that others have to trust."""

    certificate: Path
    key: Path
    authority: Path


class SiteAuthority:
    """In one folder: `ca.pem`, `ca.key`, and beside them `<name>.pem` and `<name>.key` of all that it issued."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder, self._clock = folder, clock

    @property
    def certificate(self) -> Path:
        """What devices and browsers have to trust; made at the first use."""
        path = self._folder / "ca.pem"
        if not path.exists():
            files.make_folder(self._folder)
            self._folder.chmod(0o700)
            key, made = authority_of(named("soc site authority"), utc(self._clock.now_ns()))
            files.replace(self._folder / "ca.key", pem_of(key))
            files.replace(path, made.public_bytes(Encoding.PEM))
        return path

    def issue(self, name: str, hosts: tuple[str, ...], *, client: bool = False, days: int = DAYS) -> Issued:
        """A key and a certificate for a server (with its host names and addresses) or a client; the same name again
        replaces both. Raises UsageError."""
        if not _NAME.fullmatch(name) or name == "ca":
            raise UsageError(f"'{name[:70]}' is no name", hint="letters, digits, dots and -, at most 64; not 'ca'")
        authority = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        now, key = utc(self._clock.now_ns()), new_key()
        until = min(now + dt.timedelta(days=days), authority.not_valid_after_utc)
        purpose = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        signer = (authority, key_in(self._folder / "ca.key"))
        made = signed(name, key.public_key(), signer, (now, until), purpose, hosts or (name,))
        issued = Issued(self._folder / f"{name}.pem", self._folder / f"{name}.key", self.certificate)
        files.replace(issued.key, pem_of(key))
        files.replace(issued.certificate, made.public_bytes(Encoding.PEM))
        return issued
