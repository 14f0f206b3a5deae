"""The SNMPv3 users of a listener: a TOML file that its owner alone may read, and their keys at each engine."""

from __future__ import annotations

import os
import stat
import threading
import tomllib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from soc.collectors import snmp_keys as keys
from soc.errors import ConfigError, nearest
from soc.model.snmp_record import LEVELS

MAX_FILE_BYTES = 1 << 20
MAX_KEYS = 16384
"""Localised keys of each kind in memory; whoever knows a user's name can make us compute one for any engine id. Those
of privacy are computed for authentic messages alone and kept apart, so that nobody else can push them out."""
MIN_PASSPHRASE = 8  # RFC 3414 section 11.2
K = TypeVar("K", keys.Mac, keys.Seal)
_Place = tuple[bytes, bytes]  # user, engine id
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


class Users:
    """Users by name, and their localised keys, remembered up to a bound. Thread-safe."""

    def __init__(self, users: Mapping[bytes, User]) -> None:
        self._users = dict(users)
        self._lock = threading.Lock()
        self._ku: dict[tuple[bytes, bool], bytes] = {}
        self._macs: OrderedDict[_Place, keys.Mac] = OrderedDict()
        self._seals: OrderedDict[_Place, keys.Seal] = OrderedDict()

    def get(self, name: bytes) -> User | None:
        """The user of this name."""
        return self._users.get(name)

    def __len__(self) -> int:
        return len(self._users)

    @property
    def cached(self) -> int:
        """How many localised keys are in memory, at most twice `MAX_KEYS`."""
        return len(self._macs) + len(self._seals)

    def mac(self, user: User, engine_id: bytes) -> keys.Mac:
        """Of the user at this engine; the user has authentication."""
        return self._remembered(self._macs, user, engine_id, self._made_mac)

    def seal(self, user: User, engine_id: bytes) -> keys.Seal:
        """Of the user at this engine; the user has privacy. Ask only for authentic messages: it may take a while."""
        return self._remembered(self._seals, user, engine_id, self._made_seal)

    def _remembered(
        self, cache: OrderedDict[_Place, K], user: User, engine_id: bytes, make: Callable[[User, bytes], K]
    ) -> K:
        place = (user.name, engine_id)
        with self._lock:
            found = cache.get(place)
            if found is not None:
                cache.move_to_end(place)
                return found
            found = make(user, engine_id)
            if len(cache) >= MAX_KEYS:
                cache.popitem(last=False)
            cache[place] = found
            return found

    def _made_mac(self, user: User, engine_id: bytes) -> keys.Mac:
        return keys.Mac(keys.AUTHENTICATIONS[user.auth], self._localised(user, engine_id, False))

    def _made_seal(self, user: User, engine_id: bytes) -> keys.Seal:
        privacy, kul = keys.PRIVACIES[user.privacy], self._localised(user, engine_id, True)
        name = keys.AUTHENTICATIONS[user.auth].hash
        return keys.Seal(privacy, keys.privacy_key(kul, engine_id, name, privacy))

    def _localised(self, user: User, engine_id: bytes, is_privacy: bool) -> bytes:
        name = keys.AUTHENTICATIONS[user.auth].hash
        ku = self._ku.get((user.name, is_privacy))
        if ku is None:
            passphrase = user.privacy_passphrase if is_privacy else user.auth_passphrase
            ku = self._ku[user.name, is_privacy] = keys.passphrase_key(passphrase, name)
        return keys.localised(ku, engine_id, name)


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
