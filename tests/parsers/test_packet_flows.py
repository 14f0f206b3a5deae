"""Flows out of packets, beside tshark on the same octets."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.parsers.packet_oracles import capture, kind, ours, tshark

FIELDS = (
    "frame.number", "frame.time_epoch", "frame.len", "frame.interface_name", "ip.src", "ip.dst", "ip.len", "ip.id",
    "ip.flags.mf", "ip.frag_offset", "ip.proto", "ipv6.src", "ipv6.dst", "ipv6.plen", "ipv6.nxt", "ipv6.fraghdr.ident",
    "ipv6.fraghdr.nxt", "tcp.srcport", "tcp.dstport", "udp.srcport", "udp.dstport", "tcp.stream", "tcp.flags",
    "icmp.type", "icmpv6.type", "communityid",
)  # fmt: skip
WHOLE = ("-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE", "--enable-protocol", "communityid")
ICMP_ANSWERS = {"0": "8", "129": "128", "134": "133", "136": "135", "14": "13"}


def key_of(row: dict[str, list[str]], fragments: dict[Any, Any]) -> Any:
    """The conversation that tshark's packet belongs to, or None for what is no IP."""
    v4 = bool(row["ip.src"])
    if not v4 and not row["ipv6.src"]:
        return None
    source = (row["ip.src"] or row["ipv6.src"])[0]
    target = (row["ip.dst"] or row["ipv6.dst"])[0]
    protocol = row["ip.proto"][0] if v4 else (row["ipv6.fraghdr.nxt"] or row["ipv6.nxt"])[-1]
    if protocol == "0":  # hop-by-hop options in front of MLD
        protocol = "58"
    ports = row["tcp.srcport"] + row["tcp.dstport"] + row["udp.srcport"] + row["udp.dstport"]
    ports = ports if protocol in ("6", "17") else []  # not those of a packet that ICMP quotes
    kinds = row["icmp.type"][:1] + row["icmpv6.type"][:1]
    said = [ICMP_ANSWERS.get(k, k) for k in kinds]
    name = (row["tcp.stream"][:1] or [""])[0], frozenset(zip((source, target), ports[:2] or ("", ""), strict=True))
    found = (*name, protocol, *said)
    number = (row["ip.id"] if v4 else row["ipv6.fraghdr.ident"])[:1]
    if number and (not v4 or row["ip.flags.mf"] == ["1"] or row["ip.frag_offset"] != ["0"]):
        return fragments.setdefault((source, target, protocol, number[0]), found)
    return found


@pytest.mark.parametrize(
    "name", ["office.pcap", "cooked.pcap", "cooked2.pcap", "nano.pcap", "multi.pcapng", "snap.pcap"]
)
def test_flows_have_the_packets_octets_and_times_that_tshark_counts(name: str) -> None:
    """Each conversation of tshark is one flow of ours with the same packets, IP octets, first and last time."""
    path = capture(name)
    theirs: dict[Any, list[Any]] = {}
    fragments: dict[Any, Any] = {}
    for row in tshark(path, *FIELDS, options=WHOLE):
        key = key_of(row, fragments)
        if key is None:
            continue
        octets = int(row["ip.len"][0]) if row["ip.len"] else int(row["ipv6.plen"][0]) + 40
        theirs.setdefault(key, []).append((int(row["frame.time_epoch"][0].replace(".", "")) // 1000, octets))
    expected = Counter(
        (len(ps), sum(n for _, n in ps), min(t for t, _ in ps), max(t for t, _ in ps)) for ps in theirs.values()
    )
    flows = [f for f in kind(ours(path), "flow") if "source_ip" in f]
    found = Counter((f["packets"], f["bytes"], f["start_us"], f["end_us"]) for f in flows)
    assert found == expected
    assert len(flows) > 3


def test_every_packet_is_in_one_flow() -> None:
    """The sums of the capture are those of its flows: nothing vanishes between them."""
    for name in ("office.pcap", "cooked.pcap", "cooked2.pcap", "nano.pcap", "multi.pcapng", "snap.pcap"):
        records = ours(capture(name))
        [report] = kind(records, "capture")
        assert report["packets"] == sum(f["packets"] for f in kind(records, "flow")) == report["counts"]["flow_packets"]
        assert report["unread"] == 0


def test_the_community_ids_are_those_of_tshark() -> None:
    """Every flow has the id that tshark gives to its packets."""
    path = capture("office.pcap")
    theirs = {
        row["frame.number"][0]: row["communityid"][0]
        for row in tshark(path, "frame.number", "communityid", "ip.flags.mf", "ipv6.fraghdr.ident", options=WHOLE)
        if row["communityid"] and row["ip.flags.mf"] != ["1"] and not row["ipv6.fraghdr.ident"]  # it has no ports there
    }
    flows = [f for f in kind(ours(path), "flow") if str(f["number"]) in theirs]
    assert len(flows) > 20
    assert [f["community_id"] for f in flows] == [theirs[str(f["number"])] for f in flows]


def test_how_connections_ended() -> None:
    """A refused connection is `rst`, closed ones are `fin`; the flags of both sides are those of tshark."""
    path = capture("office.pcap")
    flows = [f for f in kind(ours(path), "flow") if f.get("protocol") == 6]
    refused = [f for f in flows if f["destination_port"] == 81]
    assert [(f["end_reason"], f["source_flags"], f["destination_flags"]) for f in refused] == [("rst", "S", "RA")]
    by_number = {f["number"]: f for f in flows}
    rows = tshark(path, "frame.number", "tcp.stream", "tcp.srcport", "tcp.flags", show="tcp")
    first: dict[str, tuple[int, str]] = {}
    bits: dict[tuple[str, bool], int] = {}
    for row in rows:
        number, port = first.setdefault(row["tcp.stream"][0], (int(row["frame.number"][0]), row["tcp.srcport"][0]))
        side = (row["tcp.stream"][0], row["tcp.srcport"][0] == port)
        bits[side] = bits.get(side, 0) | int(row["tcp.flags"][0], 16)
    for stream, (number, _) in first.items():
        for is_source, name in ((True, "source_flags"), (False, "destination_flags")):
            letters = "".join(c for i, c in enumerate("FSRPAUEC") if bits.get((stream, is_source), 0) >> i & 1)
            assert by_number[number][name] == letters
    assert len(first) > 10


def test_the_pointer_leads_to_the_packet(tmp_path: Path) -> None:
    """`offset` is where the packet's record begins in the file: cut there, the file begins with that packet."""
    path = capture("office.pcap")
    data = path.read_bytes()
    for flow in kind(ours(path), "flow")[::7]:
        piece = tmp_path / "piece.pcap"
        piece.write_bytes(data[:24] + data[flow["offset"] :])
        [row] = tshark(piece, "frame.time_epoch", options=("-c", "1"))
        assert int(row["frame.time_epoch"][0].replace(".", "")) // 1000 == flow["start_us"]
