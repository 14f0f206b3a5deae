"""What is started again, with which settings, and who is told to read them anew."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from soc.processes.collecting import RELOAD
from soc.processes.home import make_home
from soc.processes.supervisor import Supervisor
from tests.pipeline.world import settings_of


def test_what_cannot_be_started_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No room for its log, no process left: the watch goes on over all the others."""
    settings = settings_of(tmp_path)
    make_home(settings)
    supervisor = Supervisor(settings, [("work0", ("work",)), ("serve", ("serve",))])
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
    make_home(settings)
    monkeypatch.setattr(subprocess, "Popen", Started)
    supervisor = Supervisor(settings, [("work0", ("work",))], Path("/etc/soc/own.toml"))
    supervisor.watch()
    [environment] = given
    assert environment["SOC_CONFIG"] == "/etc/soc/own.toml"
    assert environment["SOC_SOCKET"] == str(settings.socket)
    assert environment["SOC_HOME"] == str(tmp_path)


def test_who_has_settings_or_a_certificate_is_told_to_read_them_again(tmp_path: Path) -> None:
    """`soc up` hands the signal on to who can do it."""
    told: list[tuple[str, int]] = []

    class Child:
        def __init__(self, name: str) -> None:
            self.name, self.process = name, self

        def send_signal(self, number: int) -> None:
            told.append((self.name, number))

    supervisor = Supervisor(settings_of(tmp_path), [])
    supervisor.children = [Child("collect"), Child("work0"), Child("serve")]  # type: ignore[list-item]
    supervisor.reload()
    assert told == [("collect", signal.SIGHUP), ("serve", signal.SIGHUP)]


def test_a_reload_reaches_who_is_still_starting(tmp_path: Path) -> None:
    """A process that is told before it can listen reads its settings when it can, instead of ending at the signal."""
    settings = settings_of(tmp_path)
    make_home(settings)
    supervisor = Supervisor(settings, [("collect", ("collect",))])
    try:
        supervisor.watch()
        supervisor.reload()
        deadline = time.monotonic() + 60
        while RELOAD not in (supervisor.state("collect") or {}) and time.monotonic() < deadline:
            assert supervisor.watch() == [], supervisor.last_words("collect")
            time.sleep(0.05)
        assert (supervisor.state("collect") or {})[RELOAD]["fault"] == ""
    finally:
        supervisor.stop()
