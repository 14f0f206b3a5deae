"""Which product wrote this? By program, channel or format in one look-up; else by prefix, keys or text in turn.

A JSON document is known by what stands at some of its paths.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from soc.parsers.compile import MATCH_LIMIT, first_characters
from soc.parsers.decoders.paths import stands
from soc.parsers.definition import Definition, Recognise

_SHAPES = 4096
"""So many combinations of top-level names are remembered, of so many names at most."""
_LONGEST = 256


class Index:
    """All definitions, by what they are recognised by."""

    def __init__(self, definitions: Iterable[Definition]) -> None:
        ordered = sorted(definitions, key=lambda d: d.id)
        self.programs: dict[str, list[Definition]] = {}
        for definition in sorted(ordered, key=lambda d: d.recognise.only is None):
            for program in definition.recognise.programs:
                self.programs.setdefault(program, []).append(definition)
        self.channels = {c: d for d in ordered for c in d.recognise.channels}
        self.formats = {d.recognise.format: d for d in ordered if d.recognise.format}
        # The surest first: a fixed prefix, then keys, then a pattern.
        self._probes = sorted(
            (d for d in ordered if d.recognise.prefixes or d.recognise.keys or d.recognise.text),
            key=lambda d: (not d.recognise.prefixes, not d.recognise.keys),
        )

        self._beginning: dict[str, list[Definition]] = {}
        conditions = ((one, d) for d in ordered for one in d.recognise.documents)
        # The surest first: the one that asks for more.
        self._documents = sorted(conditions, key=lambda c: (-len(c[0]), all("*" in v for v in c[0].values())))
        self._candidates: dict[tuple[str, ...], list[tuple[Mapping[str, frozenset[str]], Definition]]] = {}

    def of_document(self, document: Mapping[str, Any]) -> Definition | None:
        """The product of a JSON document."""
        names = tuple(document)
        candidates = self._candidates.get(names)
        if candidates is None:
            candidates = [c for c in self._documents if all(_may_be_at(document, path) for path in c[0])]
            if len(names) <= _LONGEST and len(self._candidates) < _SHAPES:
                self._candidates[names] = candidates
        return next((d for wanted, d in candidates if stands(document, wanted)), None)

    def of_text(self, program: str | None, message: str) -> Definition | None:
        """The product of a message whose header names this program (or none)."""
        if program is not None:
            for found in self.programs.get(program.rpartition("/")[2].lower(), ()):
                only = found.recognise.only
                if only is None or (len(message) <= MATCH_LIMIT and only.fullmatch(message) is not None):
                    return found
        return next((d for d in self._probes_of(message[:1]) if _fits(d.recognise, message)), None)

    def _probes_of(self, first: str) -> list[Definition]:
        """Those whose messages can begin with this character; what is beyond Latin-1 may begin any."""
        if not "" < first < "\u0100":
            return self._probes
        found = self._beginning.get(first)
        if found is None:
            found = self._beginning[first] = [d for d in self._probes if _may_begin(d.recognise, first)]
        return found


def _fits(recognise: Recognise, message: str) -> bool:
    if recognise.prefixes and message.startswith(recognise.prefixes):
        return True
    if recognise.keys and all(f"{key}=" in message for key in recognise.keys):
        return True
    return recognise.text is not None and len(message) <= MATCH_LIMIT and recognise.text.fullmatch(message) is not None


def _may_begin(recognise: Recognise, first: str) -> bool:
    if recognise.keys or any(prefix.startswith(first) for prefix in recognise.prefixes):
        return True
    characters = first_characters(recognise.text.text) if recognise.text is not None else frozenset()
    return characters is None or first in characters


def _may_be_at(document: Mapping[str, Any], path: str) -> bool:
    return path in document or any(path.startswith(f"{name}.") for name in document)
