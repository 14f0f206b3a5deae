"""Whoever can write to every file of the store, but has not the key, is found: each kind of tampering by its name."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest

from soc.config import Settings
from soc.model.clock import FixedClock
from soc.pipeline import places
from soc.pipeline.services.proof import Proof
from soc.retention import certificate, keys, manifest
from soc.retention.certificate import Certificate, tombstone_document
from soc.retention.verify import read_chain
from soc.retention.verify import verify as verify_files
from soc.store import files
from soc.store.cases import Cases
from soc.store.events import EventStore, Segment
from tests.store.events.samples import START_US, batch, event, upto

DAY_US = 86_400_000_000


class Kept:
    """A home with five sealed days of five events, of which one is signed a manifest later."""

    def __init__(self, home: Path) -> None:
        self.settings, self.clock = Settings(home=home), FixedClock(START_US * 1000)
        self.root = places.events(self.settings)
        self.manifests = self.settings.path("proof", "manifests")
        self.certificates = self.settings.path("proof", "certificates")
        self.cases = Cases(home / "cases.db", self.clock, head_path=home / "proof" / "ledger.head")
        self.store = EventStore(self.root, self.clock, writer="w")
        self.proof = Proof(self.settings, self.clock, self.store, self.cases)
        for day in range(5):
            self.seal(day)
            if day in (2, 3):
                self.proof.sign()

    def seal(self, day: int, seq: int | None = None) -> None:
        """A day's events become a file."""
        seq = day + 1 if seq is None else seq
        rows = [event(seq, i, at_us=START_US + day * DAY_US + i, **{"soc.system.level": 2}) for i in range(5)]
        self.store.append([batch(rows)], upto(seq, 4))
        self.store.roll()
        self.store.compact()

    def segment(self, n: int) -> Segment:
        """The file of the n-th day."""
        return self.store.segments()[n]

    def path(self, n: int) -> Path:
        """Where it lies."""
        return self.root / self.segment(n).path

    def database(self, statement: str, *values: object) -> None:
        """Change manifest.db behind everybody's back."""
        with sqlite3.connect(self.root / "manifest.db") as connection:
            assert connection.execute(statement, values).rowcount == 1
        connection.close()

    def faults(self, *, content: bool = False) -> list[tuple[str, str]]:
        """Kind and place of all faults."""
        told = self.proof.verify(content=content)
        assert told["ok"] == (not told["faults"] and told["ledger"]["ok"])
        return sorted((fault["kind"], Path(fault["what"]).name) for fault in told["faults"])

    def message(self, kind: str) -> str:
        """What is said of the first fault of that kind."""
        return next(f["message"] for f in self.proof.verify()["faults"] if f["kind"] == kind)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home, made once."""
    home = tmp_path_factory.mktemp("kept")
    kept = Kept(home)
    assert kept.faults(content=True) == []
    kept.store.close()
    kept.cases.close()
    return home


@pytest.fixture
def kept(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    """A copy of it."""
    shutil.copytree(made, tmp_path / "home")
    monkeypatch.setattr(Kept, "seal", lambda *_: None)
    found = Kept(tmp_path / "home")
    monkeypatch.undo()
    yield found
    found.store.close()
    found.cases.close()


def test_nothing_is_found_where_nothing_was_done(kept: Kept) -> None:
    """Sealing, merging, deleting by plan and signing: all of it is told by manifests, and none of it is a fault."""
    kept.seal(0, 10)
    kept.store.compact(max_files=1, grace_us=0)
    assert kept.faults(content=True) == []
    kept.store.compact(grace_us=0)  # the files that were merged go
    kept.seal(0, 11)
    kept.store.compact(max_files=1, grace_us=0)  # merged again before anything was signed
    kept.store.compact(grace_us=0)
    deleted(kept, 1)
    assert kept.faults(content=True) == []
    told = kept.proof.verify()
    assert (told["segments"], told["tombstones"], told["certificates"]) == (4, 1, 1)
    assert told["manifest"]["seq"] == len(list(kept.manifests.iterdir()))


def deleted(kept: Kept, n: int, *, certified: bool = True) -> str:
    """The n-th file, dropped as a plan does it."""
    stone = kept.store.drop(kept.segment(n).id, "plan:00ff")
    if certified:
        proof = Certificate("00ff", "x", "an", "binh", 1, 2, (tombstone_document(stone),))
        certificate.write(kept.certificates, proof, keys.load_or_create(kept.settings.path("keys", "proof.key")))
    return stone.segment_id


@pytest.mark.parametrize(
    ("column", "value"),
    [("rows", 4), ("min_event_us", 7), ("max_receipt_us", 8), ("level", "1"), ("day", "2020-01-01"), ("sha256", "00"),
     ("content_root", "00"), ("systems", '["x"]'), ("path", "seg/other.parquet")],
)  # fmt: skip
def test_manifest_db_alone_changed(kept: Kept, column: str, value: object) -> None:
    """By sqlite3, any fact that a plan of deletion or a reader goes by: the store's word is held against the signed."""
    name = kept.path(1).name
    kept.database(f"UPDATE segment SET {column} = ? WHERE id = ?", value, kept.segment(1).id)
    assert ("catalogue", name) in kept.faults()
    assert column in kept.message("catalogue")


def test_what_signing_remembers_does_not_grow_with_what_was_merged(kept: Kept) -> None:
    """A service signs every ten minutes for years: it reads each manifest once, and keeps of files what the store does.

    A signer that begins anew over the whole chain, a year later, keeps the same and has nothing to say.
    """
    kept.proof.sign()
    whole = read_chain(kept.manifests)
    for round in range(6):
        kept.seal(0, 10 + round)
        kept.proof.sign()
        kept.store.compact(max_files=1, grace_us=0)
        kept.proof.sign()
        kept.clock.advance(31 * 86_400)
        kept.store.compact(grace_us=0)  # manifest.db forgets what was merged a month ago
        kept.proof.sign()
    anew = manifest.Manifests(kept.manifests, kept.certificates, kept.proof._key)
    chain = read_chain(kept.manifests)
    assert len(chain.known) >= len(whole.known) + 12
    assert anew.extend(kept.proof._inventory(), 0) is None
    for signing in (anew, kept.proof._signing):
        assert signing._chain.known.keys() <= kept.proof._inventory().names
        assert signing._chain.segments == chain.segments
        assert (signing._chain.seq, signing._chain.head) == (chain.seq, chain.head)
    assert kept.faults(content=True) == []


def test_a_file_struck_out_of_manifest_db(kept: Kept) -> None:
    """No search finds it any more; it is still signed."""
    name = kept.path(1).name
    kept.database("DELETE FROM segment WHERE id = ?", kept.segment(1).id)
    assert kept.faults() == [("catalogue", name)]


@pytest.mark.parametrize("signs_again", [False, True])
def test_a_file_and_manifest_db_changed_together(kept: Kept, signs_again: bool) -> None:
    """One event is rewritten, and what manifest.db says of the file is made to fit: nobody signs it anew."""
    path, found = kept.path(1), kept.segment(1)
    rewritten(path)
    root = kept.store.content_root(found)
    kept.database(
        "UPDATE segment SET sha256 = ?, bytes = ?, content_root = ? WHERE id = ?",
        files.sha256_of(path), path.stat().st_size, root, found.id,
    )  # fmt: skip
    assert kept.store.verify_segments(content=True) == []  # by itself the store is deceived
    if signs_again:
        kept.proof.sign()
    assert kept.faults(content=True) == [("altered", path.name), ("catalogue", path.name), ("content", path.name)]


def rewritten(path: Path) -> None:
    """The file with another text in its first event."""
    table = pq.read_table(path)
    at = table.column_names.index("event.original")
    texts = ["nothing happened", *table.column("event.original").to_pylist()[1:]]
    pq.write_table(table.set_column(at, "event.original", [texts]), path)


def test_two_files_swapped(kept: Kept) -> None:
    """Each holds the bytes of the other, and the verdict says so."""
    one, other = kept.path(0), kept.path(1)
    both = one.read_bytes(), other.read_bytes()
    one.write_bytes(both[1])
    other.write_bytes(both[0])
    found = kept.faults()
    assert [what for kind, what in found if kind == "swapped"] == sorted([one.name, other.name])
    assert other.name in kept.message("swapped") or one.name in kept.message("swapped")


def test_an_older_version_put_back(kept: Kept) -> None:
    """The file before the merge in the place of the merged one."""
    kept.seal(0, 10)
    old = kept.path(0).read_bytes()
    kept.store.compact(max_files=1, grace_us=0)
    kept.proof.sign()
    kept.store.compact(grace_us=0)
    merged = kept.root / next(s.path for s in kept.store.segments() if s.rows == 10)
    merged.write_bytes(old)
    assert ("swapped", merged.name) in kept.faults()
    assert ("footer", merged.name) in kept.faults()


def test_a_truncated_file(kept: Kept) -> None:
    """It has no footer any more, and the sizes are told."""
    path = kept.path(2)
    path.write_bytes(path.read_bytes()[:-100])
    assert kept.faults() == [("altered", path.name), ("footer", path.name)]
    assert "were signed" in kept.message("altered")


def test_a_file_removed_renamed_or_added(kept: Kept) -> None:
    """Each by its name."""
    gone, renamed = kept.path(0), kept.path(1)
    gone.unlink()
    renamed.rename(renamed.with_name("other.parquet"))
    shutil.copy(kept.path(2), kept.path(2).with_name("added.parquet"))
    assert kept.faults() == [("missing", gone.name), ("renamed", renamed.name), ("unlisted", "added.parquet")]
    assert "other.parquet" in kept.message("renamed")


def test_a_file_moved_to_another_day(kept: Kept) -> None:
    """Where it lies decides nothing; that it moved is seen, though manifest.db moved with it."""
    old = kept.path(1)
    fresh = kept.root / "seg" / "day=2019-01-01" / "level=2" / old.name
    fresh.parent.mkdir(parents=True)
    kept.database(
        "UPDATE segment SET path = ?, day = '2019-01-01' WHERE id = ?",
        str(fresh.relative_to(kept.root)), kept.segment(1).id,
    )  # fmt: skip
    old.rename(fresh)
    assert kept.faults() == [("catalogue", old.name), ("renamed", old.name)]


@pytest.mark.parametrize("column", ["max_event_us", "min_receipt_us", "level"])
def test_a_lie_in_manifest_db_before_the_first_signature(kept: Kept, column: str) -> None:
    """A time or a level made less before the file was signed: its own footer says otherwise."""
    kept.seal(6)
    name = kept.path(5).name
    kept.database(f"UPDATE segment SET {column} = 1 WHERE id = ?", kept.segment(5).id)
    assert kept.faults() == [("footer", name)]
    assert column in kept.message("footer")


@pytest.mark.parametrize("seq", [1, 2])
def test_a_manifest_removed_from_the_middle(kept: Kept, seq: int) -> None:
    """The others do not join, and the ledger has it."""
    (kept.manifests / f"{seq:08d}.json").unlink()
    found = kept.faults()
    assert found.count(("chain", f"{seq:08d}.json")) == 2
    assert f"manifests {seq} to {seq} are gone" in kept.message("chain")


def test_the_last_manifest_removed(kept: Kept) -> None:
    """What it signed would be signed anew, as somebody left it: the ledger knows the one that was there."""
    last = sorted(kept.manifests.iterdir())[-1]
    last.unlink()
    rewritten(kept.path(4))
    kept.database("UPDATE segment SET sha256 = ? WHERE id = ?", files.sha256_of(kept.path(4)), kept.segment(4).id)
    assert ("chain", last.name) in kept.faults()


def test_all_manifests_removed(kept: Kept) -> None:
    """The ledger knows each."""
    names = sorted(path.name for path in kept.manifests.iterdir())
    shutil.rmtree(kept.manifests)
    assert [what for kind, what in kept.faults() if kind == "chain"] == names


def test_a_manifest_rewritten(kept: Kept) -> None:
    """A digest in it is changed: neither its signature nor the next one's link fits."""
    path = kept.manifests / "00000002.json"
    document = orjson.loads(path.read_bytes())
    document["added"][0]["sha256"] = "00" * 32
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_SORT_KEYS))
    assert {("signature", path.name), ("chain", "00000003.json"), ("chain", path.name)} <= set(kept.faults())


def test_two_manifests_swapped(kept: Kept) -> None:
    """Their numbers are in them."""
    one, other = kept.manifests / "00000001.json", kept.manifests / "00000002.json"
    both = one.read_bytes(), other.read_bytes()
    one.write_bytes(both[1])
    other.write_bytes(both[0])
    assert {("chain", one.name), ("chain", other.name)} <= set(kept.faults())


def test_a_deletion_without_certificate(kept: Kept) -> None:
    """A tombstone written by sqlite3, the file unlinked: nobody approved it."""
    path, found = kept.path(1), kept.segment(1)
    path.unlink()
    kept.database(
        "UPDATE segment SET state = 'dropped', changed_us = 1, authorisation = 'plan:00ff' WHERE id = ?", found.id
    )
    assert kept.faults() == [("uncertified", found.id)]


def test_a_certificate_removed_or_a_deleted_file_put_back(kept: Kept) -> None:
    """A certificate is listed in the manifests; a file that was deleted has no business in the folder."""
    path, data = kept.path(1), kept.path(1).read_bytes()
    name = deleted(kept, 1)
    assert kept.faults() == []
    path.write_bytes(data)
    assert kept.faults() == [("unlisted", path.name)]
    path.unlink()
    next(kept.certificates.iterdir()).unlink()
    assert kept.faults() == [("missing", "00ff.json"), ("uncertified", name)]


def test_a_tombstone_of_another_file(kept: Kept) -> None:
    """Its facts are rewritten before it is deleted, so that the certificate tells of ten rows less."""
    kept.database("UPDATE segment SET rows = 1 WHERE id = ?", kept.segment(1).id)
    name = deleted(kept, 1)
    assert ("altered", name) in kept.faults()


def test_a_merge_that_lost_rows(kept: Kept) -> None:
    """A file is said to be merged into one that has not its rows; one is said to be merged into another day."""
    path, found, other = kept.path(1), kept.segment(1), kept.segment(2)
    path.unlink()
    kept.database(
        "UPDATE segment SET state = 'retired', changed_us = 1, merged_into = ? WHERE id = ?", other.id, found.id
    )
    assert ("merge", Path(other.path).name) in kept.faults()


def test_an_export_is_verified_without_the_store(kept: Kept, tmp_path: Path) -> None:
    """Files, manifests and certificates in one folder: the file `verify.py` alone finds the change."""
    deleted(kept, 1)
    kept.proof.sign()
    export = tmp_path / "export"
    shutil.copytree(kept.root / "seg", export / "seg")
    for folder in (kept.manifests, kept.certificates):
        shutil.copytree(folder, export / folder.name)
    key = keys.public_hex(keys.load_or_create(kept.settings.path("keys", "proof.key")))
    assert verify_files(export, key).faults == ()
    shutil.copy(kept.path(2), export / kept.segment(1).path)
    assert [fault.kind for fault in verify_files(export, key).faults] == ["swapped"]


def test_what_moves_while_it_is_looked_at_is_no_fault(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """A merge between the signature and the reading of files: the second look knows it."""
    look, looks = Proof._look, []

    def moving(self: Proof, content: bool):
        looks.append(1)
        signing = self.sign
        if len(looks) == 1:

            def sign() -> None:
                signing()
                kept.seal(0, 10)
                kept.store.compact(max_files=1, grace_us=0)
                kept.store.compact(grace_us=0)

            monkeypatch.setattr(self, "sign", sign)
        try:
            return look(self, content)
        finally:
            monkeypatch.setattr(self, "sign", signing)

    monkeypatch.setattr(Proof, "_look", moving)
    assert kept.faults() == []
    assert len(looks) == 2
