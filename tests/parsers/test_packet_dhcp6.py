"""DHCPv6 between dhclient and dnsmasq, beside tshark; what they do not send, made by scapy."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers import dhcp6

from soc.parsers.decoders import packet_dhcp6
from tests.parsers.packet_oracles import capture, kind, ours, tshark

FIELDS = (
    "dhcpv6.msgtype", "dhcpv6.xid", "dhcpv6.duid.bytes", "dhcpv6.iaid", "dhcpv6.iaaddr.ip", "dhcpv6.iaid.t1",
    "dhcpv6.iaid.t2", "dhcpv6.iaaddr.valid_lifetime", "dhcpv6.dns_server",
    "dhcpv6.search_list_entry", "dhcpv6.status_code", "dhcpv6.status_msg", "dhcpv6.option.type",
    "dhcpv6.requested_option_code",
)  # fmt: skip


def test_dhcpv6_says_what_tshark_says() -> None:
    """Two rounds, a release and a question without an address: every value and option of a real exchange."""
    path = capture("dhcpv6.pcap")
    found, rows = kind(ours(path), "dhcp"), tshark(path, *FIELDS)
    types = ["SOLICIT", "ADVERTISE", "REQUEST", "REPLY", "RELEASE", "REPLY", "INFORMATION-REQUEST", "REPLY"]
    assert [r["type"] for r in found] == types
    assert {r["application"] for r in found} == {"dhcpv6"}
    for ours_, row in zip(found, rows, strict=True):
        assert packet_dhcp6.TYPES[int(row["dhcpv6.msgtype"][0])] == ours_["type"]
        assert int(row["dhcpv6.xid"][0], 16) == int(ours_["transaction"], 16)
        duids = [ours_[name] for name in ("client_duid", "server_duid") if name in ours_]
        assert sorted(d.replace(":", "") for d in row["dhcpv6.duid.bytes"]) == sorted(duids)
        assert [int(i, 16) for i in row["dhcpv6.iaid"]] == [int(i, 16) for i in (ours_.get("iaid"),) if i]
        assert row["dhcpv6.iaaddr.ip"] == ours_.get("addresses", [])
        for theirs, name in (
            ("iaid.t1", "renewal_s"),
            ("iaid.t2", "rebinding_s"),
            ("iaaddr.valid_lifetime", "lease_s"),
        ):
            said = [int(n, 0) for n in row[f"dhcpv6.{theirs}"]]
            assert [n for n in said if n] == [n for n in (ours_.get(name),) if n]
        assert row["dhcpv6.dns_server"] == ours_.get("dns_servers", [])
        assert [n.rstrip(".") for n in row["dhcpv6.search_list_entry"]] == [n for n in (ours_.get("domain"),) if n]
        assert row["dhcpv6.status_code"] == ["0"] * ("status" in ours_)
        assert row["dhcpv6.status_msg"] == [n for n in (ours_.get("message"),) if n]
        assert sorted({int(n) for n in row["dhcpv6.option.type"]}) == ours_["options"]
        assert [int(n) for n in row["dhcpv6.requested_option_code"]] == ours_.get("parameters", [])
    # tshark shows the name without a field of its own: what dhclient was told to send, and dnsmasq's answer.
    assert [r.get("fqdn") for r in found[:6]] == ["may6.haiphong.test", "may6"] * 2 + ["may6.haiphong.test", None]
    assert {r["client_mac"] for r in found} == {"02-00-00-00-00-0A"}
    assert [r.get("your_ip") for r in found[:4]] == [None, "2001:db8::116", None, "2001:db8::116"]
    assert [r.get("requested_ip") for r in found[:3:2]] == [None, "2001:db8::116"]


def relayed(message: Any, *, hops: int = 0, link: str = "2001:db8:7::1", **more: Any) -> Any:
    """A message in the envelope of a relay agent."""
    options = dhcp6.DHCP6OptRelayMsg(message=message)
    for option in more.get("options", ()):
        options = option / options
    return dhcp6.DHCP6_RelayForward(hopcount=hops, linkaddr=link, peeraddr=more.get("peer", "fe80::9")) / options


def test_prefixes_and_what_could_not_be_given() -> None:
    """IA_PD with its prefix, and the status of an association that got nothing (RFC 8415 sections 21.13, 21.21)."""
    prefix = dhcp6.DHCP6OptIAPrefix(prefix="2001:db8:100::", plen=56, preflft=600, validlft=900)
    none = dhcp6.DHCP6OptStatusCode(statuscode=2, statusmsg="hết địa chỉ".encode())
    made = (
        dhcp6.DHCP6_Reply(trid=0x010203)
        / dhcp6.DHCP6OptIA_PD(iaid=5, T1=300, T2=480, iapdopt=[prefix])
        / dhcp6.DHCP6OptIA_NA(iaid=6, ianaopts=[none])
    )
    values, why = packet_dhcp6.decode(bytes(made))
    assert (values["prefixes"], values["lease_s"], values["renewal_s"], why) == (["2001:db8:100::/56"], 900, 300, "")
    assert (values["status"], values["message"], values["iaid"]) == ("NoAddrsAvail", "hết địa chỉ", "00000005")


def test_a_client_behind_relay_agents() -> None:
    """Where in the network it is: link and interface of the agent next to it, its station (RFC 6939), all hops."""
    client = dhcp6.DHCP6_Solicit(trid=7) / dhcp6.DHCP6OptClientId(duid=dhcp6.DUID_EN(enterprisenum=9, id=b"x"))
    station = dhcp6.DHCP6OptClientLinkLayerAddr(clladdr="02:00:00:00:00:07")
    near = relayed(client, options=[dhcp6.DHCP6OptIfaceId(ifaceid=b"ge-0/0/1"), station])
    remote = dhcp6.DHCP6OptRemoteID(enterprisenum=9, remoteid=b"\xff\x01")
    values, why = packet_dhcp6.decode(bytes(relayed(near, hops=1, link="::", peer="2001:db8:7::1", options=[remote])))
    assert (values["type"], values["hops"], why) == ("SOLICIT", 1, "")
    assert (values["relay_ip"], values["client_ip"], values["circuit_id"]) == ("2001:db8:7::1", "fe80::9", "ge-0/0/1")
    assert (values["client_mac"], values["remote_id"]) == ("02-00-00-00-00-07", "ff01")


def test_envelopes_in_envelopes_end_somewhere() -> None:
    """RFC 8415 section 7.6: eight agents; a ninth is not read through, and said."""
    message: Any = dhcp6.DHCP6_Solicit(trid=7)
    for n in range(packet_dhcp6.MAX_RELAYS):
        message = relayed(message, hops=n)
    assert packet_dhcp6.decode(bytes(message))[1] == ""
    values, why = packet_dhcp6.decode(bytes(relayed(message)))
    assert ("type" in values, why) == (False, "more than 8 relay agents")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("", "shorter than a header"), ("010203", "shorter than a header"), ("01aabbcc 0001", "option 1 is cut"),
        ("01aabbcc 0001 0005 0003", "option 1 is cut"), ("0c00", "shorter than a header"),
        ("03aabbcc 0003 0004 00000001", "option 3 is shorter than its head"),
        ("03aabbcc 0003 0010 00000001 00000000 00000000 0005ffff", "option 5 is cut"),
        ("0c000000", "a relay's message shorter than its header"),
    ],
)  # fmt: skip
def test_lengths_that_lie_are_told(data: str, why: str) -> None:
    """What was read before the lie stays."""
    values, said = packet_dhcp6.decode(bytes.fromhex(data))
    assert said == why
    if len(data) > 12 and data[:2] != "0c":
        assert values["transaction"] == "aabbcc"


def test_many_addresses_are_bounded() -> None:
    """A message names no more than so many."""
    one = dhcp6.DHCP6OptIAAddress(addr="2001:db8::1")
    made = dhcp6.DHCP6_Reply(trid=1) / dhcp6.DHCP6OptIA_NA(iaid=1, ianaopts=[one] * 100)
    assert len(packet_dhcp6.decode(bytes(made))[0]["addresses"]) == packet_dhcp6.MAX_NAMED


@given(st.binary(max_size=300), st.sampled_from(range(15)))
def test_any_octets_are_read_or_said_to_lie(data: bytes, kind_: int) -> None:
    """Nothing raises; the values stay JSON."""
    values, _ = packet_dhcp6.decode(bytes([kind_]) + data)
    orjson.dumps(values)
