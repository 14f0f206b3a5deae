"""DNS messages, beside tshark and scapy on the same octets, and what strangers may send."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.dns import DNS, DNSQR, DNSRR

from soc.parsers.decoders import packet_dns
from tests.parsers.packet_oracles import capture, kind, ours, tshark

FIELDS = (
    "frame.number", "dns.id", "dns.flags.response", "dns.flags.opcode", "dns.flags.rcode", "dns.qry.name",
    "dns.qry.type", "dns.qry.class", "dns.count.answers", "dns.count.auth_rr", "dns.count.add_rr", "dns.resp.name",
    "dns.resp.type", "dns.resp.ttl", "dns.a", "dns.aaaa", "dns.cname", "dns.rr.udp_payload_size", )  # fmt: skip


@pytest.mark.parametrize("name", ["office.pcap", "cooked.pcap", "cooked2.pcap", "nano.pcap", "multi.pcapng"])
def test_messages_say_what_tshark_says(name: str) -> None:
    """Message by message over UDP and TCP: id, kind, question, code, counts, and each answer's name, type, time."""
    path = capture(name)
    found = kind(ours(path), "dns")
    theirs = tshark(path, *FIELDS, show="dns")
    assert sum(len(row["dns.id"]) for row in theirs) == len(found)
    assert len(found) >= 22
    one = [row for row in theirs if len(row["dns.id"]) == 1]
    by_place = {(r["number"], r["id"]): r for r in found}
    for row in one:
        record = by_place[int(row["frame.number"][0]), int(row["dns.id"][0], 16)]
        assert record["is_answer"] == (row["dns.flags.response"] == ["1"])
        assert [packet_dns.CODES.get(int(code)) for code in row["dns.flags.rcode"]] == (
            [record["code"]] if record["is_answer"] else []
        )
        assert packet_dns.OPCODES[int(row["dns.flags.opcode"][0])] == record["opcode"]
        assert row["dns.qry.name"] == [record["name"]]
        assert [packet_dns.TYPES[int(t)] for t in row["dns.qry.type"]] == [record["type"]]
        counts = (record["answers"], record["authorities"], record["additionals"])
        assert tuple(int(row[f"dns.count.{n}"][0]) for n in ("answers", "auth_rr", "add_rr")) == counts
        n = record["answers"]
        if "SRV" not in record.get("types", []):  # tshark takes their owner apart
            assert row["dns.resp.name"][:n] == record.get("names", [])
        assert [packet_dns.TYPES[int(t)] for t in row["dns.resp.type"][:n]] == record.get("types", [])
        assert [int(t) for t in row["dns.resp.ttl"][:n]] == record.get("ttls", [])
        assert sorted(row["dns.a"] + row["dns.aaaa"]) == sorted(record.get("resolved", []))
        names = [d for d, t in zip(record.get("data", []), record.get("types", []), strict=True) if t == "CNAME"]
        assert row["dns.cname"] == names
        assert [int(size) for size in row["dns.rr.udp_payload_size"]] == (
            [record["edns_size"]] if "edns_size" in record else []
        )


def test_the_forms_of_answers() -> None:
    """TXT, MX, SRV and CAA read as in a zone file; the subnet of EDNS; the messages over TCP."""
    records = kind(ours(capture("office.pcap")), "dns")
    data = {(r["name"], r["type"]): r.get("data") for r in records if r["is_answer"]}
    assert data["txt.haiphong.test", "TXT"] == ['"v=spf1 -all" "second part"']
    assert data["haiphong.test", "MX"] == ["10 mail.haiphong.test"]
    assert data["_ldap._tcp.haiphong.test", "SRV"] == ["0 0 389 ldap.haiphong.test"]
    assert data["haiphong.test", "CAA"] == ['0 issue "ca.test"']
    assert "198.51.100.0/24" in {r.get("client_subnet") for r in records}
    assert {r["protocol"] for r in records} == {6, 17}
    assert {r["code"] for r in records if r["is_answer"]} >= {"NOERROR", "NXDOMAIN"} or "REFUSED" in str(records)


def test_scapy_reads_the_same_question() -> None:
    """A message that scapy made has the question, answers and flags that scapy put in."""
    message = DNS(id=7, qr=1, aa=1, rd=1, ra=1, rcode=3, qd=DNSQR(qname="a.example.vn", qtype="AAAA"),
                  an=[DNSRR(rrname="a.example.vn", type="CNAME", rdata="b.example.vn", ttl=60),
                      DNSRR(rrname="b.example.vn", type="AAAA", rdata="2001:db8::5", ttl=61)])  # fmt: skip
    values, why = packet_dns.decode(bytes(message))
    assert not why
    assert (values["id"], values["flags"], values["code"]) == (7, ("AA", "RD", "RA"), "NXDOMAIN")
    assert (values["name"], values["type"], values["class"]) == ("a.example.vn", "AAAA", "IN")
    assert (values["names"], values["ttls"]) == (["a.example.vn", "b.example.vn"], [60, 61])
    assert (values["data"], values["resolved"]) == (["b.example.vn", "2001:db8::5"], ["2001:db8::5"])


HEADER = bytes.fromhex("000101000001000000000000")


def test_a_circle_of_pointers_ends() -> None:
    """A name that points at itself, forward, or back and forth is malformed; the header is still told."""
    for tail in ("c00c", "c00e", "0161c00c"):
        values, why = packet_dns.decode(HEADER + bytes.fromhex(tail + "00010001"))
        assert "points forward or at itself" in why
        assert values["id"] == 1


def test_names_of_odd_octets_are_escaped() -> None:
    """A dot, a backslash and octets that are no text within a label read as RFC 1035 section 5.1 writes them."""
    values, why = packet_dns.decode(HEADER + b"\x04a.\\\xff\x00\x00\x01\x00\x01")
    assert not why
    assert values["name"] == "a\\.\\\\\\255"


def test_a_name_is_not_longer_than_255_octets() -> None:
    """Four labels of 63 are too much, whatever pointers add."""
    long = (b"\x3f" + b"a" * 63) * 4 + b"\x00"
    assert "more than 255" in packet_dns.decode(HEADER + long + b"\x00\x01\x00\x01")[1]


def test_an_answer_that_is_shown_in_part_is_marked() -> None:
    """1,024 characters of a TXT record are kept; that there was more is said."""
    long, short = (
        DNSRR(rrname="a.test", type="TXT", rdata=["x" * 250] * 5),
        DNSRR(rrname="a.test", type="TXT", rdata="y"),
    )
    values, why = packet_dns.decode(bytes(DNS(qr=1, qd=DNSQR(qname="a.test", qtype="TXT"), an=[long, short])))
    assert (why, values["marks"], [len(text) for text in values["data"]]) == ("", ["data_cut"], [1024, 3])
    values, _ = packet_dns.decode(bytes(DNS(qr=1, qd=DNSQR(qname="a.test", qtype="TXT"), an=[short])))
    assert "marks" not in values


@given(st.binary(max_size=300), st.integers(0, 65535))
def test_no_octets_break_it(tail: bytes, counts: int) -> None:
    """Whatever follows the header, it is read or refused with a reason."""
    head = b"\x00\x01\x81\x80" + counts.to_bytes(2, "big") * 2 + b"\0\0\0\2"
    values, why = packet_dns.decode(head + tail)
    assert values["id"] == 1
    assert isinstance(why, str)
    assert len(values.get("names", ())) <= packet_dns.MAX_RECORDS
