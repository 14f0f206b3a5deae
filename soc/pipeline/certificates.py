"""Certificates that this service shows or trusts: how long each still holds, and an alert at 30, 14 and 7 days."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from soc.collectors.certify import days_left, fingerprint
from soc.config import Settings
from soc.model.clock import VIETNAM, Clock, utc
from soc.model.finding import Finding, finding_id

RULE = "soc.certificate"
"""The rule's id of such an alert."""
KIND = "health"
"""Its kind: it is about this service, and never leaves for the national centre."""
STAGES = ((0.0, "expired", "critical"), (7.0, "week", "high"), (14.0, "fortnight", "medium"), (30.0, "month", "low"))
"""So many days or fewer are left: the state, and the level of its alert."""
GOOD = "good"
UNREADABLE = "unreadable"
MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Standing:
    """One certificate: who uses it, its file, subject, end (µs UTC) and days left, and a state of `STAGES`, `good` or
    `unreadable` (then `subject` says why). A file of several counts by the one that ends first."""

    use: str
    path: str
    state: str
    subject: str = ""
    fingerprint: str = ""
    until_us: int | None = None
    days: float | None = None

    def to_document(self) -> dict[str, Any]:
        """A JSON-able dict."""
        return asdict(self)


def standings(settings: Settings, clock: Clock) -> list[Standing]:
    """All that are in use, those that end first in front."""
    found = [_standing(use, settings.path(path), clock) for use, path in _used(settings)]
    return sorted(found, key=lambda each: (each.days if each.days is not None else -1.0, each.use))


def findings(found: list[Standing], now_us: int) -> list[Finding]:
    """One for each certificate and stage; the same again is the same finding, so it makes no second alert."""
    levels = {state: level for _, state, level in STAGES} | {UNREADABLE: "high"}
    return [_finding(each, levels[each.state], now_us) for each in found if each.state != GOOD]


def _used(settings: Settings) -> Iterator[tuple[str, str]]:
    for listen in settings.listen:
        if listen.certificate:
            yield f"listen.{listen.name}", listen.certificate
        if listen.clients_ca:
            yield f"listen.{listen.name} clients_ca", listen.clients_ca
    if settings.web_certificate:
        yield "web", settings.web_certificate
    for entry in settings.national:
        yield f"national.{entry.name}", entry.certificate
        yield f"national.{entry.name} ca", entry.ca
    for use, path in (("relay hub", "keys/relay/hub.pem"), ("relay authority", "keys/relay/ca.pem")):
        if settings.relay_host and settings.path(path).exists():
            yield use, path


def _standing(use: str, path: Path, clock: Clock) -> Standing:
    try:
        with path.open("rb") as file:
            held = x509.load_pem_x509_certificates(file.read(MAX_BYTES))
    except (OSError, ValueError) as error:
        return Standing(use, str(path), UNREADABLE, getattr(error, "strerror", None) or str(error))
    first = min(held, key=lambda each: each.not_valid_after_utc)
    pem, until = first.public_bytes(Encoding.PEM), first.not_valid_after_utc
    days = days_left(pem, clock)
    state = next((state for most, state, _ in STAGES if days <= most), GOOD)
    return Standing(
        use, str(path), state, first.subject.rfc4514_string(), fingerprint(pem), int(until.timestamp()) * 1_000_000,
        round(days, 2),
    )  # fmt: skip


def _finding(each: Standing, level: str, now_us: int) -> Finding:
    if each.until_us is None:
        title = f"The certificate of {each.use} cannot be read: {each.subject}"
        title_vi = f"Không đọc được chứng thư số của {each.use}: {each.subject}"
    else:
        day = utc(each.until_us * 1000).astimezone(VIETNAM).date().isoformat()
        ended = each.state == "expired"
        title = f"The certificate of {each.use} {'ended' if ended else 'ends'} on {day}"
        title_vi = f"Chứng thư số của {each.use} {'đã hết hạn' if ended else 'hết hạn'} ngày {day}"
    return Finding(
        id=finding_id(RULE, each.use, each.fingerprint or each.subject, each.state),
        rule_id=RULE, rule_version="1", title=title, title_vi=title_vi, level=level, kind=KIND, dataset="soc.health",
        event_ids=(), first_us=now_us, last_us=now_us, entity=f"file.path={each.path}",
    )  # fmt: skip


class Watch:
    """Looks every hour; `last` is what `soc status` shows."""

    def __init__(self, settings: Settings, clock: Clock, take: Callable[[list[Finding]], object]) -> None:
        self._settings, self._clock, self._take = settings, clock, take
        self.last: list[Standing] = []

    def step(self) -> None:
        """Look at all; an alert for each that came to a new stage."""
        self.last = standings(self._settings, self._clock)
        self._take(findings(self.last, self._clock.now_ns() // 1000))

    def rows(self) -> list[dict[str, Any]]:
        """The last look, those that end first in front."""
        return [each.to_document() for each in self.last]
