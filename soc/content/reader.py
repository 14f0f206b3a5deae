"""Reads a document key by key and collects every fault: missing, mistyped and unknown keys with their nearest name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from soc.content.document import Document
from soc.errors import ContentError, Fault, nearest


class Faults:
    """The faults of one file; shared by the nodes that read it."""

    def __init__(self) -> None:
        self.found: list[Fault] = []

    def add(self, fault: Fault) -> None:
        self.found.append(fault)

    def raise_if_any(self) -> None:
        """Raises ContentError with all of them."""
        if self.found:
            raise ContentError(self.found)


class Node:
    """A mapping inside a document. Every reading method notes its key; `finish` refuses the keys nobody read."""

    def __init__(self, document: Document, faults: Faults, keys: tuple[str | int, ...] = (), data: Any = ...) -> None:
        self.document = document
        self.faults = faults
        self.keys = keys
        value = document.data if data is ... else data
        self.data: dict[str, Any] = value if isinstance(value, dict) else {}
        self._read: dict[str, None] = {}
        if not isinstance(value, dict):
            self.fault(f"expected a mapping, not {_kind(value)}")

    def fault(self, message: str, *keys: str | int) -> None:
        """Note a fault at a key path below this node."""
        self.faults.add(self.document.fault(message, *self.keys, *keys))

    def line(self, *keys: str | int) -> int:
        """The line of a key path below this node."""
        return self.document.line(*self.keys, *keys)

    def has(self, key: str) -> bool:
        """Whether the key is there with a value."""
        return self.data.get(key) is not None

    def value(self, key: str, *, required: bool = False) -> Any:
        """Whatever stands there, None when it is missing."""
        self._read[key] = None
        if required and not self.has(key):
            self.fault(f"'{key}' is missing")
        return self.data.get(key)

    def _typed(self, key: str, kinds: type | tuple[type, ...], words: str, required: bool) -> Any:
        value = self.value(key, required=required)
        if value is not None and (not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool)):
            self.fault(f"'{key}' should be {words}, not {_kind(value)}", key)
            return None
        return value

    def text(self, key: str, default: str = "", *, required: bool = False) -> str:
        """A text; numbers and dates are read as text too."""
        value = self.value(key, required=required)
        if value is None:
            return default
        if isinstance(value, dict | list):
            self.fault(f"'{key}' should be text, not {_kind(value)}", key)
            return default
        return value if isinstance(value, str) else str(value)

    def integer(self, key: str, default: int = 0, *, required: bool = False) -> int:
        """A whole number."""
        value = self._typed(key, int, "a whole number", required)
        return default if value is None else int(value)

    def number(self, key: str, default: float = 0.0, *, required: bool = False) -> float:
        """A number."""
        value = self._typed(key, (int, float), "a number", required)
        return default if value is None else float(value)

    def flag(self, key: str, default: bool = False) -> bool:
        """true or false."""
        value = self._typed(key, bool, "true or false", False)
        return default if value is None else bool(value)

    def choice(self, key: str, allowed: Sequence[str], default: str = "", *, required: bool = False) -> str:
        """One of the allowed words."""
        value = self.text(key, default, required=required)
        if self.has(key) and value not in allowed:
            hint = nearest(value, allowed)
            self.fault(f"unknown {key} '{value}'; one of {', '.join(allowed)}{hint}", key)
            return default
        return value

    def texts(self, key: str, *, required: bool = False) -> tuple[str, ...]:
        """A list of texts; a single text is a list of one."""
        value = self.value(key, required=required)
        if value is None:
            return ()
        items = value if isinstance(value, list) else [value]
        if any(isinstance(item, dict | list) for item in items):
            self.fault(f"'{key}' should be a list of texts", key)
            return ()
        return tuple(str(item) for item in items)

    def mapping(self, key: str, *, required: bool = False) -> dict[str, Any]:
        """A mapping as plain data."""
        return dict(self._typed(key, dict, "a mapping", required) or {})

    def child(self, key: str, *, required: bool = False) -> Node | None:
        """A mapping as a node; None when it is missing."""
        value = self.value(key, required=required)
        return None if value is None else Node(self.document, self.faults, (*self.keys, key), value)

    def children(self, key: str, *, required: bool = False) -> list[Node]:
        """A list of mappings as nodes."""
        value = self._typed(key, list, "a list", required) or []
        return [Node(self.document, self.faults, (*self.keys, key, i), item) for i, item in enumerate(value)]

    def named_children(self, key: str, *, required: bool = False) -> Iterator[tuple[str, Node]]:
        """The members of a mapping of mappings."""
        for name, item in self.mapping(key, required=required).items():
            yield name, Node(self.document, self.faults, (*self.keys, key, name), item)

    def finish(self, also: Iterable[str] = ()) -> None:
        """Fault every key that was not read and is not in `also`."""
        known = {*self._read, *also}
        for key in self.data:
            if key not in known:
                self.fault(f"unknown key '{key}'{nearest(str(key), known)}", key)


def _kind(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", str: "text", bool: "true/false", type(None): "nothing"}
    return names.get(type(value), f"{type(value).__name__} {value!r}")
