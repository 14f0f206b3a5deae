"""The search text that finds all events behind an alert, also those beyond the ones it names."""

from __future__ import annotations

from collections.abc import Iterator

from soc.errors import QueryError
from soc.model.alert import Alert
from soc.model.fields import FieldDictionary
from soc.model.values import iso
from soc.store.query import parse

_EVENT_DATA, _USER_DATA = "winlog.event_data.", "winlog.user_data."


def rest_query(alert: Alert, fields: FieldDictionary) -> str:
    """Text of docs/search.md: the alert's entity in its unit, site and time; never narrower than the alert.

    What all its findings share is in it, what one of them matched is not: that may differ from the next.
    """
    pairs = [("soc.site", alert.site), ("organization.id", alert.organization_id or ""), *_entity(alert)]
    terms = [term for name, value in pairs if value and (term := _term(name, value, fields))]
    times = [f'@timestamp >= "{iso(alert.first_us)}"', f'@timestamp <= "{iso(alert.last_us)}"']
    return " and ".join([*terms, *times])


def _entity(alert: Alert) -> Iterator[tuple[str, str]]:
    if alert.kind == "sigma":
        name, _, value = alert.entity.partition("=")
        yield name, value
    else:  # a group may have several names, and blanks in its values
        yield from alert.group.items()


def _term(name: str, value: str, fields: FieldDictionary) -> str:
    """One comparison; empty for what no event can be asked for, as the alias of a correlation."""
    field = fields.get(name)
    if field is None or (field.many and "," in value):  # a list of values was joined to one text
        return ""
    quoted = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    term = f"{name}:{quoted}"
    if name.startswith(_EVENT_DATA):  # rules read both under one name
        term = f"({term} or {_USER_DATA}{name.removeprefix(_EVENT_DATA)}:{quoted})"
    try:
        parse(term, fields)
    except QueryError:
        return ""
    return term
