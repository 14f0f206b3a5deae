"""What the tables with a name of their own become: `[listen.<name>]`, `[national.<name>]` and their like."""

from __future__ import annotations

import re
from dataclasses import dataclass

from soc.model.poll import Poll

PROTOCOLS = (
    "syslog-udp", "syslog-tcp", "syslog-tls", "relp", "relp-tls", "netflow", "sflow", "snmp-trap", "http", "gelf-udp",
    "gelf-tcp", "gelf-tls", "file",
)  # fmt: skip
TLS_NEEDED = ("syslog-tls", "relp-tls")
"""These need a certificate and its key."""
TLS_UNUSED = {"syslog-tcp": "syslog-tls", "relp": "relp-tls"}
"""These would ignore a certificate, and what the person meant."""
STREAMS = ("syslog-tcp", "syslog-tls", "relp", "relp-tls", "http", "gelf-tcp", "gelf-tls")
"""These take a TCP port, the others a UDP port."""
POLL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""It is the listener of its records, and part of a file's name."""


@dataclass(frozen=True)
class Listen:
    """One listener: where it binds and what it accepts; of protocol `file`, which files it follows."""

    name: str
    protocol: str
    port: int = 0
    host: str = "127.0.0.1"
    max_bytes: int = 65536
    allow: tuple[str, ...] = ()
    rate: int = 0
    burst: int = 0
    rates: tuple[tuple[str, int, int], ...] = ()
    fallback: bool = True
    certificate: str = ""
    key: str = ""
    clients_ca: str = ""
    clients: tuple[str, ...] = ()
    tokens: str = ""
    users: str = ""
    paths: tuple[str, ...] = ()
    product: str = ""
    multiline: str = ""
    multiline_wait_s: int = 5
    site: str = ""
    zone: str = ""
    system: str = ""


@dataclass(frozen=True)
class National:
    """One destination of the national connection; certificate files by path, relative to SOC_HOME."""

    name: str
    url: str
    mapping: str = "national.reference"
    ca: str = "national/ca.pem"
    certificate: str = "national/client.pem"
    key: str = "national/client.key"
    minimum_level: str = "high"
    sender_code: str = ""
    sender_name: str = ""


@dataclass(frozen=True)
class Sense:
    """One monitoring point: an interface whose packets are followed, and how many of them are kept."""

    name: str
    interface: str
    promiscuous: bool = False
    filter: str = ""
    snap: int = 262_144
    ring_max_bytes: int = 1 << 30
    ring_max_age_s: int = 86_400


@dataclass(frozen=True)
class UnitRules:
    """The rules that are off or on for the events of one owner unit; `name` is the unit's id."""

    name: str
    disable: tuple[str, ...] = ()
    enable: tuple[str, ...] = ()


Entry = Listen | National | Poll | Sense | UnitRules
"""What a table with a name of its own becomes."""


DEFAULT_LISTEN = (
    Listen("syslog-udp", "syslog-udp", 5514),
    Listen("syslog-tcp", "syslog-tcp", 5514),
    Listen("netflow", "netflow", 2055),
    Listen("snmp-trap", "snmp-trap", 1162),
)
