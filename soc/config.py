"""soc.toml to frozen settings: every knob with its default and its meaning.

Precedence: flags > `SOC_*` environment > file > defaults. An unknown key is an error with its place and the nearest
name, and all faults are told at once. `origins` remembers where each value came from, for `soc config show --origin`.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import tomllib
import zoneinfo
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from soc.errors import ConfigError, nearest
from soc.model import daily
from soc.model import poll as polls
from soc.model.finding import LEVELS
from soc.model.poll import Poll
from soc.model.rule_policy import Selector

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
DEFAULT = "default"
"""The origin of a value that nobody set."""
FLAG = "flag"
"""The origin of a value from the command line."""


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


@dataclass(frozen=True)
class Shown:
    """One knob as `soc config show` prints it: `web.port`, its value as JSON has it, where that came from, meaning."""

    name: str
    value: Any
    origin: str
    meaning: str


@dataclass(frozen=True)
class Settings:
    """Everything a process needs to know; `home` holds data, keys and logs."""

    home: Path
    site_id: str = "default"
    site_name: str = ""
    simulated: bool = False
    content_roots: tuple[Path, ...] = ()
    listen: tuple[Listen, ...] = ()
    queue_max_bytes: int = 8 << 30
    queue_high: int = 90
    queue_low: int = 70
    workers: int = 1
    correlators: int = 1
    search_mib: int = 256
    registry_files: tuple[Path, ...] = ()
    retention_profile: str = "2026"
    national: tuple[National, ...] = ()
    poll: tuple[Poll, ...] = ()
    sense: tuple[Sense, ...] = ()
    web_host: str = "127.0.0.1"
    web_port: int = 8600
    web_names: tuple[str, ...] = ()
    web_certificate: str = ""
    web_key: str = ""
    socket: Path = Path()
    rules: tuple[Path, ...] = ()
    rule_lists: tuple[Path, ...] = ()
    trusted_signers: tuple[str, ...] = ()
    rules_shadow: tuple[str, ...] = ("status=experimental",)
    exception_approval: bool = False
    rules_disable: tuple[str, ...] = ()
    rules_enable: tuple[str, ...] = ()
    unit_rules: tuple[UnitRules, ...] = ()
    lookback_share: int = 50
    backfill_days: int = 7
    relay_url: str = ""
    relay_name: str = ""
    relay_max_kib_s: int = 0
    relay_windows: tuple[str, ...] = ()
    relay_zone: str = ""
    relay_host: str = ""
    relay_port: int = 8601
    relay_names: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)

    def path(self, *parts: str) -> Path:
        """A path below `home`."""
        return self.home.joinpath(*parts)

    def shown(self) -> list[Shown]:
        """Every knob, in the order of the sections: the home, the plain ones, then each listener and destination."""
        rows = [Shown("home", str(self.home), self._origin("home"), HOME_MEANING)]
        for knob in KNOBS:
            value = _plain(getattr(self, knob.attribute))
            rows.append(Shown(knob.name, value, self._origin(knob.attribute), knob.meaning))
        for section in _TABLES:
            for entry in getattr(self, section):
                rows += self._entry_shown(section, entry)
        return rows

    def _entry_shown(self, section: str, entry: Entry) -> Iterator[Shown]:
        # A table in the file replaces all default entries; its own missing keys are defaults.
        whole = self._origin(section)
        for key, value in _values(section, entry).items():
            name = f"{section}.{entry.name}.{key}"
            origin = self.origins.get(name, FLAG if whole == FLAG else DEFAULT)
            yield Shown(name, value, origin, _known(section, entry)[key].meaning)

    def _origin(self, attribute: str) -> str:
        return self.origins.get(attribute, DEFAULT)

    def to_document(self) -> dict[str, Any]:
        """The settings in the shape of soc.toml, ready for JSON, with `home` beside the sections."""
        document: dict[str, Any] = {"home": str(self.home), **{section: {} for section in _SECTIONS}}
        for knob in KNOBS:
            document[knob.section][knob.key] = _plain(getattr(self, knob.attribute))
        for section in _TABLES:
            for entry in getattr(self, section):
                document[section][entry.name] = _values(section, entry)
        return document


DEFAULT_LISTEN = (
    Listen("syslog-udp", "syslog-udp", 5514),
    Listen("syslog-tcp", "syslog-tcp", 5514),
    Listen("netflow", "netflow", 2055),
    Listen("snmp-trap", "snmp-trap", 1162),
)


# What a value must be: each check answers with the value as the settings hold it, or raises ValueError with the words
# that end the sentence "'port' should be …".
Check = Callable[[Any, Path], Any]


def _text(value: Any, _base: Path) -> str:
    if not isinstance(value, str):
        raise ValueError("text")
    return value


def _word(value: Any, _base: Path) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("text that is not empty")
    return value


def _flag(value: Any, _base: Path) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _whole(least: int, most: int, words: str) -> Check:
    def check(value: Any, _base: Path) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError(words)
        return value

    return check


def _path(value: Any, base: Path) -> Path:
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError("a path")
    return (base / Path(value).expanduser()).absolute()


def _paths(value: Any, base: Path) -> tuple[Path, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str | Path) and str(item) for item in value):
        raise ValueError("a list of paths")
    return tuple(_path(item, base) for item in value)


def _one_of(*words: str) -> Check:
    def check(value: Any, _base: Path) -> str:
        if value not in words:
            hint = nearest(value, words) if isinstance(value, str) else ""
            raise ValueError(f"one of {', '.join(words)}{hint}")
        return str(value)

    return check


def _words(value: Any, _base: Path) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) and item.strip() for item in value):
        raise ValueError("a list of texts that are not empty")
    return tuple(value)


def _times(value: Any, base: Path) -> tuple[str, ...]:
    try:
        return tuple(daily.normal(span) for span in _words(value, base))
    except ValueError as error:
        raise ValueError("a list of times such as '22:00-05:00'") from error


def _multiline(value: Any, base: Path) -> str:
    import re2  # only who joins lines pays for it

    text = _text(value, base)
    try:
        re2.compile(text)
    except re2.error as error:
        raise ValueError(f"'stack' or a pattern of RE2 ({error})") from error
    return text


def _patterns(value: Any, base: Path) -> tuple[str, ...]:
    return tuple(str(path) for path in _paths(value, base))


def _selectors(value: Any, _base: Path) -> tuple[str, ...]:
    words = "a list of choices such as 'status=experimental', 'tag=attack.t1059*', 'level=low' or an id"
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise ValueError(words)
    for item in value:
        try:
            Selector.parse(item)
        except ValueError as error:
            raise ValueError(f"{words} ({error})") from None
    return tuple(value)


def _zone(value: Any, _base: Path) -> str:
    words = "a time zone such as Asia/Ho_Chi_Minh"
    if not isinstance(value, str):
        raise ValueError(words)
    if value and value not in zoneinfo.available_timezones():
        raise ValueError(words + nearest(value, sorted(zoneinfo.available_timezones())))
    return value


def _networks(value: Any, _base: Path) -> tuple[str, ...]:
    words = "a list of addresses or CIDR networks"
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise ValueError(words)
    for item in value:
        try:
            ipaddress.ip_network(item, strict=False)
        except ValueError:
            raise ValueError(f"{words} ('{item}' is none)") from None
    return tuple(value)


def _rates(value: Any, _base: Path) -> tuple[tuple[str, int, int], ...]:
    """`{"10.1.0.0/16" = 500, "10.1.0.9" = [500, 5000]}`: records a second, or those and a burst, by network.

    The document of the settings has the same as a list of [network, rate, burst].
    """
    words = "a table of networks, each with a number of records a second, or with that and a burst: [500, 5000]"
    if isinstance(value, list | tuple) and all(isinstance(item, list | tuple) and item for item in value):
        value = {item[0]: list(item[1:]) for item in value}
    if not isinstance(value, Mapping):
        raise ValueError(words)
    found = []
    for network, given in value.items():
        numbers = given if isinstance(given, list | tuple) else [given]
        _networks([network], _base)
        if not 1 <= len(numbers) <= 2 or not all(type(n) is int and 0 <= n <= _MOST_RECORDS for n in numbers):
            raise ValueError(f"{words} ('{network}' has {given!r})")
        found.append((str(network), numbers[0], numbers[1] if len(numbers) == 2 else 0))
    return tuple(found)


def _url(value: Any, _base: Path) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"https?://[^\s/]+(/\S*)?", value):
        raise ValueError("an https:// address")
    return value


_port = _whole(0, 65535, "a port number from 0 to 65535")
# Two segments stay, each of 64 MiB and a group commit of up to as much; the next commit has to fit beside them.
_share = _whole(512 << 20, 1 << 62, "536870912 bytes (512 MiB) or more")
_workers = _whole(1, 64, "a whole number from 1 to 64")
# Two files of a ring and more: the one that is written, and one to look back into.
_ring_share = _whole(64 << 20, 1 << 62, "0, or 67108864 bytes (64 MiB) or more")


def _ring(value: Any, base: Path) -> int:
    return 0 if value == 0 and not isinstance(value, bool) else int(_ring_share(value, base))


_days = _whole(0, 400, "a whole number of days from 0 to 400")
_mib = _whole(64, 1 << 20, "a whole number of MiB from 64")
_percent = _whole(1, 100, "a percentage from 1 to 100")
_MOST_RECORDS = 10_000_000
_records = _whole(0, _MOST_RECORDS, "a whole number of records from 0 (no limit) to 10000000")
_bytes = _whole(1, 1 << 62, "a whole number of bytes above 0")


@dataclass(frozen=True)
class Knob:
    """One key of a section: what it may be and what it is for. `short` is its second name in the environment."""

    section: str
    key: str
    attribute: str
    check: Check
    meaning: str
    short: str = ""

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables that set it, the first that is set wins: `SOC_WEB_PORT`, then the short one."""
        whole = f"SOC_{self.section}_{self.key}".upper()
        return (whole, self.short) if self.short else (whole,)

    @property
    def name(self) -> str:
        """`web.port`."""
        return f"{self.section}.{self.key}"


HOME_MEANING = "folder of data, keys and logs (SOC_HOME)"
KNOBS = (
    Knob("site", "id", "site_id", _word, "short name of this SOC; it stands in every event", "SOC_SITE"),
    Knob("site", "name", "site_name", _text, "name of this SOC as people read it"),
    Knob("site", "simulated", "simulated", _flag, "the data are simulated; an admin may act as others (--as)"),
    Knob("content", "roots", "content_roots", _paths, "folders of own definitions; the later wins by id"),
    Knob("content", "rules", "rules", _paths, "folders, files or zip archives of Sigma rules beside the shipped ones"),
    Knob(
        "content", "trust", "trusted_signers", _words, "public keys whose bundles of rules are taken (soc rule bundle)"
    ),
    Knob("content", "lists", "rule_lists", _paths, "folders of lists that rules expand: NAME.txt is %NAME%"),
    Knob("detections", "shadow", "rules_shadow", _selectors, "rules that match, are counted and make no alert yet"),
    Knob("detections", "disable", "rules_disable", _selectors, "rules that are off"),
    Knob("detections", "enable", "rules_enable", _selectors, "rules that are on in spite of 'disable'"),
    Knob(
        "detections",
        "exception_approval",
        "exception_approval",
        _flag,
        "an exception holds only when another person has approved it",
    ),
    Knob("detections", "correlators", "correlators", _workers, "processes that share the groups of the correlations"),
    Knob("lookback", "share", "lookback_share", _percent, "percent of one core that backtests and hunts may take"),
    Knob("lookback", "backfill_days", "backfill_days", _days, "rules' gaps of so many days are made up for; 0 = none"),
    Knob("queue", "max_bytes", "queue_max_bytes", _share, "share of the disk of each log of the queue"),
    Knob("queue", "high", "queue_high", _percent, "percent of it from which streams and HTTP wait; datagrams go on"),
    Knob("queue", "low", "queue_low", _percent, "percent of it below which nobody waits any more"),
    Knob("store", "workers", "workers", _workers, "processes that parse, detect and store", "SOC_WORKERS"),
    Knob("store", "search_mib", "search_mib", _mib, "MiB that searches hold together; the rest goes to the disk"),
    Knob("registry", "files", "registry_files", _paths, "files or folders of information systems"),
    Knob("retention", "profile", "retention_profile", _word, "ladder that says how long logs are kept"),
    Knob("relay", "url", "relay_url", _text, "we are a distant unit: the centre's hub that gets our records"),
    Knob("relay", "name", "relay_name", _text, "the name of this unit at the centre"),
    Knob(
        "relay",
        "max_kib_s",
        "relay_max_kib_s",
        _whole(0, 1 << 30, "a number of KiB a second"),
        "at most so much to the centre; 0 = all",
    ),
    Knob("relay", "windows", "relay_windows", _times, "records go to the centre at these times only; empty = always"),
    Knob("relay", "zone", "relay_zone", _zone, "time zone of 'windows'; empty = Asia/Ho_Chi_Minh"),
    Knob("relay", "host", "relay_host", _text, "we are a centre: address the hub listens on; empty = no hub"),
    Knob("relay", "port", "relay_port", _port, "TCP port of the hub"),
    Knob("relay", "names", "relay_names", _words, "names and addresses by which units reach the hub"),
    Knob("web", "host", "web_host", _word, "address the API listens on"),
    Knob("web", "port", "web_port", _port, "TCP port of the API; 0 = any free one"),
    Knob("web", "names", "web_names", _words, "further names and addresses by which people reach the API"),
    Knob("web", "certificate", "web_certificate", _text, "HTTPS: our certificate, relative to SOC_HOME"),
    Knob("web", "key", "web_key", _text, "HTTPS: its key, relative to SOC_HOME"),
    Knob("web", "socket", "socket", _path, "Unix socket of the API; the kernel says who calls", "SOC_SOCKET"),
)
_PLAIN_SECTIONS = (
    "site", "content", "detections", "lookback", "queue", "store", "cases", "access", "registry", "retention", "relay",
    "web",
)  # fmt: skip


def _knobs(section: str, *rows: tuple[str, Check, str]) -> dict[str, Knob]:
    return {key: Knob(section, key, key, check, meaning) for key, check, meaning in rows}


# The tables with a name of their own: [listen.<name>], [national.<name>], [poll.<name>], [sense.<name>],
# [unit_rules.<unit>].
_TABLES: dict[str, dict[str, Knob]] = {
    "listen": _knobs(
        "listen",
        ("protocol", _one_of(*PROTOCOLS), "what is spoken on this port"),
        ("host", _word, "address to listen on"),
        ("port", _port, "port to listen on; 0 = any free one"),
        ("max_bytes", _bytes, "a longer record is cut and flagged"),
        ("allow", _networks, "who may send; empty = everybody"),
        ("rate", _records, "records a second of one source; 0 = any number"),
        ("burst", _records, "records at once of one source; 0 = what ten seconds bring"),
        ("rates", _rates, "other rates by address or network"),
        ("fallback", _flag, "take one of the next ports when this one is taken"),
        ("certificate", _text, "TLS: our certificate, relative to SOC_HOME"),
        ("key", _text, "TLS: its private key, relative to SOC_HOME"),
        ("clients_ca", _text, "TLS: peers need a certificate of this CA"),
        ("clients", _words, "TLS: and one of these names in it; empty = any"),
        ("tokens", _text, "http: file of token digests, relative to SOC_HOME"),
        ("users", _text, "snmp: file of SNMPv3 users, relative to SOC_HOME"),
        ("paths", _patterns, "file: files, folders and patterns (*, ?, [], **) to follow"),
        ("product", _text, "file: take every line as this product; empty = told by itself"),
        ("multiline", _multiline, "'stack' joins stack traces; a pattern (RE2) says how each record begins"),
        (
            "multiline_wait_s",
            _whole(1, 3600, "a number of seconds from 1 to 3600"),
            "multiline: for the rest of a record",
        ),
        ("site", _text, "site of its events; empty = [site] id"),
        ("zone", _zone, "time zone of stamps that name none; empty = Asia/Ho_Chi_Minh"),
        ("system", _text, "id of the system of events that no address gives to one"),
    ),
    "national": _knobs(
        "national",
        ("url", _url, "where messages are sent"),
        ("mapping", _word, "mapping file that says how a message looks there"),
        ("ca", _word, "CA certificate of the receiver, relative to SOC_HOME"),
        ("certificate", _word, "our client certificate, relative to SOC_HOME"),
        ("key", _word, "its private key, relative to SOC_HOME"),
        ("minimum_level", _one_of(*LEVELS), "alerts from this level up are sent"),
        ("sender_code", _text, "code of the sending organisation"),
        ("sender_name", _text, "name of the sending organisation"),
    ),
    "poll": _knobs("poll", ("driver", _one_of(*polls.DRIVERS), "how the source is asked")),
    "sense": _knobs(
        "sense",
        ("interface", _word, "network interface whose packets are followed"),
        ("promiscuous", _flag, "take packets that are not for this machine too (a mirror port)"),
        ("filter", _text, "in the language of libpcap: only these packets; empty = all"),
        ("snap", _whole(64, 262_144, "a number of bytes from 64 to 262144"), "bytes of each packet that are taken"),
        ("ring_max_bytes", _ring, "disk for the last packets; 0 = none are kept"),
        ("ring_max_age_s", _whole(60, 1 << 31, "a number of seconds from 60"), "packets older than that are let go"),
    ),
    "unit_rules": _knobs(
        "unit_rules",
        ("disable", _selectors, "rules that are off for the unit of this id"),
        ("enable", _selectors, "rules that are on for it in spite of [detections] disable"),
    ),
}
_MADE: dict[str, type[Listen] | type[National] | type[Sense] | type[UnitRules]] = {
    "listen": Listen,
    "national": National,
    "sense": Sense,
    "unit_rules": UnitRules,
}
_SECTIONS = (*_PLAIN_SECTIONS, *_TABLES)


def _driver_knobs(driver: Any) -> dict[str, Knob]:
    """What `[poll.<name>]` of this driver may say; of any driver while nobody knows which."""
    options = polls.OPTIONS.get(driver) if isinstance(driver, str) else None
    rows = options.items() if options else [row for each in polls.OPTIONS.values() for row in each.items()]
    return _TABLES["poll"] | _knobs("poll", *((key, option.check, option.meaning) for key, option in rows))


def _known(section: str, entry: Entry) -> dict[str, Knob]:
    return _driver_knobs(entry.driver) if isinstance(entry, Poll) else _TABLES[section]


def _values(section: str, entry: Entry) -> dict[str, Any]:
    """By key, as JSON has it."""
    if isinstance(entry, Poll):
        return {"driver": entry.driver, **{key: _plain(value) for key, value in entry.options.items()}}
    return {key: _plain(getattr(entry, key)) for key in _known(section, entry)}


def default_home(environ: Mapping[str, str] = os.environ) -> Path:
    """`SOC_HOME`, or `.soc/` of the working folder."""
    return Path(environ.get("SOC_HOME") or ".soc").absolute()


def default_socket(home: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """The API's socket, outside the home: `/run/soc/` for a service, `$XDG_RUNTIME_DIR/soc/` or /tmp for a person."""
    if home == Path("/var/lib/soc"):
        return Path("/run/soc/api.sock")
    runtime = environ.get("XDG_RUNTIME_DIR")
    base = Path(runtime) / "soc" if runtime else Path("/tmp") / f"soc-{os.getuid()}"  # noqa: S108 -- mode 0700 folder
    tag = hashlib.sha256(str(home).encode()).hexdigest()[:8]
    return base / f"api-{tag}.sock"


def load(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    home: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Read the settings. `path` defaults to `$SOC_CONFIG`, then `<home>/soc.toml`.

    `overrides` are what flags say, by the name of the `Settings` attribute; None means that the flag was not given.
    Raises ConfigError with every fault of the file, the environment and the flags, one a line.
    """
    origins: dict[str, str] = {}
    if home is not None or environ.get("SOC_HOME"):
        origins["home"] = "SOC_HOME" if home is None else FLAG
    home = (home or default_home(environ)).absolute()
    reading = _Reading({"listen": DEFAULT_LISTEN}, origins)
    chosen, is_asked_for = _chosen(path, environ, home)
    if is_asked_for or chosen.exists():
        _read_file(chosen, reading)
    _read_environment(environ, reading)
    _read_flags(overrides or {}, reading)
    _check_watermarks(reading)
    if reading.faults:
        raise ConfigError("\n".join(reading.faults))
    reading.values.setdefault("socket", default_socket(home, environ))
    return Settings(home=home, origins=origins, **reading.values)


def _check_watermarks(reading: _Reading) -> None:
    high, low = (reading.values.get(f"queue_{name}", getattr(Settings, f"queue_{name}")) for name in ("high", "low"))
    if low >= high:
        place = reading.origins.get("queue_low") or reading.origins.get("queue_high", DEFAULT)
        reading.faults.append(f"{place}: [queue] 'low' should be below 'high', not {low} and {high}")


def _chosen(path: Path | None, environ: Mapping[str, str], home: Path) -> tuple[Path, bool]:
    """The file to read, and whether somebody named it."""
    named = path or (Path(environ["SOC_CONFIG"]) if environ.get("SOC_CONFIG") else None)
    return (named, True) if named else (home / "soc.toml", False)


@dataclass
class _Reading:
    """What was read so far: values and origins by attribute, and every fault, so that all are mended at once."""

    values: dict[str, Any]
    origins: dict[str, str]
    faults: list[str] = field(default_factory=list)

    def take(self, knob: Knob, raw: Any, base: Path, place: str, origin: str, name: str = "") -> Any:
        """The checked value, None when it is no such thing; then the fault is noted at `place`."""
        try:
            value = knob.check(raw, base)
        except ValueError as error:
            # Somebody may have written the secret itself where its place belongs: that is repeated nowhere.
            shown = "what stands there" if knob.section == "poll" and knob.key in polls.SECRETS else repr(raw)
            self.faults.append(f"{place}: '{name or knob.key}' should be {error}, not {shown}")
            return None
        self.origins[name or knob.attribute] = origin
        return value


# the file ------------------------------------------------------------------------------------------------------------

_BARE = r"(?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')"
_DOTTED = rf"{_BARE}(?:\s*\.\s*{_BARE})*"
_HEADER = re.compile(rf"\s*\[\[?\s*({_DOTTED})\s*\]")
_KEY = re.compile(rf"\s*({_DOTTED})\s*=")


class _Lines:
    """Where tables and keys stand in a TOML text; tomllib does not tell."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self._known: dict[tuple[str, ...], int] = {}
        table: tuple[str, ...] = ()
        for number, line in enumerate(text.splitlines(), 1):
            if header := _HEADER.match(line):
                table = _parts(header[1])
                self._note(table, number)
            elif key := _KEY.match(line):
                self._note((*table, *_parts(key[1])), number)

    def _note(self, keys: tuple[str, ...], number: int) -> None:
        for end in range(1, len(keys) + 1):
            self._known.setdefault(keys[:end], number)

    def place(self, *keys: str) -> str:
        """`soc.toml:12` of these keys, or of the nearest table around them."""
        for end in range(len(keys), 0, -1):
            if keys[:end] in self._known:
                return f"{self.path}:{self._known[keys[:end]]}"
        return f"{self.path}:1"


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in re.findall(_BARE, dotted))


def _parsed(path: Path) -> tuple[dict[str, Any], str]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
        return tomllib.loads(text), text
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file", hint="soc config show prints the settings in use") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: no UTF-8 text: {error.reason} at byte {error.start}") from error
    except tomllib.TOMLDecodeError as error:
        said = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", str(error), re.S)
        if said is None:
            raise ConfigError(f"{path}: no TOML: {error}") from error
        place = f"{said[2]}:{said[3]}" if said[2] else str(max(1, len(text.splitlines())))
        raise ConfigError(f"{path}:{place}: no TOML: {said[1]}") from error


def _read_file(path: Path, reading: _Reading) -> None:
    data, text = _parsed(path)
    lines = _Lines(path, text)
    for section, body in data.items():
        if section not in _SECTIONS:
            what = f"section [{section}]" if isinstance(body, dict) else f"key '{section}' outside of a section"
            reading.faults.append(f"{lines.place(section)}: unknown {what}{nearest(section, _SECTIONS)}")
        elif not isinstance(body, dict):
            reading.faults.append(f"{lines.place(section)}: [{section}] should be a table, not {body!r}")
        elif section in _TABLES:
            reading.values[section] = tuple(_entries(section, body, lines, reading))
            reading.origins[section] = lines.place(section)
        else:
            _read_section(section, body, lines, reading)
    taken = {"import", *(listen.name for listen in reading.values["listen"])}
    for poll in reading.values.get("poll", ()):
        if poll.name in taken:
            place = lines.place("poll", poll.name)
            reading.faults.append(f"{place}: [poll.{poll.name}] the name is taken by a listener or by uploads")
    taken |= {poll.name for poll in reading.values.get("poll", ())}
    for sense in reading.values.get("sense", ()):
        place = lines.place("sense", sense.name)
        if sense.name in taken:
            reading.faults.append(f"{place}: [sense.{sense.name}] the name is taken by a listener or by uploads")
        if not POLL_NAME.fullmatch(sense.name):
            reading.faults.append(f"{place}: [sense.{sense.name}] a name has letters, digits, '.', '_' and '-'")


def _read_section(section: str, body: dict[str, Any], lines: _Lines, reading: _Reading) -> None:
    known = {knob.key: knob for knob in KNOBS if knob.section == section}
    for key, raw in body.items():
        place = lines.place(section, key)
        if key not in known:
            reading.faults.append(f"{place}: unknown key '{key}' in [{section}]{nearest(key, known)}")
            continue
        value = reading.take(known[key], raw, lines.path.parent, place, place)
        if value is not None:
            reading.values[known[key].attribute] = value


def _entries(section: str, body: dict[str, Any], lines: _Lines, reading: _Reading) -> Iterator[Entry]:
    taken: dict[tuple[Any, ...], str] = {}
    for name, entry in body.items():
        if not isinstance(entry, dict):
            reading.faults.append(f"{lines.place(section, name)}: [{section}.{name}] should be a table, not {entry!r}")
            continue
        made = _entry(section, name, entry, lines, reading)
        if made is None:
            continue
        if isinstance(made, Listen) and made.port:
            address = (made.protocol in STREAMS, made.host, made.port)
            other = taken.setdefault(address, name)
            if other != name:
                place = lines.place(section, name, "port")
                reading.faults.append(f"{place}: [listen.{other}] has {made.host} port {made.port} already")
        yield made


def _entry(section: str, name: str, entry: dict[str, Any], lines: _Lines, reading: _Reading) -> Entry | None:
    known, where, before = _TABLES[section], f"{section}.{name}", len(reading.faults)
    if section == "poll":
        known = _driver_knobs(entry.get("driver"))
    values: dict[str, Any] = {}
    for key, raw in entry.items():
        place = lines.place(section, name, key)
        if key not in known:
            reading.faults.append(f"{place}: unknown key '{key}' in [{where}]{nearest(key, known)}")
            continue
        values[key] = reading.take(known[key], raw, lines.path.parent, place, place, f"{where}.{key}")
    if section == "poll":
        return _poll(name, values, lines, reading, before)
    for needed in fields(_MADE[section]):
        if needed.name != "name" and needed.default is MISSING and needed.name not in entry:
            reading.faults.append(f"{lines.place(section, name)}: '{needed.name}' is missing in [{where}]")
    if section == "listen":
        if "port" not in entry and entry.get("protocol") != "file":
            reading.faults.append(f"{lines.place(section, name)}: 'port' is missing in [{where}]")
        place = lines.place(section, name, "protocol")
        reading.faults += [*_tls_faults(place, where, entry), *_file_faults(place, where, entry)]
    return _MADE[section](name, **values) if len(reading.faults) == before else None


def _poll(name: str, given: dict[str, Any], lines: _Lines, reading: _Reading, before: int) -> Poll | None:
    where, driver = f"poll.{name}", given.get("driver")
    options = polls.OPTIONS.get(driver or "", {})
    missing = [key for key, option in options.items() if option.default is polls.NEEDED and key not in given]
    for key in missing if driver else ("driver",) if "driver" not in given else ():
        reading.faults.append(f"{lines.place('poll', name)}: '{key}' is missing in [{where}]")
    if not POLL_NAME.fullmatch(name):
        reading.faults.append(f"{lines.place('poll', name)}: [{where}] a name has letters, digits, '.', '_' and '-'")
    if len(reading.faults) > before or driver is None:
        return None
    values = {key: given.get(key, option.default) for key, option in options.items()}
    for key, fault in polls.faults(driver, values):
        reading.faults.append(f"{lines.place('poll', name, key)}: [{where}] {fault}")
    return Poll(name, driver, values)


def _file_faults(place: str, where: str, entry: Mapping[str, Any]) -> Iterator[str]:
    """What a listener needs, and what has no meaning for it: files have paths, the others a port."""
    if entry.get("protocol") == "file":
        if not entry.get("paths"):
            yield f"{place}: 'paths' is missing in [{where}]: which files?"
        for key in ("port", "allow", "certificate", "tokens", "users"):
            if entry.get(key):
                yield f"{place}: '{key}' has no meaning in [{where}]: files are followed, nothing is listened to"
        return
    for key in ("paths", "product"):
        if entry.get(key):
            yield f"{place}: '{key}' in [{where}] goes with protocol = \"file\""
    if entry.get("multiline") and not str(entry.get("protocol")).startswith(("syslog-", "relp")):
        yield f"{place}: 'multiline' in [{where}] goes with files, syslog and RELP"


def _tls_faults(place: str, where: str, entry: Mapping[str, Any]) -> Iterator[str]:
    protocol = entry.get("protocol")
    given = [key for key in ("certificate", "key") if entry.get(key)]
    if protocol in TLS_NEEDED:
        for key in ("certificate", "key"):
            if key not in given:
                yield f"{place}: '{key}' is missing in [{where}]: {protocol} speaks TLS"
    elif protocol in TLS_UNUSED and (given or entry.get("clients_ca") or entry.get("clients")):
        yield f"{place}: [{where}] {protocol} does not speak TLS; did you mean '{TLS_UNUSED[protocol]}'?"
    if entry.get("clients") and not entry.get("clients_ca"):
        yield f"{place}: 'clients' in [{where}] needs 'clients_ca', the CA that signed their certificates"


# the environment and the flags ---------------------------------------------------------------------------------------


def _read_environment(environ: Mapping[str, str], reading: _Reading) -> None:
    for knob in KNOBS:
        variable = next((name for name in knob.variables if environ.get(name)), None)
        if variable is None:
            continue
        raw = _from_text(environ[variable], Settings.__dataclass_fields__[knob.attribute].default)
        value = reading.take(knob, raw, Path.cwd(), variable, variable)
        if value is not None:
            reading.values[knob.attribute] = value


def _from_text(text: str, default: Any) -> Any:
    """A variable's text as the type of the default, or the text itself, which the check then refuses by name."""
    if isinstance(default, bool):
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
    if isinstance(default, int):
        return int(text) if re.fullmatch(r"-?[0-9]{1,19}", text) else text
    return text.split(os.pathsep) if isinstance(default, tuple) else text


def _read_flags(overrides: Mapping[str, Any], reading: _Reading) -> None:
    known = {knob.attribute: knob for knob in KNOBS}
    for attribute, raw in overrides.items():
        if raw is None:
            continue
        if attribute in _TABLES:
            reading.values[attribute] = tuple(raw)
            reading.origins[attribute] = FLAG
        elif attribute not in known:
            reading.faults.append(f"{FLAG}: unknown setting '{attribute}'{nearest(attribute, [*known, *_TABLES])}")
        else:
            value = reading.take(known[attribute], raw, Path.cwd(), FLAG, FLAG)
            if value is not None:
                reading.values[attribute] = value


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
