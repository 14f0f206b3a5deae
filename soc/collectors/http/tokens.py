"""Who may send over HTTP: a TOML file of token digests, readable by its owner alone, and the headers with tokens."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soc.errors import ConfigError, nearest

MAX_FILE_BYTES = 1 << 20
MAX_TOKENS = 4096
MAX_HEADER = 4096
"""A longer `Authorization` header holds no token of ours."""
_KEYS = ("name", "sha256", "site", "allow")
_NAME = re.compile(r"[\w.@-]{1,64}")
_SITE = re.compile(r"[a-zA-Z0-9][\w.-]{0,63}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Token:
    """Whose token it is. With `site` its events belong to that site; with `allow` it is good from there only."""

    name: str
    digest: bytes
    site: str = ""
    allow: tuple[Network, ...] = ()

    def permits(self, peer: str) -> bool:
        """Whether it may be used from this address."""
        if not self.allow:
            return True
        try:
            address = ipaddress.ip_address(peer.partition("%")[0])
        except ValueError:
            return False
        return any(address in network for network in self.allow)


class Tokens:
    """The tokens of a listener."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tuple(tokens)

    def __len__(self) -> int:
        return len(self._tokens)

    def find(self, header: str) -> Token | None:
        """The token that an `Authorization` header carries. Every digest is compared, each in constant time."""
        found = None
        for secret in secrets_in(header):
            digest = hashlib.sha256(secret).digest()
            for token in self._tokens:
                if hmac.compare_digest(token.digest, digest):
                    found = token
        return found


def secrets_in(header: str) -> Iterator[bytes]:
    """The secrets that the header may mean: `Bearer T`, `Splunk T`, `ApiKey T`, and base64 of `name:T` for ApiKey
    (Elasticsearch) and Basic (RFC 7617)."""
    if len(header) > MAX_HEADER:
        return
    scheme, _, value = header.strip().partition(" ")
    value = value.strip()
    if not value:
        return
    scheme = scheme.lower()
    if scheme in ("bearer", "splunk", "apikey"):
        yield value.encode("utf-8", "surrogateescape")
    if scheme in ("basic", "apikey"):
        try:
            pair = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            return
        _, colon, secret = pair.partition(b":")
        if colon and secret:
            yield secret


def load(path: Path) -> Tokens:
    """Read `[[token]]` tables. Raises ConfigError with every fault of the file."""
    document = _document(path)
    tables = document.pop("token", [])
    faults = [f"unknown key '{key}'{nearest(key, ('token',))}" for key in document]
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(f"{path}: tokens stand in tables [[token]]")
    if len(tables) > MAX_TOKENS:
        faults.append(f"{len(tables)} tokens, {MAX_TOKENS} are possible")
    tokens: list[Token] = []
    for number, table in enumerate(tables[:MAX_TOKENS], 1):
        place = f"[[token]] number {number}"
        token = _token(table, place, faults)
        if any(token.digest == other.digest for other in tokens):
            faults.append(f"{place}: the same digest is there already")
        tokens.append(token)
    if faults:
        raise ConfigError("\n".join(f"{path}: {fault}" for fault in faults))
    return Tokens(tokens)


def _document(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode) or mode & 0o077:
                raise ConfigError(f"{path}: other people may read these tokens", hint=f"chmod 600 {path}")
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: the tokens cannot be read: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"{path}: more than {MAX_FILE_BYTES} bytes of tokens")
    try:
        return tomllib.loads(data.decode("utf-8-sig"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: no TOML: {str(error).rpartition('(at ')[2].rstrip(')')}") from None


def _token(table: Mapping[str, Any], place: str, faults: list[str]) -> Token:
    faults += [f"{place}: unknown key '{key}'{nearest(key, _KEYS)}" for key in table if key not in _KEYS]
    name, digest, site = (_text(table, key, place, faults) for key in ("name", "sha256", "site"))
    if not _NAME.fullmatch(name):
        faults.append(f"{place}: 'name' should be a word of 1 to 64 characters")
    if not _DIGEST.fullmatch(digest):
        faults.append(f"{place}: 'sha256' should be 64 hexadecimal digits: printf %s TOKEN | sha256sum")
        digest = ""
    if site and not _SITE.fullmatch(site):
        faults.append(f"{place}: 'site' should be a word of 1 to 64 characters")
    return Token(name, bytes.fromhex(digest), site, tuple(_networks(table, place, faults)))


def _text(table: Mapping[str, Any], key: str, place: str, faults: list[str]) -> str:
    value = table.get(key, "")
    if isinstance(value, str):
        return value
    faults.append(f"{place}: '{key}' should be a text")
    return ""


def _networks(table: Mapping[str, Any], place: str, faults: list[str]) -> Iterator[Network]:
    allow = table.get("allow", [])
    for entry in allow if isinstance(allow, list) else [allow]:
        try:
            yield ipaddress.ip_network(entry if isinstance(entry, str) else "", strict=False)
        except ValueError:
            faults.append(f"{place}: 'allow' should be a list of addresses and CIDR networks, not {entry!r}")
