"""From `[poll.<name>]` of the settings to drivers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from soc.collectors.journal import Journal
from soc.collectors.poll.intelligence import misp, taxii
from soc.collectors.poll.page import Driver
from soc.collectors.poll.rest import Rest, shape_of
from soc.collectors.poll.runner import Polled
from soc.collectors.poll.secrets import Secrets
from soc.collectors.poll.web import Web
from soc.model.clock import Clock
from soc.model.poll import Poll


def polled(poll: Poll, home: Path, clock: Clock) -> Polled:
    """The source behind a section; nothing is asked yet. Raises ConfigError for what can never work."""
    per_minute = poll.options.get("requests_per_minute", 0)
    driver = _MAKERS[poll.driver](poll, Secrets(home), clock)
    driver.peer = poll["peer"] or driver.peer
    return Polled(poll.name, poll.driver, driver, 60 / per_minute if per_minute else 0.0)


def _rest(poll: Poll, secrets: Secrets, clock: Clock) -> Driver:
    return Rest(poll, shape_of(poll), Web(poll, secrets, clock), clock)


def _journal(poll: Poll, _secrets: Secrets, clock: Clock) -> Driver:
    return Journal(poll, clock)


def _kafka(poll: Poll, secrets: Secrets, clock: Clock) -> Driver:
    from soc.collectors.kafka import Kafka

    return Kafka(poll, secrets, clock)


def _sql(poll: Poll, secrets: Secrets, clock: Clock) -> Driver:
    from soc.collectors.poll.table import Table

    return Table(poll, secrets, clock)


def _snmp(poll: Poll, secrets: Secrets, clock: Clock) -> Driver:
    from soc.collectors.snmp_poll import SnmpPoll

    return SnmpPoll(poll, secrets, clock)


_MAKERS: Mapping[str, Callable[[Poll, Secrets, Clock], Driver]] = {
    "rest": _rest,
    "misp": misp,
    "taxii": taxii,
    "sql": _sql,
    "kafka": _kafka,
    "journal": _journal,
    "snmp": _snmp,
}
