"""TLS for listeners (RFC 5425): the context, who may connect by certificate, and a session without sockets."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from soc.collectors.listeners import ListenerSpec, Tls
from soc.errors import ConfigError

HANDSHAKE_S = 10.0
"""Seconds a peer has for its handshake."""
_RECORD = 16384
_FINGERPRINT = "sha256:"
_REASONS = {
    "NO_SHARED_CIPHER": "tls_no_shared_cipher",
    "UNSUPPORTED_PROTOCOL": "tls_version",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "tls_no_certificate",
    "HTTP_REQUEST": "tls_not_spoken",
    "WRONG_VERSION_NUMBER": "tls_not_spoken",
}
_VERIFY_REASONS = {
    9: "tls_certificate_not_yet_valid",
    10: "tls_certificate_expired",
    18: "tls_wrong_authority",  # self-signed
    19: "tls_wrong_authority",
    20: "tls_wrong_authority",
    21: "tls_wrong_authority",
}
NOT_LISTED = "tls_name_not_listed"


class TlsRefused(Exception):
    """The peer is turned away. `reason` is a word for counters; the text says what was wrong with it."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def server_context(spec: ListenerSpec) -> ssl.SSLContext:
    """TLS 1.2 or later with the listener's files. Raises ConfigError with place and way out."""
    place, tls = f"[listen.{spec.name}]", spec.tls
    if tls is None:
        raise ConfigError(f"{place} {spec.protocol} needs 'certificate' and 'key'", hint="give both as PEM files")
    context = served(tls.certificate, tls.key, place)
    context.options |= ssl.OP_NO_TICKET
    # A client that writes and closes answers our session tickets with a reset, which takes the end of its stream along.
    context.num_tickets = 0
    _demand_certificates(context, tls, place)
    return context


def served(certificate: Path, key: Path, place: str) -> ssl.SSLContext:
    """TLS 1.2 or later for a server with these files. Raises ConfigError, which begins with the place."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"{place} certificate {certificate} with key {key} cannot be used: {_why(error)}",
            hint="both are PEM files that the service may read, and belong together",
        ) from error
    return context


def _demand_certificates(context: ssl.SSLContext, tls: Tls, place: str) -> None:
    if tls.clients_ca is None:
        if tls.clients:
            raise ConfigError(f"{place} 'clients' needs 'clients_ca'", hint="name the CA file that signed them")
        return
    try:
        context.load_verify_locations(tls.clients_ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"{place} clients_ca {tls.clients_ca} cannot be used: {_why(error)}", hint="give a PEM file of the CA"
        ) from error
    context.verify_mode = ssl.CERT_REQUIRED


def _why(error: OSError) -> str:
    return getattr(error, "reason", None) or error.strerror or str(error)


def names_in(certificate: Mapping[str, Any]) -> list[str]:
    """Subject CN and alternative names (DNS, URI, address) of a certificate as `ssl` decodes it, the CN first."""
    names = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    kinds = ("DNS", "URI", "IP Address")
    names += [value for kind, value in certificate.get("subjectAltName", ()) if kind in kinds]
    return list(dict.fromkeys(names))


def is_listed(names: Sequence[str], digest: str, allowed: Sequence[str]) -> bool:
    """Whether one of the names, or the certificate's SHA-256 (RFC 5425 §4.2.2), is in the list; empty lists all.

    Case does not matter. `*.unit.example` stands for one label more (RFC 6125 §6.4.3). An entry `SHA256:AB:CD:…` is
    the digest of the certificate itself.
    """
    if not allowed:
        return True
    known = {name.lower() for name in names}
    parents = {f"*.{name.partition('.')[2]}" for name in known if "." in name}
    for entry in (entry.lower() for entry in allowed):
        if entry.startswith(_FINGERPRINT):
            if entry.removeprefix(_FINGERPRINT).replace(":", "") == digest:
                return True
        elif entry in known or entry in parents:
            return True
    return False


class TlsSession:
    """One peer's TLS: ciphertext in, plaintext out; what must be sent back waits in `outgoing()`."""

    def __init__(self, context: ssl.SSLContext, allowed: Sequence[str] = ()) -> None:
        self._allowed = allowed
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.is_open = False
        """The handshake is over and the peer is listed."""
        self.is_ended = False
        """The peer said that nothing follows (close_notify)."""
        self.names: list[str] = []
        """The names in the peer's certificate."""

    def feed(self, data: bytes | memoryview) -> bytes:
        """The plaintext that is complete with these bytes. Raises TlsRefused; send `outgoing()` then too: the alert."""
        self._incoming.write(data)
        try:
            if not self.is_open:
                self._tls.do_handshake()
                self._admit()
            return self._read()
        except ssl.SSLWantReadError:
            return b""
        except ssl.SSLError as error:
            raise _refusal(error) from error

    def _read(self) -> bytes:
        pieces, read = [], self._tls.read
        try:
            while piece := read(_RECORD):
                pieces.append(piece)
            self.is_ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.is_ended = True
        except ssl.SSLError:
            # A damaged record ends the session; what was whole before it counts.
            if not pieces:
                raise
            self.is_ended = True
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _admit(self) -> None:
        certificate = self._tls.getpeercert()
        if certificate:
            self.names = names_in(certificate)
        if not self._is_listed():
            raise TlsRefused(NOT_LISTED, f"none of its names is listed: {', '.join(self.names)[:200]}")
        self.is_open = True

    @property
    def is_certified(self) -> bool:
        """Whether the peer showed a certificate, and of the CA that was asked for: others are not taken."""
        return self.is_open and self._tls.getpeercert(True) is not None

    def _is_listed(self) -> bool:
        if not self._allowed:
            return True
        digest = hashlib.sha256(self._tls.getpeercert(True) or b"").hexdigest()
        return is_listed(self.names, digest, self._allowed)

    def relist(self, allowed: Sequence[str]) -> bool:
        """Another list of names; whether the peer may stay. One in its handshake is asked at the end of that."""
        self._allowed = allowed
        return not self.is_open or self._is_listed()

    def write(self, data: bytes) -> None:
        """Plaintext for the peer, after the handshake."""
        if data:
            self._tls.write(data)

    def close(self) -> None:
        """Say that nothing follows."""
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            return  # the peer has not said so yet; we do not wait for it

    def outgoing(self) -> bytes:
        """Ciphertext to send now."""
        return self._outgoing.read()


def _refusal(error: ssl.SSLError) -> TlsRefused:
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = _VERIFY_REASONS.get(error.verify_code, "tls_certificate")
        return TlsRefused(reason, f"its certificate is not accepted: {error.verify_message}")
    reason = _REASONS.get(error.reason or "", "tls_alert" if "ALERT" in (error.reason or "") else "tls_broken")
    return TlsRefused(reason, (error.reason or "the TLS session is broken").replace("_", " ").lower())
