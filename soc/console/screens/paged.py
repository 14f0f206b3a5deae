"""`PagedScreen`: several pages, one of them seen, turned by their numbers and by the arrows."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType

from soc.console.screens.base import ConsoleScreen
from soc.console.session import Session
from soc.console.widgets.pages import Pages


class PagedScreen(ConsoleScreen):
    """A screen of three pages. `PAGES` are their ids, and the widget of each that takes the keys."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(n), f"page({n - 1})", show=False) for n in (1, 2, 3)),
        Binding("tab,right", "turn(1)", show=False),
        Binding("shift+tab,left", "turn(-1)", show=False),
    ]
    PAGES: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.page = 0

    def draw(self) -> None:
        """Show everything anew."""

    def action_page(self, number: int) -> None:
        """Go to a page, counted from 0."""
        self.page = number % len(self.PAGES)
        self.query_one(Pages).choose(*self.PAGES[self.page])
        self.draw()

    def action_turn(self, by: int) -> None:
        """The next page, or the one before."""
        self.action_page(self.page + by)
