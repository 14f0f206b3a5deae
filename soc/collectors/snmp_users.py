"""The SNMPv3 users of a listener: a TOML file that its owner alone may read, and their keys at each engine."""

from __future__ import annotations

import os
import stat
import threading
import tomllib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from soc.collectors import snmp_keys as keys
from soc.errors import ConfigError, nearest
from soc.model.snmp_record import LEVELS

MAX_FILE_BYTES = 1 << 20
MAX_KEYS = 16384
"""Localised keys of each kind in memory; whoever knows a user's name can make us compute one for any engine id. Those
of privacy are computed for authentic messages alone and kept apart, so that nobody else can push them out."""
MIN_PASSPHRASE = 8  # RFC 3414 section 11.2
_KEYS = ("name", "auth", "auth_passphrase", "privacy", "privacy_passphrase", "minimum")


@dataclass(frozen=True)
class User:
    """A user; the passphrases never show. `minimum` is an index of `LEVELS`: what is below it is not believed."""

    name: bytes
    auth: str = ""
    auth_passphrase: bytes = field(default=b"", repr=False)
    privacy: str = ""
    privacy_passphrase: bytes = field(default=b"", repr=False)
    minimum: int = 0

    @property
    def level(self) -> int:
        """The highest level that this user has keys for."""
        return 2 if self.privacy else 1 if self.auth else 0


class _Key(NamedTuple):
    user: bytes
    engine_id: bytes
    is_privacy: bool


class Users:
    """Users by name, and their localised keys, remembered up to a bound. Thread-safe."""

    def __init__(self, users: Mapping[bytes, User]) -> None:
        self._users = dict(users)
        self._lock = threading.Lock()
        self._ku: dict[tuple[bytes, bool], bytes] = {}
        self._localised: tuple[OrderedDict[_Key, bytes], OrderedDict[_Key, bytes]] = (OrderedDict(), OrderedDict())

    def get(self, name: bytes) -> User | None:
        """The user of this name."""
        return self._users.get(name)

    def __len__(self) -> int:
        return len(self._users)

    @property
    def cached(self) -> int:
        """How many localised keys are in memory, at most twice `MAX_KEYS`."""
        return sum(map(len, self._localised))

    def auth_key(self, user: User, engine_id: bytes) -> bytes:
        """The key of the HMAC; the user has authentication."""
        return self._key(_Key(user.name, engine_id, False), user)

    def privacy_key(self, user: User, engine_id: bytes) -> bytes:
        """The key of the cipher; the user has privacy. Ask only for authenticated messages: it may take a while."""
        return self._key(_Key(user.name, engine_id, True), user)

    def _key(self, place: _Key, user: User) -> bytes:
        cache = self._localised[place.is_privacy]
        with self._lock:
            found = cache.get(place)
            if found is not None:
                cache.move_to_end(place)
                return found
            found = self._derived(place, user)
            if len(cache) >= MAX_KEYS:
                cache.popitem(last=False)
            cache[place] = found
            return found

    def _derived(self, place: _Key, user: User) -> bytes:
        name = keys.AUTHENTICATIONS[user.auth].hash
        ku = self._ku.get((user.name, place.is_privacy))
        if ku is None:
            passphrase = user.privacy_passphrase if place.is_privacy else user.auth_passphrase
            ku = self._ku[user.name, place.is_privacy] = keys.passphrase_key(passphrase, name)
        kul = keys.localised(ku, place.engine_id, name)
        if not place.is_privacy:
            return kul
        return keys.privacy_key(kul, place.engine_id, name, keys.PRIVACIES[user.privacy])


def load(path: Path) -> Users:
    """Read `[[user]]` tables. Raises ConfigError with every fault of the file; it never shows a passphrase."""
    document = _document(path)
    faults: list[str] = []
    users: dict[bytes, User] = {}
    tables = document.pop("user", [])
    faults += [f"unknown key '{key}'{nearest(key, ('user',))}" for key in document]
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(f"{path}: users stand in tables [[user]]")
    for number, table in enumerate(tables, 1):
        user = _user(table, f"[[user]] number {number}", faults)
        if user.name in users:
            faults.append(f"[[user]] number {number}: a user of this name is there already")
        users[user.name] = user
    if faults:
        raise ConfigError("\n".join(f"{path}: {fault}" for fault in faults))
    return Users(users)


def _document(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode) or mode & 0o077:
                raise ConfigError(f"{path}: other people may read these secrets", hint=f"chmod 600 {path}")
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: the SNMPv3 users cannot be read: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"{path}: more than {MAX_FILE_BYTES} bytes of SNMPv3 users")
    try:
        return tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: no UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        # The parser's own words may quote a line with a passphrase in it: only the place is told.
        place = str(error).rpartition("(at ")[2].rstrip(")")
        raise ConfigError(f"{path}: no TOML at {place}") from None


def _user(table: Mapping[str, Any], place: str, faults: list[str]) -> User:
    before = len(faults)
    faults += [f"{place}: unknown key '{key}'{nearest(key, _KEYS)}" for key in table if key not in _KEYS]
    texts: dict[str, str] = {}
    for key in _KEYS:
        value = table.get(key, "")
        if not isinstance(value, str):
            faults.append(f"{place}: '{key}' should be a text")
            value = ""
        texts[key] = value
    if not 1 <= len(texts["name"].encode()) <= 32:
        faults.append(f"{place}: 'name' should have 1 to 32 bytes")
    _choice(texts, "auth", keys.AUTHENTICATIONS, place, faults)
    _choice(texts, "privacy", keys.PRIVACIES, place, faults)
    if texts["privacy"] and not texts["auth"]:
        faults.append(f"{place}: privacy needs authentication (RFC 3414 section 1.4.2)")
    level = 2 if texts["privacy"] else 1 if texts["auth"] else 0
    minimum = texts["minimum"] or LEVELS[level]
    if minimum not in LEVELS or LEVELS.index(minimum) > level:
        faults.append(f"{place}: 'minimum' should be one of {', '.join(LEVELS[: level + 1])}")
    if len(faults) > before:
        return User(texts["name"].encode())
    return User(
        texts["name"].encode(), texts["auth"], texts["auth_passphrase"].encode(), texts["privacy"],
        texts["privacy_passphrase"].encode(), LEVELS.index(minimum),
    )  # fmt: skip


def _choice(texts: Mapping[str, str], key: str, known: Mapping[str, Any], place: str, faults: list[str]) -> None:
    chosen, passphrase = texts[key], texts[f"{key}_passphrase"]
    if chosen and chosen not in known:
        faults.append(f"{place}: '{key}' should be one of {', '.join(known)}{nearest(chosen, known)}")
    if chosen and len(passphrase.encode()) < MIN_PASSPHRASE:
        faults.append(f"{place}: '{key}_passphrase' should have {MIN_PASSPHRASE} bytes or more")
    if passphrase and not chosen:
        faults.append(f"{place}: '{key}_passphrase' stands there without '{key}'")
