"""Exceptions: Sigma filters with an owner, a reason, a ticket and an end, held against what a rule has hit.

A plain filter is joined to the rule and what it describes is never seen. An exception (a filter with `x-exception`) is
asked after the hit: the finding is kept and says which exception took it. With a log source it is about single-event
rules; without one about correlations (`correlation.excepting` asks those).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from soc.content import Document
from soc.detections.correlation.definition import Correlation, Names, Referable, event_fields
from soc.detections.rule_exception import Beneath, RuleException
from soc.detections.sigma.evaluate import Holds, Row, compiled
from soc.detections.sigma.header import identity, version_of
from soc.detections.sigma.rule import Refused, Rule, Variant, names_of
from soc.detections.sigma.site import NO_SITE, Site
from soc.model.clock import VIETNAM
from soc.model.fields import FieldDictionary

KEY = "x-exception"
LONGEST = dt.timedelta(days=366)
"""From the `date` of an exception until it `expires`."""
_OWN = ("owner", "reason", "ticket", "expires")


def is_exception(document: Document) -> bool:
    """Whether it is a filter with the keys of an exception."""
    return isinstance(document.data, dict) and "filter" in document.data and KEY in document.data


def read_exception(
    document: Document, known: Mapping[str, Referable], fields: FieldDictionary, site: Site = NO_SITE
) -> RuleException | Refused:
    """Read one about what is in `known` (see `by_name`). A faulty one is refused, and then hides nothing."""
    try:
        return _read(document, known, fields, site)
    except ValueError as error:
        return Refused(identity(document), document.path, document.line(KEY), str(error))


def by_name(*kinds: Sequence[Referable]) -> dict[str, Referable]:
    """Rules and correlations by their ids and names."""
    return {name: each for some in kinds for each in some for name in (each.id, each.name) if name}


def _read(document: Document, known: Mapping[str, Referable], fields: FieldDictionary, site: Site) -> RuleException:
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
    meant = _meant(body.get("rules"), known)
    made = RuleException(
        id=identity(document), title=str(data.get("title") or identity(document)), version=version_of(document),
        rules=tuple(each.id for each in meant), owner=str(own["owner"]), reason=str(own["reason"]),
        ticket=str(own["ticket"]), since_us=_us(since), until_us=_us(until + dt.timedelta(days=1)),
        path=document.path, line=document.first_line,
    )  # fmt: skip
    if "logsource" in data:
        return _of_events(made, document, meant, fields, site)
    return _of_correlations(made, document, meant, fields, site)


def _of_events(
    made: RuleException, document: Document, meant: Sequence[Referable], fields: FieldDictionary, site: Site
) -> RuleException:
    from soc.detections.sigma.read import read_rule

    lowered = read_rule(_as_rule(document), fields, site=site)
    if isinstance(lowered, Refused):
        raise ValueError(lowered.reason)
    made = replace(made, filter=lowered)
    for each in meant:
        if isinstance(each, Correlation):
            raise ValueError(f"'{each.title}' is a correlation, and no log source is its own: leave 'logsource' out")
        if not any(made.variant(variant.route) for variant in each.variants):
            raise ValueError(f"its log source is not that of '{each.title}': write the rule's own one")
    return made


def _of_correlations(
    made: RuleException, document: Document, meant: Sequence[Referable], fields: FieldDictionary, site: Site
) -> RuleException:
    from soc.detections.sigma.read import read_condition

    condition = read_condition(_detection(document), site)
    beneath: dict[str, Beneath] = {}
    for each in meant:
        if not isinstance(each, Correlation):
            raise ValueError(f"'{each.title}' is no correlation: write its log source")
        beneath[each.id] = _beneath(each, names_of(condition), fields)
    return replace(made, condition=condition, beneath=beneath)


def _beneath(correlation: Correlation, names: Sequence[str | None], fields: FieldDictionary) -> Beneath:
    """What the condition reads besides the group of a correlation's finding: it must be known of every event of it."""
    if None in names:
        raise ValueError("keywords are looked for in events: an exception from a correlation names fields")
    wanted = [name for name in names if name not in correlation.group_by]
    found: dict[str, dict[str, Names]] = {}
    for part in correlation.of:
        for name in filter(None, wanted):
            if isinstance(part, Correlation) and name not in part.group_by:
                raise ValueError(f"reads '{name}', by which '{part.title}' beneath it does not group")
            found.setdefault(part.id, {})[name] = event_fields(part, part.name or part.id, name, fields)
    return found


def _day(value: Any, name: str) -> dt.date:
    try:
        return dt.date.fromisoformat(str(value).replace("/", "-"))
    except ValueError:
        raise ValueError(f"'{name}: {value}' is no day such as 2027-05-31") from None


def _us(day: dt.date) -> int:
    return int(dt.datetime.combine(day, dt.time(), VIETNAM).timestamp()) * 1_000_000


def _meant(named: Any, known: Mapping[str, Referable]) -> list[Referable]:
    names = [named] if isinstance(named, str) else named
    if not isinstance(names, list) or not names or names == ["any"]:
        raise ValueError("an exception names its rules by id: an exception from every rule is none that anybody judged")
    unknown = [str(name) for name in names if str(name) not in known]
    if unknown:
        raise ValueError(f"is about '{unknown[0]}', which is no rule or correlation that is loaded")
    return [known[str(name)] for name in names]


def _detection(document: Document) -> dict[str, Any]:
    return {key: value for key, value in document.data["filter"].items() if key != "rules"}


def _as_rule(document: Document) -> Document:
    """The same selections and condition, as the rule that pySigma reads."""
    header = {key: document.data[key] for key in ("title", "id", "logsource") if key in document.data}
    return replace(document, data={**header, "detection": _detection(document)})


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
            asked = each.variant(variant.route)
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
