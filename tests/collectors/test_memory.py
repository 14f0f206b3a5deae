"""A collector's memory: little at rest, bounded while a flood comes over connections, given back after it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from benchmarks import receive
from soc.collectors import memory
from tests.collectors.running import until

TOP = Path(__file__).parents[2]
FLOOD = 1_000_000


def resident_mib(pid: int) -> float:
    """What the process holds now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


@pytest.mark.parametrize("name", ["syslog_tcp_lf", "syslog_tcp_octet"])
def test_a_flood_is_held_in_bounds_and_leaves_nothing_behind(tmp_path: Path, name: str) -> None:
    """115 MB at full speed: all queued, at most 150 MiB more than at rest, and a calm second frees them."""
    case = next(case for case in receive.cases(tmp_path, 1) if case.name == name)
    with tempfile.TemporaryDirectory() as root:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.collector", root, case.protocol, receive.HOST],
            stdout=subprocess.PIPE, text=True, cwd=TOP,
        )  # fmt: skip
        assert process.stdout is not None
        port, rest = process.stdout.readline().split()
        case.send(int(port), FLOOD)
        calm = until(lambda: resident_mib(process.pid) < float(rest) + 40)
        process.terminate()
        queued, dropped, _, peak = process.stdout.read().split()
        process.stdout.close()
        assert process.wait(60) == 0
    assert (int(queued), int(dropped)) == (FLOOD, 0)
    assert float(rest) < 100
    assert float(peak) < float(rest) + 150
    assert calm


ALL = ("syslog-udp", "syslog-tcp", "relp", "http", "netflow", "sflow", "snmp-trap", "gelf-udp", "gelf-tcp")


def test_soc_collect_needs_little_at_rest(tmp_path: Path) -> None:
    """The command itself, with a listener for each protocol that needs no certificate: at most 150 MiB."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "soc.toml").write_text("".join(f'[listen.{p}]\nprotocol = "{p}"\nport = 0\n' for p in ALL))
    state = home / "run" / "collect.state.json"
    process = subprocess.Popen(
        [sys.executable, "-m", "soc", "collect"], cwd=TOP, env={**os.environ, "SOC_HOME": str(home)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert until(state.exists)
        until(lambda: False, 2)
        at_rest = resident_mib(process.pid)
    finally:
        process.terminate()
        process.wait(60)
    assert at_rest <= 150


def test_memory_is_given_back_once_it_is_calm(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a busy second the first calm one, and not again."""
    given = []
    monkeypatch.setattr(memory, "give_back", lambda: given.append(1))
    calm = memory.Calm()
    for size, expected in ((10, 0), (5 << 20, 0), (9 << 20, 0), (10, 1), (0, 1), (2 << 20, 1), (0, 2)):
        calm.note(size)
        calm.second()
        assert len(given) == expected
