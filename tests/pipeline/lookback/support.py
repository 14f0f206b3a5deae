"""A home with a past, and lookbacks over it, for the tests of this part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from soc.model.lookback import Lookback, RuleText
from soc.pipeline import places
from soc.pipeline.lookback.jobs import Jobs
from soc.pipeline.lookback.run import view
from soc.pipeline.lookback.runner import Runner
from soc.simulate import wire
from tests.pipeline.world import NOW_NS, World

NOW_US = NOW_NS // 1000
DAY_US = 86_400_000_000
FAILED = """
title: A failed login
id: 11111111-1111-4111-8111-111111111111
name: failed
logsource: {product: linux, service: sshd}
detection:
  s: {event.action: ssh_login, event.outcome: failure%s}
  condition: s
level: low
---
title: Five of them
id: 22222222-2222-4222-8222-222222222222
correlation: {type: event_count, rules: [failed], group-by: [source.ip], timespan: 10m, condition: {gte: 5}}
level: high
"""
SINGLE, COUNTED = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"


def text(more: str = "") -> RuleText:
    """The rule and the correlation above; `more` are further fields of the selection."""
    return RuleText("mine.yml", FAILED % more)


def single(more: str = "") -> RuleText:
    """The rule alone."""
    return RuleText("mine.yml", (FAILED % more).partition("---")[0])


@dataclass
class Past:
    """Logins of some days in the store, as a worker put them there."""

    world: World
    jobs: Jobs = field(init=False)

    def __post_init__(self) -> None:
        self.jobs = Jobs(places.lookbacks(self.world.settings), self.world.clock)

    def logins(self, n: int, *, source: str = "203.0.113.9", at_us: int = NOW_US, step_us: int = 1_000_000) -> None:
        """So many failed logins, one second apart, received when they happened."""
        for i in range(n):
            at_ns = (at_us + i * step_us) * 1000
            self.world.clock.set(at_ns)
            line = f"Failed password for root from {source} port {4000 + i % 1000} ssh2"
            self.world.receive([wire.rfc3164(at_ns, 86, "h1", "sshd[12]", line)])

    def ask(self, id: str = "a", verdicts: Mapping[str, str] | None = None, **asked: Any) -> str:
        """Hand a lookback in over the last five days; its id."""
        asked = {"since_us": NOW_US - 5 * DAY_US, "until_us": NOW_US + DAY_US, "units": None, **asked}
        self.jobs.create(Lookback(id=id, asker="an", created_us=NOW_US + DAY_US, **asked), verdicts or {})
        return id

    def run(self) -> None:
        """Work off everything that waits."""
        runner = Runner(self.world.settings, self.world.clock)
        while runner.step():
            pass
        runner.close()

    def seen(self, id: str = "a") -> dict[str, Any]:
        """The lookback as people see it."""
        return view(self.jobs.get(id), self.jobs.state(id))

    def found(self, id: str = "a") -> dict[str, dict[str, Any]]:
        """Its figures by rule."""
        return {each["rule"]: each for each in self.seen(id)["rules_found"]}
