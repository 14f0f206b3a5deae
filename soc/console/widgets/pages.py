"""`Pages`: several pages in one place, chosen by their number; the line above says which there are."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.widgets import ContentSwitcher

from soc.console.widgets.bars import Bar


class PageBar(Bar):
    """`1 Tổng quan   2 Sự kiện (12)   3 Lịch sử`, the chosen one in brackets."""

    DEFAULT_CSS = "PageBar { padding: 0 1; background: $boost; }"

    def draw(self, labels: Sequence[str], chosen: int) -> None:
        """Show the labels; `chosen` counts from 0."""
        parts: list[str | tuple[str, str]] = []
        for place, label in enumerate(labels):
            text = f"{place + 1} {label}"
            parts += [(f"[{text}]", "bold reverse") if place == chosen else f" {text} ", " "]
        self.update(Content.assemble(*parts))


class Pages(ContentSwitcher):
    """The pages by their ids; the widget `focus_on` of a page takes the keys when the page is chosen."""

    DEFAULT_CSS = "Pages { height: 1fr; }"

    def choose(self, page: str, focus_on: str) -> None:
        """Show a page and give its widget the keys."""
        self.current = page
        self.query_one(f"#{focus_on}").focus()
