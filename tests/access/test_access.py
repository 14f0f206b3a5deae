"""People prove who they are, see what is theirs, and never approve their own request."""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import argon2
import pytest

from soc.access import ENGINE, Access, Person
from soc.errors import Conflict, NotFound, PermissionRefused, UsageError
from soc.model.clock import FixedClock
from soc.store.cases import Cases

GOOD, WRONG = "đúng mật khẩu dài", "sai mật khẩu dài!"


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(dt.datetime(2026, 11, 20, 8, tzinfo=dt.UTC))


@pytest.fixture
def cases(tmp_path: Path, clock: FixedClock) -> Iterator[Cases]:
    opened = Cases(tmp_path / "c.db", clock, head_path=tmp_path / "h" / "head.json")
    yield opened
    opened.close()


@pytest.fixture
def access(cases: Cases, clock: FixedClock) -> Access:
    quick = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    return Access(cases, clock, hasher=quick)


def refused(access: Access, password: str = WRONG, name: str = "an") -> str:
    with pytest.raises(PermissionRefused) as caught:
        access.authenticate(name, password)
    return str(caught.value)


# People


def test_a_person_is_found_by_uid(access: Access) -> None:
    """The socket knows the uid, access knows who that is."""
    person = access.add_person("an", "tier1", uid=1000)
    assert (access.person_by_uid(1000), access.person_by_uid(0)) == (person, None)


def test_one_uid_is_one_person(access: Access) -> None:
    """Two people cannot share a login."""
    access.add_person("an", "tier1", uid=1000)
    with pytest.raises(Conflict, match="uid 1000 belongs to 'an'"):
        access.add_person("binh", "tier1", uid=1000)


@pytest.mark.parametrize("name", ["", "An", "a b", "engine", "../x", "-a", "a" * 64, "an\n"])
def test_a_bad_name_is_refused(access: Access, name: str) -> None:
    """Names stand in ledgers and addresses."""
    with pytest.raises(UsageError):
        access.add_person(name, "tier1")


def test_an_unknown_role_names_the_nearest(access: Access) -> None:
    """A slip of the finger gets its way out."""
    with pytest.raises(UsageError, match="did you mean 'auditor'"):
        access.add_person("an", "auditer")


@pytest.mark.parametrize("role", ["engine", ""])
def test_nobody_is_the_engine(access: Access, role: str) -> None:
    """Its role is not for people."""
    with pytest.raises(UsageError, match="unknown role"):
        access.add_person("an", role)


def test_a_unit_officer_needs_a_unit(access: Access) -> None:
    """Without one nothing could be seen."""
    with pytest.raises(UsageError, match="at least one unit"):
        access.add_person("an", "tier2-unit")


def test_the_last_admin_stays(access: Access) -> None:
    """Nobody can lock everybody out."""
    access.add_person("an", "admin")
    with pytest.raises(Conflict, match="last admin"):
        access.change_person("an", disabled=True)
    access.add_person("binh", "admin")
    assert access.change_person("an", role="tier1").role == "tier1"


def test_nobody_raises_their_own_role(access: Access) -> None:
    """An admin cannot become a manager by themselves."""
    access.add_person("an", "admin")
    with pytest.raises(PermissionRefused, match="needs another person with role admin"):
        access.change_person("an", role="manager", by="an")


def test_a_disabled_person_is_nobody(access: Access) -> None:
    """No login by uid, token or password; no permission either."""
    access.add_person("an", "tier1", uid=1000, password=GOOD)
    secret = access.issue_token("an")
    gone = access.change_person("an", disabled=True)
    assert (access.person_by_uid(1000), access.person_by_token(secret)) == (None, None)
    assert refused(access, GOOD) == "wrong name or password"
    with pytest.raises(PermissionRefused):
        access.require(gone, "alert.read")


def test_every_change_stands_in_the_ledger(access: Access, cases: Cases) -> None:
    """Who did what to whom, never a secret."""
    access.add_person("an", "tier1", password=GOOD, by="binh", via="cli")
    secret = access.issue_token("an", by="binh")
    access.change_person("an", role="tier3", by="binh", reason="lên bậc")
    access.set_password("an", GOOD + "2", by="an")
    access.revoke_token(secret.split("_")[1], by="binh")
    entries = cases.ledger_entries()
    acts = ["access.add", "access.token", "access.change", "access.password", "access.revoke"]
    assert [e.act for e in entries] == acts
    assert (entries[0].actor, entries[0].via, entries[2].reason) == ("binh", "cli", "lên bậc")
    assert not any(word in repr(entries) for word in (secret, GOOD, "argon2"))


# Passwords


def test_the_right_password_is_the_person(access: Access) -> None:
    """And nothing else is."""
    person = access.add_person("an", "tier1", password=GOOD)
    assert access.authenticate("an", GOOD) == person
    assert refused(access) == refused(access, name="nobody") == "wrong name or password"


def test_a_person_without_password_cannot_log_in_by_one(access: Access) -> None:
    """Not by an empty one either."""
    access.add_person("an", "tier1")
    assert refused(access, "") == "wrong name or password"


def test_nonsense_is_no_error(access: Access) -> None:
    """A lone surrogate is nobody's name and nobody's password."""
    access.add_person("an", "tier1", password=GOOD)
    assert refused(access, "\ud800" * 12) == refused(access, name="\ud800") == "wrong name or password"
    with pytest.raises(UsageError, match="surrogates"):
        access.set_password("an", "\ud800" * 12)


def test_five_failures_lock_for_fifteen_minutes(access: Access, clock: FixedClock) -> None:
    """The right password does not open it earlier; afterwards five tries are free again."""
    access.add_person("an", "tier1", password=GOOD)
    assert {refused(access) for _ in range(5)} == {"wrong name or password"}
    assert refused(access, GOOD) == "too many wrong passwords: locked for 15 more minutes"
    clock.advance(15 * 60 - 1)
    assert "1 more minute" in refused(access, GOOD)
    clock.advance(1)
    assert refused(access) == "wrong name or password"
    assert access.authenticate("an", GOOD).name == "an"


def test_a_success_forgets_the_failures(access: Access) -> None:
    """Four wrong, one right, four wrong: still open."""
    access.add_person("an", "tier1", password=GOOD)
    for _ in range(2):
        for _ in range(4):
            refused(access)
        assert access.authenticate("an", GOOD).name == "an"


def test_failures_and_the_lock_stand_in_the_ledger(access: Access, cases: Cases) -> None:
    """An auditor sees the guessing; guesses at a locked account add nothing."""
    access.add_person("an", "tier1", password=GOOD)
    for _ in range(9):
        refused(access)
    assert [e.act for e in cases.ledger_entries(1)] == ["access.refuse"] * 4 + ["access.lock"]


@pytest.mark.parametrize("password", ["ngắn", "x" * 1025])
def test_a_password_too_short_or_too_long_is_refused(access: Access, password: str) -> None:
    """12 to 1024 characters."""
    with pytest.raises(UsageError, match="12 to 1024"):
        access.add_person("an", "tier1", password=password)


def test_passwords_are_kept_as_argon2id(access: Access, cases: Cases) -> None:
    """RFC 9106."""
    access.add_person("an", "tier1", password=GOOD)
    with cases.read("test") as tx:
        stored = tx.get("person", "an")
    assert stored is not None
    assert stored.document["password_hash"].startswith("$argon2id$")


# Tokens


def test_a_token_is_its_person(access: Access) -> None:
    """Shown once, usable until it is revoked."""
    person = access.add_person("an", "tier1")
    secret = access.issue_token("an")
    assert access.person_by_token(secret) == person
    (token,) = access.tokens("an")
    access.revoke_token(token.id)
    access.revoke_token(token.id)
    assert access.person_by_token(secret) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s[:-1] + "?",
        lambda s: s + "0",
        lambda s: "",
        lambda s: "soc__",
        lambda s: s.upper(),
        lambda s: s.replace("_", ""),
        lambda s: "soc_\ud800_x",
    ],
)
def test_a_wrong_secret_is_nobody(access: Access, change: object) -> None:
    """Every character counts, and nonsense is no error."""
    access.add_person("an", "tier1")
    assert callable(change)
    wrong = change(access.issue_token("an"))
    assert access.person_by_token(wrong) is None


def test_a_token_expires(access: Access, clock: FixedClock) -> None:
    """After its days it is worth nothing."""
    access.add_person("an", "tier1")
    secret = access.issue_token("an", days=1)
    clock.advance(86_400)
    assert access.person_by_token(secret) is None


def test_no_secret_is_in_the_database(access: Access, tmp_path: Path) -> None:
    """A copy of the file lets nobody in."""
    access.add_person("an", "tier1", password=GOOD)
    secret = access.issue_token("an")
    text = "\n".join(sqlite3.connect(tmp_path / "c.db").iterdump())
    assert secret.split("_")[1] in text
    assert secret.split("_")[2] not in text
    assert GOOD not in text


def test_a_token_needs_a_person_and_a_life(access: Access) -> None:
    """No token for nobody, none for ever."""
    with pytest.raises(NotFound):
        access.issue_token("nobody")
    access.add_person("an", "tier1")
    with pytest.raises(UsageError, match="1 to 365 days"):
        access.issue_token("an", days=0)


# What people may do


def test_a_refusal_names_the_role_that_may(access: Access) -> None:
    """The way out is in the message."""
    with pytest.raises(PermissionRefused) as caught:
        access.require(Person("an", "tier1"), "playbook.approve")
    assert str(caught.value) == "'an' (tier1) may not playbook.approve: needs role manager"
    assert caught.value.exit_code == 5


def test_a_permission_that_does_not_exist_is_a_fault_of_the_program(access: Access) -> None:
    """Not silently refused, not silently granted."""
    with pytest.raises(ValueError, match=r"did you mean 'alert\.read'"):
        access.require(Person("an", "tier1"), "alert.reed")


@pytest.mark.parametrize("permission", ["playbook.approve", "retention.approve"])
def test_nobody_approves_their_own_request(access: Access, permission: str) -> None:
    """A manager approves another's request, not their own."""
    manager = Person("binh", "manager")
    access.require_other(manager, permission, "an")
    with pytest.raises(PermissionRefused, match="needs another person with role manager"):
        access.require_other(manager, permission, "binh")


def test_scopes_follow_role_and_units(access: Access) -> None:
    """A unit's officer sees the unit; others all, or the units they were given."""
    scope = access.scope_of(Person("an", "tier2-unit", frozenset({"u1"})), "tìm kiếm")
    assert (scope.actor, scope.units, scope.why) == ("an", frozenset({"u1"}), "tìm kiếm")
    assert access.scope_of(Person("an", "tier2-unit"), "x").units == frozenset()
    assert access.scope_of(Person("binh", "tier1"), "x").units is None
    assert access.scope_of(Person("chi", "tier1", frozenset({"u2"})), "x").units == frozenset({"u2"})
    assert access.scope_of(ENGINE, "x").units is None
