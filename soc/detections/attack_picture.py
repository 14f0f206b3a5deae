"""ATT&CK coverage as a picture: tactics side by side, a cell for each technique that a rule names, coloured by how many
of its rules count.

Only rules' tags say what there is, so a technique without any rule has no cell. Pillow is read when a picture is asked
for, and nowhere else.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from soc.detections.attack import TACTICS, is_gap

WIDTH = 1920
MARGIN, GAP, CELL, HEAD = 24, 3, 24, 60
TOP = 150
WIDEST = 220
"""Pixels of a column when there are few."""
MOST_ROWS = 250
"""Cells of a column; of more the last says how many are left out, so that strangers' tags make no endless picture."""
SHARE = 1 / 3
OTHER = "other"
"""The column of techniques whose tactic no rule names, or one that ATT&CK did not have."""
COLOURS = {"no_data": "#e4e4e4", "gap": "#f4c98b", "one": "#bfe3c8", "few": "#67b98a", "many": "#1f7a55"}
"""By `kind`. The figures in a cell say the same without colour."""
FEW, MANY = 2, 5
FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "Arial.ttf")
"""Fonts with Vietnamese letters; Pillow's own has none."""
TEXTS = ("title", "counts", "note", *COLOURS)
"""What `draw` is told in both languages, beside `site`."""
_SPLIT = ("defense-evasion", "stealth", "defense-impairment")
"""Old and new names of one thing: those that no rule uses have no column."""
_INK, _FAINT = "#1c1c1c", "#5c5c5c"
_LETTERS = ("ế", "ự", "đ")
Texts = Mapping[str, tuple[str, str]]
"""By name in `TEXTS`, and `site` (whose picture, and of when): Vietnamese and English."""


@dataclass(frozen=True)
class Cell:
    """Where a technique stands, in pixels from the upper left corner; `row` is None where `left_out` more would be."""

    tactic: str
    row: Mapping[str, Any] | None
    x: int
    y: int
    width: int
    left_out: int = 0


def kind(row: Mapping[str, Any]) -> str:
    """`many`, `few` or `one` rule counts; else `gap` when events for one come, else `no_data`."""
    counted = len(row["counted"])
    if counted:
        return "many" if counted >= MANY else "few" if counted >= FEW else "one"
    return "gap" if is_gap(row) else "no_data"


def columns(found: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    """Techniques by tactic in the order of an attack, those without a known one last; of `coverage`."""
    by_tactic: dict[str, list[Mapping[str, Any]]] = {name: [] for name in (*TACTICS, OTHER)}
    for row in found["techniques"]:
        for name in dict.fromkeys(name if name in TACTICS else OTHER for name in _tactics(row)):
            by_tactic[name].append(row)
    return {name: rows for name, rows in by_tactic.items() if rows or name not in (*_SPLIT, OTHER)}


def _tactics(row: Mapping[str, Any]) -> list[str]:
    """Those that `SHARE` of its rules name, else what most of them do: a rule that names several techniques and tactics
    does not say which belongs to which."""
    named: Mapping[str, int] = row["named"]
    enough = min(SHARE * (len(row["counted"]) + len(row["others"])), max(named.values(), default=0))
    return [name for name, n in named.items() if n >= enough] or [OTHER]


def cells(found: Mapping[str, Any]) -> Iterator[Cell]:
    """Every cell of the picture."""
    shown = columns(found)
    width = min((WIDTH - 2 * MARGIN) // len(shown), WIDEST)
    for i, (tactic, rows) in enumerate(shown.items()):
        at = [(MARGIN + i * width, TOP + HEAD + j * CELL) for j in range(min(len(rows), MOST_ROWS))]
        fits = rows if len(rows) <= MOST_ROWS else rows[: MOST_ROWS - 1]
        for (x, y), row in zip(at, fits, strict=False):
            yield Cell(tactic, row, x, y, width - GAP)
        if len(fits) < len(rows):
            yield Cell(tactic, None, *at[-1], width - GAP, len(rows) - len(fits))


def draw(found: Mapping[str, Any], texts: Texts) -> bytes:
    """The picture as PNG. Both languages where a font of this machine has Vietnamese letters, else English."""
    return _Picture(found, texts).png()


class _Picture:
    def __init__(self, found: Mapping[str, Any], texts: Texts) -> None:
        self._found, self._texts = found, texts
        self._cells = list(cells(found))
        self._fonts: dict[int, ImageFont.FreeTypeFont | ImageFont.ImageFont] = {}
        self._file, self._is_vietnamese = _font_file()
        lowest = max((cell.y for cell in self._cells), default=TOP + HEAD) + CELL + MARGIN
        self._image = Image.new("RGB", (WIDTH, lowest), "white")
        self._pen = ImageDraw.Draw(self._image)

    def png(self) -> bytes:
        self._titles()
        self._legend()
        self._heads()
        for cell in self._cells:
            self._cell(cell)
        out = io.BytesIO()
        self._image.save(out, "PNG", optimize=True)
        return out.getvalue()

    def _font(self, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
        if size not in self._fonts:
            self._fonts[size] = ImageFont.truetype(self._file, size) if self._file else ImageFont.load_default(size)
        return self._fonts[size]

    def _text(self, name: str) -> str:
        vietnamese, english = self._texts[name]
        return english if not self._is_vietnamese or vietnamese == english else f"{vietnamese} · {english}"

    def _write(self, x: float, y: float, text: str, room: int, size: int, ink: str = _INK, anchor: str = "la") -> None:
        """In one line, smaller or cut where there is no room."""
        while size > 9 and self._font(size).getlength(text) > room:
            size -= 1
        font = self._font(size)
        while len(text) > 1 and font.getlength(text) > room:
            text = text[:-2] + "…" if self._is_vietnamese else text[:-1]
        self._pen.text((x, y), text, fill=ink, font=font, anchor=anchor)

    def _titles(self) -> None:
        room = WIDTH - 2 * MARGIN
        vietnamese, english = self._texts["site"]
        site = vietnamese if self._is_vietnamese else english
        self._write(MARGIN, 16, f"{self._text('title')}, {site}", room, 26)
        self._write(MARGIN, 56, self._text("counts"), room, 17)
        self._write(MARGIN, 82, self._text("note"), room, 14, _FAINT)

    def _legend(self) -> None:
        room = (WIDTH - 2 * MARGIN) // len(COLOURS)
        for i, (name, colour) in enumerate(COLOURS.items()):
            x = MARGIN + i * room
            self._pen.rectangle((x, 112, x + 18, 130), fill=colour, outline=_FAINT)
            self._write(x + 26, 121, self._text(name), room - 34, 14, anchor="lm")

    def _heads(self) -> None:
        shown = columns(self._found)
        width = min((WIDTH - 2 * MARGIN) // len(shown), WIDEST)
        for i, (tactic, rows) in enumerate(shown.items()):
            x, room = MARGIN + i * width, width - 4 * GAP
            counted = sum(bool(row["counted"]) for row in rows)
            name = tactic.replace("-", " ").capitalize()
            first, _, last = name.rpartition(" ") if self._font(15).getlength(name) > room else (name, "", "")
            self._write(x, TOP, first or last, room, 15)
            self._write(x, TOP + 18, last if first else "", room, 15)
            self._write(x, TOP + 38, f"{counted}/{len(rows)}", room, 13, _FAINT)

    def _cell(self, cell: Cell) -> None:
        x, y, middle = cell.x, cell.y, cell.y + CELL // 2 - 1
        if cell.row is None:
            self._write(x, middle, f"+{cell.left_out}", cell.width, 13, _FAINT, "lm")
            return
        name = kind(cell.row)
        ink = "white" if name == "many" else _INK
        self._pen.rectangle((x, y, x + cell.width - 1, y + CELL - GAP), fill=COLOURS[name])
        figures = f"{len(cell.row['counted'])}/{len(cell.row['counted']) + len(cell.row['others'])}"
        room = cell.width - 10 - int(self._font(12).getlength(figures)) - 4
        self._write(x + 5, middle, cell.row["technique"], room, 14, ink, "lm")
        self._write(x + cell.width - 5, middle, figures, cell.width // 2, 12, ink, "rm")


def _font_file() -> tuple[str, bool]:
    """A font of this machine that has Vietnamese letters and its name, else none: Pillow's own, without them."""
    for name in FONTS:
        try:
            font = ImageFont.truetype(name, 14)
        except OSError:
            continue
        missing = bytes(font.getmask("\uffff"))
        if all(bytes(font.getmask(letter)) != missing for letter in _LETTERS):
            return name, True
    return "", False
