"""A world of one file for the engine's tests: every effect is a line, so that nothing is done twice unnoticed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from soc.errors import TryAgain
from soc.model.run import ActionPlan, Active, Capability


class FileActuator:
    """Appends `apply KEY TARGET` and `revert TARGET` to a file in one write each. `crash` is called around them."""

    def __init__(self, path: Path, crash: Callable[[str], None] = lambda _where: None) -> None:
        self.path = path
        self.crash = crash
        self.available = Capability(True)
        self.readable = True
        self.fails = ""

    def check(self) -> Capability:
        return self.available

    def plan(self, params: Mapping[str, Any]) -> ActionPlan:
        target, ttl_s = str(params["address"]), int(params["ttl_s"])
        return ActionPlan((("block", target, str(ttl_s)),), target, 0, (("lift", target),), f"block {target}", ttl_s)

    def apply(self, plan: ActionPlan, key: str) -> None:
        if self.fails == "before":
            raise TryAgain("the device does not answer")
        self.crash("before apply")
        self._write(f"apply {key} {plan.target}\n")
        self.crash("after apply")
        if self.fails == "after":
            raise TryAgain("the device does not answer")

    def verify(self, plan: ActionPlan) -> str:
        if not self.readable:
            return "unknown"
        return "verified" if plan.target in self.standing() else "absent"

    def revert(self, plan: ActionPlan) -> None:
        self.crash("before revert")
        if plan.target in self.standing():
            self._write(f"revert {plan.target}\n")
        self.crash("after revert")

    def list(self) -> Sequence[Active]:
        return [Active(target, None) for target in sorted(self.standing())]

    # For the tests

    def standing(self) -> set[str]:
        """The targets in effect."""
        targets: set[str] = set()
        for line in self.lines():
            act, *_, target = line.split()
            (targets.add if act == "apply" else targets.discard)(target)
        return targets

    def lines(self) -> tuple[str, ...]:
        """Every effect there ever was."""
        return tuple(self.path.read_text().splitlines()) if self.path.exists() else ()

    def forget(self, target: str) -> None:
        """The world changes by itself: a time-out, or somebody's hand."""
        self._write(f"revert {target}\n")

    def _write(self, line: str) -> None:
        descriptor = os.open(self.path, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)


def die(_signal: int = 9) -> None:
    """kill -9 of this process, from inside: nothing is flushed, nothing is cleaned up."""
    os.kill(os.getpid(), _signal)
    time.sleep(10)
