"""The streams: seeded, harmless but for their attacks, and found by our own rules."""

from __future__ import annotations

import ipaddress
from itertools import pairwise

import pytest

from soc.simulate.devices import LISTENER
from soc.simulate.province import CADENCE_S
from soc.simulate.score import score
from soc.simulate.traffic import PERIOD_S, SILENT_AT_S, Packet, ordinary
from tests.simulate.watch import SECOND_NS, START_NS, Watch, a_province, played, rule_names, until


def seconds(at_us: int) -> float:
    """Seconds since the traffic began."""
    return at_us / 1_000_000 - START_NS / SECOND_NS


def test_a_seed_gives_the_same_packets_and_attacks() -> None:
    """Byte for byte; another seed gives others."""
    assert played(3, 120) == played(3, 120)
    assert played(3, 120)[0] != played(4, 120)[0]


def test_a_change_of_rate_leaves_the_attacks_alone() -> None:
    """Each stream has its own randomness."""
    assert played(3, 700, 5.0)[1] == played(3, 700, 50.0)[1]


@pytest.mark.parametrize("rate", [20.0, 400.0])
def test_the_rate_is_kept_and_time_never_goes_back(rate: float) -> None:
    """So many packets a second on average, in order."""
    packets = [step for step in until(ordinary(a_province(), 7, START_NS, rate), 60) if isinstance(step, Packet)]
    assert len(packets) == pytest.approx(60 * rate, rel=0.05)
    assert all(a.at_ns <= b.at_ns for a, b in pairwise(packets))


def test_each_device_has_one_address_and_one_listener() -> None:
    """A source is (site, listener, peer): distinct loopback addresses, none of 127.0.*; all kinds of source speak."""
    packets, _ = played(7, 60)
    seen = {(p.device.hostname, p.device.address, p.listener) for p in packets}
    hosts, addresses = {h for h, _, _ in seen}, {a for _, a, _ in seen}
    assert len(seen) == len(hosts) == len(addresses) == len(a_province().devices)
    assert all(ipaddress.ip_address(a).is_loopback and not a.startswith("127.0.") for a in addresses)
    assert {listener for _, _, listener in seen} == set(LISTENER.values())


def test_no_packet_carries_a_marker() -> None:
    """Neither the word, nor an attack's id or name, nor a system's id."""
    packets, attacks = played(7, 700)
    wire = b"\n".join(p.payload for p in packets).lower()
    words = ["simulat", "mô phỏng", "truth", "attack", "kontum-", *(a.id for a in attacks), *(a.name for a in attacks)]
    assert [word for word in words if word.encode() in wire] == []


@pytest.mark.parametrize("seed", [1, 7, 2026])
def test_an_ordinary_day_gives_no_finding(seed: int) -> None:
    """Twenty minutes of every source: all of it understood and registered, none of it suspicious."""
    province = a_province(seed)
    watch = Watch(province)
    steps = until(ordinary(province, seed, START_NS), 20 * 60)
    findings = watch.see((step for step in steps if isinstance(step, Packet)), tick_s=10)
    assert [(rule_names()[f.rule_id], f.entity) for f in findings] == []
    assert (watch.unparsed, watch.unregistered) == (0, 0)
    assert watch.events > 20 * 60 * 20
    assert len(watch.datasets) == 9


def test_a_busy_day_gives_no_finding_either() -> None:
    """Mistakes and stray packets do not multiply with the rate."""
    watch = Watch(a_province())
    steps = until(ordinary(a_province(), 7, START_NS, 400.0), 130)
    assert watch.see((step for step in steps if isinstance(step, Packet)), tick_s=10) == []


@pytest.fixture(scope="module")
def first_round() -> tuple[Watch, list[tuple[str, str]], list[dict[str, object]]]:
    """Eight minutes with everything in them: the watch, (rule, entity) of each finding, the truth."""
    packets, attacks = played(7, 480)
    watch, names = Watch(a_province()), rule_names()
    found = [(names[f.rule_id], f.entity) for f in watch.see(packets)]
    return watch, found, [a.to_document() for a in attacks]


@pytest.mark.parametrize(
    ("rule", "entity"),
    [
        ("ssh_brute_force", "source.ip=203.0.113.9"),
        ("ssh_success_after_failures", "source.ip=203.0.113.9"),
        ("port_scan", "source.ip=198.51.100.23"),
        ("web_injection", "source.ip=203.0.113.77"),
        ("source_silent", f"soc.source=kontum/syslog-udp/{a_province().silent_device.address}"),
    ],
)
def test_each_attack_is_found_by_our_own_rules(first_round, rule: str, entity: str) -> None:
    """Through parsers, registry, rules, correlations and models."""
    assert (rule, entity) in first_round[1]


def test_all_kinds_of_injection_are_found(first_round) -> None:
    """SQL in two ways, traversal and script, each a finding; the harmless requests of the same client are none."""
    assert first_round[1].count(("web_injection", "source.ip=203.0.113.77")) == 4


def test_everything_is_caught_and_nothing_is_false(first_round) -> None:
    """The score of the first round, and the first alert within a minute of the start."""
    watch, _, truth = first_round
    alerts = [alert.to_document() for alert in watch.alerts.values()]
    result = score(truth, alerts)
    assert {c.name for c in result.caught} == {"ssh-brute-force", "web-injection", "port-scan", "source-silent"}
    assert (result.missed, result.false) == ((), ())
    assert seconds(min(alert["created_us"] for alert in alerts)) < 30


def test_the_silent_device_keeps_its_cadence_and_then_says_nothing() -> None:
    """A line each two seconds for a minute and a half, silence until the round is over, then the cadence again."""
    device = a_province().silent_device
    times = [(p.at_ns - START_NS) / SECOND_NS for p in played(7, PERIOD_S + 60)[0] if p.device == device]
    assert [t for t in times if t < SILENT_AT_S] == [n * CADENCE_S for n in range(int(SILENT_AT_S / CADENCE_S))]
    assert [t for t in times if SILENT_AT_S <= t < PERIOD_S] == []
    assert len([t for t in times if t >= PERIOD_S]) == 30


def test_rounds_come_from_other_documentation_addresses() -> None:
    """Ten rounds: no attacker twice, none on the province's own links, all out of RFC 5737."""
    _, attacks = played(7, 10 * PERIOD_S, rate=1.0)
    attackers = [a.entity[0] for a in attacks if a.name != "source-silent"]
    nets = [ipaddress.ip_network(n) for n in ("203.0.113.0/25", "198.51.100.0/25")]
    assert len(attackers) == len(set(attackers)) == 30
    assert all(any(ipaddress.ip_address(a) in net for net in nets) for a in attackers)
    assert [seconds(a.start_us) for a in attacks if a.name == "source-silent"] == [90.0, 3690.0]


def test_later_rounds_are_found_too() -> None:
    """Two hours at a low rate: every attack caught, nothing false."""
    packets, attacks = played(11, 2 * 3600 - 1, rate=2.0)
    watch = Watch(a_province(11))
    watch.see(packets)
    result = score([a.to_document() for a in attacks], [a.to_document() for a in watch.alerts.values()])
    assert (result.missed, result.false) == ((), ())
    assert len(result.caught) == 12 * 3 + 2
