"""The case database: alerts, tickets, runs and people as documents, with their ledger, outbox and change notices."""

from soc.store.cases.cases import VIA, Cases, Change
from soc.store.cases.ledger import LedgerVerdict
from soc.store.cases.outbox import OutboxItem
from soc.store.cases.transaction import Keys, Stored, Tx

__all__ = ["VIA", "Cases", "Change", "Keys", "LedgerVerdict", "OutboxItem", "Stored", "Tx"]
