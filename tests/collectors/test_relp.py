"""RELP: the session without sockets, and on real ones: an answer means durable."""

import socket
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soc.collectors import collect, relp, streams
from soc.collectors.listeners import ListenerSpec, Tls
from soc.collectors.relp import RelpBroken, RelpSession
from soc.model.record import OVERSIZE
from tests.collectors.certificates import Authority, client
from tests.collectors.running import MemoryQueue, running, total, until

HOST = "127.7.0.1"


def frame(number, command, data=b""):
    return b"%d %b %d%b\n" % (number, command, len(data), b" " + data if data else b"")


OFFERS = b"relp_version=0\nrelp_software=librelp,1.11.0,http://librelp.adiscon.com\ncommands=syslog"
OPEN = frame(1, b"open", OFFERS)


def messages(records, start=2):
    return b"".join(frame(start + i, b"syslog", record) for i, record in enumerate(records))


def opened(**options):
    session = RelpSession(**options)
    assert session.feed(OPEN).answers.startswith(b"1 rsp ")
    return session


def heard(chunks, **options):
    """What a session hears, and whether it broke."""
    session, found, broke = RelpSession(**options), ([], [], []), False
    try:
        for chunk in chunks:
            keep(found, session.feed(chunk))
    except RelpBroken:
        keep(found, session.heard())
        broke = True
    return found, broke


def keep(found, part):
    found[1].extend((len(found[0]) + i, bits) for i, bits in part.flags.items())
    found[0].extend(part.records)
    found[2].extend(part.numbers)


# the session ----------------------------------------------------------------------------------------------------------


def test_offers_are_answered():
    """`open` gets our version, our name and the commands both know."""
    assert RelpSession().feed(OPEN).answers == (
        b"1 rsp 63 200 OK\nrelp_version=0\nrelp_software=soc-toolkit\ncommands=syslog\n"
    )


def test_a_client_we_cannot_serve_is_told():
    """No common command: 500, and the session is not open."""
    session = RelpSession()
    answer = session.feed(frame(1, b"open", b"relp_version=0\ncommands=eventlog")).answers
    assert answer.startswith(b"1 rsp 48 500 ")
    assert not session.is_open


def test_messages_are_answered_by_their_number():
    """200 for what is stored, 500 for what is not; the client keeps those."""
    session = opened()
    assert session.feed(messages([b"<1>a", b"<1>b", b"<1>c"])).numbers == [2, 3, 4]
    assert session.answer([2, 3], True) == b"2 rsp 6 200 OK\n3 rsp 6 200 OK\n"
    assert session.answer([4], False) == b"4 rsp 14 500 not stored\n"


def test_close_is_answered_after_the_last_message():
    """A client that closes gets the answers that are due before the answer to `close`."""
    session = opened()
    assert session.feed(messages([b"<1>a"]) + frame(3, b"close")).answers == b""
    assert not session.is_over
    assert session.answer([2], True) == b"2 rsp 6 200 OK\n3 rsp 0\n0 serverclose 0\n"
    assert session.is_over


def test_transaction_numbers_begin_anew():
    """After 999,999,999 comes 1."""
    session = RelpSession()
    session.feed(frame(999_999_998, b"open", b"relp_version=0"))
    assert session.feed(frame(999_999_999, b"syslog", b"a") + frame(1, b"syslog", b"b")).numbers == [999_999_999, 1]


def test_long_messages_are_cut_and_flagged():
    """The rest is swallowed; the next frame is found."""
    found, broke = heard([OPEN, messages([b"<1>" + b"x" * 100, b"<1>y"])], max_bytes=10)
    assert found == ([b"<1>xxxxxxx", b"<1>y"], [(0, OVERSIZE)], [2, 3])
    assert not broke


def test_messages_may_hold_anything():
    """Line feeds, NULs and frames inside a message are its bytes."""
    texts = [b"<1>a\nb", b"\0", b"3 syslog 1 x\n"]
    assert heard([OPEN, messages(texts)])[0][0] == texts


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.0\r\n",
        b"1 syslog 4 <1>a\n",
        OPEN + OPEN,
        OPEN + b"3 syslog 4 <1>a\n",
        OPEN + b"2 syslog 3 <1>a\n",
        OPEN + b"2 syslog 99999999999 a",
        OPEN + b"2 starttls 0\n",
        OPEN + b"2 open 9999 x",
        OPEN + b"<13>Nov 20 plain syslog\n",
        b"1" * 20,
    ],
)
def test_what_is_no_relp_ends_the_session(data):
    """Another protocol, no `open`, a number that is not next, lying lengths, unknown commands."""
    found, broke = heard([data])
    assert broke
    assert found[0] == []


STREAM = st.lists(
    st.sampled_from(
        [OPEN, b"2 syslog 4 <1>a\n", b"3 syslog 0\n", b"3 syslog 12 ", b"x" * 12, b"\n", b"4 close 0\n", b"5", b" "]
    )
).map(b"".join)


@settings(max_examples=400)
@given(STREAM | st.binary(max_size=80), st.lists(st.integers(0, 200), max_size=6), st.sampled_from([4, 64]))
def test_splitting_makes_no_difference(data, cuts, max_bytes):
    """However a stream is cut into reads, the same messages come out and the same end."""
    cuts = sorted({cut for cut in cuts if cut <= len(data)})
    chunks = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    whole = heard([data], max_bytes=max_bytes)
    assert heard(chunks, max_bytes=max_bytes) == whole
    assert heard([data[i : i + 1] for i in range(len(data))], max_bytes=max_bytes) == whole
    assert all(len(record) <= max_bytes for record in whole[0][0])


# on sockets -----------------------------------------------------------------------------------------------------------


def spec(protocol="relp", **options):
    return ListenerSpec("wire", protocol, HOST, 0, "province", **options)


def read_until(sock, end, seconds=30):
    """Everything the server sends up to these bytes."""
    sock.settimeout(seconds)
    data = b""
    while not data.endswith(end):
        piece = sock.recv(65536)
        if not piece:
            break
        data += piece
    return data


def session_on(port, **options):
    sock = socket.create_connection((HOST, port), 30, **options)
    sock.sendall(OPEN)
    assert b"200 OK" in read_until(sock, b"commands=syslog\n")
    return sock


def test_an_answer_means_durable(tmp_path):
    """No answer while the queue refuses; all of them once it has taken the messages."""
    queue = MemoryQueue()
    queue.is_full.set()
    records = [b"<13>%d" % i for i in range(100)]
    with running([spec()], queue, tmp_path / "c.json") as (collector, ports), session_on(ports["wire"]) as sock:
        sock.sendall(messages(records))
        assert until(lambda: collector.fault)
        sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        queue.is_full.clear()
        answers = read_until(sock, b"101 rsp 6 200 OK\n")
        assert queue.records == records
        assert answers.count(b" rsp 6 200 OK\n") == 100
        sock.sendall(frame(102, b"close"))
        assert read_until(sock, b"serverclose 0\n") == b"102 rsp 0\n0 serverclose 0\n"
        assert sock.recv(1) == b""


def test_answers_do_not_wait_for_the_slow_commit(tmp_path, monkeypatch):
    """A client that waits for each answer makes the group commit come sooner."""
    monkeypatch.setattr(collect, "COMMIT_S", 2.0)
    with running([spec()], MemoryQueue(), tmp_path / "c.json") as (_, ports), session_on(ports["wire"]) as sock:
        began = time.monotonic()
        for i in range(20):
            sock.sendall(frame(2 + i, b"syslog", b"<1>x"))
            read_until(sock, b"200 OK\n")
        assert time.monotonic() - began < 20  # 20 commits would take 40 s; a quiet machine needs 0.1


def test_the_end_of_the_collector_answers_what_it_took(tmp_path):
    """At SIGTERM every message that is stored gets its answer, then the client hears that we close."""
    queue, records = MemoryQueue(), [b"<13>%d" % i for i in range(500)]
    with running([spec()], queue, tmp_path / "c.json") as (collector, ports):
        sock = session_on(ports["wire"])
        sock.sendall(messages(records))
        assert until(lambda: total(collector, "received") == 500)
    answers = read_until(sock, b"0 serverclose 0\n")
    sock.close()
    assert answers.count(b"200 OK") == 500
    assert queue.records == records


def test_what_the_queue_never_takes_stays_with_the_client(tmp_path):
    """A collector that ends with a full queue answers nothing with 200."""
    queue = MemoryQueue()
    queue.is_full.set()
    with running([spec()], queue, tmp_path / "c.json") as (collector, ports):
        sock = session_on(ports["wire"])
        sock.sendall(messages([b"<1>a"] * 10))
        assert until(lambda: collector.fault)
    answers = read_until(sock, b"0 serverclose 0\n")
    sock.close()
    assert b"200 OK" not in answers
    assert total(collector, "queue_full") == 10


def test_malformed_frames_end_the_session_and_are_counted(tmp_path):
    """The messages before the fault are taken; the peer hears that we close."""
    queue = MemoryQueue()
    with running([spec()], queue, tmp_path / "c.json") as (collector, ports), session_on(ports["wire"]) as sock:
        sock.sendall(messages([b"<1>good"]) + b"nonsense")
        assert read_until(sock, b"0 serverclose 0\n").endswith(b"0 serverclose 0\n")
        assert until(lambda: total(collector, "queued") == 1)
        assert [row["refused_for"] for row in collector.counters()] == [{"relp_malformed": 1}]


def test_a_peer_that_takes_no_answers_is_sent_away(tmp_path, monkeypatch):
    """Back-pressure first, then the end of the session; memory stays bounded."""
    monkeypatch.setattr(relp, "SLOW_S", 0.3)
    monkeypatch.setattr(streams, "_TIMES_S", 0.05)
    with running([spec()], MemoryQueue(), tmp_path / "c.json") as (collector, ports):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(30)
        sock.connect((HOST, ports["wire"]))
        sock.sendall(OPEN)

        def pour():
            try:
                for start in range(2, 2_000_000, 1000):
                    sock.sendall(messages([b"<1>x"] * 1000, start))
            except OSError:
                return

        thread = threading.Thread(target=pour)
        thread.start()
        assert until(lambda: any("too_slow" in row["refused_for"] for row in collector.counters()))
        sock.close()
        thread.join(60)
        assert total(collector, "received") < 1_500_000


def test_a_peer_that_never_opens_is_sent_away(tmp_path, monkeypatch):
    """A half-open session does not keep its place."""
    monkeypatch.setattr(relp, "OPEN_S", 0.1)
    monkeypatch.setattr(streams, "_TIMES_S", 0.05)
    with running([spec()], MemoryQueue(), tmp_path / "c.json") as (collector, ports):
        with socket.create_connection((HOST, ports["wire"]), 30) as sock:
            assert read_until(sock, b"never") == b""
        assert total(collector, "refused") == 1


def test_relp_over_tls(tmp_path):
    """Mutual TLS below, the same session above."""
    authority, queue = Authority(tmp_path), MemoryQueue()
    tls = Tls(*authority.pair("collector"), authority.path, ("fw01",))
    records = [b"<13>%d" % i for i in range(3000)]
    with running([spec("relp-tls", tls=tls)], queue, tmp_path / "c.json") as (_, ports):
        context = client(authority, authority.pair("fw01"))
        with context.wrap_socket(socket.create_connection((HOST, ports["wire"]), 30)) as sock:
            sock.sendall(OPEN + messages(records))
            answers = read_until(sock, b"3001 rsp 6 200 OK\n")
            sock.sendall(frame(3002, b"close"))
            assert read_until(sock, b"serverclose 0\n") == b"3002 rsp 0\n0 serverclose 0\n"
    assert answers.count(b"200 OK") == 3001
    assert queue.records == records
