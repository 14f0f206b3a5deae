"""Alerts that must be told to the national centre."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from soc import content
from soc.config import National, Settings
from soc.connectors.national import mapping
from soc.connectors.national.driver import Destination
from soc.connectors.national.message import Privacy, Sender, alert_message
from soc.errors import PermissionRefused
from soc.model.alert import Alert
from soc.model.clock import Clock
from soc.model.finding import LEVELS
from soc.model.system import InformationSystem
from soc.pipeline import certificates
from soc.pipeline.services.cases import new_id
from soc.retention import keys


class Outgoing:
    """Alerts that must be told to the national centre, as messages in the outbox of the same transaction."""

    def __init__(self, settings: Settings, clock: Clock, system: Callable[[str], InformationSystem | None]) -> None:
        self._settings, self._clock, self._system = settings, clock, system
        self._privacy = Privacy(key=_secret(settings.path("keys", "privacy.key")) if settings.national else b"")

    def destination(self, entry: National) -> Destination:
        """The driver's view of a `[national.<name>]` section. Raises ConfigError for an unknown mapping."""
        mappings = mapping.load(content.roots("connectors", self._settings.content_roots))
        home = self._settings.home
        return Destination(
            entry.name,
            entry.url,
            mapping.named(mappings, entry.mapping),
            home / entry.ca,
            home / entry.certificate,
            home / entry.key,
        )

    def sender(self, entry: National) -> Sender:
        """Who speaks to it: what the section says, else the site."""
        return Sender(
            entry.sender_code or self._settings.site_id,
            entry.sender_name or self._settings.site_name or self._settings.site_id,
        )

    def alert(self, tx: Any, alert: Alert) -> None:
        """For each destination whose threshold the alert reaches, one message; what may not leave is shown instead."""
        if alert.kind == certificates.KIND:  # about ourselves, and no event of a system
            return
        for entry in self._settings.national:
            if LEVELS.index(alert.level) < LEVELS.index(entry.minimum_level):
                continue
            try:
                tx.outbox(self._message(alert, entry))
            except PermissionRefused as refusal:
                self._withheld(tx, alert, entry.name, str(refusal))

    def _message(self, alert: Alert, entry: National) -> Any:
        return alert_message(
            alert.to_document(),
            id=new_id(self._clock),
            destination=entry.name,
            created_us=self._clock.now_ns() // 1000,
            sender=self.sender(entry),
            privacy=self._privacy,
            system=self._system(alert.system_id) if alert.system_id else None,
        )

    def _withheld(self, tx: Any, alert: Alert, destination: str, why: str) -> None:
        document = {"alert": alert.id, "destination": destination, "why": why}
        if tx.get("national_refusal", f"{destination}:{alert.id}") is None:
            tx.put("national_refusal", f"{destination}:{alert.id}", document, None, unit=alert.organization_id)
            tx.ledger("national.withhold", f"alert:{alert.id}", None, document, why)


def _secret(path: Path) -> bytes:
    """32 random bytes in a file only the service user reads; made at first use."""
    with suppress(FileNotFoundError):
        return path.read_bytes()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with suppress(FileExistsError):
        keys.write_durable(path, os.urandom(32), mode=0o600, exclusive=True)
    return path.read_bytes()
