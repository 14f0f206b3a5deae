"""Syslog over TLS: who is let in, and that nothing of what they send is lost."""

import socket
import ssl
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc.collectors import streams
from soc.collectors.listeners import ListenerSpec, Tls
from soc.collectors.tls import TlsRefused, TlsSession, is_listed, names_in, server_context
from soc.errors import ConfigError
from tests.collectors.certificates import DAY, Authority, client
from tests.collectors.running import MemoryQueue, running, total, until

HOST = "127.7.0.1"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def server(authority):
    return authority.pair("collector", dns=["collector.example"])


def spec(server, authority=None, clients=(), **options):
    tls = Tls(*server, authority.path if authority else None, clients)
    return ListenerSpec("wire", "syslog-tls", HOST, 0, "province", tls=tls, **options)


def connected(port, context):
    return context.wrap_socket(socket.create_connection((HOST, port), 30))


def refusals(collector):
    """Refused connections by reason."""
    found = {}
    for row in collector.counters():
        for reason, n in row["refused_for"].items():
            found[reason] = found.get(reason, 0) + n
    return found


# everything arrives ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    "frame", [lambda r: b"%d %b" % (len(r), r), lambda r: r + b"\n", lambda r: r + b"\0"], ids=["octet", "lf", "nul"]
)
def test_every_framing_comes_through_tls(tmp_path, authority, server, version, frame):
    """Octet-counted (RFC 5425), LF and NUL are told apart inside TLS as they are without."""
    queue, records = MemoryQueue(), [b"<13>number %06d" % i for i in range(5000)]
    with running([spec(server)], queue, tmp_path / "c.json") as (collector, ports):
        with connected(ports["wire"], client(authority, minimum_version=version, maximum_version=version)) as sock:
            sock.sendall(b"".join(map(frame, records)))
        assert until(lambda: total(collector, "queued") == len(records))
    assert queue.records == records
    assert queue.blocks[0].peer == "127.0.0.1"


@pytest.mark.parametrize("is_polite", [True, False], ids=["close_notify", "close"])
def test_clients_that_write_and_close_lose_nothing(tmp_path, authority, server, is_polite):
    """With session tickets the close of a client that never reads would be answered by a reset; there are none."""
    queue = MemoryQueue()
    with running([spec(server)], queue, tmp_path / "c.json") as (collector, ports):
        for i in range(100):
            sock = connected(ports["wire"], client(authority))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.sendall(b"".join(b"<1>%d %d\n" % (i, n) for n in range(50)))
            if is_polite:
                sock.unwrap()
            sock.close()
        assert until(lambda: total(collector, "queued") == 5000), total(collector, "queued")
    assert len(set(queue.records)) == 5000


def test_the_end_of_the_collector_takes_what_was_sent(tmp_path, authority, server):
    """What a TLS client sent before the collector stops is in the queue."""
    queue = MemoryQueue()
    with running([spec(server)], queue, tmp_path / "c.json") as (_, ports):
        sock = connected(ports["wire"], client(authority))
        sock.sendall(b"".join(b"<1>%d\n" % n for n in range(20_000)))
    sock.close()
    assert len(queue.records) == 20_000


def test_a_full_queue_holds_tls_back(tmp_path, authority, server):
    """While the queue is full nothing is read, and nothing is lost."""
    queue, lines = MemoryQueue(), [b"<1>%06d" % i + b"x" * 200 for i in range(60_000)]
    queue.is_full.set()
    with running([spec(server)], queue, tmp_path / "c.json", max_waiting=2_000_000) as (collector, ports):

        def send():
            with connected(ports["wire"], client(authority)) as sock:
                sock.sendall(b"\n".join(lines) + b"\n")

        sender = threading.Thread(target=send)
        sender.start()
        assert until(lambda: collector.fault)
        time.sleep(0.3)
        assert sender.is_alive()
        queue.is_full.clear()
        assert until(lambda: total(collector, "queued") == len(lines))
        sender.join(60)
    assert queue.records == lines


# who is let in --------------------------------------------------------------------------------------------------------


def attempt(port, context):
    """Try to deliver a line; whatever goes wrong is the server's to tell."""
    try:
        with connected(port, context) as sock:
            sock.sendall(b"<1>let me in\n")
            sock.settimeout(30)
            sock.recv(1)
    except OSError:
        pass


def test_a_listed_peer_is_heard(tmp_path, authority, server):
    """By common name, or by an alternative name (DNS, URI), whatever the case."""
    queue = MemoryQueue()
    listed = ("FW01", "relay.unit.example", "urn:unit:7")
    pairs = [
        authority.pair("fw01"),
        authority.pair("x1", dns=["Relay.unit.example"]),
        authority.pair("x2", uri=["urn:unit:7"]),
    ]
    with running([spec(server, authority, listed)], queue, tmp_path / "c.json") as (collector, ports):
        for pair in pairs:
            with connected(ports["wire"], client(authority, pair)) as sock:
                sock.sendall(b"<1>hello\n")
        assert until(lambda: total(collector, "queued") == 3)
        assert total(collector, "refused") == 0


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1 is deprecated:DeprecationWarning")
@pytest.mark.parametrize(
    ("who", "reason"),
    [
        ("stranger", "tls_wrong_authority"),
        ("expired", "tls_certificate_expired"),
        ("future", "tls_certificate_not_yet_valid"),
        ("nobody", "tls_no_certificate"),
        ("unlisted", "tls_name_not_listed"),
        ("old", "tls_version"),
    ],
)
def test_others_are_refused_counted_and_logged(tmp_path, caplog, authority, server, who, reason):
    """Wrong authority, expired, not yet valid, no certificate, a name that is not listed, a version below 1.2."""
    pair, limits = None, {}
    if who == "stranger":
        (tmp_path / "other").mkdir()
        pair = Authority(tmp_path / "other", "other").pair("fw01")
    elif who in ("expired", "future"):
        since, end = (-3 * DAY, -2 * DAY) if who == "expired" else (DAY, 2 * DAY)
        pair = authority.pair("fw01", since=since, until=end)
    elif who in ("unlisted", "old"):
        pair = authority.pair("fw02" if who == "unlisted" else "fw01")
    context = client(authority, pair, **limits)
    if who == "old":
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
    queue = MemoryQueue()
    with running([spec(server, authority, ("fw01",))], queue, tmp_path / "c.json") as (collector, ports):
        attempt(ports["wire"], context)
        assert until(lambda: total(collector, "refused") == 1)
        assert refusals(collector) == {reason: 1}
    assert queue.records == []
    assert f"refused 127.0.0.1 ({reason})" in caplog.text


def test_plain_text_on_a_tls_port_is_refused(tmp_path, server):
    """A client that was told the wrong port is refused by its reason, its line is not taken."""
    queue = MemoryQueue()
    with running([spec(server)], queue, tmp_path / "c.json") as (collector, ports):
        with socket.create_connection((HOST, ports["wire"]), 30) as sock:
            sock.sendall(b"<13>Nov 20 09:00:00 host in clear text\n")
            assert until(lambda: total(collector, "refused") == 1)
        assert refusals(collector) == {"tls_not_spoken": 1}
    assert queue.records == []


def test_a_peer_without_a_handshake_is_sent_away(tmp_path, monkeypatch, server):
    """A half-open connection is closed after a while and counted."""
    monkeypatch.setattr(streams, "HANDSHAKE_S", 0.1)
    monkeypatch.setattr(streams, "_TIMES_S", 0.05)
    with running([spec(server)], MemoryQueue(), tmp_path / "c.json") as (collector, ports):
        with socket.create_connection((HOST, ports["wire"]), 30) as sock:
            sock.settimeout(30)
            assert sock.recv(1) == b""
        assert refusals(collector) == {"too_slow": 1}


def test_the_same_refusal_is_logged_once_in_a_while(tmp_path, caplog, server):
    """A scanner fills the counters, not the log."""
    with running([spec(server)], MemoryQueue(), tmp_path / "c.json") as (collector, ports):
        for _ in range(20):
            with socket.create_connection((HOST, ports["wire"]), 30) as sock:
                sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert until(lambda: total(collector, "refused") == 20)
    assert caplog.text.count(" refused ") == 1


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        ((), True),
        (("fw.unit.example",), True),
        (("FW.Unit.Example",), True),
        (("*.unit.example",), True),
        (("*.example",), False),
        (("unit.example",), False),
        (("SHA256:AB:CD",), True),
        (("SHA256:AB:CE",), False),
    ],
)
def test_names_are_compared_as_the_rfc_says(allowed, expected):
    """Whole names without case, one label for a star, the certificate's digest (RFC 5425 §4.2.2)."""
    assert is_listed(["fw.unit.example"], "abcd", allowed) is expected


def test_names_of_a_certificate():
    """The common name first, each name once."""
    certificate = {
        "subject": ((("organizationName", "o"),), (("commonName", "a"),)),
        "subjectAltName": (("DNS", "a"), ("DNS", "b"), ("URI", "urn:c"), ("email", "d@e")),
    }
    assert names_in(certificate) == ["a", "b", "urn:c"]


def test_files_that_do_not_fit_are_told(tmp_path, authority, server):
    """A missing key, a CA that is none and a list without a CA are errors with place and way out."""
    (tmp_path / "no.pem").write_text("nothing")
    for tls in (
        Tls(server[0], tmp_path / "none.key"),
        Tls(server[0], authority.pair("other")[1]),
        Tls(*server, tmp_path / "no.pem"),
        Tls(*server, None, ("fw01",)),
        None,
    ):
        with pytest.raises(ConfigError, match=r"\[listen\.wire\]") as caught:
            server_context(ListenerSpec("wire", "syslog-tls", HOST, 0, "s", tls=tls))
        assert caught.value.hint


@given(st.lists(st.binary(min_size=1, max_size=200), max_size=5))
def test_any_bytes_end_in_a_refusal_or_wait(chunks):
    """Bytes of strangers never raise anything but TlsRefused."""
    session, reason = TlsSession(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)), "tls_waits"
    try:
        for chunk in chunks:
            assert session.feed(chunk) == b""
    except TlsRefused as error:
        reason = error.reason
    assert reason.startswith("tls_")
    assert not session.is_open
