"""`Rows`: a table whose rows have keys; new rows never move the cursor off the row it is on."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.coordinate import Coordinate
from textual.widgets import DataTable

Row = tuple[str, Sequence[Text]]
"""A key and its cells."""


class Rows(DataTable[Text]):
    """`head` says the columns as (label, width in cells); `show` the rows. Cells are rich `Text`: no markup."""

    DEFAULT_CSS = """
    Rows { height: 1fr; scrollbar-size-vertical: 1; scrollbar-size-horizontal: 0; background: $background; }
    Rows:focus { background-tint: $foreground 0%; }
    Rows > .datatable--cursor { text-style: bold; }
    Rows:nocolor > .datatable--cursor { text-style: bold reverse; }
    Rows:nocolor > .datatable--header { text-style: bold underline; }
    """

    def __init__(self, *, id: str | None = None, row_height: int = 1) -> None:
        super().__init__(id=id, cursor_type="row", cell_padding=0, cursor_foreground_priority="css")
        self.row_height = row_height
        self._columns: Sequence[tuple[str, int]] = ()
        self._keys: list[str] = []
        self._was: str | None = None

    def head(self, columns: Sequence[tuple[str, int]], *, height: int = 1) -> None:
        """Set the columns; other ones than before drop the rows, the cursor is back on its row with the next ones."""
        if columns == self._columns:
            return
        self._was = self.key or self._was
        self.clear(columns=True)
        self._columns, self._keys = columns, []
        self.header_height = height
        for label, width in columns:
            self.add_column(Text(label), width=width)

    @property
    def key(self) -> str | None:
        """The key of the row under the cursor."""
        return self._keys[self.cursor_row] if 0 <= self.cursor_row < len(self._keys) else None

    def show(self, rows: Sequence[Row]) -> None:
        """Show these rows; the cursor stays on its row, or at its place when that row is gone."""
        keys = [key for key, _ in rows]
        if keys == self._keys:
            self._refill(rows)
        else:
            self._rebuild(keys, rows)

    def _refill(self, rows: Sequence[Row]) -> None:
        for y, (_, cells) in enumerate(rows):
            for x, cell in enumerate(cells):
                at = Coordinate(y, x)
                shown = self.get_cell_at(at)
                if shown != cell or shown.style != cell.style:  # rich compares the text and its spans only
                    self.update_cell_at(at, cell)

    def _rebuild(self, keys: list[str], rows: Sequence[Row]) -> None:
        at, place, scroll = self.key or self._was, self.cursor_row, self.scroll_y
        self.clear()
        for key, cells in rows:
            self.add_row(*cells, height=self.row_height, key=key)
        self._keys, self._was = keys, None
        row = max(keys.index(at) if at in keys else min(place, len(keys) - 1), 0)
        if scroll:  # who has scrolled away from the top keeps the row where it was on the screen
            self.scroll_to(y=scroll + (row - place) * self.row_height, animate=False)
        self.move_cursor(row=row)
