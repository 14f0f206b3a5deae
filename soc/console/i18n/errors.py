"""`told`: what an error says, in the reader's language. Rooms speak English; a sentence without an entry stays so."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache

from soc.console.i18n import catalogue, language

LONGEST = 2000
"""Characters of a line that is looked up; an answer of a stranger may be longer."""
DEEPEST = 4
PLACE = re.compile(r"[^ ]{1,300}: ")
"""What may stand before a sentence: a file, a line of it."""
_FIELD = re.compile(r"\{(\w+)\}")
_NEAREST = re.compile(r" \(did you mean '([^']*)'\?\)$")


def told(text: str) -> str:
    """Each line in Vietnamese where somebody reads Vietnamese and the sentence is known."""
    return text if language() != "vi" else "\n".join(_line(line, 0) for line in text.split("\n"))


def _line(line: str, depth: int) -> str:
    if len(line) > LONGEST or depth > DEEPEST:
        return line
    close = _NEAREST.search(line)
    if close is not None:
        return f"{_line(line[: close.start()], depth)} (có phải «{close[1]}»?)"
    if line in _plain():
        return _plain()[line]
    for literals, names, vietnamese in _templates():
        values = _values(line, literals)
        if values is not None:
            return _filled(vietnamese, {n: _value(n, v, depth) for n, v in zip(names, values, strict=True)})
    place = PLACE.match(line)
    return line if place is None else place[0] + _line(line[place.end() :], depth + 1)


def _filled(sentence: str, values: Mapping[str, str]) -> str:
    return _FIELD.sub(lambda field: values[field[1]], sentence)


def _value(name: str, value: str, depth: int) -> str:
    if not name.endswith("_"):
        return value
    known = catalogue().get(f"cmd.{name[:-1]}.{value}")
    return known[0] if known is not None else _line(value, depth + 1)


def _values(line: str, literals: tuple[str, ...]) -> list[str] | None:
    """What stands between the literals, each of which is looked for once; None when the line is another sentence."""
    first, *others, last = literals
    if not (line.startswith(first) and line.endswith(last)) or len(line) < len(first) + len(last):
        return None
    at, end, values = len(first), len(line) - len(last), []
    for literal in others:
        found = line.find(literal, at, end)
        if found < 0:
            return None
        values.append(line[at:found])
        at = found + len(literal)
    return [*values, line[at:end]]


def sentences() -> Iterator[tuple[str, str]]:
    """Every English template with its Vietnamese; they are read when something went wrong, not at every start."""
    from soc.console.i18n import error_words as words
    from soc.console.i18n import error_work as work

    for table in (
        words.REPEATED, words.PEOPLE, words.SERVICE, words.SETTINGS, words.VALUES, words.PARTS, words.TYPED,
        words.SYSTEM, work.CASES, work.RULES, work.KEPT, work.FILES, work.ASKED, work.STORES,
    ):  # fmt: skip
        yield from table.items()


@cache
def _plain() -> dict[str, str]:
    return {english: vietnamese for english, vietnamese in sentences() if not _FIELD.search(english)}


@cache
def _templates() -> list[tuple[tuple[str, ...], list[str], str]]:
    """Literals, names and Vietnamese; those that say most by themselves first."""
    made = [(tuple(_FIELD.split(english)[::2]), _FIELD.findall(english), vietnamese)
            for english, vietnamese in sentences() if _FIELD.search(english)]  # fmt: skip
    return sorted(made, key=lambda each: -len("".join(each[0])))
