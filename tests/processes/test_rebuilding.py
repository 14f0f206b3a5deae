"""A site whose manifest.db is gone: nothing opens, it is made anew, and the result is what was signed."""

from __future__ import annotations

from pathlib import Path

import pytest

from soc.config import Settings
from soc.errors import StoreError, TryAgain
from soc.model.clock import SystemClock
from soc.pipeline import places
from soc.pipeline.services.proof import Proof
from soc.processes.home import make_home, only_one
from soc.processes.rebuilding import rebuild_store
from soc.retention import certificate, keys
from soc.retention.certificate import Certificate, tombstone_document
from soc.store.cases import Cases
from soc.store.events import EventStore
from tests.store.events.samples import START_US, batch, event, upto

DAY_US = 86_400_000_000
CLOCK = SystemClock()


@pytest.fixture
def site(tmp_path: Path) -> Settings:
    """Three signed days, of which one was deleted with a certificate, and no catalogue any more."""
    settings = Settings(home=tmp_path)
    make_home(settings)
    store = EventStore(places.events(settings), CLOCK, writer="w")
    for seq in (1, 2, 3):
        rows = [event(seq, i, at_us=START_US + seq * DAY_US + i) for i in range(3)]
        store.append([batch(rows)], upto(seq, 2))
    store.roll()
    store.compact()
    cases = cases_of(settings)
    Proof(settings, CLOCK, store, cases).sign()
    stone = tombstone_document(store.drop(store.segments()[0].id, "plan:00ff"))
    key = keys.load_or_create(settings.path("keys", "proof.key"))
    certificate.write(
        settings.path("proof", "certificates"), Certificate("00ff", "x", "an", "binh", 1, 2, (stone,)), key
    )
    store.close()
    cases.close()
    for path in places.events(settings).glob("manifest.db*"):
        path.unlink()
    return settings


def cases_of(settings: Settings) -> Cases:
    """As `soc serve` has them."""
    head = settings.path("proof", "ledger.head")
    return Cases(settings.path("cases", "cases.db"), CLOCK, head_path=head)


def test_what_is_made_anew_is_what_was_signed(site: Settings) -> None:
    """Every fact, down to the Merkle roots, and the deletion with its certificate; no manifest is needed for it."""
    seen: list[tuple[int, int]] = []
    plan = rebuild_store(site, lambda _: True, lambda *step: seen.append(step))
    assert [file.state for file in plan.files] == ["sealed", "sealed"]
    assert seen == [(0, 2), (1, 2), (2, 2)]
    store, cases = EventStore(places.events(site), CLOCK), cases_of(site)
    verdict = Proof(site, CLOCK, store, cases).verify(content=True)
    assert (verdict["ok"], verdict["segments"], verdict["tombstones"]) == (True, 2, 1)
    store.close()
    cases.close()


def test_nothing_happens_without_consent_or_while_soc_runs(site: Settings) -> None:
    """The folder stays as it was."""
    rebuild_store(site, lambda _: False, lambda *_: None)
    with only_one(site), pytest.raises(TryAgain):
        rebuild_store(site, lambda _: True, lambda *_: None)
    with pytest.raises(StoreError, match="is gone"):
        EventStore(places.events(site), CLOCK)
