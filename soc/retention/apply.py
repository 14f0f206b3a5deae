"""Carries out an approved plan: intent in the ledger, drop, tombstones, signed certificate; finishes what was begun."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from soc.errors import Conflict, NotFound, PermissionRefused
from soc.model.clock import Clock
from soc.retention import certificate
from soc.retention.certificate import Certificate, Spared, Tombstone, tombstone_document
from soc.retention.hold import Cases, all_of
from soc.retention.plan import Item, Plan

KIND = "retention_run"


class Store(Protocol):
    """What deletion needs of the event store. `drop` of one segment is atomic and leaves its tombstone."""

    def drop(self, segment_id: str, authorisation: str, /) -> Tombstone: ...
    def tombstones(self) -> Sequence[Tombstone]: ...


@dataclass(frozen=True)
class Applied:
    """What became of a plan: its certificate file, what was deleted and what was spared."""

    certificate: Path
    tombstones: tuple[dict[str, Any], ...]
    spared: tuple[Spared, ...]


class Deletion:
    """Deletes by plan. `fresh` makes a plan of this very moment, so that a hold or a raised level since then wins."""

    def __init__(
        self,
        cases: Cases,
        store: Store,
        clock: Clock,
        *,
        key: Ed25519PrivateKey,
        certificates: Path,
        fresh: Callable[[], Plan],
    ) -> None:
        self._cases = cases
        self._store = store
        self._clock = clock
        self._key = key
        self._certificates = certificates
        self._fresh = fresh

    def apply(self, plan: Plan, plan_hash: str, approver: str, reason: str = "") -> Applied:
        """Delete what the plan says; `plan_hash` is what the approver saw.

        A plan that was begun and stopped half-way goes on, in the name of who began it.

        Raises PermissionRefused when the approver planned it, Conflict when the plan is not the one approved, was
        applied already, or no longer holds (a hold, a raised level, a merged file): then nothing is deleted. TryAgain
        when the store is busy too long.
        """
        if not approver or approver == plan.planner:
            raise PermissionRefused(
                f"{plan.planner} made this plan and cannot approve it", hint="a second person applies it"
            )
        if plan.computed_hash() != plan.hash or plan_hash != plan.hash:
            raise Conflict("this is not the plan that was approved", hint="plan again: soc retention plan")
        if (begun := self._begun(plan)) is not None:
            return self._finish(begun)
        self._refuse_stale(plan)
        with self._cases.begin(approver) as tx:
            run = self._run(plan, approver)
            tx.put(KIND, plan.hash, run, None)
            intent = {"plan": plan.hash, "segments": len(plan.to_delete), "planner": plan.planner}
            tx.ledger("retention.apply", f"plan:{plan.hash}", None, intent, reason)
        return self._finish(run)

    def _begun(self, plan: Plan) -> dict[str, Any] | None:
        with self._cases.begin("engine") as tx:
            stored = tx.get(KIND, plan.hash)
        if stored is not None and stored.document["state"] != "begun":
            raise Conflict("this plan was applied already", hint="plan again: soc retention plan")
        return None if stored is None else stored.document

    def resume(self) -> list[Applied]:
        """Finish every deletion that was begun and not certified; called at start-up, before anything else drops."""
        with self._cases.begin("engine") as tx:
            runs = [stored.document for stored in all_of(tx, KIND)]
        return [self._finish(run) for run in runs if run["state"] == "begun"]

    def _run(self, plan: Plan, approver: str) -> dict[str, Any]:
        return {
            "state": "begun",
            "plan": plan.hash,
            "ladder_id": plan.ladder_id,
            "planner": plan.planner,
            "approver": approver,
            "approved_us": self._now_us(),
            "segments": [item.segment_id for item in plan.to_delete],
        }

    def _refuse_stale(self, plan: Plan) -> None:
        now = {item.segment_id: item for item in self._fresh().items}
        for item in plan.to_delete:
            current = now.get(item.segment_id)
            if current is None or _identity(current) != _identity(item):
                raise Conflict(
                    f"segment {item.segment_id} changed since the plan", hint="plan again: soc retention plan"
                )
            if current.action != "delete":
                why = current.reasons[0].id
                raise Conflict(f"segment {item.segment_id} may no longer be deleted ({why})", hint="plan again")

    def _finish(self, run: dict[str, Any]) -> Applied:
        stones, spared = self._drop_all(run)
        proof = Certificate(
            plan_hash=run["plan"],
            ladder_id=run["ladder_id"],
            planner=run["planner"],
            approver=run["approver"],
            approved_us=run["approved_us"],
            issued_us=self._now_us(),
            tombstones=tuple(stones),
            spared=tuple(spared),
        )
        path = certificate.write(self._certificates, proof, self._key)
        self._close(run, path)
        return Applied(path, tuple(stones), tuple(spared))

    def _drop_all(self, run: dict[str, Any]) -> tuple[list[dict[str, Any]], list[Spared]]:
        """Drop what is left of the run. What a hold or a level has caught meanwhile is spared: holds beat approvals."""
        authorisation = f"plan:{run['plan']}"
        done = {stone.segment_id: stone for stone in self._store.tombstones() if stone.authorisation == authorisation}
        allowed = {item.segment_id: item for item in self._fresh().items}
        stones: list[dict[str, Any]] = []
        spared: list[Spared] = []
        for name in run["segments"]:
            current = allowed.get(name)
            if name in done:
                stones.append(tombstone_document(done[name]))
            elif current is None:
                spared.append(Spared(name, "retention.spared.gone"))
            elif current.action != "delete":
                spared.append(Spared(name, current.reasons[0].id))
            else:
                stones.append(tombstone_document(self._store.drop(name, authorisation)))
        return stones, spared

    def _close(self, run: dict[str, Any], path: Path) -> None:
        with self._cases.begin(run["approver"]) as tx:
            stored = tx.get(KIND, run["plan"])
            if stored is None:
                raise NotFound(f"the record of plan {run['plan']} is gone")
            if stored.document["state"] == "done":
                return  # somebody else finished it at the same time
            tx.put(KIND, run["plan"], {**run, "state": "done", "certificate": path.name}, stored.version)
            tx.ledger("retention.certify", f"plan:{run['plan']}", None, {"certificate": path.name}, "")

    def _now_us(self) -> int:
        return self._clock.now_ns() // 1000


def _identity(item: Item) -> tuple[str, int, str]:
    return item.sha256, item.rows, item.day
