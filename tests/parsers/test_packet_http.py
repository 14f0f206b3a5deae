"""HTTP/1.x, beside tshark on the same octets; bodies and credentials are nowhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc.parsers.decoders import packet_http
from soc.parsers.decoders.packet_flows import Flow
from soc.parsers.decoders.packet_layers import Frame
from soc.parsers.decoders.packet_streams import At
from tests.parsers.packet_oracles import capture, kind, ours, tshark
from tests.parsers.test_packet_tls import Told

FIELDS = (
    "http.request.method", "http.request.uri", "http.request.version", "http.host", "http.user_agent", "http.referer",
    "http.response.code", "http.content_type", "http.server", "http.location",
)  # fmt: skip


def test_messages_say_what_tshark_says() -> None:
    """Every request and response in order, pipelined ones too: method, target, host, agent, code, type."""
    path = capture("office.pcap")
    found = kind(ours(path), "http")
    rows = tshark(path, *FIELDS, show="http", options=("-d", "tcp.port==8080,http"))
    for name, ours_ in (
        ("http.request.method", [r["method"] for r in found]),
        ("http.request.uri", [r["target"] for r in found]),
        ("http.request.version", [f"HTTP/{r['version']}" for r in found]),
        ("http.user_agent", [r["user_agent"] for r in found if "user_agent" in r]),
        ("http.referer", [r["referrer"] for r in found if "referrer" in r]),
        ("http.response.code", [str(r["status"]) for r in found]),
        ("http.server", [r["server"] for r in found]),
        ("http.location", [r["location"] for r in found if "location" in r]),
    ):
        assert ours_ == [value for row in rows for value in row[name]], name
    assert len(found) == 10


def test_nothing_of_bodies_and_credentials_is_told() -> None:
    """Neither the password of Basic, nor the token of Bearer, nor a form's fields; only how somebody logged in."""
    records = ours(capture("office.pcap"))
    text = str(records)
    for secret in ("matkhau123", "YW46bWF0a2hhdTEyMw", "eyJsecret", "matkhau456", "worldworld"):
        assert secret not in text
    raw = capture("office.pcap").read_bytes()
    assert b"YW46bWF0a2hhdTEyMw" in raw
    assert b"matkhau456" in raw
    assert {r.get("auth_scheme") for r in kind(records, "http")} == {None, "Basic", "Bearer"}


AT = At(1, 1, 24, "")


def heard(*pieces: tuple[bool, bytes]) -> list[dict]:
    """What is told of a connection in which each side said this."""
    teller = Told()
    flow = Flow((b"\x01" * 4, b"\x02" * 4), 6, (1000, 80), Frame(0x0800, 14), AT, "")
    talk = packet_http.HttpTalk(teller, flow)
    for reply, data in pieces:
        talk.data(reply, data, AT)
    talk.finish()
    return teller.records


ASK = b"GET /a?b=c HTTP/1.1\r\nHost: x.vn:8080\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@pytest.mark.parametrize("step", [1, 2, 7, 1000])
def test_the_same_in_any_pieces(step: int) -> None:
    """Requests before their responses, chunks with extensions and trailers, an interim response, lines of LF alone."""
    asked = ASK + b"POST /p HTTP/1.1\nHost: x.vn\nTransfer-Encoding: chunked\n\n3;n=v\nabc\n0\nX: y\n\n" + ASK
    answered = (
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK
        + b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n"
        + b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n"
    )  # fmt: skip
    pieces = [(False, asked[i : i + step]) for i in range(0, len(asked), step)]
    pieces += [(True, answered[i : i + step]) for i in range(0, len(answered), step)]
    found = heard(*pieces)
    assert [(r["method"], r["status"], r["request_body"], r["response_body"]) for r in found] == [
        ("GET", 200, 0, 5), ("POST", 200, 3, 10), ("GET", 304, 0, 0),
    ]  # fmt: skip
    assert found[0]["full"] == "http://x.vn:8080/a?b=c"
    assert not any("marks" in r for r in found)


def test_what_is_missing_is_said() -> None:
    """No response, a response without its request, a head that is too long, lengths that disagree."""
    assert [r["marks"] for r in heard((False, ASK))] == [["no_response"]]
    assert [r["marks"] for r in heard((True, OK))] == [["no_request"]]
    [long] = heard((False, ASK), (False, b"GET / HTTP/1.1\r\nX: " + b"y" * 70_000))
    assert long["marks"] == ["head_too_long", "no_response"]
    [two] = heard((False, ASK), (True, b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n"))
    assert "malformed" in two["marks"]


def test_after_connect_and_upgrade_nobody_listens() -> None:
    """What is inside the tunnel is not HTTP."""
    connect = b"CONNECT u:p@x.vn:443 HTTP/1.1\r\nHost: x.vn:443\r\n\r\n"
    [tunnel] = heard((False, connect), (True, b"HTTP/1.1 200 OK\r\n\r\n"), (False, ASK))
    assert (tunnel["domain"], tunnel["port"], tunnel["target"]) == ("x.vn", 443, "x.vn:443")
    [socket] = heard((False, ASK), (True, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nGET / "))
    assert socket["status"] == 101


def test_credentials_in_urls_are_left_out() -> None:
    """Of an absolute target and of a redirect; a bare token in Authorization is not told as a scheme."""
    ask = b"GET http://an:matkhau@x.vn/p?q HTTP/1.1\r\nHost: y.vn\r\nAuthorization: sk_live_123\r\nCookie: a=b\r\n\r\n"
    [found] = heard(
        (False, ask), (True, b"HTTP/1.1 302 Found\r\nLocation: https://an:matkhau@z.vn/\r\nContent-Length: 0\r\n\r\n")
    )
    assert "matkhau" not in str(found)
    assert "sk_live" not in str(found)
    assert (found["domain"], found["target"], found["location"]) == ("x.vn", "http://x.vn/p?q", "https://z.vn/")
    assert (found["auth_scheme"], found["has_cookie"]) == ("unknown", True)


def test_a_gap_within_a_body_does_no_harm() -> None:
    """Octets of a body that were not captured are counted by their length; within a head they end the reading."""
    teller = Told()
    flow = Flow((b"\x01" * 4, b"\x02" * 4), 6, (1000, 80), Frame(0x0800, 14), AT, "")
    talk = packet_http.HttpTalk(teller, flow)
    talk.data(False, ASK + ASK, AT)
    talk.data(True, b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nab", AT)
    assert talk.gap(True, 48)
    assert not talk.gap(True, 1)
    talk.finish()
    assert [(r.get("status"), r.get("response_body")) for r in teller.records] == [(200, 50), (None, None)]
    assert teller.records[1]["marks"] == ["gap", "no_response"]


def test_other_protocols_are_not_taken_for_http() -> None:
    """SMTP and POP3 begin with words in capitals too."""
    assert packet_http.begins(b"EHLO mail") is False
    assert packet_http.begins(b"USER an") is False
    assert packet_http.begins(b"GE") is None
    assert packet_http.begins(b"GET /") is True


def test_many_requests_without_a_response_are_bounded() -> None:
    """The oldest is told without its response."""
    found = heard((False, b"GET / HTTP/1.1\r\n\r\n" * (packet_http.MAX_WAITING + 5)))
    assert len(found) == packet_http.MAX_WAITING + 5
    assert found[0]["marks"] == ["requests_cut", "no_response"]


TOKENS = [
    b"\r\n", b"\n", b"GET / HTTP/1.1", b"HTTP/1.1 200 OK", b"Content-Length: 3", b"Transfer-Encoding: chunked", b"5",
    b"0", b"abc", b"\r\n\r\n", b" ", b"Host: a", b"://", b"@", b"HTTP/1.1 100 C", b"\xff\x00", b"CONNECT a HTTP/1.1",
]  # fmt: skip


@given(st.lists(st.tuples(st.booleans(), st.one_of(st.sampled_from(TOKENS), st.binary(max_size=30))), max_size=40))
def test_no_octets_break_it(pieces: list[tuple[bool, bytes]]) -> None:
    """Whatever both sides say."""
    heard(*pieces)


@given(st.text(max_size=80), st.text(max_size=20))
def test_no_target_breaks_a_url(target: str, host: str) -> None:
    """Whatever a request asks for, nothing before an `@` of an authority is told."""
    values = packet_http.url(target, host, 80)
    assert set(values) <= {"target", "domain", "port", "scheme", "path", "query", "fragment", "full"}
