"""Every key of soc.toml: what it may be, what it is for, and which environment variable sets it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from soc.config import checks
from soc.config.entries import PROTOCOLS, Entry, Listen, National, Sense, UnitRules
from soc.model import poll as polls
from soc.model.finding import LEVELS
from soc.model.poll import Poll


@dataclass(frozen=True)
class Knob:
    """One key of a section: what it may be and what it is for. `short` is its second name in the environment."""

    section: str
    key: str
    attribute: str
    check: checks.Check
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
    Knob("site", "id", "site_id", checks.word, "short name of this SOC; it stands in every event", "SOC_SITE"),
    Knob("site", "name", "site_name", checks.text, "name of this SOC as people read it"),
    Knob("site", "simulated", "simulated", checks.flag, "the data are simulated; an admin may act as others (--as)"),
    Knob("content", "roots", "content_roots", checks.paths, "folders of own definitions; the later wins by id"),
    Knob(
        "content",
        "rules",
        "rules",
        checks.paths,
        "folders, files or zip archives of Sigma rules beside the shipped ones",
    ),
    Knob(
        "content",
        "trust",
        "trusted_signers",
        checks.words,
        "public keys whose bundles of rules are taken (soc rule bundle)",
    ),
    Knob("content", "lists", "rule_lists", checks.paths, "folders of lists that rules expand: NAME.txt is %NAME%"),
    Knob(
        "detections", "shadow", "rules_shadow", checks.selectors, "rules that match, are counted and make no alert yet"
    ),
    Knob("detections", "disable", "rules_disable", checks.selectors, "rules that are off"),
    Knob("detections", "enable", "rules_enable", checks.selectors, "rules that are on in spite of 'disable'"),
    Knob(
        "detections",
        "exception_approval",
        "exception_approval",
        checks.flag,
        "an exception holds only when another person has approved it",
    ),
    Knob(
        "detections",
        "correlators",
        "correlators",
        checks.workers,
        "processes that share the groups of the correlations",
    ),
    Knob(
        "lookback", "share", "lookback_share", checks.percent, "percent of one core that backtests and hunts may take"
    ),
    Knob(
        "lookback",
        "backfill_days",
        "backfill_days",
        checks.days,
        "rules' gaps of so many days are made up for; 0 = none",
    ),
    Knob("queue", "max_bytes", "queue_max_bytes", checks.share, "share of the disk of each log of the queue"),
    Knob(
        "queue", "high", "queue_high", checks.percent, "percent of it from which streams and HTTP wait; datagrams go on"
    ),
    Knob("queue", "low", "queue_low", checks.percent, "percent of it below which nobody waits any more"),
    Knob("store", "workers", "workers", checks.workers, "processes that parse, detect and store", "SOC_WORKERS"),
    Knob("store", "search_mib", "search_mib", checks.mib, "MiB that searches hold together; the rest goes to the disk"),
    Knob("registry", "files", "registry_files", checks.paths, "files or folders of information systems"),
    Knob("retention", "profile", "retention_profile", checks.word, "ladder that says how long logs are kept"),
    Knob("relay", "url", "relay_url", checks.text, "we are a distant unit: the centre's hub that gets our records"),
    Knob("relay", "name", "relay_name", checks.text, "the name of this unit at the centre"),
    Knob(
        "relay",
        "max_kib_s",
        "relay_max_kib_s",
        checks.whole(0, 1 << 30, "a number of KiB a second"),
        "at most so much to the centre; 0 = all",
    ),
    Knob(
        "relay",
        "windows",
        "relay_windows",
        checks.times,
        "records go to the centre at these times only; empty = always",
    ),
    Knob("relay", "zone", "relay_zone", checks.zone, "time zone of 'windows'; empty = Asia/Ho_Chi_Minh"),
    Knob("relay", "host", "relay_host", checks.text, "we are a centre: address the hub listens on; empty = no hub"),
    Knob("relay", "port", "relay_port", checks.port, "TCP port of the hub"),
    Knob("relay", "names", "relay_names", checks.words, "names and addresses by which units reach the hub"),
    Knob("web", "host", "web_host", checks.word, "address the API listens on"),
    Knob("web", "port", "web_port", checks.port, "TCP port of the API; 0 = any free one"),
    Knob("web", "names", "web_names", checks.words, "further names and addresses by which people reach the API"),
    Knob("web", "certificate", "web_certificate", checks.text, "HTTPS: our certificate, relative to SOC_HOME"),
    Knob("web", "key", "web_key", checks.text, "HTTPS: its key, relative to SOC_HOME"),
    Knob("web", "socket", "socket", checks.path, "Unix socket of the API; the kernel says who calls", "SOC_SOCKET"),
)
PLAIN_SECTIONS = (
    "site", "content", "detections", "lookback", "queue", "store", "cases", "access", "registry", "retention", "relay",
    "web",
)  # fmt: skip


def _knobs(section: str, *rows: tuple[str, checks.Check, str]) -> dict[str, Knob]:
    return {key: Knob(section, key, key, check, meaning) for key, check, meaning in rows}


# The tables with a name of their own: [listen.<name>], [national.<name>], [poll.<name>], [sense.<name>],
# [unit_rules.<unit>].
TABLES: dict[str, dict[str, Knob]] = {
    "listen": _knobs(
        "listen",
        ("protocol", checks.one_of(*PROTOCOLS), "what is spoken on this port"),
        ("host", checks.word, "address to listen on"),
        ("port", checks.port, "port to listen on; 0 = any free one"),
        ("max_bytes", checks.bytes, "a longer record is cut and flagged"),
        ("allow", checks.networks, "who may send; empty = everybody"),
        ("rate", checks.records, "records a second of one source; 0 = any number"),
        ("burst", checks.records, "records at once of one source; 0 = what ten seconds bring"),
        ("rates", checks.rates, "other rates by address or network"),
        ("fallback", checks.flag, "take one of the next ports when this one is taken"),
        ("certificate", checks.text, "TLS: our certificate, relative to SOC_HOME"),
        ("key", checks.text, "TLS: its private key, relative to SOC_HOME"),
        ("clients_ca", checks.text, "TLS: peers need a certificate of this CA"),
        ("clients", checks.words, "TLS: and one of these names in it; empty = any"),
        ("tokens", checks.text, "http: file of token digests, relative to SOC_HOME"),
        ("users", checks.text, "snmp: file of SNMPv3 users, relative to SOC_HOME"),
        ("paths", checks.patterns, "file: files, folders and patterns (*, ?, [], **) to follow"),
        ("product", checks.text, "file: take every line as this product; empty = told by itself"),
        ("multiline", checks.multiline, "'stack' joins stack traces; a pattern (RE2) says how each record begins"),
        (
            "multiline_wait_s",
            checks.whole(1, 3600, "a number of seconds from 1 to 3600"),
            "multiline: for the rest of a record",
        ),
        ("site", checks.text, "site of its events; empty = [site] id"),
        ("zone", checks.zone, "time zone of stamps that name none; empty = Asia/Ho_Chi_Minh"),
        ("system", checks.text, "id of the system of events that no address gives to one"),
    ),
    "national": _knobs(
        "national",
        ("url", checks.url, "where messages are sent"),
        ("mapping", checks.word, "mapping file that says how a message looks there"),
        ("ca", checks.word, "CA certificate of the receiver, relative to SOC_HOME"),
        ("certificate", checks.word, "our client certificate, relative to SOC_HOME"),
        ("key", checks.word, "its private key, relative to SOC_HOME"),
        ("minimum_level", checks.one_of(*LEVELS), "alerts from this level up are sent"),
        ("sender_code", checks.text, "code of the sending organisation"),
        ("sender_name", checks.text, "name of the sending organisation"),
    ),
    "poll": _knobs("poll", ("driver", checks.one_of(*polls.DRIVERS), "how the source is asked")),
    "sense": _knobs(
        "sense",
        ("interface", checks.word, "network interface whose packets are followed"),
        ("promiscuous", checks.flag, "take packets that are not for this machine too (a mirror port)"),
        ("filter", checks.text, "in the language of libpcap: only these packets; empty = all"),
        (
            "snap",
            checks.whole(64, 262_144, "a number of bytes from 64 to 262144"),
            "bytes of each packet that are taken",
        ),
        ("ring_max_bytes", checks.ring, "disk for the last packets; 0 = none are kept"),
        (
            "ring_max_age_s",
            checks.whole(60, 1 << 31, "a number of seconds from 60"),
            "packets older than that are let go",
        ),
    ),
    "unit_rules": _knobs(
        "unit_rules",
        ("disable", checks.selectors, "rules that are off for the unit of this id"),
        ("enable", checks.selectors, "rules that are on for it in spite of [detections] disable"),
    ),
}
MADE: dict[str, type[Listen] | type[National] | type[Sense] | type[UnitRules]] = {
    "listen": Listen,
    "national": National,
    "sense": Sense,
    "unit_rules": UnitRules,
}
SECTIONS = (*PLAIN_SECTIONS, *TABLES)


def driver_knobs(driver: Any) -> dict[str, Knob]:
    """What `[poll.<name>]` of this driver may say; of any driver while nobody knows which."""
    options = polls.OPTIONS.get(driver) if isinstance(driver, str) else None
    rows = options.items() if options else [row for each in polls.OPTIONS.values() for row in each.items()]
    return TABLES["poll"] | _knobs("poll", *((key, option.check, option.meaning) for key, option in rows))


def known_of(section: str, entry: Entry) -> dict[str, Knob]:
    return driver_knobs(entry.driver) if isinstance(entry, Poll) else TABLES[section]
