"""Token buckets of sources, and that a fast connection does not keep the others waiting."""

import http.client
import socket
import threading
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc.collectors import rates
from soc.collectors.listeners import ListenerSpec
from soc.collectors.rates import Rates
from tests.collectors.running import MemoryQueue, balances, running, total, until
from tests.collectors.test_relp import messages, session_on

HOST = "127.7.0.1"
SECOND = 1_000_000_000


def spec(protocol, **options):
    return ListenerSpec("wire", protocol, options.pop("host", HOST), 0, "province", **options)


# buckets -------------------------------------------------------------------------------------------------------------


def test_a_burst_and_then_the_rate():
    """Ten at once, then two a second; a pause fills it no further than the burst."""
    buckets = Rates(spec("syslog-udp", rate=2, burst=10))
    assert buckets.take("10.0.0.1", 15, 0) == 10
    assert buckets.take("10.0.0.1", 5, SECOND) == 2
    assert buckets.take("10.0.0.1", 5, SECOND) == 0
    assert buckets.take("10.0.0.1", 50, 3600 * SECOND) == 10
    assert buckets.take("10.0.0.2", 15, 3600 * SECOND) == 10, "each has its own"


def test_the_narrowest_network_counts():
    """An address in a network in a network; 0 is no limit; IPv6 too."""
    given_ = (("10.0.0.0/8", 5, 5), ("10.1.0.0/16", 0, 0), ("10.1.0.9", 1, 1), ("2001:db8::/32", 3, 3))
    buckets = Rates(spec("syslog-udp", rate=7, burst=7, rates=given_))
    found = {
        peer: buckets.take(peer, 100, 0) for peer in ("10.9.9.9", "10.1.2.3", "10.1.0.9", "2001:db8::1", "9.9.9.9")
    }
    assert found == {"10.9.9.9": 5, "10.1.2.3": 100, "10.1.0.9": 1, "2001:db8::1": 3, "9.9.9.9": 7}


def test_without_a_limit_nothing_is_remembered():
    """The usual listener pays nothing."""
    buckets = Rates(spec("syslog-udp"))
    assert (buckets.is_limited, buckets.take("10.0.0.1", 1 << 40, 0), len(buckets._buckets)) == (False, 1 << 40, 0)


def test_buckets_are_bounded(monkeypatch):
    """Forged senders push out those that were longest unused."""
    monkeypatch.setattr(rates, "MAX_BUCKETS", 3)
    buckets = Rates(spec("syslog-udp", rate=1, burst=1))
    for peer in ("a", "b", "c", "a", "d"):
        buckets.take(peer, 1, 0)
    assert list(buckets._buckets) == ["c", "a", "d"]


@given(
    st.integers(1, 1000), st.integers(1, 5000),
    st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 5 * SECOND)), min_size=1, max_size=40),
)  # fmt: skip
def test_nobody_gets_more_than_burst_and_rate(rate, burst, steps):
    """Over every span that begins at the start; and whoever asks for less than there is gets it all."""
    buckets, now, had = Rates(spec("syslog-udp", rate=rate, burst=burst)), 0, 0
    for n, later in steps:
        now += later
        granted = buckets.take("peer", n, now)
        had += granted
        assert 0 <= granted <= n
        assert had <= burst + now * rate / SECOND + 1e-6
    assert buckets.take("peer", burst, now + 5001 * SECOND) == burst


# listeners -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["syslog-udp", "netflow", "snmp-trap", "gelf-udp"])
def test_datagrams_beyond_the_rate_are_counted(tmp_path, protocol):
    """For that source; another one of the same listener has its own bucket."""
    queue, data, began = MemoryQueue(), b'{"version":"1.1"}', time.monotonic()
    limited = spec(protocol, rate=1, burst=20, rates=(("127.7.0.8", 0, 0),))
    with running([limited], queue, tmp_path / "c") as (collector, ports):
        for source in ("127.7.0.9", "127.7.0.8"):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind((source, 0))
                for _ in range(100):
                    sock.sendto(data, (HOST, ports["wire"]))
        assert until(lambda: total(collector, "received") == 200)
        rows = {row["peer"]: row for row in collector.counters()}
        assert rows["127.7.0.8"]["dropped"] == {}
        gained = time.monotonic() - began  # of one a second
        assert 79 - gained <= rows["127.7.0.9"]["dropped"]["rate"] <= 80
        assert until(lambda: balances(collector.counters()))


@pytest.mark.parametrize("protocol", ["syslog-tcp", "relp", "gelf-tcp"])
def test_a_stream_is_read_no_faster_and_loses_nothing(tmp_path, protocol):
    """It waits; all its connections share the rate; a neighbour without a limit does not notice."""
    queue = MemoryQueue()
    limited = spec(protocol, rate=500, burst=100, rates=(("127.7.0.8", 0, 0),))
    with running([limited], queue, tmp_path / "c") as (collector, ports):
        began = time.monotonic()
        slow = [opened(protocol, ports["wire"], "127.7.0.9") for _ in range(2)]
        for sock in slow:
            sock.sendall(lines(protocol, 300))
        fast = opened(protocol, ports["wire"], "127.7.0.8")
        fast.sendall(lines(protocol, 5000))
        assert until(lambda: queued(collector, "127.7.0.8") == 5000)
        # One read of each connection may go beyond; what comes later waits until that is paid back.
        for sock in slow:
            sock.sendall(lines(protocol, 50, first=300))
        assert until(lambda: queued(collector, "127.7.0.9") == 700)
        assert time.monotonic() - began >= (600 - 100) / 500
        assert balances(collector.counters())
        for sock in (*slow, fast):
            sock.close()


def opened(protocol, port, source):
    if protocol == "relp":
        return session_on(port, source_address=(source, 0))
    return socket.create_connection((HOST, port), 30, source_address=(source, 0))


def lines(protocol, n, first=0):
    if protocol == "relp":
        return messages([b"<13>%d" % i for i in range(n)], 2 + first)
    return b"".join(b'{"short_message":"%d"}\0' % i if protocol == "gelf-tcp" else b"<13>%d\n" % i for i in range(n))


def queued(collector, peer):
    return sum(row["queued"] for row in collector.counters() if row["peer"] == peer)


def test_http_says_when_to_come_again(tmp_path):
    """429 with Retry-After while the source is in debt, counted; afterwards it is taken."""
    queue = MemoryQueue()
    web = spec("http", host="127.0.0.1", rate=50, burst=50)
    with running([web], queue, tmp_path / "c") as (collector, ports):
        kept = http.client.HTTPConnection("127.0.0.1", ports["wire"], timeout=30)

        def post():
            kept.request("POST", "/v1/logs?format=lines", b"<13>x\n" * 200)
            answer = kept.getresponse()
            answer.read()
            return answer.status, answer.getheader("Retry-After")

        assert post()[0] == 200
        assert post() == (429, "5"), "three seconds of its rate are owed"
        assert until(lambda: post()[0] == 200)
        kept.close()
        [row] = collector.counters()
        assert (row["queued"], row["refused_for"].keys()) == (400, {"rate"})


def test_one_fast_sender_does_not_keep_the_others_waiting(tmp_path):
    """Twenty that send a line now and then, beside one that never stops: theirs are queued while it goes on."""
    queue, delays, stop = MemoryQueue(), [], threading.Event()
    with running([spec("syslog-tcp")], queue, tmp_path / "c") as (collector, ports):

        def pour():
            with socket.create_connection((HOST, ports["wire"]), 30, source_address=("127.7.1.1", 0)) as sock:
                while not stop.is_set():
                    sock.sendall(b"<13>flood of lines\n" * 5000)

        thread = threading.Thread(target=pour)
        thread.start()
        assert until(lambda: queued(collector, "127.7.1.1") > 50_000)
        peers = [opened("syslog-tcp", ports["wire"], f"127.7.2.{i + 1}") for i in range(20)]
        for n in range(1, 11):
            began = time.monotonic()
            for sock in peers:
                sock.sendall(b"<13>trickle\n")
            assert until(lambda n=n: trickled(collector) == 20 * n)
            delays.append(time.monotonic() - began)
        stop.set()
        thread.join()
        for sock in peers:
            sock.close()
    assert max(delays) < 15, delays  # 0.1 s on a quiet machine; behind the flood they would wait for its end


def trickled(collector):
    return sum(row["queued"] for row in collector.counters() if row["peer"].startswith("127.7.2."))


def test_a_reload_changes_the_rate_of_a_connection(tmp_path):
    """A source that was held to a trickle goes on at once when the limit is gone."""
    from tests.collectors.test_reload import Wishes

    queue, wishes, slow = MemoryQueue(), Wishes(), spec("syslog-tcp", rate=1, burst=1)
    with running([slow], queue, tmp_path / "c", wishes) as (collector, ports):
        sock = opened("syslog-tcp", ports["wire"], "127.7.0.9")
        sock.sendall(b"<13>x\n" * 100)
        assert until(lambda: total(collector, "queued") == 100)
        sock.sendall(b"<13>y\n")
        wishes.become(replace(slow, rate=0))
        assert until(lambda: total(collector, "queued") == 101)
        sock.close()
