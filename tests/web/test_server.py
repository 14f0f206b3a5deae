"""The server on real sockets: the kernel says who connects, other users reach the API and nothing else."""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from soc.client import Client
from soc.collectors import punctual
from soc.errors import ConfigError, Conflict, UsageError
from soc.web import server
from soc.web.server import open_tcp_socket, open_unix_socket, peer_of
from tests.collectors.certificates import Authority
from tests.collectors.running import until
from tests.web.world import UIDS, UNKNOWN_UID, World, build

IS_ROOT = os.geteuid() == 0

# What another user runs: the standard library alone, so that it needs nothing of this tree.
AS_OTHER = """
import encodings.idna, http.client, json, os, socket, sys
path, home, uid = sys.argv[1], sys.argv[2], int(sys.argv[3])
if uid:
    os.setgroups([]); os.setgid(uid); os.setuid(uid)
class Unix(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX); self.sock.connect(path)
def get(**headers):
    unix = Unix("localhost"); unix.request("GET", "/v1/me", headers=headers)
    answer = unix.getresponse()
    return answer.status, json.loads(answer.read())
def tried(work):
    try:
        work()
    except OSError as error:
        return type(error).__name__
    return "done"
forged = {"X-Soc-Uid": "0", "X-Forwarded-For": "127.0.0.1", "X-Soc-As": "chi"}
folder = os.path.dirname(path)
print(json.dumps({
    "uid": os.getuid(), "me": get(), "forged": get(**forged),
    "list": tried(lambda: os.listdir(home)),
    "read": tried(lambda: open(os.path.join(home, "cases", "cases.db"), "rb").read(1)),
    "events": tried(lambda: os.listdir(os.path.join(home, "events"))),
    "replace": tried(lambda: os.rename(path, path + ".old")),
    "plant": tried(lambda: open(os.path.join(folder, "planted"), "w")),
}))
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other users can reach, which pytest's own is not."""
    made = Path(tempfile.mkdtemp(prefix="soc-web-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def other(path: Path, home: Path, uid: int) -> Any:
    """What a user with this uid is told and can do; the test's own user when it cannot become another one."""
    # It becomes the other user by itself: the interpreter may lie where only its own user can start it.
    program = [sys.executable, "-I", "-c", AS_OTHER, str(path), str(home), str(uid if IS_ROOT else 0)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, cwd="/", check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_wall_between_two_users(folder: Path) -> None:
    """Another login reaches the API as who it is, whatever it says of itself, and none of the files behind it."""
    path, home = folder / "run" / "api.sock", folder / "home"
    world = build(home)
    with world.served(path):
        unknown = other(path, home, UNKNOWN_UID)
        known = other(path, home, UIDS["officer-a"])
    world.close()
    if IS_ROOT:
        assert unknown["uid"] == UNKNOWN_UID
        status, body = unknown["me"]
        assert (status, body["error"]["kind"], body["error"]["exit_code"]) == (403, "PermissionRefused", 5)
        assert unknown["forged"][0] == 403
        assert (known["me"][0], known["me"][1]["data"]["name"]) == (200, "officer-a")
        assert known["me"][1]["data"]["wall"] is True
        assert known["forged"][0] == 403  # an officer is no admin, so they act for nobody
        for seen in (unknown, known):
            assert {seen[k] for k in ("list", "read", "events", "replace", "plant")} == {"PermissionError"}
    else:  # one user for all: they are who the kernel says, and told that there is no wall
        assert known["uid"] == os.geteuid()
        assert (known["me"][1]["data"]["name"], known["me"][1]["data"]["wall"]) == ("giang", False)
        assert known["forged"][1]["data"]["acting_for"] == "giang"


def test_the_home_is_closed_before_anybody_is_let_in(world: World, folder: Path) -> None:
    """A folder that somebody made beforehand with the usual mode is no exception."""
    home = world.services.settings.home
    home.chmod(0o755)
    with (
        world.served(folder / "api.sock"),
        httpx.Client(transport=httpx.HTTPTransport(uds=str(folder / "api.sock"))) as unix,
    ):
        assert unix.get("http://localhost/v1/health").status_code == 200
        assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_the_kernel_names_the_peer() -> None:
    """Both ends of a pair are this process; a TCP connection has no uid."""
    left, right = socket.socketpair()
    with left, right, socket.socket() as tcp:
        assert peer_of(left).uid == os.geteuid()
        assert peer_of(tcp).uid is None
        assert peer_of(None).uid is None


def test_tcp_needs_a_token_whoever_connects(world: World, folder: Path) -> None:
    """The same user that is an administrator on the socket is nobody on the port."""
    tcp = open_tcp_socket("127.0.0.1", 0)
    url = f"http://127.0.0.1:{tcp.getsockname()[1]}"
    secret = world.services.access.issue_token("chi")
    with world.served(folder / "api.sock", tcp):
        assert httpx.get(f"{url}/v1/health").status_code == 200
        assert httpx.get(f"{url}/v1/me").status_code == 401
        me = httpx.get(f"{url}/v1/me", headers={"authorization": f"Bearer {secret}"})
    assert me.json()["data"]["name"] == "chi"


def test_https_beside_the_socket(world: World, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a certificate TCP is TLS and nothing else; a foreign authority is told; the socket stays plain."""
    authority = Authority(folder)
    certificate, key = authority.pair("api.test", dns=("localhost",))
    asked = replace(world.services.settings, web_certificate=str(certificate), web_key=str(key))
    monkeypatch.setattr(world.services, "settings", asked)
    tcp = open_tcp_socket("127.0.0.1", 0)
    url = f"https://localhost:{tcp.getsockname()[1]}"
    secret = world.services.access.issue_token("chi")
    with world.served(folder / "api.sock", tcp):
        monkeypatch.setenv("SOC_CA", str(authority.path))
        with Client.connect(asked, url=url, token=secret) as known:
            assert known.get("/v1/me").data["name"] == "chi"
        with Client.connect(asked, socket=folder / "api.sock") as unix:
            assert unix.get("/v1/me").data["name"] == "giang"
        with pytest.raises(httpx.TransportError):
            httpx.get(url.replace("https", "http") + "/v1/health")
        monkeypatch.delenv("SOC_CA")
        with (
            Client.connect(asked, url=url, token=secret) as stranger,
            pytest.raises(UsageError, match="cannot be verified"),
        ):
            stranger.get("/v1/me")


def test_a_renewed_certificate_is_taken_without_a_restart(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """At the signal; files that are none change nothing, and a connection that is open goes on."""
    authority = Authority(folder)
    certificate, key = authority.pair("api.test", dns=("localhost",))
    asked = replace(world.services.settings, web_certificate=str(certificate), web_key=str(key))
    monkeypatch.setattr(world.services, "settings", asked)
    tcp, again = open_tcp_socket("127.0.0.1", 0), threading.Event()
    address = tcp.getsockname()

    def shown() -> bytes:
        with socket.create_connection(address) as plain, ssl._create_unverified_context().wrap_socket(plain) as peer:
            return peer.getpeercert(True) or b""

    def signalled(said: str) -> None:
        again.set()
        assert until(lambda: said in caplog.text)

    caplog.set_level(logging.INFO)
    with world.served(folder / "api.sock", tcp, again=again):
        first = shown()
        with httpx.Client(
            base_url=f"https://localhost:{address[1]}", verify=ssl.create_default_context(cafile=authority.path)
        ) as kept:
            assert kept.get("/v1/health").status_code == 200
            good = certificate.read_bytes()
            certificate.write_bytes(b"none")
            signalled("the certificate of before stays in use")
            assert shown() == first
            certificate.write_bytes(good)
            authority.pair("api.test", dns=("localhost",))
            signalled("certificate was read again")
            assert shown() != first
            assert kept.get("/v1/health").status_code == 200


def test_no_token_crosses_a_network_in_clear(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Listening beyond this machine takes a certificate; half of a pair, and files that are none, are refused."""
    asked = replace(world.services.settings, web_host="0.0.0.0")
    monkeypatch.setattr(world.services, "settings", asked)
    with open_tcp_socket("0.0.0.0", 0) as tcp, pytest.raises(ConfigError, match="in clear"):
        server.serve(world.services, sock=None, tcp=tcp, stop=threading.Event())
    for names in ({"web_key": "k"}, {"web_certificate": "c"}, {"web_key": "k", "web_certificate": "c"}):
        with pytest.raises(ConfigError, match=r"one is missing|cannot be used"):
            server.tls_context(replace(asked, **names))


def test_each_connection_has_its_own_peer(world: World, folder: Path) -> None:
    """A connection over TCP after one over the socket does not inherit its uid, nor the other way round."""
    tcp = open_tcp_socket("127.0.0.1", 0)
    path = folder / "api.sock"
    with world.served(path, tcp), httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as unix:
        seen = [
            unix.get("http://localhost/v1/me").status_code,
            httpx.get(f"http://127.0.0.1:{tcp.getsockname()[1]}/v1/me").status_code,
            unix.get("http://localhost/v1/me").status_code,
        ]
    assert seen == [200, 401, 200]


def test_it_stops_when_it_is_told_to_with_streams_open(world: World, folder: Path) -> None:
    """Within the grace, and without an error."""
    path = folder / "api.sock"
    world.clock.advance(1)
    with (
        world.served(path) as stop,
        httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), timeout=60) as unix,
        unix.stream("GET", "http://localhost/v1/events/tail") as tail,
    ):
        lines = tail.iter_lines()
        assert json.loads(next(lines))["skipped"] == 0
        stop.set()
        assert list(lines) == []


def test_a_server_in_a_thread_leaves_signals_alone(world: World, folder: Path) -> None:
    """`soc serve` decides what SIGTERM means."""
    import signal

    before = signal.getsignal(signal.SIGTERM)
    with world.served(folder / "api.sock"):
        assert signal.getsignal(signal.SIGTERM) is before


# The socket


def test_the_socket_is_open_to_all_in_a_folder_of_its_owner(folder: Path) -> None:
    """0666 in 0755, whatever the umask."""
    before = os.umask(0o077)
    try:
        with open_unix_socket(folder / "a" / "b" / "api.sock") as made:
            path = Path(made.getsockname())
            modes = [stat.S_IMODE(p.stat().st_mode) for p in (path, path.parent)]
    finally:
        os.umask(before)
    assert modes == [0o666, 0o755]


def test_a_socket_that_a_crash_left_is_replaced(folder: Path) -> None:
    """Nobody listens on it any more."""
    path = folder / "api.sock"
    open_unix_socket(path).close()
    assert path.exists()
    with open_unix_socket(path) as made:
        assert made.getsockname() == str(path)


def test_a_socket_that_somebody_listens_on_stays(folder: Path) -> None:
    """Two services do not push each other out."""
    path = folder / "api.sock"
    with open_unix_socket(path) as first:
        inode = path.stat().st_ino
        with pytest.raises(Conflict, match="listens"):
            open_unix_socket(path)
        assert (path.stat().st_ino, first.fileno() >= 0) == (inode, True)


def test_what_is_no_socket_is_left_alone(folder: Path) -> None:
    """A typing error in the configuration deletes no file."""
    path = folder / "precious.txt"
    path.write_text("x")
    with pytest.raises(ConfigError, match="no socket"):
        open_unix_socket(path)
    assert path.read_text() == "x"


def test_a_link_in_the_place_of_the_folder_is_refused(folder: Path) -> None:
    """It could lead to where somebody else decides."""
    (folder / "real").mkdir()
    (folder / "link").symlink_to(folder / "real")
    with pytest.raises(ConfigError, match="no folder"):
        open_unix_socket(folder / "link" / "api.sock")


def test_a_folder_that_others_can_change_is_refused(folder: Path) -> None:
    """They could put their own socket in our place."""
    loose = folder / "loose"
    loose.mkdir()
    loose.chmod(0o777)
    with pytest.raises(ConfigError, match="others"):
        open_unix_socket(loose / "api.sock")


def test_a_folder_of_another_user_is_refused(folder: Path) -> None:
    """Unless it is root's; a user who is not root finds /proc/1 to be somebody else's or root's."""
    foreign = folder / "foreign"
    foreign.mkdir()
    if IS_ROOT:
        os.chown(foreign, UNKNOWN_UID, UNKNOWN_UID)
        with pytest.raises(ConfigError, match=str(UNKNOWN_UID)):
            open_unix_socket(foreign / "api.sock")
    else:
        with pytest.raises(ConfigError):
            open_unix_socket(Path("/root-owned-and-closed/api.sock"))
    assert list(foreign.iterdir()) == []


def test_an_existing_folder_keeps_its_mode(folder: Path) -> None:
    """A private folder that a person chose stays private."""
    private = folder / "private"
    private.mkdir(mode=0o700)
    open_unix_socket(private / "api.sock").close()
    assert stat.S_IMODE(private.stat().st_mode) == 0o700


def test_a_port_in_use_is_named(folder: Path) -> None:
    """Host and port stand in the error."""
    with open_tcp_socket("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(ConfigError, match=str(port)):
            open_tcp_socket("127.0.0.1", port)


def test_many_threads_are_one_person_each(world: World, folder: Path) -> None:
    """What one caller may do is never lent to another that calls at the same time."""
    path = folder / "api.sock"
    names = ["an", "chi", "dung", "officer-a"] * 5
    seen: list[tuple[str, str]] = []

    def ask(name: str) -> None:
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), headers={"x-soc-as": name}) as unix:
            seen.append((name, unix.get("http://localhost/v1/me").json()["data"]["name"]))

    with world.served(path):
        threads = [threading.Thread(target=ask, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert sorted(seen) == sorted((name, name) for name in names)


def test_one_user_cannot_take_all_connections(world: World, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The socket is open to everybody on the machine; idle connections would eat the service's descriptors."""
    monkeypatch.setattr(server, "PEER_CONNECTIONS", 5)
    monkeypatch.setattr(punctual, "REQUEST_S", 1.0)
    path = folder / "api.sock"
    with world.served(path):
        held = [socket.socket(socket.AF_UNIX) for _ in range(8)]
        for each in held:
            each.connect(str(path))
            each.settimeout(60)
        assert [_is_closed(each) for each in held[5:]] == [True] * 3
        held[0].sendall(b"GET /v1/health HTTP/1.1\r\n")  # and never the rest
        assert [_is_closed(each) for each in held[:5]] == [True] * 5
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
            for _ in range(3):
                assert client.get("http://localhost/v1/health").status_code == 200
            time.sleep(1.5)  # a connection that was used is not ended by the wait for its first request
            assert client.get("http://localhost/v1/me").status_code == 200
    for each in held:
        each.close()
    assert not server.PeerProtocol._open


def _is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True
