"""Whose address: the narrowest network of that site, of a system in force that day."""

from __future__ import annotations

import datetime as dt
import ipaddress
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soc.errors import ContentError
from soc.model.system import InformationSystem, LevelDecision
from soc.registry import Registry

DAY_US = 86_400_000_000


def at(text: str) -> int:
    return int(dt.datetime.fromisoformat(text).timestamp()) * 1_000_000


NOW = at("2026-11-20T08:00:00+07:00")


def system(
    id: str,
    *networks: str,
    site: str = "a",
    hosts: tuple[str, ...] = (),
    sources: tuple[str, ...] = (),
    registered: str = "2024-01-01",
    retired: str | None = None,
) -> InformationSystem:
    day = dt.date.fromisoformat
    return InformationSystem(
        id, f"Hệ thống {id}", id.upper(), f"org-{id}", f"Đơn vị {id}", site, (LevelDecision(3, day("2024-01-01")),),
        day(registered), networks, hosts, sources=sources, retired=day(retired) if retired else None,
    )  # fmt: skip


def owner(registry: Registry, address: str, site: str = "a", at_us: int = NOW) -> str | None:
    found = registry.lookup(site, address, at_us)
    return found.id if found else None


def test_the_narrowest_network_answers() -> None:
    """A host inside a subnet inside a network."""
    registry = Registry(
        [system("wide", "10.0.0.0/8"), system("sub", "10.1.0.0/16"), system("host", hosts=("10.1.0.7",))]
    )
    assert [owner(registry, a) for a in ("10.2.0.1", "10.1.0.6", "10.1.0.7", "11.0.0.1")] == [
        "wide", "sub", "host", None,
    ]  # fmt: skip


def test_two_sites_may_use_the_same_private_network() -> None:
    """192.168.1.0/24 is everywhere; the site tells them apart."""
    registry = Registry([system("x", "192.168.1.0/24", site="a"), system("y", "192.168.1.0/24", site="b")])
    assert [owner(registry, "192.168.1.9", site) for site in ("a", "b", "c")] == ["x", "y", None]


def test_a_retired_system_answers_until_its_day() -> None:
    """Local days: retired on the 20th means from 17:00 UTC of the 19th; the wider network takes over."""
    registry = Registry([system("old", "10.1.0.0/16", retired="2026-11-20"), system("wide", "10.0.0.0/8")])
    moments = ("2026-11-19T16:59:59+00:00", "2026-11-19T17:00:00+00:00")
    assert [owner(registry, "10.1.0.1", at_us=at(m)) for m in moments] == ["old", "wide"]


def test_a_network_may_pass_from_one_system_to_the_next() -> None:
    """The day decides; before the first registration the first one answers."""
    registry = Registry([
        system("new", "10.1.0.0/16", registered="2026-01-01"),
        system("old", "10.1.0.0/16", registered="2024-01-01", retired="2026-01-01"),
    ])  # fmt: skip
    moments = ("2020-01-01T00:00:00+07:00", "2025-12-31T23:00:00+07:00", "2026-01-01T00:00:00+07:00")
    assert [owner(registry, "10.1.0.1", at_us=at(m)) for m in moments] == ["old", "old", "new"]


def test_one_network_of_two_systems_at_one_time_is_refused() -> None:
    """Nobody could say whose it is."""
    with pytest.raises(ContentError, match=r"10\.1\.0\.0/16 at site 'a' belongs to 'x' already"):
        Registry([system("x", "10.1.0.0/16"), system("y", "10.1.0.0/16")])


def test_one_id_twice_is_refused() -> None:
    """An id is one system."""
    with pytest.raises(ContentError, match="stands twice"):
        Registry([system("x"), system("x")])


@pytest.mark.parametrize("text", ["", "web01", "10.1", "10.1.0.1/32", "1.2.3.4.5", "::g", "a\0b", "fe80::1%"])
def test_what_is_no_address_belongs_to_nobody(text: str) -> None:
    """Strangers write anything into address fields."""
    registry = Registry([system("x", "10.0.0.0/8")])
    assert registry.lookup("a", text, NOW) is None


def test_a_mapped_address_is_the_ipv4_address() -> None:
    """RFC 4291 section 2.5.5.2."""
    assert owner(Registry([system("x", "10.0.0.0/8")]), "::ffff:10.1.2.3") == "x"


def test_a_peer_of_two_systems_answers_for_none() -> None:
    """A shared firewall is no proof of whose the log is."""
    registry = Registry([system("x", sources=("10.0.0.1", "10.0.0.2")), system("y", sources=("10.0.0.2",))])
    found = [registry.by_source("a", peer, NOW) for peer in ("10.0.0.1", "10.0.0.2", "10.0.0.3")]
    assert [s.id if s else None for s in found] == ["x", None, None]


@st.composite
def network(draw: st.DrawFn) -> str:
    """Few distinct bits, so that networks nest and addresses hit."""
    v6 = draw(st.booleans())
    length = draw(st.integers(0, 128 if v6 else 32))
    number = draw(st.sampled_from([0, 1, 0x0A000001, 0x0A010101, 0xC0A80101, 0xFFFFFFFF]))
    base = ipaddress.IPv6Address(number << 64) if v6 else ipaddress.IPv4Address(number)
    return str(ipaddress.ip_network(f"{base}/{length}", strict=False))


addresses = st.one_of(
    st.sampled_from([0, 1, 0x0A000001, 0x0A010101, 0x0A010102, 0xC0A80101, 0xC0A80102, 0xFFFFFFFF]).map(
        lambda n: str(ipaddress.IPv4Address(n))
    ),
    st.sampled_from([0, 1, 0x0A000001, 0xC0A80101]).map(lambda n: str(ipaddress.IPv6Address((n << 64) + 5))),
    st.ip_addresses().map(str),
)


@settings(deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from(["a", "b"]), st.sets(network(), max_size=4), st.none() | st.integers(0, 20)),
        max_size=6,
    ),
    questions=st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), addresses, st.integers(0, 20)), max_size=20),
)
def test_lookup_agrees_with_a_plain_search(
    rows: list[tuple[str, set[str], int | None]], questions: list[tuple[str, str, int]]
) -> None:
    """Oracle: look at every network with the ipaddress module."""
    start = dt.date(2026, 1, 1)
    systems = []
    seen: set[tuple[str, str]] = set()
    for i, (site, networks, days) in enumerate(rows):
        mine = tuple(sorted(n for n in networks if (site, n) not in seen))
        seen.update((site, n) for n in mine)
        retired = None if days is None else (start + dt.timedelta(days)).isoformat()
        systems.append(system(f"s{i}", *mine, site=site, registered="2026-01-01", retired=retired))
    registry = Registry(systems)
    for site, address, days in questions:
        day = start + dt.timedelta(days)
        parsed = ipaddress.ip_address(address)
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        around = [
            (ipaddress.ip_network(n).prefixlen, s.id)
            for s in systems
            if s.site == site and (s.retired is None or day < s.retired)
            for n in s.networks
            if parsed in ipaddress.ip_network(n)
        ]
        assert owner(registry, address, site, at(f"{day}T12:00:00+07:00")) == (max(around)[1] if around else None)


def test_ten_thousand_networks_are_looked_up_quickly(capsys: pytest.CaptureFixture[str]) -> None:
    """The speed is printed, not asserted: machines differ."""
    networks = [f"10.{i // 256 % 256}.{i % 256}.0/24" for i in range(8000)]
    networks += [f"172.16.{i // 16}.{i % 16 * 16}/28" for i in range(2000)]
    registry = Registry([system(f"s{i}", n) for i, n in enumerate(networks)])
    asked = [f"10.{i // 256 % 256}.{i % 256}.{i % 250}" for i in range(20_000)]
    begun = time.perf_counter()
    fresh = [owner(registry, a) for a in asked]
    middle = time.perf_counter()
    again = [owner(registry, a) for a in asked]
    ended = time.perf_counter()
    with capsys.disabled():
        rates = [len(asked) / s for s in (middle - begun, ended - middle)]
        print(f"\n10,000 networks: {rates[0]:,.0f} lookups/s fresh, {rates[1]:,.0f} cached")
    assert fresh == again
    assert fresh[:2] == ["s0", "s1"]
