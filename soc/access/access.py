"""`Access`: people, what proves who they are, and what they may do; every change stands in the ledger."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import argon2

from soc.access.people import PERSON, TOKEN, Account, Person, Token, checked
from soc.access.roles import holds, roles_with
from soc.errors import Conflict, NotFound, PermissionRefused, UsageError
from soc.model.cases import CaseTx, ReadablePort
from soc.model.clock import DAY_US, Clock
from soc.model.scope import Scope

MAX_FAILURES = 5
LOCK_US = 15 * 60 * 1_000_000
"""After `MAX_FAILURES` wrong passwords an account stays shut for this long."""
MIN_PASSWORD = 12
MAX_PASSWORD = 1024
TOKEN_DAYS = 365
_ALL = 1_000_000


class Access:
    """People, passwords, tokens, scopes and permissions over a case database.

    `random_bytes` and `hasher` are handed in so that tests can be quick and repeatable; the defaults are the
    machine's randomness and argon2id with the parameters of RFC 9106's second choice.
    Methods that change something take `by` (the actor) and `via` (cli, api, console, engine) for the ledger.
    """

    def __init__(
        self,
        cases: ReadablePort,
        clock: Clock,
        *,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
        hasher: argon2.PasswordHasher | None = None,
    ) -> None:
        self._cases = cases
        self._clock = clock
        self._random = random_bytes
        self._hasher = hasher or argon2.PasswordHasher()
        self._decoy: str | None = None

    @property
    def _now_us(self) -> int:
        return self._clock.now_ns() // 1000

    # People

    def add_person(
        self,
        name: str,
        role: str,
        units: Iterable[str] = (),
        uid: int | None = None,
        *,
        password: str | None = None,
        by: str = "engine",
        via: str = "engine",
        reason: str = "",
    ) -> Person:
        """A new person. Raises UsageError for a bad name, role or password; Conflict when name or uid is taken."""
        account = Account(checked(name, role, units, uid), None if password is None else self._hash(password))
        with self._cases.begin(by, via) as tx:
            _uid_free(tx, account.person)
            tx.put(PERSON, name, account.to_document(), None, keys=account.keys())
            tx.ledger("access.add", f"person:{name}", None, _shown(account.person), reason)
        return account.person

    def change_person(
        self,
        name: str,
        *,
        role: str | None = None,
        units: Iterable[str] | None = None,
        uid: int | None = None,
        disabled: bool | None = None,
        by: str = "engine",
        via: str = "engine",
        reason: str = "",
    ) -> Person:
        """Change what is given. Raises NotFound, UsageError, Conflict (uid taken, last admin).

        Raises PermissionRefused for one's own role, units or state: another admin does that.
        """
        if by == name:
            raise PermissionRefused(f"'{name}' may not change their own access: needs another person with role admin")
        with self._cases.begin(by, via) as tx:
            account, version = _account(tx, name)
            old = account.person
            wanted = checked(
                name,
                old.role if role is None else role,
                old.units if units is None else units,
                old.uid if uid is None else uid,
            )
            changed = account.with_person(
                role=wanted.role, units=wanted.units, uid=wanted.uid,
                disabled=old.disabled if disabled is None else disabled,
            )  # fmt: skip
            _uid_free(tx, changed.person)
            _an_admin_stays(tx, old, changed.person)
            tx.put(PERSON, name, changed.to_document(), version, keys=changed.keys())
            tx.ledger("access.change", f"person:{name}", _shown(old), _shown(changed.person), reason)
        return changed.person

    def person(self, name: str) -> Person | None:
        """The person of that name, disabled ones too; None when there is none."""
        with self._cases.read("engine") as tx:
            stored = tx.get(PERSON, name)
        return None if stored is None else Account.of(stored.document).person

    def people(self) -> list[Person]:
        """Everybody by name, disabled ones too."""
        with self._cases.read("engine") as tx:
            return [Account.of(stored.document).person for _, stored in tx.find(PERSON, limit=_ALL, order="asc")]

    def person_by_uid(self, uid: int) -> Person | None:
        """The person who is logged in with this uid, or None; disabled people are not found."""
        with self._cases.read("engine") as tx:
            found = tx.find(PERSON, keys={"uid": str(uid)}, limit=1)
        return Account.of(found[0][1].document).person if found else None

    # Passwords

    def set_password(self, name: str, password: str, *, by: str = "engine", via: str = "engine") -> None:
        """A new password; it also opens a locked account. Raises NotFound, UsageError for a weak one."""
        hashed = self._hash(password)
        with self._cases.begin(by, via) as tx:
            account, version = _account(tx, name)
            tx.put(PERSON, name, Account(account.person, hashed).to_document(), version)
            tx.ledger("access.password", f"person:{name}", None, None, "")

    def authenticate(self, name: str, password: str, *, via: str = "api") -> Person:
        """The person whose password this is. Raises PermissionRefused, with the same words for every wrong pair.

        The attempt is counted *before* the password is looked at, so guesses made at the same moment count too.
        """
        account = self._count_attempt(name)
        if account is None:
            self._verify(self._decoy_hash(), password)  # an unknown name takes as long as a known one
            raise PermissionRefused("wrong name or password")
        hashed = account.password_hash
        good = self._verify(hashed or self._decoy_hash(), password)
        if not good or hashed is None or account.person.disabled:
            self._note_failure(account, via)
            raise PermissionRefused("wrong name or password")
        return self._note_success(name, password, hashed)

    def _count_attempt(self, name: str) -> Account | None:
        with self._cases.begin("engine") as tx:
            stored = tx.get(PERSON, name) if name.isascii() else None  # all names are
            if stored is None:
                return None
            account = Account.of(stored.document)
            if account.locked_until_us > self._now_us:
                minutes = -(-(account.locked_until_us - self._now_us) // 60_000_000)
                raise PermissionRefused(f"too many wrong passwords: locked for {minutes} more minutes")
            failures = 1 if account.locked_until_us else account.failures + 1
            locked = self._now_us + LOCK_US if failures >= MAX_FAILURES else 0
            counted = Account(account.person, account.password_hash, failures, locked)
            tx.put(PERSON, name, counted.to_document(), stored.version)
        return counted

    def _note_failure(self, account: Account, via: str) -> None:
        act = "access.lock" if account.locked_until_us else "access.refuse"
        name = account.person.name
        with self._cases.begin("engine", via) as tx:
            tx.ledger(act, f"person:{name}", None, {"failures": account.failures}, "wrong password")

    def _note_success(self, name: str, password: str, hashed: str) -> Person:
        newer = self._hasher.hash(password) if self._hasher.check_needs_rehash(hashed) else hashed
        with self._cases.begin("engine") as tx:
            account, version = _account(tx, name)
            if account.password_hash != hashed or account.person.disabled:  # changed while we were hashing
                raise PermissionRefused("wrong name or password")
            tx.put(PERSON, name, Account(account.person, newer).to_document(), version)
        return account.person

    def _hash(self, password: str) -> str:
        if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
            raise UsageError(f"a password has {MIN_PASSWORD} to {MAX_PASSWORD} characters")
        try:
            return self._hasher.hash(password)
        except UnicodeEncodeError as error:
            raise UsageError("a password is Unicode text without lone surrogates") from error

    def _verify(self, hashed: str, password: str) -> bool:
        try:
            return len(password) <= MAX_PASSWORD and self._hasher.verify(hashed, password)
        except (argon2.exceptions.VerificationError, UnicodeEncodeError):  # a lone surrogate is in no password
            return False

    def _decoy_hash(self) -> str:
        if self._decoy is None:
            self._decoy = self._hasher.hash(self._random(16).hex())
        return self._decoy

    # Tokens

    def issue_token(self, name: str, *, days: int = TOKEN_DAYS, by: str = "engine", via: str = "engine") -> str:
        """A new token's secret, `soc_<id>_<256 random bits>`: shown this once, kept only as SHA-256.

        Raises NotFound for an unknown person, UsageError unless it lives 1 to `TOKEN_DAYS` days.
        """
        if not 1 <= days <= TOKEN_DAYS:
            raise UsageError(f"a token lives 1 to {TOKEN_DAYS} days, not {days}")
        id = self._random(8).hex()
        secret = f"soc_{id}_{self._random(32).hex()}"
        now = self._now_us
        document = {
            "id": id, "person": name, "created_us": now, "expires_us": now + days * DAY_US, "revoked_us": None,
            "sha256": _sha256(secret),
        }  # fmt: skip
        with self._cases.begin(by, via) as tx:
            _account(tx, name)
            tx.put(TOKEN, id, document, None, keys={"person": name})
            tx.ledger("access.token", f"token:{id}", None, {"person": name, "days": days}, "")
        return secret

    def revoke_token(self, id: str, *, by: str = "engine", via: str = "engine", reason: str = "") -> None:
        """From now on the token is worth nothing; revoking twice changes nothing. Raises NotFound."""
        with self._cases.begin(by, via) as tx:
            stored = tx.get(TOKEN, id)
            if stored is None:
                raise NotFound(f"no token '{id}'")
            if stored.document["revoked_us"] is not None:
                return
            tx.put(TOKEN, id, {**stored.document, "revoked_us": self._now_us}, stored.version)
            tx.ledger("access.revoke", f"token:{id}", None, {"person": stored.document["person"]}, reason)

    def tokens(self, name: str) -> list[Token]:
        """The tokens of a person, expired and revoked ones too; never a secret."""
        with self._cases.read("engine") as tx:
            found = tx.find(TOKEN, keys={"person": name}, limit=_ALL, order="asc")
        tokens = [_token(stored.document) for _, stored in found]
        return sorted(tokens, key=lambda token: (token.created_us, token.id))

    def person_by_token(self, secret: str) -> Person | None:
        """The person a token stands for; None when it is unknown, wrong, expired, revoked, or they are disabled."""
        parts = secret.split("_")
        if len(parts) != 3 or parts[0] != "soc" or not secret.isascii():
            return None
        with self._cases.read("engine") as tx:
            stored = tx.get(TOKEN, parts[1])
            if stored is None or not hmac.compare_digest(stored.document["sha256"], _sha256(secret)):
                return None
            token = _token(stored.document)
            if token.revoked_us is not None or token.expires_us <= self._now_us:
                return None
            account, _ = _account(tx, token.person)
        return None if account.person.disabled else account.person

    # What people may do

    def scope_of(self, person: Person, why: str) -> Scope:
        """What a person may see, to be handed to every reading call."""
        if person.role == "tier2-unit" or person.units:
            return Scope.of_units(person.name, person.units, why)
        return Scope.everything(person.name, why)

    def require(self, person: Person, permission: str) -> None:
        """Raises PermissionRefused, naming the roles that may, unless this person may too; ValueError if unknown."""
        if holds(person.role, permission) and not person.disabled:
            return
        roles = " or ".join(roles_with(permission)) or "engine"
        raise PermissionRefused(f"'{person.name}' ({person.role}) may not {permission}: needs role {roles}")

    def require_other(self, person: Person, permission: str, requester: str) -> None:
        """`require`, and also refuse to whoever asked for it, whatever their role: two people, four eyes."""
        self.require(person, permission)
        if person.name == requester:
            roles = " or ".join(roles_with(permission))
            raise PermissionRefused(
                f"'{person.name}' asked for this and may not approve it: needs another person with role {roles}"
            )


def _sha256(secret: str) -> str:
    # A fast hash is enough here: 256 random bits cannot be guessed, and every request pays for it.
    return hashlib.sha256(secret.encode()).hexdigest()


def _token(document: Mapping[str, Any]) -> Token:
    return Token(**{k: v for k, v in document.items() if k != "sha256"})


def _shown(person: Person) -> dict[str, Any]:
    return {"role": person.role, "units": sorted(person.units), "uid": person.uid, "disabled": person.disabled}


def _account(tx: CaseTx, name: str) -> tuple[Account, int]:
    stored = tx.get(PERSON, name)
    if stored is None:
        raise NotFound(f"no person '{name}'")
    return Account.of(stored.document), stored.version


def _uid_free(tx: CaseTx, person: Person) -> None:
    if person.uid is None or person.disabled:
        return
    for name, _ in tx.find(PERSON, keys={"uid": str(person.uid)}, limit=2):
        if name != person.name:
            raise Conflict(f"uid {person.uid} belongs to '{name}' already")


def _an_admin_stays(tx: CaseTx, old: Person, new: Person) -> None:
    was, stays = (p.role == "admin" and not p.disabled for p in (old, new))
    if not was or stays:
        return
    admins = [Account.of(s.document).person for _, s in tx.find(PERSON, keys={"role": "admin"}, limit=_ALL)]
    if not any(p.name != old.name and not p.disabled for p in admins):
        raise Conflict(f"'{old.name}' is the last admin; make another one first")
