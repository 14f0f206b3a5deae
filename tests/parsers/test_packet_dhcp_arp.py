"""DHCP and ARP, beside tshark and scapy on the same octets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.l2 import ARP

from soc.parsers.decoders import packet_arp, packet_dhcp
from tests.parsers.packet_oracles import capture, kind, ours, tshark

FIELDS = (
    "dhcp.option.dhcp", "dhcp.id", "dhcp.hw.mac_addr", "dhcp.ip.your", "dhcp.option.hostname",
    "dhcp.option.requested_ip_address", "dhcp.option.ip_address_lease_time", "dhcp.option.router",
    "dhcp.option.domain_name", "dhcp.option.dhcp_server_id", "dhcp.option.vendor_class_id", "dhcp.option.type",
)  # fmt: skip


def test_dhcp_says_what_tshark_says() -> None:
    """Type, transaction, station, address, lease, host name and every option's number of a real exchange."""
    path = capture("office.pcap")
    found = kind(ours(path), "dhcp")
    rows = tshark(path, *FIELDS, show="dhcp")
    assert [r["type"] for r in found] == ["DISCOVER", "OFFER", "REQUEST", "ACK"]
    for ours_, row in zip(found, rows, strict=True):
        assert packet_dhcp.TYPES[int(row["dhcp.option.dhcp"][0])] == ours_["type"]
        assert int(row["dhcp.id"][0], 16) == int(ours_["transaction"], 16)
        assert row["dhcp.hw.mac_addr"][0].replace(":", "-").upper() == ours_["client_mac"]
        assert [a for a in row["dhcp.ip.your"] if a != "0.0.0.0"] == [a for a in (ours_.get("your_ip"),) if a]
        assert row["dhcp.option.hostname"] == [n for n in (ours_.get("host_name"),) if n]
        assert row["dhcp.option.requested_ip_address"] == [a for a in (ours_.get("requested_ip"),) if a]
        assert row["dhcp.option.ip_address_lease_time"] == [str(n) for n in (ours_.get("lease_s"),) if n]
        assert row["dhcp.option.router"] == ours_.get("routers", [])
        assert row["dhcp.option.domain_name"] == [n for n in (ours_.get("domain"),) if n]
        assert row["dhcp.option.dhcp_server_id"] == [n for n in (ours_.get("server_id"),) if n]
        assert row["dhcp.option.vendor_class_id"] == [n for n in (ours_.get("vendor_class"),) if n]
        assert sorted({int(n) for n in row["dhcp.option.type"] if n not in ("0", "255")}) == ours_["options"]
    assert found[0]["fqdn"] == "may.haiphong.test"


def test_arp_says_what_tshark_says() -> None:
    """Operation and both ends of every message; an address that moved is told with the station that had it."""
    path = capture("office.pcap")
    found = kind(ours(path), "arp")
    rows = tshark(path, "arp.opcode", "arp.src.hw_mac", "arp.src.proto_ipv4", "arp.dst.proto_ipv4", show="arp")
    messages = [r for r in found if r["action"] != "address_changed"]
    assert len(messages) == len(rows) > 5
    for ours_, row in zip(messages, rows, strict=True):
        assert {"1": "request", "2": "reply"}[row["arp.opcode"][0]] == ours_["operation"]
        assert row["arp.src.hw_mac"][0].replace(":", "-").upper() == ours_["source_mac"]
        assert row["arp.src.proto_ipv4"] == [ours_.get("source_ip", "0.0.0.0")]
        assert row["arp.dst.proto_ipv4"] == [ours_["destination_ip"]]
    [moved] = [r for r in found if r["action"] == "address_changed"]
    assert (moved["source_ip"], moved["previous_mac"], moved["source_mac"]) == (
        "192.0.2.10", "02-00-00-00-00-0A", "02-00-00-00-00-0B",
    )  # fmt: skip


def test_scapy_makes_what_is_read() -> None:
    """Options in pieces and in the fields of BOOTP (overload), a relay's circuit, a probe, a foreign sender."""
    options = [
        ("message-type", "ack"), ("lease_time", 600), (52, b"\x01"), (12, b"may-"), (12, b"tinh"),
        (82, b"\x01\x04ge-1\x02\x02\xff\x01"), "end",
    ]  # fmt: skip
    file = b"\x0f\x04a.vn\xff".ljust(128, b"\0")
    station = b"\x02\0\0\0\0\7" + bytes(10)
    head = BOOTP(op=2, xid=0x01020304, yiaddr="10.0.0.9", giaddr="10.0.0.1", chaddr=station, file=file)
    message = bytes(head / DHCP(options=options))
    values, why = packet_dhcp.decode(message)
    assert not why
    assert (values["type"], values["your_ip"], values["relay_ip"], values["lease_s"]) == (
        "ACK",
        "10.0.0.9",
        "10.0.0.1",
        600,
    )
    assert (values["host_name"], values["domain"]) == ("may-tinh", "a.vn")
    assert (values["circuit_id"], values["remote_id"]) == ("ge-1", "ff01")
    probe, address, station = packet_arp.decode(
        bytes(ARP(op=1, psrc="0.0.0.0", pdst="10.0.0.9", hwsrc="02:00:00:00:00:07"))
    )
    assert (probe["is_probe"], probe["destination_ip"], address, station) == (True, "10.0.0.9", b"", b"")


def test_bindings_are_bounded() -> None:
    """The address that was told longest ago is forgotten, and that is counted."""
    bindings = packet_arp.Bindings()
    for i in range(packet_arp.MAX_BINDINGS + 3):
        assert bindings.said("", i.to_bytes(4, "big"), b"a") is None
    assert bindings.counts["arp_forgotten"] == 3
    assert bindings.said("", (5).to_bytes(4, "big"), b"b") == b"a"
    assert bindings.said("other", (6).to_bytes(4, "big"), b"b") is None


@given(st.binary(max_size=400))
def test_no_octets_break_dhcp(tail: bytes) -> None:
    """Whatever follows a header."""
    head = bytes(BOOTP(op=1))[:236]
    for data in (tail, head + tail, head + b"\x63\x82\x53\x63" + tail):
        values, why = packet_dhcp.decode(data)
        assert isinstance(why, str)
        assert isinstance(values, dict)


@given(st.binary(max_size=60))
def test_no_octets_break_arp(data: bytes) -> None:
    """Read, or refused as cut."""
    try:
        values, _, _ = packet_arp.decode(data)
    except ValueError:
        return
    assert "operation" in values
