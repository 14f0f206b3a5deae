"""The list of tickets: what is open, whose it is, how far its steps are and what is due next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Static

from soc.console import words
from soc.console.i18n import t
from soc.console.screens.base import ConsoleScreen
from soc.console.screens.help import help_page
from soc.console.screens.ticket import TicketScreen, next_due
from soc.console.session import Service, Session
from soc.console.text import clean
from soc.console.widgets.bars import Bar
from soc.console.widgets.cells import beside, fit
from soc.console.widgets.table import Row, Rows

PAGE = 200
ENDED = ("closed", "merged", "duplicate")
Document = Mapping[str, Any]


class TicketsScreen(ConsoleScreen):
    """Open tickets first of all; `s` shows the closed ones too."""

    CSS = """
    #filter { padding: 0 1; color: $text-muted; }
    #empty { height: 1fr; content-align: center middle; text-align: center; padding: 1 4; display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "ended", show=False),
        Binding("f5", "refresh", show=False),
        Binding("question_mark", "help", show=False),
        Binding("escape,q", "back", show=False),
    ]
    KEYS = (("Enter", "ui.key.open"), ("s", "ui.key.closed"), ("?", "ui.key.help"), ("Esc", "ui.key.back"))

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.tickets: list[Document] = []
        self._with_ended = False
        self._is_loaded = False

    def body(self) -> ComposeResult:
        yield Bar(id="filter")
        yield Rows(id="tickets", row_height=2)
        yield Static("", markup=False, id="empty")

    def heading(self) -> str:
        return t("ui.tickets")

    def on_mount(self) -> None:
        """The rows take the keys."""
        self.query_one(Rows).focus()

    def on_resize(self) -> None:
        """Columns go by the width."""
        self.call_after_refresh(self.draw)

    def load(self) -> None:
        """The newest tickets."""

        def newest(service: Service) -> list[Document]:
            return list(service.get("/v1/tickets", limit=PAGE).data)

        self.ask(newest, self._hold)

    def concerns(self, change: Document) -> bool:
        return change.get("kind") == "ticket"

    def _hold(self, tickets: list[Document]) -> None:
        self.tickets, self._is_loaded = tickets, True
        self.draw()

    def draw(self) -> None:
        """Filter line and rows."""
        shown = [ticket for ticket in self.tickets if self._with_ended or ticket["state"] not in ENDED]
        width = max(self.size.width, 40) - 1
        table = self.query_one(Rows)
        table.head(_head(width), height=2)
        table.show([_row(ticket, width, self.session.now_us()) for ticket in shown])
        which = t("ui.filter.all") if self._with_ended else t("ui.tickets.open")
        total = t("ui.tickets.shown", shown=len(shown), total=len(self.tickets), which=which)
        self.query_one("#filter", Bar).update(Content(total))
        self._draw_empty(not shown)

    def _draw_empty(self, is_empty: bool) -> None:
        empty = self.query_one("#empty", Static)
        empty.display = is_empty
        self.query_one(Rows).styles.height = 2 if is_empty else "1fr"
        known = t("ui.empty.tickets_open" if self.tickets else "ui.empty.tickets")
        empty.update(Content(known if self._is_loaded else self.session.why or t("ui.loading")))

    def on_data_table_row_selected(self, event: Rows.RowSelected) -> None:
        """Enter opens the ticket."""
        event.stop()
        key = self.query_one(Rows).key
        if key is not None:
            self.app.push_screen(TicketScreen(self.session, key))

    def action_ended(self) -> None:
        """Show the closed ones too, or no longer."""
        self._with_ended = not self._with_ended
        self.draw()

    def action_help(self) -> None:
        """All keys."""
        self.app.push_screen(help_page())


_NUMBER, _LEVEL, _STATE = 14, 10, 14


def _places(width: int) -> tuple[int, int, int]:
    """Width of the last column, and of its parts: system and due."""
    rest = width - _NUMBER - _LEVEL - 2
    return rest, rest - 25, 24


def _head(width: int) -> list[tuple[str, int]]:
    rest, system, due = _places(width)
    second = f"{fit(t('ui.col.system'), system)} {fit(t('ui.col.due'), due)}"
    return [
        (f"{t('ui.col.number')}\n{t('ui.assignee')}", _NUMBER + 1),
        (f"{t('ui.col.level')}\n{t('ui.col.steps')}", _LEVEL + 1),
        (f"{beside(t('ui.col.ticket'), fit(t('ui.col.state'), _STATE), rest)}\n{second}", rest),
    ]


def _row(ticket: Document, width: int, now_us: int) -> Row:
    rest, system, due = _places(width)
    done = sum(task["done_us"] is not None for task in ticket["tasks"])
    level = str(ticket["level"])
    state = fit(words.word("state", str(ticket["state"])), _STATE)
    soonest = next_due(ticket)
    second = (
        f"{fit(words.system(ticket, short=True), system)} {fit(words.left(soonest, now_us) if soonest else '', due)}"
    )
    lines = (
        (fit(clean(ticket["number"]), _NUMBER), fit(clean(ticket["assignee"]) or t("ui.assignee.none"), _NUMBER), ""),
        (words.word("level", level), f"{done}/{len(ticket['tasks'])}", words.LEVEL_STYLES.get(level, "")),
        (beside(words.title(ticket), state, rest), second, "bold"),
    )
    cells = [Text.assemble((top, style), "\n", (low, "dim"), no_wrap=True) for top, low, style in lines]
    return str(ticket["id"]), cells
