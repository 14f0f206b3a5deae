"""The processes' own care: what a full disk, a crash or a left-over file must not do to those who watch."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from soc import processes
from soc.config import Listen
from soc.errors import ConfigError, DiskFull, TryAgain
from soc.store.events import EventStore
from tests.pipeline.world import settings_of


@pytest.fixture(autouse=True)
def _own_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C belongs to the test run."""
    monkeypatch.setattr(processes.signal, "signal", lambda *_: None)


def state_of(home: Path, name: str) -> dict[str, Any]:
    """What a process said of itself."""
    return dict(orjson.loads((home / "run" / f"{name}.state.json").read_bytes()))


def test_a_full_disk_neither_ends_compaction_nor_keeps_the_queue_from_shrinking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sealing needs room; trimming gives some back, so it comes first and every time."""
    trimmed: list[str] = []
    rounds, stop, made = 3, threading.Event(), processes._Process

    def full(self: EventStore, **_: object) -> None:
        raise DiskFull("no space left")

    def trim(_root: Path, log: str, _upto: object) -> int:
        trimmed.append(log)
        if len(trimmed) == rounds:
            stop.set()
        return 0

    monkeypatch.setattr(EventStore, "compact", full)
    monkeypatch.setattr(processes, "trim", trim)
    monkeypatch.setattr(processes, "COMPACT_S", 0.01)
    monkeypatch.setattr(processes, "_Process", lambda *given: made(*given, stop=stop))
    processes.compact(settings_of(tmp_path))
    assert trimmed == ["raw"] * rounds
    assert state_of(tmp_path, "compact")["state"] == "stopped"


def test_any_failure_is_the_last_word(tmp_path: Path) -> None:
    """A process that ended with a traceback does not go on being 'running' in `soc status`."""

    def breaks() -> None:
        with processes._running(settings_of(tmp_path), "work0") as me:
            me.ready()
            assert state_of(tmp_path, "work0")["state"] == "running"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        breaks()
    assert state_of(tmp_path, "work0")["state"] == "failed"


def test_what_cannot_be_started_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No room for its log, no process left: the watch goes on over all the others."""
    settings = settings_of(tmp_path)
    processes.make_home(settings)
    supervisor = processes.Supervisor(settings, [("work0", ("work",)), ("serve", ("serve",))])
    started: list[str] = []

    def start(child: Any) -> None:
        if child.name == "work0" and "work0" not in started:
            started.append("work0")
            raise OSError(28, "No space left on device")
        started.append(child.name)

    monkeypatch.setattr(supervisor, "start", start)
    assert supervisor.watch() == []
    assert started == ["work0", "serve"]
    assert supervisor.children[0].restarts == 1
    supervisor.children[0].next_start = 0.0
    supervisor.watch()
    assert started[2] == "work0"


def test_states_of_an_earlier_start_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There was a second worker; now there is one, and `soc status` must not show two."""
    settings = settings_of(tmp_path)
    processes.make_home(settings)
    (tmp_path / "run" / "work1.state.json").write_bytes(orjson.dumps({"name": "work1", "state": "running"}))

    def ends(*_: object) -> None:
        raise TryAgain("enough")

    monkeypatch.setattr(processes, "_start", ends)
    with pytest.raises(TryAgain, match="enough"):
        processes.up(settings)
    assert list((tmp_path / "run").glob("*.state.json")) == []


def test_a_taken_port_gives_the_next_one_and_a_wrong_address_is_said_at_once() -> None:
    """Also where the address is of IPv6."""
    with processes._listen("web", "::1", 0) as first:
        port = first.getsockname()[1]
        with processes._listen("web", "::1", port) as second:
            assert port < second.getsockname()[1] < port + 20
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1"):
        processes._listen("web", "192.0.2.1", 18_600)


def test_the_processes_read_the_same_file_and_serve_the_same_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`soc --config FILE --socket PATH up` would otherwise start processes with other settings than its own."""
    given: list[dict[str, str]] = []

    class Started:
        stdin = None

        def __init__(self, *_: object, env: dict[str, str], **__: object) -> None:
            given.append(env)

    settings = settings_of(tmp_path)
    processes.make_home(settings)
    monkeypatch.setattr(processes.subprocess, "Popen", Started)
    supervisor = processes.Supervisor(settings, [("work0", ("work",))], Path("/etc/soc/own.toml"))
    supervisor.watch()
    [environment] = given
    assert environment["SOC_CONFIG"] == "/etc/soc/own.toml"
    assert environment["SOC_SOCKET"] == str(settings.socket)
    assert environment["SOC_HOME"] == str(tmp_path)


def test_only_the_collector_is_told_to_read_its_settings_again(tmp_path: Path) -> None:
    """`soc up` hands the signal on to who can do it."""
    told: list[tuple[str, int]] = []

    class Child:
        def __init__(self, name: str) -> None:
            self.name, self.process = name, self

        def send_signal(self, number: int) -> None:
            told.append((self.name, number))

    supervisor = processes.Supervisor(settings_of(tmp_path), [])
    supervisor.children = [Child("collect"), Child("work0"), Child("serve")]  # type: ignore[list-item]
    supervisor.reload()
    assert told == [("collect", signal.SIGHUP)]


def test_without_a_terminal_a_hangup_is_a_wish(tmp_path: Path) -> None:
    """A service has no controlling terminal; for who has one, its loss is the end."""
    program = "from soc import processes; print(processes._has_terminal())"
    alone = subprocess.run(
        [sys.executable, "-c", program], start_new_session=True, capture_output=True, text=True, check=False
    )
    assert alone.stdout == "False\n", alone.stderr
    master, slave = pty.openpty()
    inside = f"import os; os.setsid(); os.close(os.open(os.ttyname({slave}), os.O_RDWR)); {program}"
    shown = subprocess.run(
        [sys.executable, "-c", inside], pass_fds=[slave], capture_output=True, text=True, check=False
    )
    os.close(master)
    os.close(slave)
    assert shown.stdout == "True\n", shown.stderr


def test_settings_that_wait_for_a_restart_are_named(tmp_path: Path) -> None:
    """A reload is for listeners; of the rest a person is told."""
    before = settings_of(tmp_path)
    after = replace(before, queue_max_bytes=1 << 30, listen=before.listen[:1])
    assert processes._waits_for_restart(before, after) == ["queue.max_bytes"]


def test_a_followed_file_s_product_that_no_parser_has_is_refused(tmp_path: Path) -> None:
    """With the nearest name, before the first line is read: it would bury every line."""
    listen = Listen("web", "file", paths=("/var/log/nginx/*.log",), product="nginx.acces")
    with pytest.raises(ConfigError, match=r"\[listen\.web\] product: no parser 'nginx\.acces'"):
        processes.collect(replace(settings_of(tmp_path), listen=(listen,)))


def test_a_process_says_what_it_holds_and_what_it_should_stay_below(tmp_path: Path) -> None:
    """In its state file, for `soc status`; workers share one budget whatever their number."""
    with processes._running(settings_of(tmp_path), "work12") as me:
        me.ready()
        said = state_of(tmp_path, "work12")
    assert 20 << 20 < said["memory"] < 4 << 30
    assert said["memory_budget"] == processes.BUDGETS_MIB["work"] << 20
