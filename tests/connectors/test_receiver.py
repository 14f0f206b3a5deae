"""The reference receiver over real TLS on loopback, with the driver on the other side."""

from __future__ import annotations

import datetime as dt
import json
import signal
import ssl
import subprocess
import sys

import httpx
import pytest
from cryptography import x509

from soc.connectors.national import pki
from soc.connectors.national.driver import OutboxDriver
from soc.connectors.national.receiver import LOG, MAX_BODY, MessageLog, Receiver
from soc.errors import Conflict, StoreError, TryAgain
from soc.model.clock import FixedClock, SystemClock
from tests.connectors.fakes import FakeCases, destination, message


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "national"


@pytest.fixture
def receiver(folder):
    running = Receiver(folder)
    running.start()
    yield running
    running.stop()


def client(receiver, context=None):
    verify = context or receiver.pki.client_context()
    return httpx.Client(base_url=f"https://127.0.0.1:{receiver.port}", verify=verify, trust_env=False)


def received(receiver):
    return [row["id"] for row in client(receiver).get("/v1/messages").json()["messages"]]


def step(cases, target, at=None):
    return OutboxDriver(cases, [target], at or SystemClock()).step()["centre"]


def test_no_client_certificate_no_connection(receiver):
    """The handshake fails; nothing is served."""
    bare = ssl.create_default_context(cafile=str(receiver.pki.authority))
    with pytest.raises(httpx.TransportError):
        client(receiver, bare).get("/v1/stats")


def test_a_certificate_of_another_authority_is_refused(receiver, tmp_path):
    """Same names, other signature."""
    other = pki.ensure(tmp_path / "other", SystemClock()).client
    context = pki.client_context(receiver.pki.authority, other.certificate, other.key)
    with pytest.raises(httpx.TransportError):
        client(receiver, context).get("/v1/stats")


def test_the_client_refuses_a_server_of_another_authority(receiver, tmp_path):
    """Both sides verify."""
    other = pki.ensure(tmp_path / "other", SystemClock())
    with pytest.raises(httpx.ConnectError):
        client(receiver, other.client_context()).get("/v1/stats")


def test_messages_wait_while_it_is_stopped_and_arrive_once_when_it_is_started(folder):
    """Stopped: pending, with the error on record. Started on the same port: each once, in order."""
    first = Receiver(folder)
    port = first.start()
    first.stop()
    cases, clock = FakeCases(), FixedClock(dt.datetime.now(dt.UTC))
    cases.put(message(1), message(2), message(3, owner="b"))
    assert step(cases, destination(first), clock) == {"acked": 0, "rejected": 0, "retry": 1}
    assert set(cases.states().values()) == {"pending"}
    second = Receiver(folder, port=port)
    second.start()
    clock.advance(5)
    try:
        assert step(cases, destination(second), clock)["acked"] == 3
        names = received(second)
    finally:
        second.stop()
    assert sorted(names) == sorted(cases.items)
    assert names.index(message(1).id) < names.index(message(2).id)


def test_a_reply_lost_after_the_commit_doubles_nothing(folder):
    """The first reply is cut: the retry has the same id and gets the same receipt as a duplicate."""
    receiver = Receiver(folder, drop_replies=1)
    receiver.start()
    cases, clock = FakeCases(), FixedClock(dt.datetime.now(dt.UTC))
    cases.put(message(1), message(2))
    try:
        assert step(cases, destination(receiver), clock)["retry"] == 1
        assert received(receiver) == [message(1).id]
        clock.advance(5)
        assert step(cases, destination(receiver), clock)["acked"] == 2
        rows = client(receiver).get("/v1/messages").json()["messages"]
        stats = client(receiver).get("/v1/stats").json()
    finally:
        receiver.stop()
    assert [row["id"] for row in rows] == [message(1).id, message(2).id]
    assert stats == {"messages": 2, "kinds": {"alert": 2}, "duplicates": 1}
    receipt = cases.items[message(1).id].receipt
    assert (receipt["duplicate"], receipt["receipt"]) == (True, rows[0]["receipt"])


PROGRAM = """
import sys
from pathlib import Path
from soc.connectors.national.receiver import Receiver
Receiver(Path(sys.argv[1]), port=int(sys.argv[2]), drop_replies=int(sys.argv[3])).run(lambda p: print(p, flush=True))
"""


def spawn(folder, port, drop):
    command = [sys.executable, "-c", PROGRAM, str(folder), str(port), str(drop)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def test_a_receiver_killed_between_commit_and_reply_doubles_nothing(folder):
    """kill -9 after the first message was stored unanswered; the next process answers it as a duplicate."""
    process, port = spawn(folder, 0, 1)
    here = Receiver(folder, port=port)  # never started: only its certificates
    cases, clock = FakeCases(), FixedClock(dt.datetime.now(dt.UTC))
    cases.put(message(1), message(2))
    assert step(cases, destination(here), clock)["retry"] == 1
    process.send_signal(signal.SIGKILL)
    process.wait()
    clock.advance(5)
    process, _port = spawn(folder, port, 0)
    try:
        assert step(cases, destination(here), clock)["acked"] == 2
        names = received(here)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert names == [message(1).id, message(2).id]
    assert cases.items[message(1).id].receipt["duplicate"] is True


def test_the_same_id_with_another_body_is_a_conflict(receiver):
    """An id is a promise."""
    body = {"id": "m1", "kind": "alert", "payload": {"a": 1}}
    with client(receiver) as link:
        assert link.post("/v1/messages", json=body).status_code == 201
        assert link.post("/v1/messages", json={**body, "payload": {"a": 2}}).status_code == 409


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"{", 400), (b"[]", 400), (b'{"id": "x"}', 400), (b'{"id": 5, "kind": "a", "payload": {"b": 1}}', 400),
     (b"x" * (MAX_BODY + 1), 413)],
)  # fmt: skip
def test_what_is_no_message_is_refused(receiver, content, status):
    """And nothing is stored."""
    with client(receiver) as link:
        assert link.post("/v1/messages", content=content).status_code == status
        assert link.get("/v1/stats").json()["messages"] == 0


def test_reading_goes_on_after_a_number(receiver):
    """`after` pages through; nonsense is refused."""
    with client(receiver) as link:
        for n in range(3):
            link.post("/v1/messages", json={"id": f"m{n}", "kind": "alert", "payload": {"n": n}})
        assert [row["id"] for row in link.get("/v1/messages?after=1").json()["messages"]] == ["m1", "m2"]
        assert link.get("/v1/messages?after=-1").status_code == 400


def test_a_torn_last_line_is_cut_and_its_message_taken_again(tmp_path):
    """A crash inside the write: never receipted, so it may come again as new."""
    path, clock = tmp_path / LOG, SystemClock()
    log = MessageLog(path, clock)
    log.add({"id": "m1", "kind": "alert", "payload": {}})
    log.close()
    path.write_bytes(path.read_bytes() + b'{"number": 2, "id": "m2"')
    again = MessageLog(path, clock)
    assert again.add({"id": "m1", "kind": "alert", "payload": {}})["duplicate"] is True
    assert again.add({"id": "m2", "kind": "alert", "payload": {}})["number"] == 2
    assert [row["id"] for row in again.after(0)] == ["m1", "m2"]
    with pytest.raises(Conflict):
        again.add({"id": "m2", "kind": "alert", "payload": {"other": 1}})


def test_damage_inside_the_log_is_refused_by_place(tmp_path):
    """A receiver that forgot messages would take them twice."""
    path = tmp_path / LOG
    path.write_bytes(b"garbage\n" + json.dumps({"a": 1}).encode() + b"\n")
    with pytest.raises(StoreError, match="byte 0"):
        MessageLog(path, SystemClock())


def test_a_taken_port_is_one_clear_sentence(receiver, tmp_path):
    """With the way to exit 75."""
    with pytest.raises(TryAgain, match="cannot listen"):
        Receiver(tmp_path / "other", port=receiver.port).run(lambda _port: None)


def test_keys_are_private_and_certificates_are_renewed_when_they_run_out(tmp_path):
    """Mode 0600, one year, then new ones."""
    clock = FixedClock(dt.datetime(2026, 11, 25, tzinfo=dt.UTC))
    made = pki.ensure(tmp_path, clock)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    old = made.server.certificate.read_bytes()
    assert pki.ensure(tmp_path, clock).server.certificate.read_bytes() == old
    assert (
        x509.load_pem_x509_certificate(old).not_valid_after_utc - dt.datetime(2026, 11, 25, tzinfo=dt.UTC)
    ).days == 365
    clock.advance(366 * 86400)
    assert pki.ensure(tmp_path, clock).server.certificate.read_bytes() != old
