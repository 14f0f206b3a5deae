"""`soc up` as a service: a hangup changes its listeners, and a device that sends meanwhile notices nothing."""

from __future__ import annotations

import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.story.running import SOC
from tests.story.test_units import Side

pytestmark = [pytest.mark.story, pytest.mark.timeout(900)]
LISTEN = '[listen.tcp]\nprotocol = "syslog-tcp"\nhost = "127.7.0.1"\nport = 0\n[web]\nport = 0\n'
MORE = '[listen.udp]\nprotocol = "syslog-udp"\nhost = "127.7.0.1"\nport = 0\n'


class Service(Side):
    """Started as systemd does: without a terminal."""

    def start(self) -> str:
        self._process = subprocess.Popen(
            (*SOC, "up", "--no-console"), env=self.environment, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        return self.said_until_up()

    def hang_up(self) -> None:
        """What `systemctl reload` sends."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)


def test_a_service_reads_its_listeners_again(tmp_path: Path) -> None:
    """Through the supervisor to the collector, whose process and connections stay; a wrong file changes nothing."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "soc.toml").write_text(LISTEN)
    service = Service(home)
    service.start()
    before, web = service.state("collect"), service.state("serve")
    with socket.create_connection(("127.7.0.1", before["ports"]["tcp"]), 10) as device:
        device.sendall(b"<13>one\n")
        (home / "soc.toml").write_text(LISTEN + MORE)
        service.hang_up()
        assert service.until(lambda: set(service.state("collect").get("ports", ())) == {"tcp", "udp"})
        device.sendall(b"<13>two\n")
        (home / "soc.toml").write_text(LISTEN + "[listen.tcp2]\n")
        service.hang_up()
        assert service.until(lambda: service.state("collect").get("reload", {}).get("fault"))
        device.sendall(b"<13>three\n")
        (home / "soc.toml").write_text(LISTEN + MORE)  # a command refuses a wrong file too
        found = service.until(lambda: _stored(service) == 3)
    after = service.state("collect")
    assert service.state("serve")["pid"] == web["pid"], "the API was asked to read its certificate again, and ended"
    service.stop()
    assert found, "a line is missing"
    assert (after["pid"], set(after["ports"])) == (before["pid"], {"tcp", "udp"})
    assert f"{home}/soc.toml:7: 'protocol' is missing in [listen.tcp2]" in after["reload"]["fault"]


def _stored(service: Service) -> int:
    accounts = service.data("source", "list", acting=None)
    assert accounts["totals"]["balanced"] is not False
    return int(accounts["totals"]["stored"])
