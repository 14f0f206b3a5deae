"""From shippers to alerts through `soc up`: Winlogbeat and Filebeat over HTTPS with a token, a CEF line in GELF."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import logging
from collections.abc import Iterator
from typing import Any

import pygelf
import pytest
from elasticsearch import Elasticsearch, helpers

from tests.collectors.certificates import Authority
from tests.parsers.test_winlogbeat import SYSMON_1
from tests.story.test_units import Side, settings

pytestmark = [pytest.mark.story, pytest.mark.timeout(900)]
SECRET = "a-token-of-the-shippers"
TOML = """
[listen.web]
protocol = "http"
host = "127.0.0.1"
port = 0
certificate = "web.pem"
key = "web.key"
tokens = "tokens.toml"

[listen.gelf]
protocol = "gelf-udp"
host = "127.0.0.1"
port = 0
"""


@pytest.fixture(scope="module")
def side(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Side]:
    """A site with an HTTPS listener and one for GELF."""
    folder = tmp_path_factory.mktemp("posted")
    home = settings(folder / "home", TOML)
    authority = Authority(folder)
    certificate, key = authority.pair("web", dns=("localhost",))
    (home / "web.pem").write_bytes(certificate.read_bytes())
    (home / "web.key").write_bytes(key.read_bytes())
    tokens = home / "tokens.toml"
    tokens.write_text(f'[[token]]\nname = "shipper"\nsha256 = "{hashlib.sha256(SECRET.encode()).hexdigest()}"\n')
    for private in (home / "web.key", tokens):
        private.chmod(0o600)
    running = Side(home)
    running.start()
    yield running
    running.stop()


def now() -> str:
    return dt.datetime.now(dt.UTC).isoformat()


def winlogbeat() -> dict[str, Any]:
    """As its eighth version sends a cleared log."""
    return {
        "@timestamp": now(), "agent": {"type": "winlogbeat", "version": "8.19.0"}, "host": {"name": "dc1"},
        "winlog": {"channel": "Security", "event_id": "1102", "provider_name": "Microsoft-Windows-Eventlog",
                   "computer_name": "dc1", "user_data": {"SubjectUserName": "an"}},
    }  # fmt: skip


def filebeat(line: str, path: str) -> dict[str, Any]:
    """As Filebeat sends a line of a file."""
    return {"@timestamp": now(), "message": line, "log": {"file": {"path": path}}, "agent": {"type": "filebeat"},
            "host": {"name": "web01"}, "input": {"type": "filestream"}}  # fmt: skip


def test_what_shippers_send_becomes_alerts(side: Side) -> None:
    """Each document is one event, and the rules see it: Windows in both shapes of Winlogbeat, a web server's line."""
    ports = side.until(lambda: side.state("collect").get("ports"))
    attack = '203.0.113.9 - - [%s] "GET /a?id=1%%20UNION%%20SELECT%%20x HTTP/1.1" 200 12 "-" "curl/8"'
    stamp = dt.datetime.now(dt.UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")
    documents = [
        winlogbeat(), {**SYSMON_1, "@timestamp": now()}, filebeat(attack % stamp, "/var/log/nginx/access.log"),
        *(filebeat(f"line number {i}", "/var/log/app.log") for i in range(200)),
    ]  # fmt: skip
    key = base64.b64encode(f"shipper:{SECRET}".encode()).decode()
    ca = str(side.home.parent / "ca.pem")
    with Elasticsearch(f"https://localhost:{ports['web']}", api_key=key, ca_certs=ca) as client:
        made = ({"_op_type": "create", "_index": "filebeat-8.19.0", **document} for document in documents)
        assert helpers.bulk(client, made, chunk_size=60) == (len(documents), [])
    log = logging.getLogger("story")
    log.propagate = False
    log.addHandler(pygelf.GelfUdpHandler("127.0.0.1", ports["gelf"]))
    log.error("CEF:0|Vendor|Product|1|9|a word over GELF|5|src=203.0.113.9")
    titles = {"Event log cleared", "PowerShell with an encoded command", "Injection attempt in a web request"}
    assert side.until(lambda: titles <= _titles(side)), _titles(side)
    rows = side.until(lambda: _found(side, "agent.type:*beat", len(documents)))
    assert len(rows) == len({row["event.original"] for row in rows}) == len(documents)
    [cef] = side.until(lambda: _found(side, "event.dataset:generic.cef", 1))
    assert cef["source.ip"] == "203.0.113.9"
    accounts = side.until(lambda: _balanced(side))
    assert {s["listener"]: s["stored"] for s in accounts["sources"] if s["listener"] in ("web", "gelf")} == {
        "web": len(documents), "gelf": 1,
    }  # fmt: skip


def _titles(side: Side) -> set[str]:
    return {alert.get("title") for alert in side.data("alert", "list", acting=None)}


def _found(side: Side, query: str, n: int) -> list[dict[str, Any]] | None:
    rows = list(side.data("search", query, "--since", "1d", "--limit", "1000", acting=None))
    return rows if len(rows) >= n else None


def _balanced(side: Side) -> dict[str, Any] | None:
    found = dict(side.data("source", "list", acting=None))
    return found if found["totals"]["balanced"] else None
