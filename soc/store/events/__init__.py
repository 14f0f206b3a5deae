"""The embedded event store: hot frames, sealed Parquet, one manifest."""

from soc.store.events.nouns import Aggregate, CompactReport, Footer, Page, Segment, StoreFault, Tombstone
from soc.store.events.store import EventStore

__all__ = ["Aggregate", "CompactReport", "EventStore", "Footer", "Page", "Segment", "StoreFault", "Tombstone"]
