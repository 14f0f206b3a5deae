"""A commune and its centre as `soc up` starts them: joined by a command, cut and killed, nothing lost or doubled."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port
from tests.story.running import SOC, Running

pytestmark = [pytest.mark.story, pytest.mark.timeout(900)]
N = 600
SEEN = 5599
"""A port whose packets the unit's monitoring point keeps."""


class Side(Running):
    """One of the two."""

    def start(self) -> str:
        """`soc up` with the settings in its home."""
        self._process = subprocess.Popen(
            (*SOC, "up", "--no-console"), env=self.environment, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        return self.said_until_up()

    def said_until_up(self) -> str:
        """What it prints until everything runs."""
        assert self._process is not None
        assert self._process.stdout is not None
        said = ""
        for line in self._process.stdout:
            said += line
            if "soc console" in line:
                return said
        raise AssertionError(said)

    def state(self, name: str) -> dict[str, Any]:
        """What a process says of itself; empty while it starts."""
        try:
            return dict(json.loads((self.home / "run" / f"{name}.state.json").read_text()))
        except FileNotFoundError:
            return {}

    def kill(self, name: str) -> None:
        """kill -9; the supervisor starts it again."""
        assert self.until(lambda: self._killed(self.state(name).get("pid")))

    def _killed(self, pid: int | None) -> bool:
        try:
            os.kill(pid or -(2**30), signal.SIGKILL)
        except ProcessLookupError:
            return False  # it is being started again
        return True


def settings(home: Path, text: str) -> Path:
    """A home with its soc.toml."""
    home.mkdir(mode=0o700)
    (home / "soc.toml").write_text(text, "utf-8")
    return home


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Side]:
    """A centre with a hub."""
    text = f'[relay]\nhost = "127.0.0.1"\nport = {free_port()}\n'
    side = Side(settings(tmp_path_factory.mktemp("centre") / "home", text))
    side.start()
    yield side
    side.stop()


@pytest.fixture(scope="module")
def unit(centre: Side, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Side]:
    """A commune that joined it."""
    url = f"https://127.0.0.1:{centre.state('hub')['port']}"
    home = tmp_path_factory.mktemp("unit") / "home"
    ring = f'[sense.edge]\ninterface = "lo"\npromiscuous = false\nfilter = "tcp port {SEEN}"\n'
    side = Side(settings(home, f'[site]\nid = "dakbla"\n[relay]\nurl = "{url}"\n{ring}'))
    token = centre.soc("relay", "invite", "xa-dakbla").out.strip()
    joined = side.soc("relay", "join", url, token)
    assert joined.code == 0, joined.err
    side.start()
    yield side
    side.stop()


def test_what_a_commune_hears_is_searched_at_the_centre_once(centre: Side, unit: Side) -> None:
    """Relay, hub and worker are killed while it flows: every line is there exactly once, the accounts balance."""
    port = unit.until(lambda: unit.state("collect")["ports"]["syslog-tcp"])
    with socket.create_connection(("127.0.0.1", port)) as tcp:
        for n in range(N):
            tcp.sendall(b"<13>Nov 25 10:00:00 gw app: line number %d\n" % n)
            if n in (100, 400):
                unit.kill("relay")
                centre.kill("hub" if n == 100 else "work0")
                unit.until(lambda: False, 1)
    rows = centre.until(lambda: _rows(centre))
    numbers = sorted(int(row["event.original"].rpartition(" ")[2]) for row in rows or _found(centre))
    assert numbers == list(range(N))
    accounts = centre.until(lambda: _balanced(centre))
    [source] = [s for s in accounts["sources"] if s["site"] == "dakbla"]
    assert (source["received"], source["stored"], source["balanced"]) == (N, N, True)


def _found(centre: Side) -> list[dict[str, Any]]:
    return list(centre.data("search", "soc.site:dakbla", "--since", "1d", "--limit", "1000", acting=None))


def _rows(centre: Side) -> list[dict[str, Any]] | None:
    rows = _found(centre)
    return rows if len(rows) >= N else None


def _balanced(centre: Side) -> dict[str, Any] | None:
    found = dict(centre.data("source", "list", acting=None))
    return found if found["totals"]["balanced"] else None


def test_the_centre_sees_how_the_unit_is(centre: Side, unit: Side) -> None:
    """Joined, heard, and what waits there."""
    [row] = centre.until(lambda: [r for r in centre.data("relay", "list", acting=None) if r["heard_us"]])
    assert row["name"] == "xa-dakbla"
    assert row["joined_us"]
    assert set(row["health"]["queue"]) == {"frames", "records", "oldest_receipt_ns"}
    assert {process["name"] for process in row["health"]["processes"]} == {"collect", "relay", "sense-edge"}


def test_the_packets_of_a_units_ring_are_fetched_from_the_centre(centre: Side, unit: Side, tmp_path: Path) -> None:
    """What the monitoring point of the commune captured comes over the relay's own connection, octet for octet."""
    sent = [b"packet %d of the commune" % n for n in range(20)]
    assert unit.until(lambda: "kernel_packets" in unit.state("sense-edge").get("counts", {}))
    with socket.create_server(("127.0.0.1", SEEN)) as server, socket.create_connection(("127.0.0.1", SEEN)) as tcp:
        talk, _ = server.accept()
        for data in sent:
            tcp.sendall(data)
        tcp.close()
        talk.close()
    query = "event.dataset:packet.flow soc.site:dakbla"
    found = centre.until(lambda: centre.data("search", query, "--since", "1d", acting=None))
    flow = found[0]["network.community_id"]
    assert centre.soc("person", "add", "thu", "--role", "tier3").code == 0
    token = centre.soc("person", "token", "thu").out.split()[-1]
    out = tmp_path / "flow.pcapng"
    ran = centre.soc("packet", "get", "--community-id", flow, "--reason", "PH-1", "-o", str(out), SOC_TOKEN=token)
    assert ran.code == 0, ran.err
    assert all(data in out.read_bytes() for data in sent)
    ledger = [entry["act"] for entry in centre.data("ledger", "list", acting=None)]
    assert {"packet.ask", "packet.get"} <= set(ledger)


def test_a_unit_that_is_shut_out_is_refused_and_says_so(centre: Side, unit: Side) -> None:
    """The records wait at the unit."""
    shut = centre.soc("relay", "forget", "xa-dakbla", "--reason", "closed")
    assert shut.code == 0, shut.err
    port = unit.state("collect")["ports"]["syslog-tcp"]
    with socket.create_connection(("127.0.0.1", port)) as tcp:
        tcp.sendall(b"<13>Nov 25 10:00:00 gw app: late\n")
    fault = unit.until(lambda: unit.state("relay").get("counts", {}).get("fault"))
    assert "not enrolled" in fault


def test_a_hub_whose_port_is_taken_says_so_and_takes_no_other(tmp_path: Path) -> None:
    """Units know one port: exit 2 with the place and the way out."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        side = Side(settings(tmp_path / "home", f'[relay]\nhost = "127.0.0.1"\nport = {port}\n'))
        refused = side.soc("relay", "hub")
    assert refused.code == 2
    assert f"cannot listen on 127.0.0.1 port {port}" in refused.err
    assert "each unit's url" in refused.err
