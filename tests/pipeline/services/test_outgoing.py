"""Alerts that the national centre must be told, and what may not leave."""

from __future__ import annotations

from soc.pipeline import Services
from tests.pipeline.world import finding


def counts(services: Services) -> tuple[int, int]:
    """Messages that wait, and alerts that were withheld."""
    with services.cases.read("test") as tx:
        waiting = sum(tx.outbox_counts().get("centre", {}).values())
        return waiting, tx.count("national_refusal")


def test_an_alert_at_the_threshold_is_told_and_one_below_is_not(services: Services) -> None:
    """`minimum_level` high: the message is in the same transaction as the alert."""
    services.alerts.take([finding(1), finding(2, level="medium")])
    assert counts(services) == (1, 0)


def test_what_is_marked_secret_stays_and_is_shown(services: Services) -> None:
    """A mark of state secrets in the alert: no message, one refusal, its reason in the ledger, the alert is there."""
    services.alerts.take([finding(1, title="Tệp tối mật bị tải xuống")])
    acts = [entry.act for entry in services.cases.ledger_entries()]
    assert counts(services) == (0, 1)
    assert "national.withhold" in acts
    assert "alert.create" in acts
    assert services.status()["withheld"] == 1
