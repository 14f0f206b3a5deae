"""Findings to alerts: grouped, told apart from replays, weighed by the system they concern, judged by people."""

from soc.alerts.desk import AlertDesk
from soc.alerts.grouping import dedup_key, risk

__all__ = ["AlertDesk", "dedup_key", "risk"]
