"""Certificates for TLS tests: an authority that signs whatever a test needs, expired and foreign ones too."""

import datetime as dt
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

DAY = dt.timedelta(days=1)


class Authority:
    """A CA in a folder: `path` is its certificate."""

    def __init__(self, folder, name="ca"):
        self.folder = folder
        self.path = folder / f"{name}.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = _subject(f"test {name}")
        certificate = _sign(self._subject, self._subject, self._key.public_key(), self._key, is_authority=True)
        self.path.write_bytes(certificate.public_bytes(Encoding.PEM))

    def pair(self, name, *, dns=(), uri=(), since=-DAY, until=DAY):
        """Certificate and key files of a subject with this common name."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName(n) for n in dns] + [x509.UniformResourceIdentifier(n) for n in uri]
        certificate = _sign(_subject(name), self._subject, key.public_key(), self._key, names, since, until)
        paths = self.folder / f"{self.path.stem}-{name}.pem", self.folder / f"{self.path.stem}-{name}.key"
        paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
        paths[1].touch(0o600)
        paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return paths


def client(authority, pair=None, **limits):
    """A client's context that trusts this authority and shows this pair."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(authority.path)
    if pair:
        context.load_cert_chain(*pair)
    for name, value in limits.items():
        setattr(context, name, value)
    return context


def _subject(name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _sign(subject, issuer, public, key, names=(), since=-DAY, until=DAY, is_authority=False):
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public)
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now + since)
    builder = builder.not_valid_after(now + until)
    builder = builder.add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256())
