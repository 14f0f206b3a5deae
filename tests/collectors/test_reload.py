"""Listeners that change while they run: nobody's connection is dropped, and a change is made wholly or not at all."""

import http.client
import json
import os
import queue as queues
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from soc.collectors.collect import Collector
from soc.collectors.listeners import ListenerSpec, Tls
from soc.collectors.reload import differences
from soc.errors import ConfigError
from tests.collectors.certificates import Authority, client
from tests.collectors.running import MemoryQueue, balances, running, total, until
from tests.collectors.test_relp import messages, read_until, session_on
from tests.collectors.test_snmp import client as snmp
from tests.collectors.test_snmp import security, users_file

HOST = "127.7.0.1"


def spec(name, protocol, **options):
    return ListenerSpec(name, protocol, options.pop("host", HOST), options.pop("port", 0), "province", **options)


class Wishes:
    """A `Reloading` that a test talks to."""

    def __init__(self):
        self._wished, self._said = queues.Queue(), queues.Queue()

    def wanted(self):
        try:
            return self._wished.get_nowait()
        except queues.Empty:
            return None

    def done(self, ports):
        self._said.put(ports)

    def refused(self, error):
        self._said.put(error)

    def become(self, *specs):
        """The ports; raises what the collector refuses."""
        self._wished.put(list(specs))
        said = self._said.get(timeout=60)
        if isinstance(said, Exception):
            raise said
        return said


def datagram(port, data, source="127.7.0.9"):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((source, 0))
        sock.sendto(data, (HOST, port))


def connected(port, source="127.7.0.9"):
    return socket.create_connection((HOST, port), 30, source_address=(source, 0))


# what has to be done -------------------------------------------------------------------------------------------------


def test_a_listener_stays_while_its_place_stays():
    """Limits and TLS of the same kind of service are no reason to open anything anew; a name or a port is."""
    tcp, udp = spec("tcp", "syslog-tcp", port=5514), spec("udp", "syslog-udp", port=5514)
    wanted = [replace(tcp, max_bytes=100), replace(udp, port=5515), spec("relp", "relp", port=2514)]
    found = differences([tcp, udp, spec("old", "netflow", port=2055)], wanted)
    assert [s.name for s in found.kept] == ["tcp"]
    assert [s.name for s in found.added] == ["udp", "relp"]
    assert found.removed == ("udp", "old")


def test_a_port_is_not_taken_from_a_running_listener():
    """Under another name or by another kind of service: what comes in between would be lost."""
    tcp = spec("tcp", "syslog-tcp", port=5514)
    for other in (replace(tcp, name="renamed"), replace(tcp, protocol="http")):
        with pytest.raises(ConfigError, match=r"port 5514 belongs to the running \[listen.tcp\]"):
            differences([tcp], [other])


def test_an_engine_has_one_owner(tmp_path):
    """Two receivers would count its boots against each other."""
    traps = spec("traps", "snmp-trap", users=tmp_path / "users.toml")
    with pytest.raises(ConfigError, match="belongs to a running engine"):
        differences([traps], [traps, replace(traps, name="more")])


# connections ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["syslog-tcp", "syslog-tls"])
def test_a_connection_goes_on_over_reloads(tmp_path, protocol):
    """A client that sends all the time while limits change and others come and go: every line once, in order."""
    queue, wishes, tls, wrap = MemoryQueue(), Wishes(), None, lambda sock: sock
    if protocol == "syslog-tls":
        authority = Authority(tmp_path)
        tls, wrap = Tls(*authority.pair("collector")), client(authority).wrap_socket
    wire = spec("wire", protocol, tls=tls)
    with running([wire], queue, tmp_path / "c", wishes) as (collector, ports):
        stop, sent = threading.Event(), []

        def pour():
            with wrap(connected(ports["wire"])) as sock:
                while not stop.is_set():
                    sock.sendall(b"".join(b"<13>%d\n" % i for i in range(len(sent), len(sent) + 50)))
                    sent.extend(range(50))
                    time.sleep(0.001)

        thread = threading.Thread(target=pour)
        thread.start()
        for n in range(10):
            more = [spec(f"more{n}", "syslog-tcp"), spec(f"udp{n}", "syslog-udp")]
            wishes.become(replace(wire, max_bytes=1000 + n), *more[: n % 3])
        stop.set()
        thread.join()
        assert until(lambda: total(collector, "queued") == len(sent))
        assert balances(collector.counters())
        assert total(collector, "refused") == 0
    assert queue.records == [b"<13>%d" % i for i in range(len(sent))]
    assert len(sent) > 500


def test_limits_hold_for_connections_that_are_there(tmp_path):
    """A device keeps its connection for months: the new limit and site are for it too."""
    queue, wishes, wire = MemoryQueue(), Wishes(), spec("wire", "syslog-tcp")
    with running([wire], queue, tmp_path / "c", wishes) as (collector, ports), connected(ports["wire"]) as sock:
        sock.sendall(b"<13>" + b"a" * 50 + b"\n")
        assert until(lambda: total(collector, "queued") == 1)
        wishes.become(replace(wire, max_bytes=20, site="commune"))
        sock.sendall(b"<13>" + b"b" * 50 + b"\n")
        assert until(lambda: total(collector, "queued") == 2)
    assert queue.records[1] == b"<13>" + b"b" * 16
    assert [block.site for block in queue.blocks] == ["province", "commune"]


def test_certificates_are_read_again(tmp_path):
    """New peers see the new certificate, the old session goes on; who is no longer listed is sent away."""
    authority, queue, wishes = Authority(tmp_path), MemoryQueue(), Wishes()
    pair = authority.pair("collector")
    wire = spec("wire", "syslog-tls", tls=Tls(*pair, authority.path, ("fw1", "fw2")))
    with running([wire], queue, tmp_path / "c", wishes) as (collector, ports):
        peers = [
            client(authority, authority.pair(name)).wrap_socket(connected(ports["wire"])) for name in ("fw1", "fw2")
        ]
        for peer in peers:
            peer.sendall(b"<13>before\n")
        assert until(lambda: total(collector, "queued") == 2)
        authority.pair("collector")  # renewed in the same files
        wishes.become(replace(wire, tls=replace(wire.tls, clients=("fw1",))))
        with client(authority, authority.pair("fw1")).wrap_socket(connected(ports["wire"])) as fresh:
            assert fresh.getpeercert(True) != peers[0].getpeercert(True)
        peers[0].sendall(b"<13>still here\n")
        assert until(lambda: total(collector, "queued") == 3)
        peers[1].settimeout(30)
        assert until(lambda: ended(peers[1]))
        assert [row["refused_for"] for row in collector.counters()] == [{"tls_name_not_listed": 1}]
        for peer in peers:
            peer.close()


def ended(peer):
    try:
        return peer.recv(10) == b""
    except (ssl.SSLEOFError, ConnectionError):
        return True


def test_who_may_send_no_longer_is_sent_away_and_others_stay(tmp_path):
    """Streams and datagrams; counted under their own name."""
    queue, wishes = MemoryQueue(), Wishes()
    tcp, udp = spec("tcp", "syslog-tcp"), spec("udp", "syslog-udp")
    with running([tcp, udp], queue, tmp_path / "c", wishes) as (collector, ports):
        friend, stranger = connected(ports["tcp"]), connected(ports["tcp"], "127.7.0.8")
        for sock in (friend, stranger):
            sock.sendall(b"<13>x\n")
        datagram(ports["udp"], b"<13>y", "127.7.0.8")
        assert until(lambda: total(collector, "queued") == 3)
        only = ("127.7.0.9",)
        wishes.become(replace(tcp, allow=only), replace(udp, allow=only))
        assert stranger.recv(1) == b""
        friend.sendall(b"<13>x\n")
        datagram(ports["udp"], b"<13>y", "127.7.0.8")
        datagram(ports["udp"], b"<13>y", "127.7.0.9")
        assert until(lambda: total(collector, "queued") == 5 and total(collector, "not_allowed") == 1)
        assert total(collector, "refused") == 1
        friend.close()
        stranger.close()


def test_a_removed_listener_takes_what_was_sent_and_ends(tmp_path):
    """Its peers' last lines are kept, its port is free; other listeners of the same loop do not notice."""
    queue, wishes = MemoryQueue(), Wishes()
    stays, goes, udp = spec("stays", "syslog-tcp"), spec("goes", "syslog-tcp"), spec("udp", "syslog-udp")
    with running([stays, goes, udp], queue, tmp_path / "c", wishes) as (collector, ports):
        with connected(ports["stays"]) as one, connected(ports["goes"]) as other:
            one.sendall(b"<13>one\n")
            assert until(lambda: total(collector, "queued") == 1)
            datagram(ports["udp"], b"<13>udp")
            other.sendall(b"<13>last\n<13>unfinished")
            assert set(wishes.become(stays)) == {"stays"}
            assert other.recv(1) == b""
            one.sendall(b"<13>two\n")
            assert until(lambda: total(collector, "queued") == 5)
        for port, kind in ((ports["goes"], socket.SOCK_STREAM), (ports["udp"], socket.SOCK_DGRAM)):
            with socket.socket(socket.AF_INET, kind) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, kind == socket.SOCK_STREAM)
                assert until(lambda sock=sock, port=port: bound(sock, port))
        again = wishes.become(stays, goes, udp)
        datagram(again["udp"], b"<13>back")
        with connected(again["goes"]) as other:
            other.sendall(b"<13>back\n")
            assert until(lambda: total(collector, "queued") == 7)
        assert balances(collector.counters())


def test_the_end_comes_while_a_removed_listener_is_still_taken_note_of(tmp_path, monkeypatch):
    """Its loop is over and the collector has not looked yet: nothing of the end is left out."""
    monkeypatch.setattr(Collector, "_is_gone", lambda _self, _receiver: False)
    queue, wishes = MemoryQueue(), Wishes()
    stays, goes = spec("stays", "syslog-tcp"), spec("goes", "http")
    with running([stays, goes], queue, tmp_path / "c", wishes) as (collector, ports):
        wishes.become(stays)
        assert until(lambda: not collector._leaving[0].is_alive)
        with connected(ports["stays"]) as sock:
            sock.sendall(b"<13>last")
    assert queue.records == [b"<13>last"]


def bound(sock, port):
    try:
        sock.bind((HOST, port))
    except OSError:
        return False
    return True


def test_a_relp_session_goes_on(tmp_path):
    """Answers before and after."""
    queue, wishes, wire = MemoryQueue(), Wishes(), spec("wire", "relp")
    with running([wire], queue, tmp_path / "c", wishes) as (_, ports), session_on(ports["wire"]) as sock:
        sock.sendall(messages([b"<13>1"]))
        assert b"200 OK" in read_until(sock, b"200 OK\n")
        wishes.become(replace(wire, max_bytes=5))
        sock.sendall(messages([b"<13>23"], 3))
        assert b"200 OK" in read_until(sock, b"200 OK\n")
    assert queue.records == [b"<13>1", b"<13>2"]


def test_http_goes_on_with_another_certificate(tmp_path):
    """The kept-alive connection serves, new ones see the renewed certificate, none in the backlog is lost."""
    authority, queue, wishes = Authority(tmp_path), MemoryQueue(), Wishes()
    web = spec("web", "http", tls=Tls(*authority.pair("web")))
    with running([web], queue, tmp_path / "c", wishes) as (collector, ports):
        first = http.client.HTTPSConnection(HOST, ports["web"], context=client(authority), timeout=30)
        assert posted(first, b"<13>1") == 200
        old = first.sock.getpeercert(True)
        authority.pair("web")
        wishes.become(replace(web, max_bytes=5))
        assert posted(first, b"<13>23") == 200
        for _ in range(5):
            later = http.client.HTTPSConnection(HOST, ports["web"], context=client(authority), timeout=30)
            assert posted(later, b"<13>3") == 200
            assert later.sock.getpeercert(True) != old
            later.close()
        wishes.become(replace(web, allow=("10.0.0.0/8",)))
        with pytest.raises((http.client.HTTPException, OSError)):
            posted(first, b"<13>4")
        first.close()
        assert total(collector, "refused") == 1
    assert queue.records == [b"<13>1", b"<13>2", *[b"<13>3"] * 5]


def test_a_certificate_that_is_listed_no_longer_ends_the_kept_alive_connection(tmp_path):
    """HTTP senders keep theirs for days; and a peer that showed none is not certified by a reload that asks for one."""
    authority, queue, wishes = Authority(tmp_path), MemoryQueue(), Wishes()
    tls = Tls(*authority.pair("web"), clients_ca=authority.path, clients=("fw1", "fw2"))
    web = spec("web", "http", tls=tls)
    with running([web], queue, tmp_path / "c", wishes) as (collector, ports):
        senders = {}
        for name in ("fw1", "fw2"):
            context = client(authority)
            context.load_cert_chain(*authority.pair(name))
            senders[name] = http.client.HTTPSConnection(HOST, ports["web"], context=context, timeout=30)
            assert posted(senders[name], b"<13>1") == 200
        wishes.become(replace(web, tls=replace(tls, clients=("fw2",))))
        with pytest.raises((http.client.HTTPException, OSError)):
            posted(senders["fw1"], b"<13>2")
        assert posted(senders["fw2"], b"<13>3") == 200
        assert total(collector, "refused") == 1
        wishes.become(replace(web, tls=replace(tls, clients_ca=None, clients=())))
        nameless = http.client.HTTPSConnection(HOST, ports["web"], context=client(authority), timeout=30)
        assert posted(nameless, b"<13>4") == 200
        wishes.become(replace(web, tls=replace(tls, clients=())))
        assert posted(nameless, b"<13>5") == 403
        for sender in (*senders.values(), nameless):
            sender.close()
    assert b"".join(queue.records) == b"<13>1<13>1<13>3<13>4"


def posted(connection, body):
    connection.request("POST", "/v1/logs?format=lines", body)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def test_two_web_listeners_and_one_goes(tmp_path):
    """Requests under way are answered."""
    queue, wishes = MemoryQueue(), Wishes()
    one, two = spec("one", "http", host="127.0.0.1"), spec("two", "http", host="127.0.0.1")
    with running([one, two], queue, tmp_path / "c", wishes) as (_, ports):
        kept = http.client.HTTPConnection("127.0.0.1", ports["one"], timeout=30)
        assert posted(kept, b"<13>1") == 200
        wishes.become(one)
        assert posted(kept, b"<13>2") == 200
        assert until(lambda: refuses("127.0.0.1", ports["two"]))
        kept.close()


def refuses(host, port):
    try:
        socket.create_connection((host, port), 1).close()
    except ConnectionRefusedError:
        return True
    return False


def test_users_of_snmp_are_read_again(tmp_path):
    """A user who is gone is not believed any more; a wrong users file changes nothing."""
    queue, wishes, path = MemoryQueue(), Wishes(), users_file(tmp_path)
    traps = spec("traps", "snmp-trap", host="127.0.0.1", users=path)
    with running([traps], queue, tmp_path / "c", wishes) as (collector, ports):

        def inform(user):
            return snmp(tmp_path, "snmpinform", ports["traps"], *security(user)).returncode

        assert inform("SHA") == 0
        text = path.read_text()
        path.write_text("[[user]]\nname = 5\n")
        with pytest.raises(ConfigError, match="users"):
            wishes.become(traps)
        assert inform("SHA") == 0
        path.write_text(text.replace('name = "SHA"', 'name = "other"'))
        wishes.become(traps)
        assert inform("SHA") != 0
        assert inform("MD5") == 0
        assert balances(collector.counters())


def test_one_of_two_snmp_listeners_goes(tmp_path):
    """What it took is queued and its port is free; the other one goes on."""
    queue, wishes, trap = MemoryQueue(), Wishes(), bytes.fromhex("3003020101")
    stays, goes = spec("stays", "snmp-trap"), spec("goes", "snmp-trap")
    with running([stays, goes], queue, tmp_path / "c", wishes) as (collector, ports):
        datagram(ports["goes"], trap)
        assert until(lambda: total(collector, "queued") == 1)
        wishes.become(stays)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            assert until(lambda: bound(sock, ports["goes"]))
        datagram(ports["stays"], trap)
        assert until(lambda: total(collector, "queued") == 2)


# refusals ------------------------------------------------------------------------------------------------------------


def test_what_cannot_be_is_refused_as_a_whole(tmp_path):
    """A taken port, a missing certificate: nothing of that file holds, and no socket stays open."""
    queue, wishes, wire = MemoryQueue(), Wishes(), spec("wire", "syslog-tcp", port=0)
    taken = socket.create_server((HOST, 0))
    port = taken.getsockname()[1]
    free = socket.create_server((HOST, 0))
    free_port = free.getsockname()[1]
    free.close()
    with running([wire], queue, tmp_path / "c", wishes) as (collector, ports), connected(ports["wire"]) as sock:
        good = spec("good", "syslog-tcp", port=free_port)
        for bad, says in (
            (spec("bad", "syslog-tcp", port=port), "the port is taken"),
            (spec("bad", "syslog-tls", tls=Tls(tmp_path / "none.pem", tmp_path / "none.key")), "cannot be used"),
            (spec("bad", "syslog-tcp", allow=("x",)), "allow"),
        ):
            with pytest.raises(ConfigError, match=says):
                wishes.become(replace(wire, max_bytes=5), good, bad)
            assert refuses(HOST, free_port)
        sock.sendall(b"<13>the limit of before\n")
        assert until(lambda: queue.records == [b"<13>the limit of before"])
        assert [s.name for s in collector.specs] == ["wire"]
    taken.close()


# the process ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def collecting(tmp_path):
    """`soc collect` over a soc.toml, and a way to write that and to call `soc config reload`."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    environment = {**{k: v for k, v in os.environ.items() if not k.startswith("SOC_")}, "SOC_HOME": str(home)}
    environment |= {"SOC_LANG": "en", "NO_COLOR": "1"}

    class Site:
        config = home / "soc.toml"

        @staticmethod
        def state():
            try:
                return json.loads((home / "run" / "collect.state.json").read_bytes())
            except FileNotFoundError:
                return {}

        @staticmethod
        def soc(*words):
            command = [sys.executable, "-m", "soc", *words]
            return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

        @staticmethod
        def counted(listener):
            try:
                rows = json.loads((home / "run" / "collect.json").read_bytes())["counts"]
            except FileNotFoundError:
                return 0
            return sum(row["queued"] for row in rows if row["listener"] == listener)

    site = Site()
    site.config.write_text(LISTEN)
    process = subprocess.Popen([sys.executable, "-m", "soc", "collect"], env=environment, stderr=subprocess.PIPE)
    site.process = process
    assert until(lambda: site.state().get("state") == "running")
    yield site
    process.terminate()
    process.wait(60)
    process.stderr.close()


LISTEN = '[listen.tcp]\nprotocol = "syslog-tcp"\nhost = "127.7.0.1"\nport = 0\n'


def test_sighup_and_the_command(collecting):
    """A wrong file is refused with its place and changes nothing; a good one holds, and the connection goes on."""
    site = collecting
    port = site.state()["ports"]["tcp"]
    with connected(port) as sock:
        sock.sendall(b"<13>1\n")
        site.config.write_text(LISTEN + '[listen.udp]\nprotocol = "syslog-udp"\nport = 0\nlimit = 3\n')
        site.process.send_signal(signal.SIGHUP)
        assert until(lambda: site.state().get("reload"))
        assert f"{site.config}:8: unknown key 'limit' in [listen.udp]" in site.state()["reload"]["fault"]
        assert site.state()["ports"] == {"tcp": port}
        sock.sendall(b"<13>2\n")
        site.config.write_text(LISTEN + '[listen.udp]\nprotocol = "syslog-udp"\nhost = "127.7.0.1"\nport = 0\n')
        good = site.soc("config", "reload", "--json")
        assert good.returncode == 0, good.stderr
        data = json.loads(good.stdout)["data"]
        assert set(data["ports"]) == {"tcp", "udp"}
        datagram(data["ports"]["udp"], b"<13>x")
        assert until(lambda: site.counted("udp") == 1)
        site.config.write_text(LISTEN + "[queue]\nmax_bytes = 1000000000\n")
        waits = site.soc("config", "reload")
        assert "from a restart on: queue.max_bytes" in waits.stderr
        sock.sendall(b"<13>3\n")
        assert until(lambda: site.counted("tcp") == 3)
    site.config.write_text(LISTEN + "x = 5\n")
    bad = site.soc("config", "reload")
    assert (bad.returncode, "soc.toml:5: unknown key 'x'" in bad.stderr) == (2, True), bad.stderr
    site.process.terminate()
    site.process.wait(60)
    site.config.write_text(LISTEN)
    gone = site.soc("config", "reload")
    assert (gone.returncode, "no collector is running" in gone.stderr) == (75, True)


def test_followed_files_change_while_the_collector_runs(tmp_path):
    """Other patterns, none, and the same again: each line once, and what is not wanted any more is let go."""

    def following(*names):
        return replace(spec("app", "file"), host="", paths=tuple(str(tmp_path / name) for name in names))

    def write(name, text):
        with (tmp_path / name).open("a") as file:
            file.write(text)

    queue, wishes = MemoryQueue(), Wishes()
    write("a.log", "a1\n")
    write("b.log", "b1\n")
    with running([following("a.log")], queue, tmp_path / "run" / "c.json", reloading=wishes) as (collector, _):
        assert until(lambda: queue.records == [b"a1"])
        wishes.become(following("b.log"))
        assert until(lambda: queue.records == [b"a1", b"b1"])
        write("a.log", "a2\n")
        wishes.become()
        write("b.log", "b2\n")
        assert not until(lambda: len(queue.records) > 2, 1.5)
        wishes.become(following("*.log"))
        assert until(lambda: len(queue.records) == 4)
        assert sorted(queue.records) == [b"a1", b"a2", b"b1", b"b2"]
        assert balances(collector.counters())
