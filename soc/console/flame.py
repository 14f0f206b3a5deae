"""A flame graph (Gregg, "The Flame Graph", CACM 59/6) of measured costs: one SVG without scripts, or folded stacks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from html import escape

from soc.console.i18n import number

Stacks = Iterable[tuple[tuple[str, ...], int]]
"""What something is part of, outermost first, with the ns it took itself."""
WIDTH, HEIGHT, LETTER = 1200, 17, 6.6
"""Pixels: of the drawing, of a row, of a letter."""
NARROWEST = 0.5
"""Narrower frames are left out: nobody can see them."""
_COLOURS = ("#e4572e", "#f3a712", "#a8c686", "#669bbc", "#c4a5de")


def folded(stacks: Stacks) -> str:
    """One stack a line, `a;b;c 123` (µs), for other tools."""
    lines = [f"{';'.join(_word(name) for name in stack)} {ns // 1000}" for stack, ns in stacks if ns >= 1000]
    return "\n".join([*lines, ""])


def svg(stacks: Stacks, title: str) -> str:
    """The outermost on top, the dearest on the left; every frame says its cost when pointed at."""
    root = _Frame(title)
    for stack, ns in stacks:
        root.add(stack, ns)
    drawn = list(_drawn(root, 0.0, 0, max(root.ns, 1)))
    height = (max((depth for _, _, depth, _ in drawn), default=0) + 1) * HEIGHT
    boxes = "".join(_box(*each, max(root.ns, 1)) for each in drawn)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'font-family="monospace" font-size="11"><title>{escape(title)}</title>{boxes}</svg>\n'
    )


@dataclass
class _Frame:
    name: str
    ns: int = 0
    below: dict[str, _Frame] = field(default_factory=dict)

    def add(self, stack: tuple[str, ...], ns: int) -> None:
        self.ns += ns
        if stack:
            self.below.setdefault(stack[0], _Frame(stack[0])).add(stack[1:], ns)


def _drawn(frame: _Frame, x: float, depth: int, whole: int) -> Iterator[tuple[_Frame, float, int, float]]:
    """Each frame with its left edge, row and width."""
    width = frame.ns / whole * WIDTH
    if width < NARROWEST:
        return
    yield frame, x, depth, width
    for each in sorted(frame.below.values(), key=lambda below: -below.ns):
        yield from _drawn(each, x, depth + 1, whole)
        x += each.ns / whole * WIDTH


def _box(frame: _Frame, x: float, depth: int, width: float, whole: int) -> str:
    y, letters = depth * HEIGHT, int((width - 4) / LETTER)
    shown = _word(frame.name)[:letters] if letters > 2 else ""
    told = escape(f"{_word(frame.name)}: {number(frame.ns / 1e6)} ms, {number(frame.ns / whole * 100)}%")
    return (
        f'<g><title>{told}</title><rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{HEIGHT - 1}" '
        f'fill="{_COLOURS[depth % len(_COLOURS)]}"/><text x="{x + 2:.1f}" y="{y + 12}">{escape(shown)}</text></g>'
    )


def _word(name: str) -> str:
    """Without what XML cannot hold, or what parts stacks and lines."""
    return "".join(letter if letter.isprintable() and letter != ";" else " " for letter in name)
