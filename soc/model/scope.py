"""Who asks, for which units, and why: no stored data is read without one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scope:
    """`units` are the owner units (`organization.id`) that may be seen; None means all, unregistered included."""

    actor: str
    units: frozenset[str] | None
    why: str

    @classmethod
    def everything(cls, actor: str, why: str) -> Scope:
        """All units; for the operator's own roles and the engine itself."""
        return cls(actor, None, why)

    @classmethod
    def of_units(cls, actor: str, units: frozenset[str] | set[str], why: str) -> Scope:
        """Only these owner units."""
        return cls(actor, frozenset(units), why)

    def allows(self, unit: str | None) -> bool:
        """Whether data of this unit (None: unregistered) may be seen."""
        return self.units is None or (unit is not None and unit in self.units)
