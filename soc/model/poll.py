"""`Poll`: a source that we ask, `[poll.<name>]` of soc.toml, and what each driver may be told.

Secrets are never values of soc.toml: they are references, `file:PATH` (relative to SOC_HOME, mode 0600) or `env:NAME`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NEEDED = object()
"""The default of an option that must be given."""
SECRET_HEADERS = ("authorization", "proxy-authorization", "cookie", "x-api-key", "x-auth-token", "api-key", "apikey")
"""Headers whose value is a reference and never stands in soc.toml."""
SECRETS = ("headers", "password", "key", "community")
"""Options that refer to secrets; a wrong value of them is not repeated in an error."""
SNMP_ASKS = ("interfaces", "system", "storage")
"""What an SNMP agent is asked for."""
PAGINGS = ("none", "token", "link", "page", "offset")
KAFKA_FORMATS = ("lines", "syslog", "json", "document", "windows-json", "hec", "gelf")
TIME_FORMS = ("iso", "epoch", "epoch_ms")
_REFERENCE = re.compile(r"file:\S.*|env:[A-Za-z_][A-Za-z0-9_]*")
_URL = re.compile(r"https?://[^\s/?#@]+(/[^\s#]*)?")
_PATH = re.compile(r"[^.\s]+(\.[^.\s]+)*")
_START = re.compile(r"now|beginning|\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d))?")

Check = Callable[[Any, Path], Any]
"""The value as the driver takes it, or a ValueError whose words end the sentence "'url' should be …"."""


@dataclass(frozen=True)
class Option:
    """One key of `[poll.<name>]`."""

    check: Check
    default: Any
    meaning: str


@dataclass(frozen=True)
class Poll:
    """One source that is polled; `options` are those of its driver, all of them, defaults filled in."""

    name: str
    driver: str
    options: Mapping[str, Any]

    def __getitem__(self, key: str) -> Any:
        return self.options[key]


def _text(value: Any, _base: Path) -> str:
    if not isinstance(value, str):
        raise ValueError("text")
    return value


def _word(value: Any, _base: Path) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("text that is not empty")
    return value


def _words(value: Any, _base: Path) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not value or not all(isinstance(v, str) and v.strip() for v in value):
        raise ValueError("a list of texts that are not empty")
    return tuple(value)


def _maybe_words(value: Any, base: Path) -> tuple[str, ...]:
    return () if value in ([], ()) else _words(value, base)


def _one_of(*words: str) -> Check:
    def check(value: Any, _base: Path) -> str:
        if value not in words:
            raise ValueError(f"one of {', '.join(words)}")
        return str(value)

    return check


def _whole(least: int, most: int) -> Check:
    def check(value: Any, _base: Path) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError(f"a whole number from {least} to {most}")
        return value

    return check


def _seconds(value: Any, _base: Path) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 31_536_000:
        raise ValueError("a number of seconds")
    return float(value)


def _interval(value: Any, base: Path) -> float:
    seconds = _seconds(value, base)
    if seconds < 0.05:
        raise ValueError("a number of seconds from 0.05 up")
    return seconds


def _url(value: Any, _base: Path) -> str:
    if not isinstance(value, str) or not _URL.fullmatch(value):
        raise ValueError("an https:// address without a user or password in it")
    return value


def _maybe_url(value: Any, base: Path) -> str:
    return "" if value == "" else _url(value, base)


def _database(value: Any, _base: Path) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"postgresql://(?:[^\s:/@]+@)?[^\s@]+|sqlite://\S+", value):
        raise ValueError("postgresql://user@host:port/database (without a password in it) or sqlite:///path")
    return value


def _path(value: Any, _base: Path) -> str:
    if not isinstance(value, str) or (value and not _PATH.fullmatch(value)):
        raise ValueError("names joined by dots, such as data.items")
    return value


def _start(value: Any, _base: Path) -> str:
    if not isinstance(value, str) or not _START.fullmatch(value):
        raise ValueError("now, beginning or a time such as 2026-11-01T00:00:00Z")
    return value


def _reference(value: Any, _base: Path) -> str:
    # What was written is not repeated in the error: it may be the secret itself.
    if not isinstance(value, str) or not _REFERENCE.fullmatch(value):
        raise ValueError("file:PATH or env:NAME, never the secret itself")
    return value


def _maybe_reference(value: Any, base: Path) -> str:
    return "" if value == "" else _reference(value, base)


def _headers(value: Any, base: Path) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(v, str) and "\n" not in v for v in value.values()):
        raise ValueError('a table of texts, such as {Authorization = "file:poll/cloud.header"}')
    for name, text in value.items():
        if not re.fullmatch(r"[A-Za-z0-9-]+", name):
            raise ValueError(f"a table of headers ('{name}' is no header name)")
        if name.lower() in SECRET_HEADERS and not _REFERENCE.fullmatch(text):
            raise ValueError(f"a table in which '{name}' is file:PATH or env:NAME, never the secret itself")
    return dict(value)


def _table(value: Any, _base: Path) -> dict[str, Any]:
    if not isinstance(value, dict) or any(isinstance(v, dict | list) and len(str(v)) > 65_536 for v in value.values()):
        raise ValueError("a table")
    return dict(value)


def _directory(value: Any, _base: Path) -> str:
    if not isinstance(value, str) or (value and not value.startswith("/")):
        raise ValueError("an absolute path")
    return value


def _matches(value: Any, base: Path) -> tuple[str, ...]:
    found = () if value in ([], ()) else _words(value, base)
    if not all(re.fullmatch(r"_{0,2}[A-Z][A-Z0-9_]*=.*|\+", match) for match in found):
        raise ValueError("a list of FIELD=value")
    return found


def _brokers(value: Any, base: Path) -> tuple[str, ...]:
    found = _words(value, base)
    if not all(re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[^\s:,/@\[\]]+):[0-9]{1,5}", broker) for broker in found):
        raise ValueError("a list of host:port")
    return found


def _host(value: Any, _base: Path) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_.:%-]{1,253}", value):
        raise ValueError("a host name or an address")
    return value


def _asks(value: Any, base: Path) -> tuple[str, ...]:
    found = _words(value, base)
    if unknown := [word for word in found if word not in SNMP_ASKS]:
        raise ValueError(f"a list of {', '.join(SNMP_ASKS)}, not {unknown[0]}")
    return found


def _oids(value: Any, _base: Path) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > 200:
        raise ValueError('a table of identifiers by name, such as {sessions = "1.3.6.1.4.1.12356.101.4.1.8.0"}')
    for name, oid in value.items():
        if not isinstance(oid, str) or not re.fullmatch(r"[0-2](\.\d{1,10}){1,127}", oid):
            raise ValueError(f"a table of identifiers ('{name}' is none: numbers and dots)")
    return dict(value)


def _dataset(value: Any, _base: Path) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[a-z][a-z0-9]*(?:[._-][a-z0-9]+){0,7}", value or "a"):
        raise ValueError("a name such as vendor.product, of a-z, 0-9 and dots")
    return value


_COMMON = {
    "every_s": Option(_interval, 60.0, "seconds between two looks when there was nothing new"),
    "peer": Option(_text, "", "address by which the registry knows the source; empty = the host that is asked"),
    "dataset": Option(_dataset, "", "dataset of records that name none themselves"),
}
_WEB = {
    "url": Option(_url, NEEDED, "what is asked; https, or http on this machine or without secrets"),
    "headers": Option(_headers, {}, "headers of each request; secret ones by reference (file:PATH, env:NAME)"),
    "ca": Option(_text, "", "CA certificate of the server, relative to SOC_HOME; empty = the system's"),
    "certificate": Option(_text, "", "our client certificate, relative to SOC_HOME"),
    "key_file": Option(_text, "", "its private key, relative to SOC_HOME"),
    "proxy": Option(_maybe_url, "", "HTTP proxy in between; empty = none, whatever the environment says"),
    "timeout_s": Option(_interval, 30.0, "seconds without an answer after which it is asked again"),
    "max_body": Option(_whole(1024, 256 << 20), 32 << 20, "bytes of an answer; a longer one is an error"),
    "requests_per_minute": Option(_whole(0, 100_000), 0, "at most so many; 0 = as many as it takes"),
    "limit": Option(_whole(1, 100_000), 1000, "records of a page"),
    "start": Option(_start, "beginning", "from when the first time: now, beginning or a time"),
    "overlap_s": Option(_seconds, 60.0, "so far back each look begins again; what was had is left out"),
}

OPTIONS: Mapping[str, Mapping[str, Option]] = {
    "rest": {
        **_COMMON,
        **_WEB,
        "method": Option(_one_of("GET", "POST"), "GET", "POST sends the parameters as a JSON body"),
        "params": Option(_table, {}, "parameters of each request"),
        "items": Option(_path, "", "where the records stand in the answer, names joined by dots; empty = all of it"),
        "id": Option(_path, "", "what tells a record from all others; empty = its whole text does"),
        "format": Option(_one_of("json", "lines", "syslog"), "json", "what a record is; lines and syslog: JSON texts"),
        "paging": Option(_one_of(*PAGINGS), "none", "how the next page is asked for"),
        "next": Option(_path, "", "token: where the answer has it"),
        "next_param": Option(_text, "", "token, page, offset: the parameter that carries it"),
        "first_page": Option(_whole(0, 1), 1, "page: the number of the first one"),
        "limit_param": Option(_text, "", "the parameter that carries the limit; empty = not sent"),
        "since_param": Option(_text, "", "the parameter that carries the time from which on; empty = there is none"),
        "time": Option(_path, "", "since: where a record has its time"),
        "time_form": Option(_one_of(*TIME_FORMS), "iso", "since: how times are written, in records and parameter"),
    },
    "misp": {
        **_COMMON,
        **_WEB,
        "key": Option(_reference, NEEDED, "authentication key, by reference (file:PATH, env:NAME)"),
        "what": Option(_one_of("attributes", "events"), "attributes", "what a record is"),
        "by": Option(_one_of("publish_timestamp", "timestamp"), "publish_timestamp", "since when: published or edited"),
        "filters": Option(_table, {}, 'more of restSearch\'s own: {type = ["ip-dst", "domain"], to_ids = 1}'),
        "overlap_s": Option(_seconds, 300.0, "so far back each look begins again; what was had is left out"),
    },
    "taxii": {
        **_COMMON,
        **_WEB,
        "collection": Option(_word, NEEDED, "identifier or alias of the collection; url is the API root's"),
        "user": Option(_text, "", "of HTTP Basic"),
        "password": Option(_maybe_reference, "", "of HTTP Basic, by reference (file:PATH, env:NAME)"),
    },
    "sql": {
        **_COMMON,
        "url": Option(_database, NEEDED, "postgresql://user@host:port/database or sqlite:///path"),
        "password": Option(_maybe_reference, "", "of the user, by reference (file:PATH, env:NAME)"),
        "tls": Option(_one_of("verify", "none"), "verify", "PostgreSQL: none only where the network is trusted"),
        "ca": Option(_text, "", "CA certificate of the server, relative to SOC_HOME; empty = the system's"),
        "certificate": Option(_text, "", "PostgreSQL: our client certificate, relative to SOC_HOME"),
        "key_file": Option(_text, "", "PostgreSQL: its private key, relative to SOC_HOME"),
        "table": Option(_path, NEEDED, "table or view, with its schema where it needs one"),
        "columns": Option(_maybe_words, (), "columns of a record; empty = all"),
        "key": Option(_word, NEEDED, "column that tells rows apart; without 'time' a whole number that rises"),
        "time": Option(_text, "", "column with the time of a row, where keys do not rise or rows change"),
        "time_form": Option(_one_of(*TIME_FORMS, "sql"), "sql", "how times are written; sql: with a blank"),
        "overlap_s": Option(_seconds, 300.0, "time: so far back each look begins again; what was had is left out"),
        "gap_s": Option(_seconds, 3600.0, "key: missing numbers are looked for so long at least; 0 = not at all"),
        "limit": Option(_whole(1, 100_000), 1000, "rows of a page"),
        "start": Option(_start, "beginning", "from when the first time: beginning, now, or (with 'time') a time"),
        "timeout_s": Option(_interval, 60.0, "seconds after which a query is given up"),
    },
    "kafka": {
        **_COMMON,
        "brokers": Option(_brokers, NEEDED, "host:port of one or several brokers"),
        "topics": Option(_words, NEEDED, "topics to read; one that begins with ^ is a regular expression"),
        "group": Option(_word, "soc", "consumer group; members of one group share the partitions"),
        "format": Option(_one_of(*KAFKA_FORMATS), "lines", "what a message is; lines: text, or a JSON object"),
        "start": Option(_one_of("beginning", "now"), "beginning", "where a partition without any offset begins"),
        "security": Option(_one_of("ssl", "sasl_ssl", "plaintext"), "ssl", "sasl_ssl: with user and password"),
        "mechanism": Option(_one_of("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"), "SCRAM-SHA-512", "of SASL"),
        "user": Option(_text, "", "of SASL"),
        "password": Option(_maybe_reference, "", "of SASL, by reference (file:PATH, env:NAME)"),
        "ca": Option(_text, "", "CA certificate of the brokers, relative to SOC_HOME; empty = the system's"),
        "certificate": Option(_text, "", "our client certificate, relative to SOC_HOME"),
        "key_file": Option(_text, "", "its private key, relative to SOC_HOME"),
    },
    "journal": {
        **_COMMON,
        "directory": Option(_directory, "", "folder of journal files; empty = the journal of this machine"),
        "match": Option(_matches, (), "only entries with such fields, as journalctl takes them: _SYSTEMD_UNIT=…"),
        "start": Option(_start, "beginning", "from when the first time: now, beginning or a time"),
    },
    "snmp": {
        **_COMMON,
        "host": Option(_host, NEEDED, "name or address of the agent"),
        "port": Option(_whole(1, 65535), 161, "its UDP port"),
        "version": Option(_one_of("2c", "3"), "2c", "of SNMP"),
        "community": Option(_maybe_reference, "", "2c: the community, by reference (file:PATH, env:NAME)"),
        "users": Option(_text, "", "3: file of SNMPv3 users, relative to SOC_HOME, as listeners have it"),
        "user": Option(_text, "", "3: which of them"),
        "context": Option(_text, "", "3: name of the context"),
        "ask": Option(_asks, SNMP_ASKS, "what is asked for"),
        "values": Option(_oids, {}, "more objects by a name of yours, such as the sessions of a firewall"),
        "timeout_s": Option(_interval, 2.0, "seconds without an answer after which it is asked again"),
        "retries": Option(_whole(0, 10), 2, "how often"),
    },
}
"""By driver, the options of `[poll.<name>]` beside `driver`."""
DRIVERS = tuple(OPTIONS)


def faults(driver: str, options: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What does not go together, as (key, sentence); the options are checked one by one already."""
    found: list[tuple[str, str]] = []
    if driver == "rest":
        paging = options["paging"]
        if paging == "token" and not options["next"]:
            found.append(("paging", "paging = 'token' needs 'next', where the answer has the token"))
        if paging in ("token", "page", "offset") and not options["next_param"]:
            found.append(("paging", f"paging = '{paging}' needs 'next_param', the parameter that carries it"))
        if bool(options["since_param"]) != bool(options["time"]):
            found.append(("since_param", "'since_param' and 'time' go together"))
    if driver == "kafka" and (options["security"] == "sasl_ssl") != bool(options["user"] and options["password"]):
        found.append(("security", "security = 'sasl_ssl', 'user' and 'password' go together"))
    if driver == "sql":
        if not options["table"]:
            found.append(("table", "'table' is empty"))
        if not options["time"] and options["start"] not in ("beginning", "now"):
            found.append(("start", "a 'start' that is a time needs the column 'time'"))
    if driver == "snmp":
        needed = ("community",) if options["version"] == "2c" else ("users", "user")
        found += [("version", f"version {options['version']} needs '{key}'") for key in needed if not options[key]]
    if driver == "taxii" and bool(options["user"]) != bool(options["password"]):
        found.append(("user", "'user' and 'password' go together"))
    if "certificate" in options and bool(options["certificate"]) != bool(options["key_file"]):
        found.append(("certificate", "'certificate' and 'key_file' go together"))
    return found
