"""Habits of sources, whose they are, monitoring points, and what the collector cannot count by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from soc.config import Listen, Settings
from soc.errors import Conflict, NotFound, UsageError
from soc.model.record import RawBlock
from soc.pipeline import Services, places, sources
from soc.pipeline.accounting import Account, Accounts
from soc.registry import Registry
from tests.pipeline.world import NOW_NS, World

NOW_US = 1_795_600_800_000_000
HOUR_US = 3_600_000_000


def system(id: str, **more: Any) -> dict[str, Any]:
    return {
        "kind": "system", "id": id, "name": id, "code": id, "organization_id": "u", "organization_name": "U",
        "site": "hue", "registered": "2024-01-01", "levels": [{"level": 2, "since": "2024-01-01"}], **more,
    }  # fmt: skip


REGISTRY = Registry.load(
    system("portal", sources=["10.1.0.1"]),
    system("lan", networks=["10.2.0.0/16"]),
    system("one", sources=["10.9.0.9"]),
    system("two", sources=["10.9.0.9"]),
    system("gone", retired="2025-01-01"),
)


def row(peer: str, hour: int = 0, **more: Any) -> dict[str, Any]:
    """A row of the collector's counters."""
    counts = {"received": 0, "queued": 0, "bytes": 0, "flagged": 0, "dropped": {}}
    return {"site": "hue", "listener": "udp", "peer": peer, "hour_us": hour * HOUR_US, **counts, **more}


def account(peer: str, **more: Any) -> dict[str, Any]:
    """A row of the accounts."""
    return {**Account().to_document(("hue", "udp", peer), NOW_US), **more}


# what the collector cannot count by name -----------------------------------------------------------------------------


def stored(accounts: Accounts, peer: str, n: int) -> None:
    accounts.of(("hue", "udp", peer)).stored += n


def test_peers_beyond_the_bound_balance_together() -> None:
    """The collector counted them as one, the store knows each by name; a peer of its own in every such hour stays."""
    accounts = Accounts(0, NOW_US)
    accounts.collected([
        row("10.0.0.1", received=5, queued=5), row("10.0.0.1", 1, received=3, queued=3),
        row("10.0.0.2", received=2, queued=2), row("+others", 1, received=9, queued=7, dropped={"kernel": 2}),
        row("*", 1, received=4, dropped={"kernel": 4}),
    ])  # fmt: skip
    for peer, n in (("10.0.0.1", 8), ("10.0.0.2", 3), ("10.0.0.3", 6)):
        stored(accounts, peer, n)
    rows = {r["peer"]: r for r in accounts.rows()}
    assert {peer: (r["received"], r["stored"], r["peers"], r["balanced"]) for peer, r in rows.items()} == {
        "10.0.0.1": (8, 8, 1, True),
        "+others": (11, 9, 2, True),
        "*": (4, 0, 1, True),
    }
    assert (accounts.totals()["balanced"], accounts.totals()["sources"]) == (True, 4)


def test_what_was_not_believed_of_the_others_stays_counted() -> None:
    """Folding a peer in takes every count of it along, by reason."""
    accounts = Accounts(0, NOW_US)
    wrong = {"unbelieved": {"wrong_digest": 2}}
    accounts.collected([row("+others", 1, received=1, queued=1), {**row("10.0.0.1", received=2, queued=2), **wrong}])
    stored(accounts, "10.0.0.1", 3)
    assert [(r["peer"], r["unbelieved"]) for r in accounts.rows()] == [("+others", {"wrong_digest": 2})]


def test_a_record_that_is_missing_among_the_others_is_shown() -> None:
    """Folding them must not hide a loss."""
    accounts = Accounts(0, NOW_US)
    accounts.collected([row("+others", received=9, queued=9)])
    stored(accounts, "10.0.0.3", 8)
    assert [r["balanced"] for r in accounts.rows()] == [False]
    assert accounts.totals()["balanced"] is False


def test_other_listeners_are_left_alone() -> None:
    """A crowd at one door does not fold the peers of another."""
    accounts = Accounts(0, NOW_US)
    accounts.collected(
        [row("+others", received=1, queued=1), {**row("10.0.0.1", received=1, queued=1), "listener": "tcp"}]
    )
    stored(accounts, "10.0.0.7", 1)
    accounts.of(("hue", "tcp", "10.0.0.1")).stored = 1
    assert {(r["listener"], r["peer"], r["balanced"]) for r in accounts.rows()} == {
        ("udp", "+others", True),
        ("tcp", "10.0.0.1", True),
    }


# habits and owners ---------------------------------------------------------------------------------------------------


def test_a_source_is_known_by_its_address_or_its_network(tmp_path: Path) -> None:
    """Also when several systems name it; import, file, kernel and the rest are no addresses."""
    peers = ("10.1.0.1", "10.2.3.4", "10.9.0.9", "10.7.7.7", "*", "+others", "/var/log/x")
    rows = [account(peer) for peer in peers] + [account("some-id", listener="import")]
    sources.describe(rows, Settings(home=tmp_path), REGISTRY, NOW_US)
    assert {r["peer"] for r in rows if not r["known"]} == {"10.7.7.7"}
    assert all(r["silence"] is None and r["drift_us"] is None for r in rows)


def test_habits_come_from_what_correlate_tells(tmp_path: Path) -> None:
    """Through real lines: worker and correlator learn the cadence and the clock of a device far behind."""
    world = World.make(tmp_path)
    world.receive([b"<38>1 2026-01-01T00:00:00Z h sshd 1 - - Server listening on 0.0.0.0 port 22."])
    world.work()
    world.correlate()
    services = Services.open(world.settings, world.clock)
    [found] = services.books.sources(NOW_NS // 1000 - HOUR_US)["sources"]
    services.close()
    assert found["drift_us"] == 1_767_225_600_000_000 - NOW_NS // 1000
    assert (found["silence"]["silent"], found["silence"]["cadence_us"]) == (False, None)
    assert found["guess"] == {"product": "linux.sshd", "share": 1.0}
    assert (found["known"], found["unparsed_share"]) == (False, 0.0)


def test_how_long_records_wait() -> None:
    """The lag of a source is the age of its oldest record behind the store."""
    accounts = Accounts(0, NOW_US)
    for age_s in (5, 90, 20):
        accounts.pending(RawBlock.of([b"x"], receipt_ns=(NOW_US - age_s * 1_000_000) * 1000, listener="l", peer="p"))
    assert [r["lag_us"] for r in accounts.rows()] == [90_000_000]


# monitoring points ---------------------------------------------------------------------------------------------------


def test_points_are_the_listeners_and_the_units(tmp_path: Path) -> None:
    """What each saw and since when; a configured one that heard nobody too."""
    settings = Settings(
        home=tmp_path, site_id="hue",
        listen=(Listen("udp", "syslog-udp", 5514), Listen("traps", "snmp-trap", 162)),
    )  # fmt: skip
    (tmp_path / "run" / "relay").mkdir(parents=True)
    places.counters(settings).write_bytes(orjson.dumps({"since": [["hue", "udp", 77]]}))
    (tmp_path / "run" / "relay" / "xa-dakbla.collect.json").write_bytes(
        orjson.dumps({"since": [["dakbla", "tcp", 88]]})
    )
    rows = [
        account("10.1.0.1", received=5, bytes=50, datasets=["linux.sshd"], system_id="portal", last_seen_us=900),
        account("*", received=2, dropped={"kernel": 2}),
        account("10.3.0.1", site="dakbla", listener="tcp", received=3, datasets=["cisco.asa"], last_seen_us=800),
        account("upload", listener="import", received=100),
    ]
    relays = [{"name": "xa-dakbla", "joined_us": 11, "heard_us": 22}]
    found = sources.points(rows, settings, sources.Heard.read(settings), relays)
    shown = [
        tuple(p[k] for k in ("kind", "unit", "site", "listener", "since_us", "last_seen_us", "sources", "received"))
        for p in found
    ]
    assert shown == [
        ("edge", "xa-dakbla", "dakbla", "", 11, 22, 1, 3),
        ("listener", "xa-dakbla", "dakbla", "tcp", 88, 800, 1, 3),
        ("listener", "", "hue", "traps", None, None, 0, 0),
        ("listener", "", "hue", "udp", 77, 900, 1, 7),
    ]
    assert found[0]["datasets"] == ["cisco.asa"]
    assert (found[3]["systems"], found[3]["dropped"], found[3]["address"]) == (
        ["portal"], {"kernel": 2}, "127.0.0.1:5514",
    )  # fmt: skip


# adoption ------------------------------------------------------------------------------------------------------------


def test_an_address_comes_into_a_system_and_goes_again() -> None:
    """The address in its canonical writing; adopting and releasing is as before."""
    system = sources.adopted(REGISTRY, "hue", "2001:DB8::1", "portal", NOW_US)
    assert system.sources == ("10.1.0.1", "2001:db8::1")
    back = sources.released(Registry([system]), "2001:db8:0::1", "portal")
    assert back == REGISTRY.get("portal")


@pytest.mark.parametrize(
    ("address", "id", "site", "error", "says"),
    [
        ("10.7.7.7", "nope", "hue", NotFound, "no system"),
        ("10.7.7.7", "gone", "hue", UsageError, "retired since 2025-01-01"),
        ("10.7.7.7", "portal", "dakbla", UsageError, "is at site 'hue'"),
        ("ten", "portal", "hue", UsageError, "is no address"),
        ("10.1.0.1", "lan", "hue", Conflict, "belongs to system 'portal'"),
        ("10.2.3.4", "portal", "hue", Conflict, "belongs to system 'lan'"),
        ("10.9.0.9", "portal", "hue", Conflict, "belongs to system 'one'"),
    ],
)
def test_what_cannot_be_adopted(address: str, id: str, site: str, error: type[Exception], says: str) -> None:
    """By its reason."""
    with pytest.raises(error, match=says):
        sources.adopted(REGISTRY, site, address, id, NOW_US)


def test_what_is_not_there_cannot_be_released() -> None:
    """The system is named, so that a person can look."""
    with pytest.raises(NotFound, match=r"'portal' has no source 10\.7\.7\.7"):
        sources.released(REGISTRY, "10.7.7.7", "portal")
