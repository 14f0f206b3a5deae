"""graypy and pygelf, as nobody here wrote them, over every transport they have."""

from collections import Counter

import graypy
import pygelf
import pytest

from soc.collectors.listeners import ListenerSpec, Tls
from tests.collectors.certificates import Authority
from tests.collectors.running import MemoryQueue, balances, running, total, until
from tests.collectors.test_http_clients import HOST, TEXTS, events, logged, parsers

__all__ = ["parsers"]
LONG = [f"{text} " + " ".join(str(k * k * len(text)) for k in range(900)) for text in TEXTS[:40]]
"""More than one datagram holds, also when compressed."""
CLIENTS = {
    "graypy udp": ("gelf-udp", lambda port, ca: graypy.GELFUDPHandler(HOST, port)),
    "graypy udp plain": ("gelf-udp", lambda port, ca: graypy.GELFUDPHandler(HOST, port, compress=False)),
    "graypy tcp": ("gelf-tcp", lambda port, ca: graypy.GELFTCPHandler(HOST, port)),
    "graypy tls": ("gelf-tls", lambda port, ca: graypy.GELFTLSHandler(HOST, port, validate=True, ca_certs=ca)),
    "graypy http": ("http", lambda port, ca: graypy.GELFHTTPHandler(HOST, port)),
    "graypy http plain": ("http", lambda port, ca: graypy.GELFHTTPHandler(HOST, port, compress=False)),
    "pygelf udp": ("gelf-udp", lambda port, ca: pygelf.GelfUdpHandler(HOST, port, include_extra_fields=True)),
    "pygelf tcp": ("gelf-tcp", lambda port, ca: pygelf.GelfTcpHandler(HOST, port, include_extra_fields=True)),
    "pygelf tls": (
        "gelf-tls",
        lambda port, ca: pygelf.GelfTlsHandler(
            validate=True, ca_certs=ca, host=HOST, port=port, include_extra_fields=True
        ),
    ),
    "pygelf http": ("http", lambda port, ca: pygelf.GelfHttpHandler(HOST, port, include_extra_fields=True)),
    "pygelf https": (
        "https",
        lambda port, ca: pygelf.GelfHttpsHandler(HOST, port, validate=True, ca_certs=ca, include_extra_fields=True),
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # graypy wraps its socket in an old way
@pytest.mark.parametrize("name", CLIENTS)
def test_each_message_arrives_once(tmp_path, parsers, name):
    """Short ones, and ones of several chunks, each with its text, level and additional fields."""
    protocol, handler = CLIENTS[name]
    authority = Authority(tmp_path)
    is_secret = protocol in ("https", "gelf-tls")
    options = {"tls": Tls(*authority.pair("collector", dns=(HOST,)))} if is_secret else {}
    spec = ListenerSpec("g", protocol.replace("https", "http"), "127.0.0.1", 0, "s", **options)
    queue, texts = MemoryQueue(), TEXTS + LONG
    with running([spec], queue, tmp_path / "c.json") as (collector, ports):
        logged(handler(ports["g"], str(authority.path)), texts)
        assert until(lambda: total(collector, "queued") >= len(texts)), total(collector, "queued")
        assert balances(collector.counters())
    found = events(parsers, queue)
    assert Counter(event["message"] for event in found) == Counter(texts)
    assert {event["log.level"] for event in found} == {"warning"}
    assert {event["event.dataset"] for event in found} == {"generic.gelf"}
    assert {(e["message"], e["user.name"]) for e in found} == {(text, f"u{i}") for i, text in enumerate(texts)}
