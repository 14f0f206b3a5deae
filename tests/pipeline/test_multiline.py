"""Stack traces over syslog: lines of many frames become one event, over the end of a worker at any moment, once."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soc.collectors.listeners import ListenerSpec
from soc.model import multiline
from soc.model.clock import FixedClock, SystemClock
from soc.model.record import RawBlock
from soc.parsers import multiline as joining
from soc.pipeline import Services, Worker, places, records
from soc.store import files
from soc.store.queue import DiskLog, LogReader
from tests.collectors.running import running, until
from tests.collectors.test_rsyslog import rsyslogd
from tests.pipeline.world import NOW_NS, World, settings_of

pytestmark = pytest.mark.usefixtures("content_once")

TOP = Path(__file__).resolve().parents[2]
ORIGIN = {multiline.PATTERN: "stack", multiline.WAIT_S: "5", multiline.MAX_BYTES: "65536"}
TRACE = (
    "ERROR request failed",
    "java.lang.IllegalStateException: no session",
    "\tat vn.gov.portal.Login.open(Login.java:42)",
    "\tat vn.gov.portal.Main.main(Main.java:7)",
    "Caused by: java.io.IOException: closed",
    "\t... 12 more",
)
"""As log4j writes it; only what is set in, and what Java begins so, goes on with the line before."""


def line(message: str, program: str = "portal[7]", host: str = "web1") -> bytes:
    """A line as logger sends it."""
    return f"<11>Nov 26 03:06:40 {host} {program}: {message}".encode()


def receive(world: World, *records: bytes, peer: str = "127.1.2.9", **origin: str) -> None:
    """One frame of a source whose listener joins."""
    block = RawBlock.of(
        records, receipt_ns=world.clock.now_ns(), listener="apps", peer=peer, origin=origin or ORIGIN
    )  # fmt: skip
    world.raw.append([block])


def messages(world: World) -> list[str]:
    """What every event says, in the order of their positions."""
    return [event["message"] for event in in_order(world.events())]


def in_order(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By position."""
    return sorted(events, key=lambda event: [int(part) for part in event["soc.position"].split(":")[2:]])


def settled(world: World) -> Worker:
    """Everything handled, and what waits has waited long enough."""
    world.work()
    world.clock.advance(6)
    return world.work()


def test_a_trace_over_many_frames_is_one_event_at_its_first_line(tmp_path: Path) -> None:
    """Two programs talk at once; the original of every line is kept, headers and all."""
    world = World.make(tmp_path)
    for text in TRACE:
        receive(world, line(text), line("idle", "cron[3]"))
    receive(world, line("INFO ready"))
    settled(world)
    events = in_order(world.events())
    traces = [event for event in events if event["process.name"] == "portal"]
    assert [event["message"].split("\n") for event in traces] == [[TRACE[0]], list(TRACE[1:]), ["INFO ready"]]
    assert len([event for event in events if event["process.name"] == "cron"]) == len(TRACE)
    trace = traces[1]
    assert trace["event.original"].encode().split(b"\n") == [line(text) for text in TRACE[1:]]
    assert (trace["soc.joined"], trace["host.name"], trace["process.pid"]) == (5, "web1", 7)
    assert trace["soc.position"].split(":")[3:] == ["0", "0"]
    assert trace["soc.closed_by"] > trace["soc.position"]
    assert len({event["event.id"] for event in events}) == len(events)


def test_lines_without_a_header_go_on_with_the_last_record(tmp_path: Path) -> None:
    """Appenders that write a trace as it is behind one header; LF framing makes a record of each line."""
    world = World.make(tmp_path)
    receive(world, line(TRACE[1]), TRACE[2].encode(), b"\tat a.B.c(B.java:1)")
    receive(world, b"\tat d.E.f(E.java:1)", line("next"), peer="127.1.2.9")
    receive(world, b"\tat lost.Head.of(Head.java:1)", peer="127.1.2.10")
    settled(world)
    found = {(event["soc.source"].rpartition("/")[2], event["message"].count("\n")) for event in world.events()}
    assert found == {("127.1.2.9", 3), ("127.1.2.9", 0), ("127.1.2.10", 0)}
    [orphan] = [event for event in world.events() if event["soc.source"].endswith("127.1.2.10")]
    assert "incomplete" in orphan["soc.flags"]


def test_a_pattern_says_how_records_begin_and_white_space_is_kept(tmp_path: Path) -> None:
    """The decoder of headers takes blanks behind a tag for its own; in the joined event they are the text's."""
    world = World.make(tmp_path)
    origin = {**ORIGIN, multiline.PATTERN: r"(?i)begin|end\b"}
    receive(world, line("BEGIN of it"), line("    four blanks"), line("none"), line("end"), **origin)
    settled(world)
    assert messages(world) == ["BEGIN of it\n    four blanks\nnone", "end"]


def test_silence_closes_what_waits_and_a_later_line_is_told(tmp_path: Path) -> None:
    """After `multiline_wait_s` without a word, and no matter whether a worker was away in between."""
    world = World.make(tmp_path)
    receive(world, line(TRACE[1]), line(TRACE[2]))
    world.work()
    world.clock.advance(4)
    world.work()
    assert messages(world) == []
    world.clock.advance(1)
    world.work()
    assert messages(world) == ["\n".join(TRACE[1:3])]
    receive(world, line(TRACE[3]))
    settled(world)
    assert ["incomplete" in event["soc.flags"] for event in in_order(world.events())] == [False, True]


def test_lines_that_come_after_the_wait_are_another_event_also_for_a_worker_that_is_behind(tmp_path: Path) -> None:
    """The receipt decides, not the moment of reading."""
    world = World.make(tmp_path)
    receive(world, line(TRACE[1]), line(TRACE[2]))
    world.clock.advance(7)
    receive(world, line(TRACE[3]))
    settled(world)
    assert messages(world) == ["\n".join(TRACE[1:3]), TRACE[3]]


def test_bounds_close_what_waits_and_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines and bytes of an event, groups and bytes of a partition, and how long anything may go on."""
    monkeypatch.setattr(joining, "MAX_GROUPS", 3)
    world = World.make(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(joining, "MAX_LINES", 4)
        receive(world, line("head"), *(line(f"\tat {i}") for i in range(5)))
        settled(world)
    found = [(event["message"].count("\n"), "oversize" in event["soc.flags"]) for event in in_order(world.events())]
    assert found == [(3, True), (1, True)]
    receive(world, *(line("x", f"p{i}[1]") for i in range(5)), peer="127.1.3.1")
    receive(world, line("y", "p9[1]"), peer="127.1.3.1")
    world.work()
    early = [event["process.name"] for event in world.events() if "multiline_early" in event["soc.flags"]]
    assert sorted(early) == ["p0", "p1", "p2"]
    assert _forgotten(world) == {"127.1.3.1": {"multiline_early": 3}}
    with monkeypatch.context() as patch:
        patch.setattr(joining, "MAX_WAITING", 200)
        receive(world, line("z" * 150, "p9[1]"), line("z" * 50, "p8[1]"), peer="127.1.3.1")
        world.work()
    assert _forgotten(world) == {"127.1.3.1": {"multiline_early": 6}}
    settled(world)
    receive(world, line("long"), peer="127.1.4.1")
    for _ in range(16):
        world.clock.advance(4)
        receive(world, line("\tat on"), peer="127.1.4.1")
        world.work()
    whole = [e for e in world.events() if e["soc.source"].endswith("127.1.4.1")]
    assert [("multiline_early" in e["soc.flags"], e["soc.joined"]) for e in whole] == [(True, 17)]


def _forgotten(world: World) -> dict[str, dict[str, int]]:
    """What parsers had no room for, by source, as `soc source list` shows it."""
    services = Services.open(world.settings, world.clock)
    try:
        rows = services.books.sources(NOW_NS // 1000)["sources"]
    finally:
        services.close()
    return {row["peer"]: row["forgotten"] for row in rows if row["forgotten"]}


def test_a_listener_that_stops_joining_lets_go_of_what_waits(tmp_path: Path) -> None:
    """The next frame without the rule closes it."""
    world = World.make(tmp_path)
    receive(world, line(TRACE[1]), line(TRACE[2]))
    receive(world, line(TRACE[3]), zone="Asia/Ho_Chi_Minh")
    world.work()
    assert messages(world) == ["\n".join(TRACE[1:3]), TRACE[3]]


def test_the_accounting_balances_while_lines_wait_and_after(tmp_path: Path) -> None:
    """A line that waits is pending, a joined event stands for its lines."""
    world = World.make(tmp_path)

    def account() -> tuple[int, int, int]:
        services = Services.open(world.settings, world.clock)
        try:
            [row] = services.books.sources(NOW_NS // 1000)["sources"]
        finally:
            services.close()
        assert row["balanced"] is True
        return row["queued"], row["stored"], row["pending"]

    receive(world, line("start"), *map(line, TRACE))
    assert account() == (7, 0, 7)
    world.work()
    assert account() == (7, 2, 5)
    settled(world)
    assert account() == (7, 7, 0)


def test_a_finding_in_a_joined_event_is_handed_on_with_the_frame_that_closed_it(tmp_path: Path) -> None:
    """Derived frames are known by the raw frame they name; that of its first line would be taken for a repeat."""
    world = World.make(tmp_path)
    failed = "Failed password for root from 203.0.113.9 port 4000 ssh2"
    handed_on = {}
    for home, origin in (("joined", ORIGIN), ("apart", {"zone": "Asia/Ho_Chi_Minh"})):
        world = World.make(tmp_path / home)
        receive(world, line(failed, "sshd[1]"), line(failed, "sshd[2]"), line(failed, "sshd[2]"), **origin)
        receive(world, line(failed, "sshd[2]"), **origin)
        settled(world)
        handed_on[home] = LogReader(places.queue(world.settings), places.MATCHED).read({}, None, 100)
        assert world.correlate()["documents"] == sum(block.n for block in handed_on[home]) > 0
    names = [block.origin["input"].split(":") for block in handed_on["joined"]]
    assert {log for _, log, _, _ in names} == {places.RAW, places.PAUSES}
    found = {
        home: sorted(d["position"] for block in blocks for d in records.documents(block) if d["kind"] == "event")
        for home, blocks in handed_on.items()
    }
    assert found["joined"] == found["apart"]
    assert len(found["joined"]) == 4


def test_lines_that_no_parser_survives_are_kept_aside_and_hold_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault in what is made of waiting lines must not bury every frame that comes after them."""
    world = World.make(tmp_path)
    receive(world, line("poison"), line("\tat once"), line("poison too", "other[1]"))
    worker = Worker(world.settings, world.clock)
    worker.step()
    make = worker.parsers._joined

    def breaks(closed: Any, now_ns: int) -> Any:
        if any(b"poison" in record.data for group in closed for record in group.records):
            raise LookupError("a bug")
        return make(closed, now_ns)

    monkeypatch.setattr(worker.parsers, "_joined", breaks)
    receive(world, line("fine"))
    worker.step()
    world.clock.advance(6)
    worker.step()
    worker.close()
    assert (messages(world), worker.counts["dead"]) == (["fine"], 3)
    monkeypatch.setattr(worker.parsers, "_joined", make)
    world.work()
    assert sorted(messages(world)) == ["fine", "poison\n\tat once", "poison too"]
    assert world.work().counts["records"] == 0


@pytest.mark.parametrize("moment", ["before the state", "before the store", "after the store"])
@pytest.mark.parametrize("wait_s", [0, 6])
def test_kill_9_with_an_open_trace_loses_and_doubles_nothing(tmp_path: Path, moment: str, wait_s: int) -> None:
    """Whichever border of a step it hits, amid the lines (0) or when silence closes them (6)."""
    world = World.make(tmp_path)
    receive(world, line(TRACE[1]), line(TRACE[2]))
    world.work()
    if not wait_s:
        receive(world, line(TRACE[3]))
        receive(world, line("other"), line(TRACE[1]))
    world.clock.advance(wait_s)
    world.killed(moment)
    if not wait_s:
        receive(world, line(TRACE[2]))
    settled(world)
    whole = "\n".join(TRACE[1:3])
    assert messages(world) == ([whole] if wait_s else [f"{whole}\n{TRACE[3]}", "other", whole])


class _Killed(BaseException):
    """The process is gone here."""


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_any_frames_and_any_crashes_make_the_same_events(tmp_path: Path, seed: int) -> None:
    """Two sources and three programs, cut into frames anywhere, a worker that dies at any border of a step."""
    dice = random.Random(seed)
    world = World.make(tmp_path / str(seed) / os.urandom(4).hex())
    expected: dict[tuple[str, str], list[list[str]]] = {}
    for peer in ("127.1.2.9", "127.1.2.10"):
        held: list[bytes] = []
        for i in range(dice.randrange(4, 30)):
            program, goes_on = dice.choice("abc"), dice.random() < 0.6
            text = f"\tat line {i}" if goes_on else f"record {i}"
            records = expected.setdefault((peer, program), [])
            if goes_on and records:
                records[-1].append(text)
            else:
                records.append([text])
            held.append(line(text, f"{program}[1]"))
            if dice.random() < 0.4:
                receive(world, *held, peer=peer)
                held = []
                if dice.random() < 0.5:
                    _work_and_die(world, dice)
        if held:
            receive(world, *held, peer=peer)
    _work_and_die(world, dice)
    world.clock.advance(6)
    _work_and_die(world, dice)
    settled(world)
    found: dict[tuple[str, str], list[list[str]]] = {}
    for event in in_order(world.events()):
        key = event["soc.source"].rpartition("/")[2], event["process.name"]
        found.setdefault(key, []).append(event["message"].split("\n"))
    assert found == {key: records for key, records in expected.items() if records}


def _work_and_die(world: World, dice: random.Random) -> None:
    """A worker that goes at one of the borders of its first step, or later."""
    worker = Worker(world.settings, world.clock)
    owner, border = dice.choice(
        ((worker, "_hand_on"), (worker.states, "keep"), (worker, "_store"), (worker, ""), (worker, ""))
    )

    def die(*_: Any, **__: Any) -> None:
        raise _Killed

    with pytest.MonkeyPatch.context() as patch:
        if border:
            patch.setattr(owner, border, die)
        with contextlib.suppress(_Killed):
            while worker.step() and dice.random() < 0.8:
                pass
    worker.states.forget_news()  # who is killed writes nothing more
    worker.close()


def test_states_of_another_worker_are_taken_over(tmp_path: Path) -> None:
    """The number of workers changes while lines wait."""
    world = World.make(tmp_path)
    for i in range(6):
        receive(world, line(TRACE[1]), line(TRACE[2]), peer=f"127.1.5.{i}")
    world.work()
    world.clock.advance(6)
    several = replace(settings_of(tmp_path), workers=2)
    for index in range(2):
        worker = Worker(several, world.clock, index)
        while worker.step():
            pass
        worker.close()
    assert messages(world) == ["\n".join(TRACE[1:3])] * 6


def test_what_waits_of_many_sources_is_one_write_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file for each of their partitions would cost two syncs each, which is more than reading their lines."""
    world, written = World.make(tmp_path), Counter[str]()
    replace_file = files.replace

    def counted(path: Path, data: bytes, **options: Any) -> None:
        written[path.suffix] += 1
        replace_file(path, data, **options)

    monkeypatch.setattr(files, "replace", counted)
    worker = Worker(world.settings, world.clock)
    for step in range(3):
        for i in range(50):
            receive(world, line(f"{step}"), line(TRACE[2]), peer=f"127.1.5.{i}")
        while worker.step():
            pass
    worker.close()
    assert written[".groups"] == 3
    settled(world)
    assert sorted(messages(world)) == sorted([f"{step}\n{TRACE[2]}" for step in range(3)] * 50)


@pytest.mark.parametrize("counts", [(1, 3, 2, 1), (4, 1, 4, 3)])
def test_partitions_change_hands_while_lines_wait(tmp_path: Path, counts: tuple[int, ...]) -> None:
    """Each goes on with what another worker kept last, never with what it kept itself before that."""
    world, peers = World.make(tmp_path), [f"127.1.5.{i}" for i in range(12)]
    for peer in peers:
        receive(world, line(TRACE[1]), peer=peer)
    for turn, n in enumerate(counts):
        for index in range(n):
            worker = Worker(replace(settings_of(tmp_path), workers=n), world.clock, index)
            while worker.step():
                pass
            worker.close()
        for peer in peers:
            receive(world, line(f"\tat {turn}"), peer=peer)
    settled(world)
    assert messages(world) == ["\n".join([TRACE[1], *(f"\tat {turn}" for turn in range(len(counts)))])] * len(peers)


def test_what_an_earlier_version_kept_is_gone_on_with(tmp_path: Path) -> None:
    """It had a file for each partition."""
    world = World.make(tmp_path)
    receive(world, line(TRACE[1]))
    world.work()
    folder = tmp_path / "run" / "parsers"
    [path] = folder.glob("*.groups")
    _, entry = path.read_bytes().split(b"\n")
    number, _, groups = entry.split(b" ", 2)
    (folder / f"{int(number):02d}.groups.json").write_bytes(groups)
    path.unlink()
    receive(world, line(TRACE[2]))
    settled(world)
    assert messages(world) == ["\n".join(TRACE[1:3])]


_WORKING = """
import sys, time
from pathlib import Path
from soc.model.clock import SystemClock
from soc.pipeline import Worker
from tests.pipeline.world import settings_of
worker = Worker(settings_of(Path(sys.argv[1])), SystemClock())
print("up", flush=True)
while True:
    worker.step() or time.sleep(0.02)
"""


@contextlib.contextmanager
def _working(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker in a process of its own, which is killed at the end."""
    process = subprocess.Popen([sys.executable, "-c", _WORKING, str(home)], cwd=TOP, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_traces_of_logger_and_rsyslogd_over_tcp_while_the_worker_is_killed(tmp_path: Path) -> None:
    """Three programs of one address write traces line by line; each is one event, whenever the worker goes."""
    home, clock, n = tmp_path / "home", SystemClock(), 4
    spec = ListenerSpec("apps", "syslog-tcp", "127.7.0.1", 0, "default", multiline="stack", multiline_wait_s=5)
    trace = "\n".join(TRACE[1:])
    with (
        DiskLog(places.queue(settings_of(home)), places.RAW, places.COLLECT, clock) as raw,
        running([spec], raw, tmp_path / "counters.json") as (_, ports),
        contextlib.ExitStack() as stack,
    ):
        command = ["logger", "--server", "127.7.0.1", "--port", str(ports["apps"]), "--tcp"]
        loggers = [
            subprocess.Popen([*command, "--tag", tag, f"--id={i}"], stdin=subprocess.PIPE)
            for i, tag in enumerate(("one", "two"), 1)
        ]
        content = "".join(f"{trace} {i}\n" for i in range(n)).encode()
        action = f'type="omfwd" protocol="tcp" port="{ports["apps"]}"'
        stack.enter_context(rsyslogd(tmp_path, action, content=content))
        for i in range(n):
            with _working(home):
                for text in f"{trace} {i}".splitlines():
                    for each in loggers:
                        assert each.stdin is not None
                        each.stdin.write(text.encode() + b"\n")
                        each.stdin.flush()
                    time.sleep(random.random() / 50)
        for each in loggers:
            assert each.stdin is not None
            each.stdin.close()
            assert each.wait(60) == 0
        world = World(settings_of(home), FixedClock(clock.now_ns()), raw)
        with _working(home):
            assert until(lambda: len(world.events()) >= 3 * n, 90), messages(world)
            time.sleep(1.5)
    found = sorted((event["process.name"], event["message"]) for event in world.events())
    assert found == sorted((program, f"{trace} {i}") for program in ("one", "two", "probe") for i in range(n))
