"""A small certificate authority for the national link on one machine: CA, server and client, EC P-256, one year."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from soc.model.clock import Clock, utc
from soc.store import files

_YEAR = dt.timedelta(days=365)
_LEEWAY = dt.timedelta(minutes=10)
"""Certificates begin a little early, for a peer whose clock is behind."""


@dataclass(frozen=True)
class Pair:
    """A certificate file and its key file, both PEM, mode 0600."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Pki:
    """The files of the link: the authority both sides trust, and one pair for each side."""

    authority: Path
    server: Pair
    client: Pair

    def client_context(self) -> ssl.SSLContext:
        """TLS 1.2 or later, verifying the server against this authority alone and showing the client certificate."""
        return client_context(self.authority, self.client.certificate, self.client.key)


def client_context(authority: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    """What httpx takes as `verify`. Raises OSError or ssl.SSLError when a file is missing or wrong."""
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(authority))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context


def ensure(folder: Path, clock: Clock, names: Sequence[str] = ("localhost", "127.0.0.1")) -> Pki:
    """The files under `folder`; all are made anew when one is missing or a certificate has run out."""
    pki = Pki(
        folder / "ca.pem",
        Pair(folder / "server.pem", folder / "server.key"),
        Pair(folder / "client.pem", folder / "client.key"),
    )
    if not _is_usable(pki, utc(clock.now_ns())):
        _make(pki, utc(clock.now_ns()), names)
    return pki


def _is_usable(pki: Pki, now: dt.datetime) -> bool:
    files = (pki.authority, pki.server.certificate, pki.server.key, pki.client.certificate, pki.client.key)
    if not all(path.is_file() for path in files):
        return False
    certificates = (pki.authority, pki.server.certificate, pki.client.certificate)
    return all(x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc > now for path in certificates)


def _make(pki: Pki, now: dt.datetime, names: Sequence[str]) -> None:
    pki.authority.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name("soc reference authority")
    authority = _authority(subject, key, now)
    for pair, common, usage in (
        (pki.server, "soc reference national receiver", ExtendedKeyUsageOID.SERVER_AUTH),
        (pki.client, "soc national client", ExtendedKeyUsageOID.CLIENT_AUTH),
    ):
        own = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(common), subject, own, now).add_extension(x509.ExtendedKeyUsage([usage]), False)
        builder = builder.add_extension(x509.SubjectAlternativeName([_alternative(name) for name in names]), False)
        builder = builder.add_extension(_authority_id(key), False)
        files.replace(pair.key, own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        files.replace(pair.certificate, builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    files.replace(pki.authority, authority.public_bytes(Encoding.PEM))
    # The authority's own key is not kept: nobody can add a third certificate to this link.


def _authority(subject: x509.Name, key: ec.EllipticCurvePrivateKey, now: dt.datetime) -> x509.Certificate:
    usage = x509.KeyUsage(False, False, False, False, False, key_cert_sign=True, crl_sign=True, encipher_only=False,
                          decipher_only=False)  # fmt: skip
    builder = _builder(subject, subject, key, now, is_authority=True).add_extension(usage, critical=True)
    return builder.sign(key, hashes.SHA256())


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: dt.datetime,
    *,
    is_authority: bool = False,
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - _LEEWAY).not_valid_after(now + _YEAR)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    path_length = 0 if is_authority else None
    return builder.add_extension(x509.BasicConstraints(ca=is_authority, path_length=path_length), critical=True)


def _authority_id(key: ec.EllipticCurvePrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
