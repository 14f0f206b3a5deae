"""Polling of net-snmp's own agent, v2c and v3, beside net-snmp's own clients; and of agents that lie."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from soc.collectors import snmp_agent
from soc.collectors.poll.secrets import Secrets
from soc.collectors.snmp_agent import Agent
from soc.collectors.snmp_poll import SnmpPoll
from soc.content import shipped
from soc.errors import ConfigError, PermissionRefused, TryAgain
from soc.model.clock import FixedClock, SystemClock
from soc.model.record import RawBlock
from soc.parsers import ParserSet, ParserState
from tests import programs
from tests.collectors.polls import Home, poll, settings
from tests.collectors.running import until

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:pysnmp")
SESSIONS = "1.3.6.1.2.1.25.1.6.0"  # hrSystemProcesses stands for a firewall's count of sessions


class Snmpd:
    """snmpd on a port of its own, which can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        path = programs.program("snmpd")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        (folder / "snmpd.conf").write_text(
            f"agentAddress udp:127.0.0.1:{self.port}\nrocommunity geheim 127.0.0.1\nsysName sw01.example\n"
            'createUser noc SHA-256 "authpass poll" AES "privpass poll"\nrouser noc priv\n'
        )
        self._folder = folder
        self._command = [path, "-f", "-C", "-c", str(folder / "snmpd.conf"), "-Lf", str(folder / "snmpd.log")]
        self._environment = {
            "PATH": os.environ["PATH"], "SNMP_PERSISTENT_DIR": str(folder / "state"), "SNMPCONFPATH": "/-", "MIBS": "",
        }  # fmt: skip
        self.start()

    def start(self) -> None:
        """Begin to answer."""
        self._process = subprocess.Popen(self._command, env=self._environment, stderr=subprocess.DEVNULL)
        assert until(lambda: self.get("1.3.6.1.2.1.1.3.0") != "")

    def stop(self) -> None:
        """As if the device had lost its power."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def get(self, oid: str) -> str:
        """What snmpget says."""
        path = programs.program("snmpget", "snmp")
        command = [path, "-v2c", "-cgeheim", "-t1", "-r0", "-Oqv", f"127.0.0.1:{self.port}", oid]
        return subprocess.run(
            command, capture_output=True, text=True, env=self._environment, timeout=60, check=False
        ).stdout.strip(' "\n')


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snmpd]:
    """One for all."""
    found = Snmpd(tmp_path_factory.mktemp("snmpd"))
    yield found
    found.stop()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """With the secrets."""
    users = (
        '[[user]]\nname = "noc"\nauth = "SHA-256"\nauth_passphrase = "authpass poll"\n'
        'privacy = "AES"\nprivacy_passphrase = "privpass poll"\n'
    )
    for name, text in (("community", "geheim\n"), ("wrong", "falsch\n"), ("users.toml", users),
                       ("bad.toml", users.replace("authpass", "otherpass"))):  # fmt: skip
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    return tmp_path


V2C = {"version": "2c", "community": "file:community"}
V3 = {"version": "3", "users": "users.toml", "user": "noc"}


def driver(home: Path, agent: Any, **options: Any) -> SnmpPoll:
    """Of this agent."""
    given = {"host": "127.0.0.1", "port": agent.port, "timeout_s": 5.0, "retries": 0, **options}
    return SnmpPoll(poll("snmp", **given), Secrets(home), SystemClock())


def documents(page: Any, action: str = "") -> list[dict[str, Any]]:
    """The events of a page."""
    found = [orjson.loads(record) for record in page.records]
    return [event for event in found if event["event.action"] == action or not action]


@pytest.mark.parametrize("version", [V2C, V3])
def test_an_agent_is_asked_for_everything(home: Path, agent: Snmpd, version: dict[str, str]) -> None:
    """System, interfaces, storage and a value of our own, as snmpget sees them; traffic shows in the second look."""
    asked = driver(home, agent, values={"sessions": SESSIONS, "absent": "1.3.6.1.4.1.32473.1.0"}, **version)
    first = asked.fetch(None)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(300):
            sock.sendto(bytes(10_000), ("127.0.0.1", 9))
    # snmpd reads the kernel's counters at most every so many seconds.
    again: list[Any] = []

    def has_seen() -> bool:
        time.sleep(0.3)
        again[:] = [asked.fetch(first.cursor)]
        return bool(documents(again[0], "snmp_interface")[0].get("snmp.interface.ingress.bytes", 0) > 1_000_000)

    assert until(has_seen)
    asked.close()
    [system] = documents(again[0], "snmp_system")
    interfaces = documents(again[0], "snmp_interface")
    lo = next(event for event in interfaces if event["snmp.interface.name"] == "lo")
    assert system["host.name"] == agent.get("1.3.6.1.2.1.1.5.0") == "sw01.example"
    assert len(interfaces) == int(agent.get("1.3.6.1.2.1.2.1.0"))
    assert lo["snmp.interface.oper_status"] == "up"
    assert lo["snmp.interface.ingress.bytes_per_s"] == pytest.approx(
        lo["snmp.interface.ingress.bytes"] / (lo["event.duration"] / 1e9), rel=0.01
    )
    assert system["host.network.ingress.bytes"] >= lo["snmp.interface.ingress.bytes"]
    assert system["snmp.memory.total"] == int(agent.get("1.3.6.1.4.1.2021.4.5.0").split()[0]) * 1024
    assert any(event.get("snmp.storage.type") == "fixed_disk" for event in documents(again[0], "snmp_storage"))
    sessions, absent = documents(again[0], "snmp_value")
    assert abs(sessions["snmp.value.number"] - int(agent.get(SESSIONS))) < 500
    assert absent["error.message"] == "the agent has no such object"
    assert "snmp.interface.ingress.bytes" not in documents(first, "snmp_interface")[0]


def test_silence_and_return_and_restart_are_events(home: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The first silence is an event, then the source is failing; its answers begin with what happened."""
    agent = Snmpd(tmp_path_factory.mktemp("snmpd"))
    asked = driver(home, agent, ask=("interfaces",), timeout_s=2.0, **V2C)
    first = asked.fetch(None)
    assert asked._ticks is not None
    asked._ticks = (asked._ticks[0] + 360_000, asked._ticks[1] - 3600)  # as if it had been looked at for an hour
    agent.stop()
    silent = asked.fetch(first.cursor)
    [event] = documents(silent)
    assert (event["event.action"], silent.counts, silent.wait_s) == ("snmp_unreachable", {"unreachable": 1}, 0.0)
    with pytest.raises(TryAgain, match="No SNMP response"):
        asked.fetch(silent.cursor)
    agent.start()
    back = asked.fetch(silent.cursor)
    agent.stop()
    asked.close()
    actions = [event["event.action"] for event in documents(back)]
    assert {"snmp_reachable", "snmp_restarted", "snmp_system"} <= set(actions)
    assert documents(back, "snmp_reachable")[0]["event.duration"] > 0
    assert "down_us" not in back.cursor


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"version": "2c", "community": "file:wrong", "timeout_s": 0.5}, TryAgain, "No SNMP response"),
        ({"version": "3", "users": "bad.toml", "user": "noc"}, PermissionRefused, "digest"),
        ({"version": "3", "users": "users.toml", "user": "nobody"}, ConfigError, "no user 'nobody'"),
        ({"version": "2c", "community": "file:none"}, ConfigError, "cannot read the secret"),
    ],
)
def test_who_is_not_let_in_is_told_why(
    home: Path, agent: Snmpd, options: dict[str, Any], error: type[Exception], said: str
) -> None:
    """Without the secret in the words."""
    asked = driver(home, agent, **options)
    with pytest.raises(error, match=said) as caught:
        asked.fetch({"down_us": 1})
    asked.close()
    assert not any(secret in str(caught.value) for secret in ("falsch", "geheim", "pass poll"))


def test_processors_and_memory_of_agents_without_ucd(home: Path) -> None:
    """Loads are averaged (net-snmp has them after a minute only); memory comes from hrStorage then."""

    class Fake:
        rows_left_out = 0

        def ask(self, questions: Any) -> Any:
            return asyncio.run(questions())

        async def values(self, oids: Any) -> Any:
            return {(1, 3, 6, 1, 2, 1, 1, 3, 0): 12_345}

        async def table(self, entry: Any, columns: Any) -> Any:
            if entry[-3] == 3:  # hrProcessorEntry
                return {(1,): {2: 40}, (2,): {2: 10}}
            return {(1,): {2: "1.3.6.1.2.1.25.2.1.2", 3: b"RAM", 4: 1024, 5: 1000, 6: 250}}

    asked = driver(home, SimpleNamespace(port=161), ask=("system", "storage"), **V2C)
    asked._agent = Fake()  # type: ignore[assignment]
    system, storage = documents(asked.fetch(None))
    assert (system["host.cpu.usage"], system["snmp.cpu.count"], system["host.uptime"]) == (0.25, 2, 123)
    assert (system["snmp.memory.total"], system["snmp.memory.used"]) == (1_024_000, 256_000)
    assert (storage["snmp.storage.name"], storage["snmp.storage.type"]) == ("RAM", "ram")


# agents that lie -----------------------------------------------------------------------------------------------------


def lying(answers: Any) -> Agent:
    """An agent that answers each question for more rows with what `answers` makes of it."""
    made = Agent(poll("snmp", host="192.0.2.1", **V2C), Secrets(Path("/")))

    async def send(command: str, options: Any, oids: Any) -> Any:
        return answers(oids)

    made._asking = (SimpleNamespace(), SimpleNamespace(close_dispatcher=lambda: None), None, None, None)
    made._send = send  # type: ignore[method-assign]
    return made


def test_an_agent_that_goes_backwards_ends_its_table() -> None:
    """It would be asked for ever."""
    made = lying(lambda oids: [((1, 2, 3, 1), 7)])
    assert made.ask(lambda: made.table((1, 2), (3,))) == {(1,): {3: 7}}
    made.close()


def test_a_table_without_end_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many rows; that there were more is counted."""
    monkeypatch.setattr(snmp_agent, "MAX_ROWS", 50)
    made = lying(lambda oids: [((*oid[:3], (oid[3] if len(oid) > 3 else 0) + 1), 7) for oid in oids])
    assert len(made.ask(lambda: made.table((1, 2), (3, 4)))) == 50
    assert made.rows_left_out == 2
    made.close()


def test_an_agent_that_never_ends_its_answers_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """All questions of a look have so many seconds."""
    monkeypatch.setattr(snmp_agent, "LONGEST_S", 0.2)
    made = lying(lambda oids: [])

    async def waits() -> None:
        await asyncio.sleep(30)

    with pytest.raises(TryAgain, match="longer than"):
        made.ask(waits)
    made.close()


# events --------------------------------------------------------------------------------------------------------------


def test_answers_are_metrics_and_silence_is_an_event() -> None:
    """ECS names with their types; what is no answer stays, unparsed."""
    parsers = ParserSet.load([shipped("parsers")])
    now = FixedClock(1_795_143_600_000_000_000).now_ns()
    records = [
        orjson.dumps({"@timestamp": "2026-11-20T03:00:00+00:00", "event.action": "snmp_system",
                      "host.network.ingress.bytes": 7, "host.cpu.usage": 0.5, "odd.name": 1}),
        orjson.dumps({"event.action": "snmp_unreachable", "event.kind": "event", "error.message": "silent"}),
        b"\xff no answer",
    ]  # fmt: skip
    block = RawBlock.of(records, receipt_ns=now, format="snmp-poll", peer="192.0.2.7")
    batches, _ = parsers.parse(block, ParserState(), now)
    rows = {row["soc.position"].split(":")[3]: row for batch in batches for row in batch.rows()}
    assert (rows["0"]["event.kind"], rows["0"]["host.network.ingress.bytes"], rows["0"]["host.cpu.usage"]) == (
        "metric", 7, 0.5,
    )  # fmt: skip
    assert (rows["0"]["observer.ip"], rows["0"]["soc.rest"]) == (("192.0.2.7",), {"odd.name": 1})
    assert (rows["1"]["event.kind"], rows["1"]["event.dataset"]) == ("event", "snmp.poll")
    assert rows["2"]["event.dataset"] == "unparsed"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("", "version 2c needs 'community'"),
        ('community = "public"', "file:PATH or env:NAME, never the secret itself"),
        ('version = "3"\nusers = "u.toml"', "version 3 needs 'user'"),
        ('version = "1"', "one of 2c, 3"),
        ('community = "env:C"\nvalues = {x = "sysUpTime.0"}', "'x' is none: numbers and dots"),
        ('community = "env:C"\nask = ["everything"]', "not everything"),
    ],
)
def test_a_section_that_is_wrong_says_why(tmp_path: Path, lines: str, said: str) -> None:
    """With its place; a community that was written there is not repeated."""
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, f'[poll.sw]\ndriver = "snmp"\nhost = "10.0.0.1"\n{lines}\n')
    assert said in str(caught.value)
    assert "soc.toml:" in str(caught.value)
    assert '"public"' not in str(caught.value)
    assert "'public'" not in str(caught.value)


def test_a_look_is_queued_with_its_cursor_and_counted(home: Path, agent: Snmpd, tmp_path: Path) -> None:
    """Through the runner of all polled sources: durable, counted under the section's name, its health told."""
    place = Home(tmp_path / "queue")
    poller = place.poller(driver(home, agent, ask=("system",), **V2C))
    for _ in range(2):
        assert poller.sources[0].step() > 0
    poller.sources[0].polled.driver.close()
    [health] = poller.health()
    assert (health["state"], health["errors"], health["records"]) == ("ok", 0, 2)
    assert [orjson.loads(record)["event.action"] for record in place.records()] == ["snmp_system"] * 2
    assert {block.format for block in place.blocks()} == {"snmp-poll"}
    assert sum(row["queued"] for row in poller.counters()) == 2
