"""Which product wrote this? By program, channel or format in one look-up; else by prefix, keys or text in turn."""

from __future__ import annotations

from collections.abc import Iterable

from soc.parsers.compile import MATCH_LIMIT
from soc.parsers.definition import Definition, Recognise


class Index:
    """All definitions, by what they are recognised by."""

    def __init__(self, definitions: Iterable[Definition]) -> None:
        ordered = sorted(definitions, key=lambda d: d.id)
        self.programs = {p: d for d in ordered for p in d.recognise.programs}
        self.channels = {c: d for d in ordered for c in d.recognise.channels}
        self.formats = {d.recognise.format: d for d in ordered if d.recognise.format}
        # The surest first: a fixed prefix, then keys, then a pattern.
        self._probes = sorted(
            (d for d in ordered if d.recognise.prefixes or d.recognise.keys or d.recognise.text),
            key=lambda d: (not d.recognise.prefixes, not d.recognise.keys),
        )

    def of_text(self, program: str | None, message: str) -> Definition | None:
        """The product of a message whose header names this program (or none)."""
        if program is not None:
            found = self.programs.get(program.rpartition("/")[2].lower())
            if found is not None:
                return found
        return next((d for d in self._probes if _fits(d.recognise, message)), None)


def _fits(recognise: Recognise, message: str) -> bool:
    if recognise.prefixes and message.startswith(recognise.prefixes):
        return True
    if recognise.keys and all(f"{key}=" in message for key in recognise.keys):
        return True
    return recognise.text is not None and len(message) <= MATCH_LIMIT and recognise.text.fullmatch(message) is not None
