"""Asks whether an exception takes a finding of a correlation: its group, and what was kept of the events beneath it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from soc.detections.correlation.definition import Correlation
from soc.detections.correlation.seen import ABOUT, Seen
from soc.detections.rule_exception import RuleException
from soc.detections.sigma.evaluate import Columns, Holds, Row, compiled
from soc.model.batch import EventBatch

ASKED = "asked"
"""In what is kept of an event: the fields, by their names in conditions, that exceptions ask for; None for missing."""
_NOTHING = Columns(EventBatch.from_rows("", [{}]))


class Excepting:
    """The exceptions from one correlation. One takes a finding when it takes every event beneath it: whoever hides
    among those that are known is not hidden with them. An event from before the exception was there says nothing."""

    def __init__(self, correlation: Correlation, exceptions: Iterable[RuleException]) -> None:
        self._of: list[tuple[RuleException, Holds, frozenset[str]]] = []
        self._asked: dict[str, dict[str, tuple[str, ...]]] = {}
        for each in exceptions:
            if each.condition is not None and correlation.id in each.rules:
                beneath = each.beneath[correlation.id]
                names = frozenset(name for part in beneath.values() for name in part)
                self._of.append((each, compiled(each.condition), names))
                for rule, wanted in beneath.items():
                    self._asked.setdefault(rule, {}).update(wanted)

    @property
    def asks_events(self) -> bool:
        """Whether something of the events must be kept."""
        return bool(self._asked)

    def kept(self, rule: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """What to keep of an event that this rule hit."""
        asked = self._asked[rule].items()
        return {ASKED: {name: next((fields[n] for n in names if n in fields), None) for name, names in asked}}

    def taking(self, group: Mapping[str, str], events: Sequence[Seen], receipt_us: int) -> str:
        """The id of the first that takes a finding; "" for none. `receipt_us` is that of the completing event.

        Without `events` the group alone is asked, and one that wants more takes nothing.
        """
        for each, holds, names in self._of:
            if each.since_us <= receipt_us < each.until_us and all(
                names <= about.keys() and not holds(_Said({**about, **group})) for about in _distinct(events, names)
            ):
                return each.id
        return ""


def _distinct(events: Sequence[Seen], names: frozenset[str]) -> Iterable[Mapping[str, Any]]:
    """What was kept of the events, once for each that differs."""
    if not names or not events:
        return [{}]
    kept = (seen[ABOUT].get(ASKED, {}) if len(seen) > ABOUT else {} for seen in events)
    return {repr(sorted(each.items())): each for each in kept}.values()


class _Said(Row):
    """An event of which only these fields are known."""

    __slots__ = ("_said",)

    def __init__(self, said: Mapping[str, Any]) -> None:
        super().__init__(_NOTHING, 0)
        self._said = said

    def values(self, name: str | None) -> tuple[Any, ...]:
        value = None if name is None else self._said.get(name)
        return () if value is None else tuple(value) if isinstance(value, list | tuple) else (value,)
