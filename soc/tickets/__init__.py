"""Alerts to tickets: the lifecycle as a pure state machine, the desk, and the legal clocks."""

from soc.tickets.clocks import LegalClock, deadlines, load_clocks
from soc.tickets.desk import TicketDesk, all_observables

__all__ = ["LegalClock", "TicketDesk", "all_observables", "deadlines", "load_clocks"]
