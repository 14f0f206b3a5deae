"""Certificates of a site's own authority, checked by OpenSSL, which wrote none of them."""

from __future__ import annotations

import ssl
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.x509 import load_pem_x509_certificate

from soc.collectors.authority import DAYS, Issued, SiteAuthority
from soc.collectors.certify import days_left
from soc.errors import UsageError
from soc.model.clock import SystemClock

CLOCK = SystemClock()


@pytest.fixture
def authority(tmp_path: Path) -> SiteAuthority:
    """One in a folder that is not there yet."""
    return SiteAuthority(tmp_path / "tls", CLOCK)


def _verified(issued: Issued, *given: str) -> str:
    command = ["openssl", "verify", "-CAfile", str(issued.authority), *given, str(issued.certificate)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_openssl_trusts_a_server_by_its_hosts(authority: SiteAuthority) -> None:
    """For the names and addresses it was issued for, and as a server only."""
    issued = authority.issue("syslog.tinh.example", ("syslog.tinh.example", "10.0.0.9"))
    assert "OK" in _verified(issued, "-purpose", "sslserver", "-verify_hostname", "syslog.tinh.example")
    assert "OK" in _verified(issued, "-purpose", "sslserver", "-verify_ip", "10.0.0.9")
    assert "error" in _verified(issued, "-verify_hostname", "other.example")
    assert "error" in _verified(issued, "-purpose", "sslclient")
    assert round(days_left(issued.certificate.read_bytes(), CLOCK)) == DAYS


def test_openssl_trusts_a_device_as_a_client_only(authority: SiteAuthority) -> None:
    """Mutual TLS: a device's certificate is none for a server."""
    issued = authority.issue("firewall-01", (), client=True)
    assert "OK" in _verified(issued, "-purpose", "sslclient")
    assert "error" in _verified(issued, "-purpose", "sslserver")


def test_both_sides_shake_hands(authority: SiteAuthority) -> None:
    """Mutual TLS with what was issued, through Python's own TLS."""
    server_files, client_files = authority.issue("localhost", ()), authority.issue("firewall-01", (), client=True)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(server_files.authority))
    server.load_cert_chain(server_files.certificate, server_files.key)
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.create_default_context(cafile=str(server_files.authority))
    client.load_cert_chain(client_files.certificate, client_files.key)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(to_client, to_server, server_hostname="localhost"),
            server.wrap_bio(to_server, to_client, server_side=True)]  # fmt: skip
    open_ends = list(ends)
    for _ in range(10):
        for end in list(open_ends):
            try:
                end.do_handshake()
                open_ends.remove(end)
            except ssl.SSLWantReadError:
                pass
    assert open_ends == []
    assert dict(part[0] for part in ends[1].getpeercert()["subject"]) == {"commonName": "firewall-01"}  # type: ignore[index]


def test_keys_are_nobodys_business(authority: SiteAuthority) -> None:
    """Mode 0600 in a folder of mode 0700."""
    issued = authority.issue("a", ())
    modes = {stat.S_IMODE(path.stat().st_mode) for path in issued.key.parent.glob("*.key")}
    assert (modes, stat.S_IMODE(issued.key.parent.stat().st_mode)) == ({0o600}, 0o700)


def test_the_same_name_is_replaced_and_the_authority_stays(authority: SiteAuthority) -> None:
    """Renewal: peers that trust the authority notice nothing."""
    before = authority.issue("a", ())
    old, ca = before.certificate.read_bytes(), before.authority.read_bytes()
    after = authority.issue("a", ())
    assert (after.certificate.read_bytes() != old, after.authority.read_bytes() == ca) == (True, True)
    assert "OK" in _verified(after)


@pytest.mark.parametrize("name", ["", "../x", "ca", "a/b", "-a", "a" * 65, "ä", "a b"])
def test_a_name_that_is_no_file_is_refused(authority: SiteAuthority, name: str) -> None:
    """It becomes a file's name, and may not be the authority's own."""
    with pytest.raises(UsageError):
        authority.issue(name, ())


def test_nothing_outlives_its_authority(authority: SiteAuthority) -> None:
    """Ten years are the most, whatever was asked for."""
    issued = authority.issue("a", (), days=3650)
    ca = authority.certificate.read_bytes()
    left = [load_pem_x509_certificate(pem).not_valid_after_utc for pem in (issued.certificate.read_bytes(), ca)]
    assert left[0] <= left[1]
