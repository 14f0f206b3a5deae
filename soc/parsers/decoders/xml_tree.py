"""One XML element to a tree of JSON's kinds, in evtx_dump's shape where it is a Windows event."""

from __future__ import annotations

from typing import Any
from xml.parsers import expat

MAX_DEPTH = 100
ATTRIBUTES, TEXT = "#attributes", "#text"
Tree = dict[str, Any]


def decode(text: str) -> Tree | None:
    """`{tag: content}`, or None for what is no XML element.

    An element with children is an object, several of one name a list; one with nothing but text is that text. Where it
    has attributes they stand under `#attributes`, its text under `#text`. Prefixes of names are left out. A document
    type is refused: entities of the file's own are never expanded.
    """
    builder = _Builder()
    try:
        builder.parser.Parse(text, True)
    except (expat.ExpatError, ValueError):
        return None
    return _as_event(builder.root) if builder.root is not None else None


class _Builder:
    def __init__(self) -> None:
        self.root: Tree | None = None
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._data
        self.parser.StartDoctypeDeclHandler = self._refuse
        self._open: list[tuple[str, dict[str, str], Tree, list[str]]] = []

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if len(self._open) >= MAX_DEPTH:
            raise ValueError("too deep")
        kept = {_bare(name): value for name, value in attributes.items() if not name.startswith("xmlns")}
        self._open.append((_bare(tag), kept, {}, []))

    def _data(self, data: str) -> None:
        if self._open:
            self._open[-1][3].append(data)

    def _end(self, _tag: str) -> None:
        tag, attributes, children, pieces = self._open.pop()
        text = "".join(pieces)
        value: Any = dict(children)
        if text.strip():
            value[TEXT] = text.strip() if children else text
        if attributes:
            value[ATTRIBUTES] = attributes
        elif not children:
            value = text if text.strip() else None
        if not self._open:
            self.root = {tag: value}
            return
        siblings = self._open[-1][2]
        if tag not in siblings:
            siblings[tag] = value
        elif isinstance(siblings[tag], list):
            siblings[tag].append(value)
        else:
            siblings[tag] = [siblings[tag], value]

    @staticmethod
    def _refuse(*_: object) -> None:
        raise ValueError("a document type")


def _bare(name: str) -> str:
    return name.rpartition(":")[2]


def _as_event(root: Tree) -> Tree:
    """A Windows event's data by their names, as evtx_dump writes them."""
    event = root.get("Event")
    if isinstance(event, dict) and isinstance(event.get("EventData"), dict):
        event["EventData"] = _named(event["EventData"])
    return root


def _named(data: Tree) -> Tree:
    items = data.pop("Data", None)
    unnamed: list[Any] = []
    for item in items if isinstance(items, list) else [items] if items is not None else []:
        name = item.get(ATTRIBUTES, {}).get("Name") if isinstance(item, dict) else None
        value = item.get(TEXT) if isinstance(item, dict) else item
        if name and name not in data:
            data[name] = value
        else:
            unnamed.append(value)
    if unnamed:
        data["Data"] = {TEXT: unnamed}
    return data
