"""Which rules are on, off or in shadow: chosen by id, tag, level or status; for all, or for one owner unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Protocol, Self

LIVE, SHADOW, OFF = "live", "shadow", "off"
STATES = (LIVE, SHADOW, OFF)
"""A live rule makes alerts; one in shadow matches, is counted and kept, and makes none; so does one that is off for a
unit, and one that is off everywhere is not even matched."""
KINDS = ("id", "tag", "level", "status")


class Chosen(Protocol):
    """What a choice is made by: a rule, a correlation or a model. `status` is Sigma's (`experimental`, `stable`)."""

    @property
    def id(self) -> str: ...
    @property
    def level(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def tags(self) -> Sequence[str]: ...


@dataclass(frozen=True)
class Selector:
    """`status=experimental`, `tag=attack.t1059*`, `level=low`; without a kind it is an id. `*` and `?` are wild."""

    kind: str
    pattern: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError for a kind that there is not, and for nothing."""
        kind, sign, pattern = text.partition("=")
        if not sign:
            kind, pattern = "id", text
        if kind not in KINDS or not pattern.strip():
            raise ValueError(f"'{text}' chooses no rules; write {', '.join(f'{name}=…' for name in KINDS)}")
        return cls(kind, pattern.strip().lower())

    def takes(self, rule: Chosen) -> bool:
        """Whether the rule is meant."""
        values = rule.tags if self.kind == "tag" else (getattr(rule, self.kind),)
        return any(fnmatchcase(str(value).lower(), self.pattern) for value in values)


@dataclass(frozen=True)
class Choice:
    """What is off, and what is on in spite of that."""

    disable: tuple[Selector, ...] = ()
    enable: tuple[Selector, ...] = ()

    @classmethod
    def parse(cls, disable: Sequence[str], enable: Sequence[str]) -> Self:
        """Raises ValueError; see `Selector.parse`."""
        return cls(tuple(map(Selector.parse, disable)), tuple(map(Selector.parse, enable)))

    def says(self, rule: Chosen) -> bool | None:
        """True on, False off, None when nothing is said. `enable` wins over `disable`."""
        if any(selector.takes(rule) for selector in self.enable):
            return True
        return False if any(selector.takes(rule) for selector in self.disable) else None


@dataclass(frozen=True)
class RulePolicy:
    """The site's choice. A unit's own word wins, then a person's decision about the rule, then what is said of all."""

    everywhere: Choice = field(default_factory=Choice)
    shadow: tuple[Selector, ...] = ()
    units: Mapping[str, Choice] = field(default_factory=dict)

    def state(self, rule: Chosen, unit: str | None = None, decided: str = "") -> str:
        """One of `STATES`; `decided` is what a person decided about the rule, "" for nothing."""
        own = self.units.get(unit or "", Choice()).says(rule)
        if own is False or decided == OFF:
            return OFF
        if decided:
            return decided
        if own is None and self.everywhere.says(rule) is False:
            return OFF
        return SHADOW if any(selector.takes(rule) for selector in self.shadow) else LIVE

    def is_off_everywhere(self, rule: Chosen) -> bool:
        """Whether no unit needs it: it need not even be matched (unless somebody decided about it)."""
        is_wanted = any(choice.says(rule) for choice in self.units.values())
        return self.everywhere.says(rule) is False and not is_wanted


EVERY_RULE = RulePolicy()
"""All rules are live."""
