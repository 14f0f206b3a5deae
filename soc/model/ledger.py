"""The entry of the append-only, hash-chained ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from soc.model.canonical import digest

GENESIS = "0" * 64


@dataclass(frozen=True)
class LedgerEntry:
    """`(chain, seq, at_us, actor, via, act, object, before, after, reason, prev, hash)`; one chain per writer.

    `seq` starts at 1; `prev` is the hash of entry seq-1 (`GENESIS` for the first); `via` is cli, api, console, engine.
    `act` is `noun.verb` (`alert.acknowledge`), `object` is `kind:id`. before/after hold only what changed.
    """

    chain: str
    seq: int
    at_us: int
    actor: str
    via: str
    act: str
    object: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    reason: str
    prev: str
    hash: str = ""

    def computed_hash(self) -> str:
        """SHA-256 over the RFC 8785 bytes of everything but the hash itself."""
        body = asdict(self)
        del body["hash"]
        return digest(body)

    def sealed(self) -> Self:
        """The same entry with its hash."""
        return type(self)(**{**asdict(self), "hash": self.computed_hash()})
