"""`scaffold`: a rule to begin with, out of one event: log source, selection, a test that hits, one that misses."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from soc.content import flow
from soc.detections.sigma.routing import NoRoute, log_source_of, ways
from soc.errors import UsageError
from soc.model.fields import FIELDS, FieldDictionary

EVENT_DATA = "winlog.event_data."
# What a first selection is made of: of these in this order the first that the event has, at most so many.
_TELLING = (
    f"{EVENT_DATA}CommandLine", f"{EVENT_DATA}Image", f"{EVENT_DATA}NewProcessName", f"{EVENT_DATA}TargetObject",
    f"{EVENT_DATA}ScriptBlockText", f"{EVENT_DATA}ServiceName", f"{EVENT_DATA}TargetUserName", "event.action",
    "event.outcome", "process.name", "process.command_line", "dns.question.name", "url.original", "user.name",
    "event.code", "destination.port", "message",
)  # fmt: skip
_TAKEN = 2
OTHER = "something else"
"""The value of the field that makes the second test a miss."""


def scaffold(
    event: Mapping[str, Any], *, id: str, day: str, title: str, author: str, names: Sequence[str] = (),
    fields: FieldDictionary = FIELDS,
) -> str:  # fmt: skip
    """YAML of a rule for events like this one (flat, as `soc parse` writes it); `names` are the fields to select by.

    Raises UsageError for a field that the event has not, and for an event that says too little.
    """
    where = tuple(str(event.get(name) or "") for name in ("event.dataset", "winlog.channel", "winlog.event_id"))
    dataset, channel, event_id = where
    source = log_source_of(dataset, channel, event_id)
    names_there = _renamed(source, dataset, channel.lower(), event_id)
    ours = {sigma: name for name in event if (sigma := _sigma_name(name, names_there)) != name}
    chosen = _chosen(event, [name if name in event else ours.get(name, name) for name in names], fields)
    base = {"winlog.channel": channel, "winlog.event_id": event_id} if channel else {"event.dataset": dataset}
    hit = {**base, **{name: event[name] for name in chosen}}
    selection = {_sigma_name(name, names_there): _sigma_value(event[name]) for name in chosen}
    if channel and event_id and "category" not in source:
        selection = {"EventID": int(event_id), **selection}
    return _yaml(id, day, title, author, source, selection, hit, {**hit, chosen[-1]: _other(event[chosen[-1]])})


def _renamed(source: Mapping[str, str], *where: str) -> dict[str, str]:
    """What Sigma calls the fields that such events name otherwise."""
    try:
        found = ways(source.get("category"), source.get("product"), source.get("service"))
    except NoRoute as error:
        raise UsageError(
            f"no rule sees this event: {error}", hint="soc parse shows what was understood of it"
        ) from error
    for way in found:
        if way.route.takes(*where):
            return {theirs: sigma for sigma, theirs in way.renamed}
    return {}


def _chosen(event: Mapping[str, Any], names: Sequence[str], fields: FieldDictionary) -> list[str]:
    missing = [name for name in names if event.get(name) is None]
    if missing:
        has = ", ".join(sorted(name for name in event if not name.startswith("soc."))[:20])
        raise UsageError(f"the event has no field '{missing[0]}'", hint=f"it has {has}")
    found = list(names) or [name for name in _TELLING if event.get(name) is not None and name in fields][:_TAKEN]
    if not found:
        raise UsageError("this event says nothing that a rule could begin with", hint="name fields: --field NAME")
    return found


def _sigma_name(name: str, renamed: Mapping[str, str]) -> str:
    bare = name.removeprefix(EVENT_DATA)
    return renamed.get(bare, bare)


def _sigma_value(value: Any) -> Any:
    """Text as it is: what Sigma takes for a wildcard or an escape is escaped."""
    if not isinstance(value, str):
        return value
    return re.sub(r"[*?]|\\(?=[\\*?])", lambda found: "\\" + found[0], value)


def _other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int | float) else OTHER


def _yaml(
    id: str, day: str, title: str, author: str, source: Mapping[str, str], selection: Mapping[str, Any],
    hit: Mapping[str, Any], miss: Mapping[str, Any],
) -> str:  # fmt: skip
    lines = [
        f"title: {flow(title)}",
        f"id: {id}",
        "status: experimental",
        'description: ""',
        f"author: {flow(author)}",
        f"date: {day}",
        "tags: []",
        "logsource:",
        *(f"  {key}: {flow(value)}" for key, value in source.items()),
        "detection:",
        "  selection:",
        *(f"    {flow(name)}: {flow(value)}" for name, value in selection.items()),
        "  condition: selection",
        "falsepositives: []",
        "level: medium",
        "tests:",
        *_test(hit, "true"),
        *_test(miss, "false"),
    ]
    return "\n".join(lines) + "\n"


def _test(event: Mapping[str, Any], hit: str) -> list[str]:
    return [f"  - hit: {hit}", "    event:", *(f"      {flow(name)}: {flow(value)}" for name, value in event.items())]
