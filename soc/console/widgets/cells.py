"""Text that fits its place: cut with `…` by terminal cells, never by characters; markup is never read."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size
from rich.table import Table
from rich.text import Text


def fit(text: str, width: int) -> str:
    """The text in exactly `width` cells: padded, or cut with `…`."""
    if cell_len(text) <= width:
        return text + " " * (width - cell_len(text))
    return set_cell_size(text, max(width - 1, 0)) + "…" if width > 0 else ""


def beside(left: str, right: str, width: int) -> str:
    """`left` and `right` at the two ends of `width` cells; the left one gives way."""
    room = width - cell_len(right)
    return fit(left, room - 1) + " " + right if right and room > 1 else fit(left, width)


def wrapped(text: str, width: int, lines: int) -> list[str]:
    """The text in at most `lines` lines of `width` cells, broken at blanks where there are any; cut with `…`."""
    words, line = text.split(" "), ""
    done: list[str] = []
    while words and len(done) < lines - 1:
        longer = f"{line} {words[0]}" if line else words[0]
        if cell_len(longer) <= width:
            line = longer
            words.pop(0)
        elif line:
            done.append(line)
            line = ""
        else:
            break  # one long word: the last line cuts it
    rest = " ".join([line, *words] if line else words)
    return [*done, fit(rest, width).rstrip()] if rest else done


def pairs(rows: Sequence[tuple[str, str]], *, label: int = 0) -> Table:
    """Label and value, one pair a row; long values are folded, never cut. `label` is the width of the first column."""
    widest = max((cell_len(name) for name, _ in rows), default=0)
    grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
    grid.add_column(width=label or min(widest, 30), overflow="fold")
    grid.add_column(ratio=1, overflow="fold")
    for name, value in rows:
        grid.add_row(Text(name, style="dim"), Text(value))
    return grid


def columns(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table of plain text; where it is too narrow values are folded, never cut."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_edge=False, header_style="bold")
    for head in heads:
        table.add_column(Text(head), overflow="fold")
    for row in rows:
        table.add_row(*(Text(value) for value in row))
    return table
