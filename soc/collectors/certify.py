"""Keys and certificates on P-256: what the hub's authority and a site's own one are made with."""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

from soc.model.clock import Clock, utc

LEEWAY = dt.timedelta(minutes=10)
"""Certificates begin so much before now, for clocks that are behind."""
AUTHORITY_DAYS = 3650


def authority_of(subject: x509.Name, now: dt.datetime) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """A new authority that signs certificates of others, and of no further authority (RFC 5280, 4.2.1.9)."""
    key = new_key()
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    made = (
        builder(subject, subject, key.public_key(), now, dt.timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    return key, made


def signed(
    subject: str,
    public: ec.EllipticCurvePublicKey,
    authority: tuple[x509.Certificate, ec.EllipticCurvePrivateKey],
    valid: tuple[dt.datetime, dt.datetime],
    purpose: x509.ObjectIdentifier,
    hosts: Iterable[str] = (),
) -> x509.Certificate:
    """A certificate that signs no others: from and until when it holds (UTC), for a server or a client, for these host
    names and addresses."""
    issuer, key = authority
    made = (
        builder(named(subject), issuer.subject, public, valid[0], valid[1] - valid[0])
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    )
    names = [alternative(host) for host in hosts]
    made = made.add_extension(x509.SubjectAlternativeName(names), critical=False) if names else made
    return made.sign(key, hashes.SHA256())


def key_in(path: Path) -> ec.EllipticCurvePrivateKey:
    """The key of a PEM file."""
    key = load_pem_private_key(path.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def new_key() -> ec.EllipticCurvePrivateKey:
    """A fresh P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The key as PEM (PKCS 8, not encrypted: the file's mode protects it)."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def belongs(pem: bytes, key: ec.EllipticCurvePrivateKey) -> bool:
    """Whether this is a certificate (PEM) of that key."""
    try:
        return x509.load_pem_x509_certificate(pem).public_key() == key.public_key()
    except ValueError:
        return False


def fingerprint(pem: bytes) -> str:
    """Hex SHA-256 over the DER of a certificate."""
    return hashlib.sha256(x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)).hexdigest()


def days_left(pem: bytes, clock: Clock) -> float:
    """How many days a certificate is still valid."""
    left = x509.load_pem_x509_certificate(pem).not_valid_after_utc - utc(clock.now_ns())
    return left.total_seconds() / 86_400


def named(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: dt.datetime, valid: dt.timedelta
) -> x509.CertificateBuilder:
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    made = made.serial_number(x509.random_serial_number())
    return made.not_valid_before(now - LEEWAY).not_valid_after(now + valid)


def alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
