"""What the playbook engine needs of others, as small protocols; `pipeline` hands the real ones in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from soc.model.run import ActionPlan, Active, Capability


class Actuator(Protocol):
    """What carries an action out. Every method may raise of the SocError family; `plan` and `check` change nothing
    that a plan was not approved for."""

    def check(self) -> Capability:
        """Whether it can work here and now."""
        ...

    def plan(self, params: Mapping[str, Any]) -> ActionPlan:
        """Pure: what would be done."""
        ...

    def apply(self, plan: ActionPlan, key: str) -> None:
        """Do it; `key` is the same for every attempt at one run."""
        ...

    def verify(self, plan: ActionPlan) -> str:
        """Re-read the world: verified, absent or unknown."""
        ...

    def revert(self, plan: ActionPlan) -> None:
        """Undo it; no error when it is gone already."""
        ...

    def list(self) -> Sequence[Active]:
        """What is in effect now."""
        ...
