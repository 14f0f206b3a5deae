"""A distant unit and its centre: enrolment, frames exactly once over real mutual TLS, and everything that cuts in."""

from __future__ import annotations

import contextlib
import datetime as dt
import secrets
import shutil
import socket
import ssl
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import zstandard
from cryptography import x509

from soc.collectors import certify, enrol, hub, punctual
from soc.collectors.counters import Counters
from soc.collectors.enrol import Authority, Token
from soc.collectors.hub import Intake
from soc.collectors.relay import Link, Relay, join
from soc.errors import ConfigError, NotFound, PermissionRefused, TryAgain, UsageError
from soc.model.clock import FixedClock
from soc.model.daily import Daily
from soc.model.record import RawBlock
from soc.store.queue import DiskLog, LogReader, pack, unpack
from tests.collectors.units import CLOCK, Centre, Unit, numbered


def test_records_arrive_with_the_units_own_positions_and_times(tmp_path: Path, centre: Centre) -> None:
    """Site, listener, peer, receipt times and numbers are the unit's; the node names unit and log."""
    unit = Unit(tmp_path / "unit", centre)
    unit.receive(*numbered(0, 3))
    unit.receive(*numbered(3, 5))
    sent = LogReader(tmp_path / "unit" / "queue", "raw").read({}, None, 10)
    unit.send()
    got = centre.blocks()
    assert [(b.seq, b.site, b.listener, b.peer) for b in got] == [(b.seq, b.site, b.listener, b.peer) for b in sent]
    assert [b.receipt_ns.tolist() for b in got] == [b.receipt_ns.tolist() for b in sent]
    assert centre.records() == numbered(0, 5)
    assert got[0].node.startswith("xa-dakbla.collect-")


def test_an_answer_that_is_lost_doubles_nothing(tmp_path: Path, centre: Centre) -> None:
    """The centre has the frames, the unit does not know: it asks first, and sends only what is missing."""
    unit = Unit(tmp_path / "unit", centre)
    unit.receive(*numbered(0, 10))
    centre.cut = 1
    with pytest.raises(TryAgain):
        unit.relay().step()
    unit.receive(*numbered(10, 12))
    unit.send()
    assert centre.records() == numbered(0, 12)


def test_the_same_batch_sent_again_is_passed_over(tmp_path: Path, centre: Centre) -> None:
    """Even a unit that does not ask cannot double: the number decides."""
    unit = Unit(tmp_path / "unit", centre)
    unit.receive(*numbered(0, 4))
    data = pack(LogReader(tmp_path / "unit" / "queue", "raw").read({}, None, 10))
    uptos = [centre.intake.take("xa-dakbla", "collect-1", data) for _ in range(3)]
    assert uptos == [0, 0, 0]
    assert centre.records() == numbered(0, 4)


def test_without_that_check_the_batch_would_double(
    tmp_path: Path, centre: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutant of the test above: a replica that appends whatever comes."""
    unit = Unit(tmp_path / "unit", centre)
    unit.receive(*numbered(0, 4))
    data = pack(LogReader(tmp_path / "unit" / "queue", "raw").read({}, None, 10))
    monkeypatch.setattr(DiskLog, "replicate", lambda self, blocks: [self.append(blocks), *blocks][1:])
    for _ in range(2):
        centre.intake.take("xa-dakbla", "collect-1", data)
    assert centre.records() == numbered(0, 4) * 2


def test_days_offline_and_a_centre_that_restarts(tmp_path: Path, centre: Centre) -> None:
    """What came while the centre was away follows in order, each record once; then the unit's spool is freed."""
    unit = Unit(tmp_path / "unit", centre)
    unit.receive(*numbered(0, 100))
    unit.send()
    centre.stop()
    for n in range(100, 400, 10):
        unit.receive(*numbered(n, n + 10), b"x" * 2000)
    with pytest.raises(TryAgain, match="does not answer"):
        unit.relay().step()
    kept = len(list((tmp_path / "unit" / "queue" / "raw" / "collect").glob("*.log")))
    centre.start()
    unit.send()
    freed = len(list((tmp_path / "unit" / "queue" / "raw" / "collect").glob("*.log")))
    assert [r for r in centre.records() if not r.startswith(b"x")] == numbered(0, 400)
    assert kept > 10
    assert freed <= 2


def test_a_running_relay_goes_on_by_itself(tmp_path: Path, centre: Centre) -> None:
    """Stopped and started centre, records before, between and after; the fault is shown meanwhile."""
    unit = Unit(tmp_path / "unit", centre)
    relay = unit.relay(wait=lambda stop, _seconds: stop.wait(0.02))
    stop = threading.Event()
    thread = threading.Thread(target=relay.run, args=(stop,))
    thread.start()
    unit.receive(*numbered(0, 5))
    _until(lambda: len(centre.records()) == 5)
    centre.stop()
    unit.receive(*numbered(5, 9))
    _until(lambda: bool(relay.fault))
    centre.start()
    _until(lambda: len(centre.records()) == 9)
    stop.set()
    thread.join(60)
    assert centre.records() == numbered(0, 9)
    assert relay.counts["failures"] > 0
    assert (centre.home / "run" / "xa-dakbla.health.json").exists()


# slow links and times of the day ----------------------------------------------------------------------------------


def test_records_wait_for_the_time_and_health_does_not(tmp_path: Path, centre: Centre) -> None:
    """At noon only the unit's health goes to the centre, at 22:00 Vietnam's time the records follow, in order."""
    unit, clock = Unit(tmp_path / "unit", centre), FixedClock(dt.datetime(2026, 11, 25, 5, 0, tzinfo=dt.UTC))
    unit.receive(*numbered(0, 5))
    stop = threading.Event()
    seen: list[tuple[int, int]] = []
    told: list[dict[str, Any]] = []

    def wait(_stop: threading.Event, seconds: float) -> bool:
        at = clock.now_ns() + 7 * 3600 * 10**9
        seen.append((at // 10**9 % 86400 // 3600, len(centre.records())))
        told.append(orjson.loads((centre.home / "run" / "xa-dakbla.health.json").read_bytes())["health"])
        clock.advance(max(seconds, 1) * 60)
        if len(centre.records()) == 5 or len(seen) > 200:
            stop.set()
        return stop.is_set()

    link = Link(f"https://127.0.0.1:{centre.port}", tmp_path / "unit" / "relay")
    relay = Relay(tmp_path / "unit" / "queue", link, clock, times=Daily(["22:00-05:00"]), wait=wait)
    relay.run(stop)
    assert centre.records() == numbered(0, 5)
    assert {hour for hour, n in seen if not n} == set(range(12, 22))
    assert told[0]["closed_s"] == 10 * 3600
    assert (told[0]["queue"]["records"], told[-1]["queue"]["records"]) == (5, 0)


def test_a_cap_is_kept_by_small_batches_and_pauses(tmp_path: Path, centre: Centre) -> None:
    """64 KiB a second: no batch is larger than five seconds' worth, and each is paid for before the next."""
    unit, waits = Unit(tmp_path / "unit", centre), []
    for n in range(40):
        unit.receive(b"%d " % n + secrets.token_bytes(30_000))
    stop = threading.Event()

    def wait(_stop: threading.Event, seconds: float) -> bool:
        waits.append(seconds)
        if len(centre.records()) == 40:
            stop.set()
        return stop.is_set()

    relay = unit.relay(max_bytes_s=65536, wait=wait)
    relay.run(stop)
    assert sum(waits) == pytest.approx(relay.counts["bytes"] / 65536)
    assert max(waits) <= 5.1
    assert relay.counts["bytes"] > 1_000_000


def test_batches_shrink_on_a_bad_link_and_grow_on_a_good_one(tmp_path: Path, centre: Centre) -> None:
    """Each failure halves them down to a bound, each success doubles them."""
    unit = Unit(tmp_path / "unit", centre)
    for n in range(60):
        unit.receive(b"%d " % n + secrets.token_bytes(30_000))
    sizes: list[int] = []
    take = centre.intake.take

    def taken(name: str, node: str, data: bytes) -> int:
        sizes.append(len(data))
        if len(sizes) <= 7:
            raise TryAgain("too much for this link")
        return take(name, node, data)

    centre.intake.take = taken  # type: ignore[method-assign]
    stop = threading.Event()
    relay = unit.relay(wait=lambda _stop, _s: stop.set() if len(centre.records()) == 60 else None)  # type: ignore[arg-type,return-value]
    relay.run(stop)
    assert sizes[:6] == sorted(sizes[:6], reverse=True)
    assert min(sizes[:7]) < 100_000 < sizes[0]
    assert sizes[8] > sizes[7]
    assert len(centre.records()) == len(set(centre.records())) == 60


def _until(holds: Any) -> None:
    for _ in range(3000):
        if holds():
            return
        threading.Event().wait(0.02)
    raise AssertionError("it did not come about")


def test_a_unit_installed_again_is_not_taken_for_the_old_one(tmp_path: Path, centre: Centre) -> None:
    """Its queue begins at 0 again: the mark in the log's name keeps the centre from knowing it all already."""
    unit = Unit(tmp_path / "unit", centre)
    unit.receive(*numbered(0, 5))
    unit.send()
    unit.log.close()
    shutil.rmtree(tmp_path / "unit" / "queue")
    again = Unit(tmp_path / "unit", centre)
    again.receive(*numbered(100, 103))
    again.send()
    assert sorted(centre.records()) == sorted(numbered(0, 5) + numbered(100, 103))


def test_the_counters_say_what_was_taken_also_after_a_crash(tmp_path: Path, centre: Centre) -> None:
    """The centre dies before its counters are saved: the log completes them."""
    unit = Unit(tmp_path / "unit", centre)
    unit.receive(*numbered(0, 7))
    unit.send()
    centre.stop()
    for path in (centre.home / "run").glob("xa-dakbla.collect-*.json"):
        path.unlink()
    centre.start()
    unit.receive(*numbered(7, 8))
    unit.send()
    centre.stop()
    [path] = (centre.home / "run").glob("xa-dakbla.collect-*.json")
    [row] = Counters(path).snapshot()
    assert (row["received"], row["queued"], row["site"]) == (8, 8, "dakbla")


# who may come -------------------------------------------------------------------------------------------------------


def test_a_token_is_good_once(tmp_path: Path, centre: Centre) -> None:
    """And only for the unit that it names."""
    token = str(centre.authority.invite("xa-dakbla"))
    link = Link(f"https://127.0.0.1:{centre.port}", tmp_path / "unit")
    assert join(link, token) == "xa-dakbla"
    with pytest.raises(PermissionRefused, match="not valid"):
        join(link, token)
    assert (tmp_path / "unit" / "unit.pem").stat().st_mode & 0o777 == 0o600


def test_a_token_runs_out(tmp_path: Path) -> None:
    """After an hour."""
    clock = FixedClock(1_795_600_000_000_000_000)
    authority = Authority(tmp_path, clock)
    token = authority.invite("xa-dakbla")
    request = enrol.request_for(certify.new_key(), "xa-dakbla")
    clock.advance(3601)
    with pytest.raises(PermissionRefused):
        authority.join(token.name, token.secret, request)


def test_a_centre_that_is_another_is_not_believed(tmp_path: Path, centre: Centre) -> None:
    """The token names the authority; the secret is never sent to a stranger."""
    other = Authority(tmp_path / "other", CLOCK).invite("xa-dakbla")
    with pytest.raises(PermissionRefused, match="another authority"):
        join(Link(f"https://127.0.0.1:{centre.port}", tmp_path / "unit"), str(other))


def test_a_unit_that_was_shut_out_sends_nothing_more(tmp_path: Path, centre: Centre) -> None:
    """Its certificate is still valid, its serial no longer known."""
    unit = Unit(tmp_path / "unit", centre)
    centre.authority.forget("xa-dakbla")
    unit.receive(b"late")
    with pytest.raises(PermissionRefused, match="not enrolled"):
        unit.relay().step()
    assert centre.records() == []
    with pytest.raises(NotFound):
        centre.authority.forget("xa-dakbla")


def test_no_certificate_no_frames(tmp_path: Path, centre: Centre) -> None:
    """A stranger may read the authority's certificate and nothing else."""
    Unit(tmp_path / "unit", centre)
    with httpx.Client(base_url=f"https://127.0.0.1:{centre.port}", verify=False) as stranger:
        assert stranger.get("/v1/ca").status_code == 200
        for path in ("/v1/frames?node=collect-1", "/v1/renew", "/v1/health"):
            assert stranger.post(path, content=b"{}").status_code == 403
        assert stranger.get("/v1/position?node=collect-1").status_code == 403


def test_a_unit_cannot_write_into_anothers_log(tmp_path: Path, centre: Centre) -> None:
    """The certificate says who it is; a path in the node's name is refused."""
    unit = Unit(tmp_path / "unit", centre)
    with unit.link.client() as client:
        answers = [
            client.post("/v1/frames", params={"node": node}, content=b"x").status_code
            for node in ("../xa-khac.collect", "a.b", "", "A")
        ]
    assert answers == [400, 400, 400, 400]
    assert list((centre.home / "queue").rglob("*khac*")) == []


def test_a_certificate_renews_itself(tmp_path: Path, centre: Centre, monkeypatch: pytest.MonkeyPatch) -> None:
    """With few days left a new key and certificate replace the old pair in one rename; sending goes on."""
    unit = Unit(tmp_path / "unit", centre)
    before = unit.link.certificate.read_bytes()
    monkeypatch.setattr(enrol, "RENEW_DAYS", 1000)
    relay = unit.relay()
    relay._renew_when_due()
    unit.receive(b"after")
    while relay.step():
        pass
    assert unit.link.certificate.read_bytes() != before
    assert centre.records() == [b"after"]


def test_renewals_whose_answers_are_lost_shut_nobody_out(tmp_path: Path) -> None:
    """However often: the certificate that a unit has is good until it shows a newer one."""
    authority = Authority(tmp_path, CLOCK)
    token, key = authority.invite("xa-dakbla"), certify.new_key()
    request = enrol.request_for(key, "xa-dakbla")

    def serial_of(pem: bytes) -> str:
        return f"{x509.load_pem_x509_certificate(pem).serial_number:x}"

    first = serial_of(authority.join(token.name, token.secret, request))
    lost = [serial_of(authority.renew("xa-dakbla", first, request)) for _ in range(3)]
    arrived = serial_of(authority.renew("xa-dakbla", first, request))
    assert authority.knows("xa-dakbla", first)
    assert authority.knows("xa-dakbla", arrived)
    assert not any(authority.knows("xa-dakbla", serial) for serial in lost)
    newest = serial_of(authority.renew("xa-dakbla", arrived, request))
    assert [authority.knows("xa-dakbla", serial) for serial in (first, arrived, newest)] == [False, True, True]


def test_what_is_no_certificate_replaces_none(tmp_path: Path, centre: Centre, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the unit could never come back."""
    unit = Unit(tmp_path / "unit", centre)
    before = unit.link.certificate.read_bytes()
    monkeypatch.setattr(enrol, "RENEW_DAYS", 1000)
    monkeypatch.setattr(centre.authority, "renew", lambda *_: b"")
    with pytest.raises(TryAgain, match="no certificate for the new key"):
        unit.relay()._renew_when_due()
    assert unit.link.certificate.read_bytes() == before


def test_words_that_are_not_the_centres_are_tried_again(
    tmp_path: Path, centre: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that sends lives on."""
    unit, stop = Unit(tmp_path / "unit", centre), threading.Event()
    unit.receive(b"a")
    answers = iter([b"<html>log in here", b"[]", b'{"upto": null}'])

    def send(_self: httpx.Client, method: str, url: str, **more: Any) -> httpx.Response:
        said = next(answers, None)
        return real(_self, method, url, **more) if said is None else httpx.Response(200, content=said)

    real = httpx.Client.request
    monkeypatch.setattr(httpx.Client, "request", send)
    relay = unit.relay(wait=lambda _stop, _s: stop.set() if centre.records() else None)  # type: ignore[arg-type,return-value]
    relay.run(stop)
    assert (centre.records(), relay.counts["failures"]) == ([b"a"], 3)


def test_a_batch_reads_little_more_than_it_sends(tmp_path: Path, centre: Centre) -> None:
    """After days offline the log is large, and memory is not."""
    unit = Unit(tmp_path / "unit", centre)
    for n in range(300):
        unit.receive(b"%d " % n + bytes(100_000))
    relay = unit.relay(max_bytes_s=40_000)
    relay.step()
    tracemalloc.start()
    assert [block.seq for block in relay._batch()] == [1]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    relay.close()
    assert peak < 12 << 20
    unit.send()
    assert len(centre.records()) == 300


def test_a_unit_cannot_take_the_room_of_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each log is open files; the name of a node is the unit's own choice."""
    monkeypatch.setattr("soc.collectors.hub.MAX_LOGS_OF_UNIT", 3)
    intake = Intake(tmp_path / "queue", tmp_path / "run", CLOCK)
    for n in range(3):
        assert intake.last("xa-dakbla", f"node{n}") == -1
    with pytest.raises(TryAgain, match="more than 3 logs of unit 'xa-dakbla'"):
        intake.last("xa-dakbla", "node3")
    assert intake.last("xa-dakbla", "node2") == intake.last("xa", "node3") == -1
    intake.close()


def test_the_counters_of_each_log_are_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of a unit that sends seldom beside one that sends all the time: its frames may be trimmed before a crash."""
    clock = FixedClock(1_795_600_000_000_000_000)
    intake = Intake(tmp_path / "queue", tmp_path / "run", clock)
    for n in range(4):
        for unit in ("xa-ban-ron", "xa-im-lang")[: 1 if n % 2 else 2]:
            seq = intake.last(unit, "collect") + 1
            intake.take(unit, "collect", pack([RawBlock.of([b"a"], receipt_ns=clock.now_ns(), seq=seq)]))
        clock.advance(2)
    for unit, records in (("xa-ban-ron", 4), ("xa-im-lang", 2)):
        [row] = Counters(tmp_path / "run" / f"{unit}.collect.json").snapshot()
        assert row["queued"] == records


def test_who_says_nothing_to_the_hub_is_let_go(centre: Centre, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a TLS session and without a certificate: else anybody could hold all of its descriptors."""
    monkeypatch.setattr(punctual, "REQUEST_S", 0.2)
    context = ssl._create_unverified_context()
    with socket.create_connection(("127.0.0.1", centre.port)) as plain, context.wrap_socket(plain) as silent:
        silent.settimeout(30)
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            assert silent.recv(1) == b""


def test_who_says_one_octet_after_the_other_is_let_go(centre: Centre, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request is begun, its body trickles."""
    monkeypatch.setattr(hub, "BODY_S", 0.3)
    context = ssl._create_unverified_context()
    with socket.create_connection(("127.0.0.1", centre.port)) as plain, context.wrap_socket(plain) as slow:
        slow.sendall(b"POST /v1/join HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
        slow.settimeout(0.1)
        said, end = b"", time.monotonic() + 60
        while b"more than 0.3 seconds" not in said and time.monotonic() < end:
            with contextlib.suppress(TimeoutError):
                said += slow.recv(4096)
            slow.sendall(b" ")
        assert said.startswith(b"HTTP/1.1 400")
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            slow.settimeout(30)
            while slow.recv(4096):
                pass


def test_a_unit_that_never_joined_says_what_to_do(tmp_path: Path, centre: Centre) -> None:
    """One sentence, and the command."""
    link = Link(f"https://127.0.0.1:{centre.port}", tmp_path / "relay")
    DiskLog(tmp_path / "queue", "raw", "collect", CLOCK).close()
    with pytest.raises(ConfigError, match="no certificate") as refused:
        Relay(tmp_path / "queue", link, CLOCK).step()
    assert refused.value.hint == "soc relay join URL TOKEN"


# hostile bytes ------------------------------------------------------------------------------------------------------


def test_a_bomb_and_a_damaged_batch_are_refused(tmp_path: Path) -> None:
    """Bounded memory; nothing of a damaged batch is taken."""
    bomb = zstandard.compress(b"\0" * (200 << 20))
    good = pack([RawBlock.of([b"a"], receipt_ns=1)])
    plain = bytearray(zstandard.decompress(good, max_output_size=1 << 20))
    plain[-1] ^= 1
    for data, words in ((bomb, "more than"), (b"nonsense", "zstd"), (zstandard.compress(bytes(plain)), "damaged")):
        with pytest.raises(UsageError, match=words):
            unpack(data, node="n", log="raw")


@pytest.mark.parametrize("text", ["", "x", "!!!", "YSBi", str(Token("A", "s", "f"))])
def test_what_is_no_token_is_said(text: str) -> None:
    """Never a traceback."""
    with pytest.raises(UsageError):
        Token.parse(text)
