"""The search language: text into the tree of `soc.model.query`, and that tree over a batch in memory.

    user.name:admin  source.ip:10.0.0.0/8  process.name:*shell*  event.outcome:(failure or unknown)
    source.port >= 1024  @timestamp >= "2026-11-20T00:00:00+07:00"  not user.name:*  "failed password"

Words side by side mean *and*. The grammar and its examples are in docs/search.md.
"""

from soc.store.query.matching import matches
from soc.store.query.parser import FILTER, MAX_DEPTH, MAX_FILTERS, MAX_LENGTH, MAX_TERMS, parse

__all__ = ["FILTER", "MAX_DEPTH", "MAX_FILTERS", "MAX_LENGTH", "MAX_TERMS", "matches", "parse"]
