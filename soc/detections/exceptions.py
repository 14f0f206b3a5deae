"""Exceptions: Sigma filters with an owner, a reason, a ticket and an end, held against what a rule has hit.

A plain filter is joined to the rule and what it describes is never seen. An exception (a filter with `x-exception`) is
asked after the hit: the finding is kept and says which exception took it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from soc.content import Document
from soc.detections.sigma.evaluate import Holds, Row, compiled
from soc.detections.sigma.read import NO_SITE, identity, read_rule, version_of
from soc.detections.sigma.rule import Refused, Route, Rule, Variant
from soc.detections.sigma.site import Site
from soc.model.clock import VIETNAM
from soc.model.fields import FieldDictionary

KEY = "x-exception"
LONGEST = dt.timedelta(days=366)
"""From the `date` of an exception until it `expires`."""
_OWN = ("owner", "reason", "ticket", "expires")


@dataclass(frozen=True)
class RuleException:
    """One exception. `rules` are ids; `since_us` and `until_us` are µs UTC, the last day counts whole in Vietnam.

    `filter` is its condition as a rule: what does not hold of an event that a rule hit is excepted.
    """

    id: str
    title: str
    version: str
    rules: tuple[str, ...]
    owner: str
    reason: str
    ticket: str
    since_us: int
    until_us: int
    filter: Rule = field(repr=False)
    path: str = ""
    line: int = 1

    def condition(self, route: Route) -> Variant | None:
        """What to ask of the events of a rule's route; None when the exception is about other ones."""
        return next((variant for variant in self.filter.variants if _covers(variant.route, route)), None)


def is_exception(document: Document) -> bool:
    """Whether it is a filter with the keys of an exception."""
    return isinstance(document.data, dict) and "filter" in document.data and KEY in document.data


def read_exception(
    document: Document, rules: Mapping[str, Rule], fields: FieldDictionary, site: Site = NO_SITE
) -> RuleException | Refused:
    """Read one whose rules are in `rules`, by id and by name. A faulty one is refused, and then hides nothing."""
    try:
        return _read(document, rules, fields, site)
    except ValueError as error:
        return Refused(identity(document), document.path, document.line(KEY), str(error))


def _read(document: Document, rules: Mapping[str, Rule], fields: FieldDictionary, site: Site) -> RuleException:
    data, own, body = document.data, document.data[KEY], document.data["filter"]
    if not isinstance(own, dict) or not isinstance(body, dict):
        raise ValueError(f"'{KEY}' and 'filter' are mappings")
    missing = [name for name in _OWN if not str(own.get(name) or "").strip()]
    if missing or set(own) - set(_OWN):
        raise ValueError(f"an exception has {', '.join(_OWN)} and no other keys; missing: {', '.join(missing) or '-'}")
    since, until = _day(data.get("date"), "date"), _day(own["expires"], "expires")
    if not since <= until <= since + LONGEST:
        raise ValueError(
            f"an exception ends at most a year after its date: {until} is not between {since} and a year on"
        )
    meant = _meant(body.get("rules"), rules)
    lowered = read_rule(_as_rule(document), fields, site=site)
    if isinstance(lowered, Refused):
        raise ValueError(lowered.reason)
    made = RuleException(
        id=identity(document), title=str(data.get("title") or identity(document)), version=version_of(document),
        rules=tuple(rule.id for rule in meant), owner=str(own["owner"]), reason=str(own["reason"]),
        ticket=str(own["ticket"]), since_us=_us(since), until_us=_us(until + dt.timedelta(days=1)), filter=lowered,
        path=document.path, line=document.first_line,
    )  # fmt: skip
    for rule in meant:
        if not any(made.condition(variant.route) for variant in rule.variants):
            raise ValueError(f"its log source is not that of '{rule.title}': write the rule's own one")
    return made


def _day(value: Any, name: str) -> dt.date:
    try:
        return dt.date.fromisoformat(str(value).replace("/", "-"))
    except ValueError:
        raise ValueError(f"'{name}: {value}' is no day such as 2027-05-31") from None


def _us(day: dt.date) -> int:
    return int(dt.datetime.combine(day, dt.time(), VIETNAM).timestamp()) * 1_000_000


def _meant(named: Any, rules: Mapping[str, Rule]) -> list[Rule]:
    names = [named] if isinstance(named, str) else named
    if not isinstance(names, list) or not names or names == ["any"]:
        raise ValueError("an exception names its rules by id: an exception from every rule is none that anybody judged")
    unknown = [str(name) for name in names if str(name) not in rules]
    if unknown:
        raise ValueError(f"is about '{unknown[0]}', which is no single-event rule that is loaded")
    return [rules[str(name)] for name in names]


def _as_rule(document: Document) -> Document:
    """The same selections and condition, as the rule that pySigma reads."""
    detection = {key: value for key, value in document.data["filter"].items() if key != "rules"}
    header = {key: document.data[key] for key in ("title", "id", "logsource") if key in document.data}
    return replace(document, data={**header, "detection": detection})


def _covers(own: Route, rule: Route) -> bool:
    """Whether every event of the rule's route may be asked with the names of the exception's route."""
    if own == rule:
        return True
    if own.windows != rule.windows:
        return False
    if own.windows:
        channels = not own.channels or (bool(rule.channels) and rule.channels <= own.channels)
        return channels and own.event_ids is None
    return set(rule.datasets) <= set(own.datasets)


class Exceptions:
    """Asks whether an exception takes a hit. What counts is the day on which the event was received."""

    def __init__(self, exceptions: Sequence[RuleException], rules: Sequence[Rule]) -> None:
        self._of: dict[int, list[tuple[RuleException, Holds]]] = {}
        for each in exceptions:
            for rule in rules:
                if rule.id in each.rules:
                    self._add(each, rule)

    def _add(self, each: RuleException, rule: Rule) -> None:
        for variant in rule.variants:
            asked = each.condition(variant.route)
            if asked is not None:
                self._of.setdefault(id(variant), []).append((each, compiled(asked.node)))

    def __bool__(self) -> bool:
        return bool(self._of)

    def taking(self, variant: Variant, row: Row, receipt_us: int) -> str:
        """The id of the first that takes this hit of a rule's variant; "" for none."""
        for each, holds in self._of.get(id(variant), ()):
            if each.since_us <= receipt_us < each.until_us and not holds(row):
                return each.id
        return ""
