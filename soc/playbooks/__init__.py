"""Tickets to runs: playbooks as data, guardrails, and a durable engine that never repeats a side effect."""

from soc.playbooks.definition import PlaybookSet, check
from soc.playbooks.engine import Engine, resolve
from soc.playbooks.guard import Guard
from soc.playbooks.ports import Actuator

__all__ = ["Actuator", "Engine", "Guard", "PlaybookSet", "check", "resolve"]
