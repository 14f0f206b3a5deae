"""What differs between two texts of a definition, in words: header, selections, fields, values, condition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from soc.content import Document

HEADER = ("title", "status", "level", "logsource", "tags", "correlation", "anomaly", "filter", "x-exception")


@dataclass(frozen=True)
class Change:
    """`what`: changed | added | removed; `where`: a header key, a selection, or `selection: field`; the values."""

    what: str
    where: str
    before: str = ""
    after: str = ""


def difference(old: Document, new: Document) -> list[Change]:
    """In the order of the header, then of the selections; empty when both say the same of what is detected."""
    return [*_header(old.data, new.data), *_selections(old.data.get("detection"), new.data.get("detection"))]


def _header(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    for key in HEADER:
        yield from _compared(key, old.get(key), new.get(key))


def _compared(where: str, before: Any, after: Any) -> Iterator[Change]:
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys((*before, *after)):
            yield from _compared(f"{where}: {key}", before.get(key), after.get(key))
    elif isinstance(before, list) and isinstance(after, list):
        yield from (Change("removed", where, before=_shown(item)) for item in before if item not in after)
        yield from (Change("added", where, after=_shown(item)) for item in after if item not in before)
    elif before is None or after is None:
        yield Change("added" if before is None else "removed", where, _shown(before), _shown(after))
    else:
        yield Change("changed", where, _shown(before), _shown(after))


def _selections(old: Any, new: Any) -> Iterator[Change]:
    before, after = (each if isinstance(each, dict) else {} for each in (old, new))
    for name in dict.fromkeys((*before, *after)):
        yield from _compared(str(name), _listed(before.get(name)), _listed(after.get(name)))


def _listed(value: Any) -> Any:
    """One value and a list of it mean the same; so do a mapping and a list of one."""
    if isinstance(value, dict):
        return {key: inner if isinstance(inner, list) else [inner] for key, inner in value.items()}
    return _listed(value[0]) if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict) else value


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_shown(inner)}" for key, inner in value.items())
    return ", ".join(map(_shown, value)) if isinstance(value, list) else str(value)
