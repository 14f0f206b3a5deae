"""`Automatic`: hands in what makes up for gaps of the coverage ledger, without anybody asking for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from soc.config import Settings
from soc.model.clock import DAY_US, Clock
from soc.model.lookback import DONE, OPEN, Lookback
from soc.pipeline.coverage import late
from soc.pipeline.coverage.counting import WINDOW_US
from soc.pipeline.coverage.ledger import coverage
from soc.pipeline.coverage.report import TRIES, Coverage, Owed
from soc.pipeline.lookback.jobs import Jobs
from soc.store.events import EventStore

ASKER = "engine"
WIDE_US = 3_600 * 1_000_000
"""All days are looked through so often; in between, and always, the time that is looked at anyway."""
LONGEST_US = DAY_US
"""Receipt that one job makes up for; what is left comes with the next."""
MOST_US = 400 * DAY_US
"""Events that are older when they come are not looked at again."""
RETRY_US = 3 * 3_600 * 1_000_000
"""Rest after a job that failed, was ended by a person, or in which a rule broke."""


class Automatic:
    """Call `step` now and then. One job at a time; `hand_in` makes it known and gives it to `soc lookback`.

    Nothing of it is kept: what is owed stands in the ledger, what was handed in lies among the lookbacks.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        store: EventStore,
        jobs: Jobs,
        new_id: Callable[[], str],
        hand_in: Callable[[Lookback], None],
    ) -> None:
        self._settings, self._clock, self._store, self._jobs = settings, clock, store, jobs
        self._new_id, self._hand_in = new_id, hand_in
        self._wide_at_us = 0
        self._newest: str | None = None
        self._rests_until_us = 0

    def step(self, recent: Coverage) -> None:
        """Hand in what is owed, `recent` or long ago, when no job is open and none needs a rest after it."""
        if not self._settings.backfill_days or self._is_busy():
            return
        now_us = self._clock.now_ns() // 1000
        owed = recent.owed_unasked(now_us)
        if owed is None and now_us - self._wide_at_us >= WIDE_US:
            late.prune(self._settings, now_us)
            owed = self._owed_long_ago(now_us)
            self._wide_at_us = now_us if owed is None else 0
        job = self._gap(owed, now_us) if owed is not None else self._late(recent, now_us)
        if job is not None:
            self._hand_in(job)
            self._newest = job.id

    def _gap(self, owed: Owed, now_us: int) -> Lookback:
        rules, since_us, until_us = owed
        return Lookback(
            id=self._new_id(), asker=ASKER, units=None, since_us=since_us, until_us=until_us, created_us=now_us,
            rules=tuple(rules), by_receipt=True, backfill=True, automatic=True, reason="coverage gap",
        )  # fmt: skip

    def _late(self, recent: Coverage, now_us: int) -> Lookback | None:
        """What makes up for the oldest events that came too late, once what lies behind them is there as well; rules
        that are gone answer for nothing."""
        for each in late.waiting(self._settings):
            rules = tuple(rule for rule in each.rules if rule in recent.rules)
            behind_us = each.last_us + max(map(recent.reach_us, rules), default=0)
            if rules and each.tries < TRIES and behind_us <= now_us:
                late.tried(self._settings, each)
                since_us = max(each.first_us, now_us - MOST_US)
                return Lookback(
                    id=self._new_id(), asker=ASKER, units=None, since_us=since_us, until_us=each.last_us + 1,
                    created_us=now_us, rules=rules, backfill=True, automatic=True, late=each.id,
                    reason="events came too late",
                )  # fmt: skip
        return None

    def told(self) -> dict[str, Any]:
        """Whether it is on, the newest job with its state and how far it is, and until when it rests (µs UTC)."""
        state = self._jobs.state(self._newest) if self._newest else {}
        return {
            "is_on": self._settings.backfill_days > 0, "job": self._newest, "state": state.get("state"),
            "at": state.get("at", 0), "slices": state.get("slices", 0), "hits": state.get("hits", 0),
            "rests_until_us": self._rests_until_us or None,
        }  # fmt: skip

    def _is_busy(self) -> bool:
        self._newest = next((id for id in reversed(self._jobs.ids()) if self._jobs.get(id).automatic), None)
        self._rests_until_us = 0
        if self._newest is None:
            return False
        state = self._jobs.state(self._newest)
        if state["state"] in OPEN:
            return True
        if state["state"] == DONE and not any(state.get("failures", {}).values()):
            return False
        rests_until_us = state.get("at_us", self._jobs.get(self._newest).created_us) + RETRY_US
        if rests_until_us <= self._clock.now_ns() // 1000:
            return False
        self._rests_until_us = rests_until_us
        return True

    def _owed_long_ago(self, now_us: int) -> Owed | None:
        until_us = now_us - WINDOW_US
        found, _ = coverage(self._settings, self._store, until_us - self._settings.backfill_days * DAY_US, until_us)
        owed = found.owed_unasked(now_us)
        if owed is None or owed[2] - owed[1] <= LONGEST_US:
            return owed
        first, _ = coverage(self._settings, self._store, owed[1], owed[1] + LONGEST_US)
        return first.owed_unasked(now_us)
