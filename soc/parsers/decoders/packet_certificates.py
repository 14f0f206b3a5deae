"""X.509 certificates (RFC 5280) as ECS has them, read by the `cryptography` library."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptography import x509

MAX_NAMES = 100
"""Alternative names of a certificate that are told."""


def certificate(data: bytes) -> tuple[dict[str, Any], bool]:
    """What a certificate in DER says, and whether it could be read; its digests are there in any case."""
    from cryptography import x509  # a twentieth of a second, for those who have certificates

    values: dict[str, Any] = {
        "sha256": hashlib.sha256(data).hexdigest().upper(),
        "sha1": hashlib.sha1(data, usedforsecurity=False).hexdigest().upper(),
    }
    try:
        found = x509.load_der_x509_certificate(data)
        values |= {
            "subject": _name(found.subject),
            "issuer": _name(found.issuer),
            "serial": f"{found.serial_number:X}",
            "not_before_us": int(found.not_valid_before_utc.timestamp()) * 1_000_000,
            "not_after_us": int(found.not_valid_after_utc.timestamp()) * 1_000_000,
        }
        names = _alternatives(found)
        if names:
            values["names"] = names
    except (ValueError, TypeError, x509.UnsupportedGeneralNameType):
        return values, False
    return values, True


def _name(name: x509.Name) -> str:
    """RFC 4514, with the most particular part first."""
    return name.rfc4514_string()[:4096]


def _alternatives(found: x509.Certificate) -> list[str]:
    from cryptography import x509

    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension):
        return []
    return [str(name.value) for name in names][:MAX_NAMES]
