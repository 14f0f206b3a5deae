"""The store's catalogue, made anew while nothing of soc runs."""

from __future__ import annotations

from collections.abc import Callable

from soc.config import Settings
from soc.model.clock import SystemClock
from soc.pipeline import places
from soc.processes.home import make_home, only_one
from soc.retention import certificate, manifest
from soc.store.events.rebuild import Progress, Rebuilding, RebuildPlan


def rebuild_store(settings: Settings, agreed: Callable[[RebuildPlan], bool], progress: Progress) -> RebuildPlan:
    """Make `manifest.db` anew from the sealed files and the certificates, when who sees the plan agrees to it.

    Raises TryAgain while soc runs, Conflict when `manifest.db` is there and can be read, StoreError.
    """
    make_home(settings)
    folder = settings.path("proof", manifest.CERTIFICATES)
    proofs = certificate.read_all(folder).values() if folder.is_dir() else ()
    with only_one(settings), Rebuilding(places.events(settings)) as work:
        plan = work.plan()
        if agreed(plan):
            stones = [stone for proof in proofs for stone in proof["tombstones"]]
            work.apply(plan, stones, SystemClock().now_ns() // 1000, progress)
    return plan
