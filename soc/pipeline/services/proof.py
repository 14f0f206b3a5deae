"""The proof of what is kept: manifests signed as files are sealed, and everything held against them."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from typing import Any

from soc.config import Settings
from soc.model.clock import Clock
from soc.model.ledger import LedgerEntry
from soc.pipeline import places
from soc.retention import audit, keys, manifest
from soc.retention.verify import MANIFESTS, Fault, Verdict, read_chain
from soc.retention.verify import verify as verify_files
from soc.store.cases import Cases
from soc.store.events import EventStore

SIGN_S = 600.0
"""What was sealed is signed within so many seconds."""
_PAGE = 1000


class Proof:
    """Signs the manifests of a store, and looks whether all is as it was signed. Safe for several threads."""

    def __init__(self, settings: Settings, clock: Clock, store: EventStore, cases: Cases) -> None:
        self._root, self._clock, self._store, self._cases = places.events(settings), clock, store, cases
        self._manifests = settings.path("proof", MANIFESTS)
        self._certificates = settings.path("proof", manifest.CERTIFICATES)
        self._key = keys.load_or_create(settings.path("keys", "proof.key"))
        self._signing = manifest.Manifests(self._manifests, self._certificates, self._key)
        self._lock = threading.Lock()

    def sign(self) -> None:
        """Sign what came since the last manifest, and note its number and digest in the ledger."""
        with self._lock:
            signed = self._signing.extend(self._inventory(), self._clock.now_ns() // 1000)
            if signed is None:
                return
            facts = {name: value for name, value in dataclasses.asdict(signed).items() if name != "seq"}
            with self._cases.begin("engine") as tx:
                tx.ledger(audit.ACT, f"manifest:{signed.seq}", None, facts, "")

    def verify(self, *, content: bool = False) -> dict[str, Any]:
        """Sign what is new, then hold files, catalogue, deletions and ledger against everything that was signed.

        With `content` every event is read. What is found is looked at twice: files move while they are read.
        """
        verdict, faults = self._look(content)
        if faults:
            verdict, again = self._look(content)
            faults = audit.lasting(faults, again)
        ledger = self._cases.verify_ledger()
        return {
            "ok": not faults and ledger.ok,
            "faults": [{"kind": f.kind, "what": f.what, "message": f.message} for f in faults],
            "segments": verdict.segments,
            "tombstones": verdict.tombstones,
            "certificates": verdict.certificates,
            "manifest": {"seq": verdict.seq, "sha256": verdict.head, "public_key": keys.public_hex(self._key)},
            "ledger": {"ok": ledger.ok, "entries": ledger.entries, "faults": [str(f) for f in ledger.faults]},
        }

    def _look(self, content: bool) -> tuple[Verdict, list[Fault]]:
        self.sign()
        public = keys.public_hex(self._key)
        verdict = verify_files(self._root, public, manifests=self._manifests, certificates=self._certificates)
        chain, inventory = read_chain(self._manifests), self._inventory()
        files = [segment for segment in self._store.segments() if (self._root / segment.path).is_file()]
        faults = [*verdict.faults, *audit.catalogue(chain, inventory), *audit.noted(chain, self._entries())]
        faults += audit.footers(chain, files, self._store.footer)
        if content:
            faults += audit.contents(chain, files, self._store.content_root)
        return verdict, faults

    def _inventory(self) -> manifest.Inventory:
        # First what is gone: a file that is merged between the two is in neither, and the next manifest has it.
        stones, merged = self._store.tombstones(), self._store.merged()
        return manifest.Inventory(self._root, self._store.segments(), merged, stones)

    def _entries(self) -> Iterator[LedgerEntry]:
        after = 0
        while entries := self._cases.ledger_entries(after, _PAGE):
            yield from entries
            after = entries[-1].seq
