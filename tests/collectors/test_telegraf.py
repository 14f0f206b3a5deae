"""Telegraf, as nobody here wrote it: a file's lines over every output that it has for a log collector."""

from collections import Counter
from pathlib import Path

import pytest

from soc.collectors.listeners import ListenerSpec, Tls
from tests import programs
from tests.collectors.certificates import Authority
from tests.collectors.running import MemoryQueue, balances, running, total, until
from tests.collectors.test_http import tokens_file
from tests.collectors.test_http_clients import SECRET, events, parsers
from tests.collectors.test_http_daemons import daemon

__all__ = ["parsers"]
TEXTS = [f"number {i} đăng nhập" for i in range(200)]
CLEAR, SECURE = "127.0.0.1", "localhost"


@pytest.fixture(scope="module")
def program():
    """Built once; its recipe says with what."""
    return programs.server("telegraf")


ELASTIC = """
[[outputs.elasticsearch]]
  urls = ["{url}"]
  index_name = "logs-my.app-default"
  manage_template = false
  enable_gzip = {gzip}
  timeout = "20s"
"""
OUTPUTS = {
    "elasticsearch": ("http", ELASTIC.replace("{gzip}", "false")),
    "elasticsearch gzip, https, token": (
        "https",
        ELASTIC.replace("{gzip}", "true") + '  username = "shipper"\n  password = "{secret}"\n  tls_ca = "{ca}"\n',
    ),
    "http": (
        "http", '[[outputs.http]]\n  url = "{url}/v1/logs"\n  data_format = "json"\n  content_encoding = "gzip"\n'
        '  json_transformation = "metrics.fields"\n',
    ),
    "gelf udp": ("gelf-udp", '[[outputs.graylog]]\n  servers = ["udp://{place}"]\n  short_message_field = "message"\n'),
    "gelf tcp": ("gelf-tcp", '[[outputs.graylog]]\n  servers = ["tcp://{place}"]\n  short_message_field = "message"\n'),
    "syslog octets counted": ("syslog-tcp", '[[outputs.syslog]]\n  address = "tcp://{place}"\n'),
    "syslog line feeds": (
        "syslog-tcp", '[[outputs.syslog]]\n  address = "tcp://{place}"\n  framing = "non-transparent"\n',
    ),
    "syslog udp": ("syslog-udp", '[[outputs.syslog]]\n  address = "udp://{place}"\n'),
    "syslog tls": ("syslog-tls", '[[outputs.syslog]]\n  address = "tcp://{place}"\n  tls_ca = "{ca}"\n'),
}  # fmt: skip


def configuration(folder, output, field):
    lines = folder / "in.log"
    lines.write_text("".join(f"{text}\n" for text in TEXTS))
    path = folder / "telegraf.conf"
    path.write_text(f"""
[agent]
  interval = "200ms"
  flush_interval = "200ms"
  omit_hostname = true
[[inputs.tail]]
  files = ["{lines}"]
  initial_read_offset = "beginning"
  watch_method = "poll"
  data_format = "grok"
  grok_patterns = ["%{{GREEDYDATA:{field}}}"]
{output}""")
    return path


@pytest.mark.parametrize("name", OUTPUTS)
def test_each_line_arrives_once(tmp_path, parsers, program, name):
    """With its text, in whatever form Telegraf gives it."""
    protocol, output = OUTPUTS[name]
    authority = Authority(tmp_path)
    is_secret = protocol in ("https", "syslog-tls")
    options = {"tls": Tls(*authority.pair("collector", dns=(SECURE,)))} if is_secret else {}
    if protocol == "https":
        options["tokens"] = tokens_file(tmp_path / "tokens.toml", ("shipper", SECRET))
    spec = ListenerSpec("t", protocol.replace("https", "http"), CLEAR, 0, "s", **options)
    queue = MemoryQueue()
    with running([spec], queue, tmp_path / "c.json") as (collector, ports):
        place = f"{SECURE if is_secret else CLEAR}:{ports['t']}"
        url = f"{'https' if is_secret else 'http'}://{place}"
        path = configuration(
            tmp_path,
            output.format(url=url, place=place, ca=authority.path, secret=SECRET),
            "msg" if "syslog" in protocol else "message",
        )
        with daemon(tmp_path, [program, "--config", str(path)]):
            said = tmp_path / "said"
            assert until(lambda: total(collector, "queued") >= len(TEXTS)), Path(said).read_text()
            assert balances(collector.counters())
    found = events(parsers, queue)
    texts = [event.get("message") or event["soc.rest"]["tail.message"] for event in found]
    assert Counter(texts) == Counter(TEXTS)
    assert "syslog" not in protocol or {event["log.syslog.appname"] for event in found} == {"Telegraf"}
