"""What the store says of its files, and what the files say of themselves, held against what was signed of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from soc.errors import SocError
from soc.model.ledger import LedgerEntry
from soc.retention.manifest import Inventory, SealedFile, Spans, document
from soc.retention.verify import Chain, Fault

ACT = "retention.manifest"
"""The ledger's act for each manifest: its object is `manifest:<number>`, `after.sha256` its digest."""
File = TypeVar("File", bound=SealedFile)


class Footer(Spans, Protocol):
    """What a sealed file says of itself."""

    @property
    def levels(self) -> frozenset[int]: ...


SPANS = ("rows", "min_event_us", "max_event_us", "min_receipt_us", "max_receipt_us")


def catalogue(chain: Chain, inventory: Inventory) -> Iterator[Fault]:
    """Where manifest.db says otherwise than what was signed, by file (kind `catalogue`)."""
    signed = chain.segments
    held = {file.id: document(file, inventory.root) for file in inventory.segments}
    for name, said in held.items():
        if name in chain.gone:
            yield Fault("catalogue", said["path"], "manifest.db holds a file that is gone by what was signed")
        elif (theirs := _differences(said, signed.get(name, {}))) and name in signed:
            yield Fault("catalogue", signed[name]["path"], f"manifest.db is not what was signed: {theirs}")
    for name in sorted(signed.keys() - held.keys()):
        yield Fault("catalogue", str(signed[name].get("path")), "manifest.db does not know this file any more")


def _differences(said: Mapping[str, Any], signed: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key} {value}, signed {signed.get(key)}" for key, value in said.items() if value != signed.get(key)
    )


def footers(chain: Chain, files: Iterable[File], footer: Callable[[File], Footer]) -> Iterator[Fault]:
    """Where a file's own footer says otherwise than what was signed (kind `footer`)."""
    signed = chain.segments
    for file in files:
        if (said := signed.get(file.id)) is None:
            continue
        try:
            told = footer(file)
        except SocError as error:
            yield Fault("footer", said["path"], f"has no footer that can be read: {error}")
            continue
        other = [
            f"{name} {getattr(told, name)}, signed {said[name]}" for name in SPANS if getattr(told, name) != said[name]
        ]
        if told.levels != {said["level"]}:
            other.append(f"level {', '.join(map(str, sorted(told.levels)))}, signed {said['level']}")
        if other:
            yield Fault("footer", said["path"], f"its footer is not what was signed: {', '.join(other)}")


def contents(chain: Chain, files: Iterable[File], content_root: Callable[[File], str]) -> Iterator[Fault]:
    """Where the Merkle root over a file's events, read one by one, is not the one that was signed (kind `content`)."""
    signed = chain.segments
    for file in files:
        if (said := signed.get(file.id)) is None:
            continue
        try:
            if content_root(file) != said["content_root"]:
                yield Fault("content", said["path"], "its events are not those that were signed")
        except SocError as error:
            yield Fault("content", said["path"], f"its events cannot be read: {error}")


def noted(chain: Chain, entries: Iterable[LedgerEntry]) -> Iterator[Fault]:
    """Manifests that the ledger has, and that are gone or another now (kind `chain`)."""
    for entry in entries:
        if entry.act != ACT:
            continue
        seq = int(entry.object.partition(":")[2])
        found, noted = chain.digests.get(seq), (entry.after or {}).get("sha256")
        if found is None:
            yield Fault("chain", f"{seq:08d}.json", f"is gone; the ledger has it (entry {entry.seq})")
        elif found != noted:
            yield Fault("chain", f"{seq:08d}.json", f"is not the one in the ledger (entry {entry.seq})")


def lasting(first: Sequence[Fault], second: Iterable[Fault]) -> list[Fault]:
    """The faults that a second look found again: files are merged and sealed while the first one reads."""
    known = {(fault.kind, fault.what) for fault in first}
    return [fault for fault in second if (fault.kind, fault.what) in known]
