"""What a site says beside the rules: which events a log source means there, and filters that have a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from soc.content import Document
from soc.detections.sigma.routing import KEYS, Key, Way, windows
from soc.detections.sigma.rule import Node, Route
from soc.errors import nearest
from soc.model.fields import FieldDictionary

MAPPING = "mapping"
"""The key of what a log source means here."""
QUERY = "query"
"""The key of a named filter (`soc.detections.saved`)."""
_KNOWN = ("datasets", "channels", "event_ids", "fields")


@dataclass(frozen=True)
class SiteSource:
    """Rules of the log source `key` see the events of `way` too, beside those that we route to them ourselves."""

    document: Document
    key: Key
    way: Way


@dataclass(frozen=True)
class Site:
    """`filters` are the conditions that the conditions of rules may name; a text is the reason why one cannot run."""

    sources: Sequence[SiteSource] = ()
    filters: Mapping[str, Node | str] = field(default_factory=dict)


NO_SITE = Site()


def read_site_source(document: Document, fields: FieldDictionary) -> SiteSource:
    """Read one: `logsource` as a rule says it, and `mapping` with `datasets` or `channels` (`event_ids`), and `fields`
    (Sigma's name: the event's name). Raises ValueError with the reason.
    """
    data = document.data
    source, mapping = data.get("logsource"), data[MAPPING]
    if not isinstance(source, dict) or not isinstance(mapping, dict):
        raise ValueError(f"'logsource' and '{MAPPING}' are mappings")
    if unknown := [str(name) for name in mapping if name not in _KNOWN]:
        raise ValueError(f"'{MAPPING}' has no '{unknown[0]}'{nearest(unknown[0], _KNOWN)}; it has {', '.join(_KNOWN)}")
    key: Key = tuple(str(source.get(name) or "") for name in KEYS)  # type: ignore[assignment]
    if not any(key):
        raise ValueError(f"'logsource' names none of {', '.join(KEYS)}")
    datasets, channels, ids = (_texts(mapping, name) for name in ("datasets", "channels", "event_ids"))
    if bool(datasets) == bool(channels) or (ids and not channels):
        raise ValueError(f"'{MAPPING}' has either 'datasets', or 'channels' of Windows and perhaps 'event_ids'")
    return SiteSource(document, key, Way(_route(datasets, channels, ids), _renamed(mapping, fields)))


def _route(datasets: tuple[str, ...], channels: tuple[str, ...], ids: tuple[str, ...]) -> Route:
    return Route(datasets=datasets) if datasets else windows(channels, ids or None)


def _texts(mapping: dict[str, Any], name: str) -> tuple[str, ...]:
    value = mapping.get(name) or []
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(each, str | int) and str(each).strip() for each in values):
        raise ValueError(f"'{name}' is a text or a list of texts")
    return tuple(map(str, values))


def _renamed(mapping: dict[str, Any], fields: FieldDictionary) -> tuple[tuple[str, str], ...]:
    names = mapping.get("fields") or {}
    if not isinstance(names, dict):
        raise ValueError("'fields' is a mapping from Sigma's names to the event's")
    for name in map(str, names.values()):
        if name not in fields:
            raise ValueError(f"unknown field '{name}'{nearest(name, fields.names())}")
    return tuple((str(theirs), str(ours)) for theirs, ours in names.items())
