"""The alert queue: what is new, live, newest first; from here alerts are taken, closed and made tickets of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Input, Static

from soc.console import words
from soc.console.i18n import number, t
from soc.console.screens import acts
from soc.console.screens.alert import AlertScreen
from soc.console.screens.base import SETTLE_S, ConsoleScreen
from soc.console.screens.help import help_page
from soc.console.screens.sources import SourcesScreen
from soc.console.screens.tickets import TicketsScreen
from soc.console.session import Service, Session, found
from soc.console.text import clean, when
from soc.console.widgets.bars import Bar
from soc.console.widgets.cells import beside, fit
from soc.console.widgets.table import Row, Rows
from soc.model.alert import STATUSES

PAGE = 200
"""Newest alerts held of each status; the header says when there are more."""
ONE_BY_ONE = 20
"""So many changed alerts are fetched singly; when more changed at once the list is."""
RELOAD_S = 60.0
"""The whole list again, whatever the changes said."""
WIDE = 120
"""From this width an alert takes one line, below it two."""
OPEN = ("new", "acknowledged", "escalated")
FILTERS = ("open", *STATUSES, "all")
Document = Mapping[str, Any]


@dataclass(frozen=True)
class Filter:
    """What is shown of the alerts that are held. `level` is the lowest one, empty for all."""

    status: str = "open"
    level: str = ""
    search: str = ""

    def fits(self, alert: Document) -> bool:
        """Whether an alert is shown."""
        status = str(alert["status"])
        if self.status != "all" and status not in (OPEN if self.status == "open" else (self.status,)):
            return False
        if self.level and _rank(str(alert["level"])) > _rank(self.level):
            return False
        return not self.search or self.search.casefold() in _searched(alert)

    def words(self) -> str:
        """The filter for people."""
        status = t(f"ui.filter.{self.status}") if self.status in ("open", "all") else words.word("status", self.status)
        level = t("ui.filter.level", level=words.word("level", self.level)) if self.level else t("ui.filter.any_level")
        text = t("ui.filter", status=status.lower(), level=level.lower())
        return text + (t("ui.filter.search", text=clean(self.search)) if self.search else "")


def _rank(level: str) -> int:
    return words.LEVELS_DOWN.index(level) if level in words.LEVELS_DOWN else len(words.LEVELS_DOWN)


def _searched(alert: Document) -> str:
    names = ("title", "title_vi", "entity", "system_name", "organization_name", "rule_id", "owner", "id")
    return " ".join(str(alert.get(name) or "") for name in names).casefold()


class QueueScreen(ConsoleScreen):
    """Holds the newest alerts of every status and shows those that fit the filter."""

    CSS = """
    #counts { padding: 0 1; }
    #filter { padding: 0 1; color: $text-muted; }
    #empty { height: 1fr; content-align: center middle; text-align: center; padding: 1 4; display: none; }
    #search { display: none; height: 1; border: none; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", show=False),
        Binding("a", "acknowledge", show=False),
        Binding("e", "escalate", show=False),
        Binding("c", "close", show=False),
        Binding("n", "note", show=False),
        Binding("slash", "search", show=False),
        Binding("s", "status", show=False),
        Binding("l", "level", show=False),
        Binding("t", "tickets", show=False),
        Binding("o", "sources", show=False),
        Binding("escape", "unfilter", show=False),
        Binding("f5", "refresh", show=False),
        Binding("question_mark", "help", show=False),
        Binding("q", "app.quit", show=False),
    ]
    KEYS = (
        ("Enter", "ui.key.open"), ("a", "ui.key.acknowledge"), ("e", "ui.key.escalate"), ("c", "ui.key.close"),
        ("n", "ui.key.note"), ("t", "ui.key.tickets"), ("/", "ui.key.search"), ("s", "ui.key.status"),
        ("l", "ui.key.level"), ("?", "ui.key.help"), ("q", "ui.key.quit"),
    )  # fmt: skip

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.filter = Filter()
        self.alerts: dict[str, Document] = {}
        self._is_cut = False
        self._is_loaded = False
        self._pending: set[str] = set()

    def body(self) -> ComposeResult:
        yield Bar(id="counts")
        yield Bar(id="filter")
        yield Input(id="search", compact=True, placeholder=t("ui.search"))
        yield Rows(id="queue")
        yield Static("", markup=False, id="empty")

    def heading(self) -> str:
        return t("ui.queue")

    def on_mount(self) -> None:
        """Show that nothing is there yet, and load the whole list now and then."""
        self.set_interval(RELOAD_S, self.load)
        self.draw()
        self.query_one(Rows).focus()

    def on_resize(self) -> None:
        """Columns go by the width."""
        self.call_after_refresh(self.draw)

    # Fetching

    def load(self) -> None:
        """The newest alerts of every status."""
        if self.session.me:
            self.ask(_newest, self._hold_all)

    def concerns(self, change: Document) -> bool:
        return change.get("kind") == "alert"

    def changed(self, change: Document) -> None:
        """Fetch the alerts that changed, those that come together at once."""
        if not self.concerns(change):
            return
        if not self._pending:
            self.set_timer(SETTLE_S, self._settle)
        self._pending.add(str(change["id"]))

    def _settle(self) -> None:
        ids, self._pending = sorted(self._pending), set()
        if len(ids) > ONE_BY_ONE:
            self.load()
        else:
            self.ask(lambda service: _these(service, ids), self._hold)

    def _hold_all(self, answer: tuple[list[Document], bool]) -> None:
        alerts, self._is_cut = answer
        self.alerts = {str(alert["id"]): alert for alert in alerts}
        self._is_loaded = True
        self.draw()

    def _hold(self, alerts: Mapping[str, Document | None]) -> None:
        for id, alert in alerts.items():
            if alert is None:
                self.alerts.pop(id, None)
            else:
                self.alerts[id] = alert
        self.draw()

    # Drawing

    def shown(self) -> list[Document]:
        """The alerts that fit the filter, newest first."""
        fitting = filter(self.filter.fits, self.alerts.values())
        return sorted(fitting, key=lambda alert: (alert["created_us"], alert["id"]), reverse=True)

    def draw(self) -> None:
        """Counts, filter line and rows."""
        alerts = self.shown()
        table = self.query_one(Rows)
        width = max(self.size.width, 40) - 1
        layout = _wide if width >= WIDE else _narrow
        _lay_columns(table, width)
        table.show([layout(alert, width) for alert in alerts])
        self.query_one("#counts", Bar).update(_counts(self.alerts.values()))
        total = t("ui.shown.more" if self._is_cut else "ui.shown", shown=len(alerts), total=len(self.alerts))
        self.query_one("#filter", Bar).update(Content(beside(self.filter.words(), total, self.size.width - 2)))
        self._draw_empty(not alerts)

    def _draw_empty(self, is_empty: bool) -> None:
        empty = self.query_one("#empty", Static)
        empty.display = is_empty
        self.query_one(Rows).styles.height = 2 if is_empty else "1fr"
        if not self._is_loaded:
            empty.update(Content(self.session.why or t("ui.empty.connecting")))
        elif self.alerts:
            empty.update(Content(t("ui.empty.filtered", total=len(self.alerts))))
        else:
            empty.update(Content(t("ui.empty.queue")))

    def connected(self) -> None:
        super().connected()
        if self.session.me.get("wall") is False:
            self.say(t("ui.no_wall"))

    def lost(self) -> None:
        super().lost()
        self.draw()

    # Keys

    def selected(self) -> Document | None:
        """The alert under the cursor; says so when there is none."""
        key = self.query_one(Rows).key
        alert = self.alerts.get(key) if key else None
        if alert is None:
            self.say(t("ui.nothing_selected"))
        return alert

    def on_data_table_row_selected(self, event: Rows.RowSelected) -> None:
        """Enter on a row opens it."""
        event.stop()
        self.action_open()

    def action_open(self) -> None:
        """Why it fired, its events, its history."""
        if (alert := self.selected()) is not None:
            self.app.push_screen(AlertScreen(self.session, alert))

    def action_acknowledge(self) -> None:
        """Take the alert."""
        if (alert := self.selected()) is not None:
            acts.acknowledge(self, alert, self._did)

    def action_escalate(self) -> None:
        """Make a ticket of the alert."""
        if (alert := self.selected()) is not None:
            acts.escalate(self, alert)

    def action_close(self) -> None:
        """Judge the alert."""
        if (alert := self.selected()) is not None:
            acts.close(self, alert, self._did)

    def action_note(self) -> None:
        """Write a note."""
        if (alert := self.selected()) is not None:
            self.write_note(f"/v1/alerts/{alert['id']}/note", "alert.note", self._did)

    def _did(self, alert: Document) -> None:
        self._hold({str(alert["id"]): alert})

    def action_tickets(self) -> None:
        """The list of tickets."""
        self.app.push_screen(TicketsScreen(self.session))

    def action_sources(self) -> None:
        """The list of log sources."""
        self.app.push_screen(SourcesScreen(self.session))

    def action_help(self) -> None:
        """All keys."""
        self.app.push_screen(help_page())

    # Filter

    def action_status(self) -> None:
        """The next status."""
        self._filter(status=_after(FILTERS, self.filter.status))

    def action_level(self) -> None:
        """The next lowest level."""
        self._filter(level=_after(("", "low", "medium", "high", "critical"), self.filter.level))

    def action_unfilter(self) -> None:
        """Back to everything that is not closed, and out of the search line."""
        box = self.query_one(Input)
        box.value, box.display = "", False
        self.query_one(Rows).focus()
        self.filter = Filter()
        self.draw()

    def action_search(self) -> None:
        """Type what the rows must contain."""
        box = self.query_one(Input)
        box.display = True
        box.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while typing."""
        self._filter(search=event.value.strip())

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep the search, go back to the rows."""
        event.input.display = False
        self.query_one(Rows).focus()

    def _filter(self, **changes: str) -> None:
        self.filter = replace(self.filter, **changes)
        self.draw()


def _after(values: Sequence[str], value: str) -> str:
    return values[(values.index(value) + 1) % len(values)]


def _newest(service: Service) -> tuple[list[Document], bool]:
    """The newest alerts of every status, and whether there are more of one."""
    answers = [service.get("/v1/alerts", status=status, limit=PAGE) for status in STATUSES]
    alerts = {alert["id"]: alert for answer in answers for alert in answer.data}
    return list(alerts.values()), any(answer.truncated or answer.cursor for answer in answers)


def _these(service: Service, ids: Iterable[str]) -> dict[str, Document | None]:
    def one(id: str) -> Callable[[], Any]:
        return lambda: service.get(f"/v1/alerts/{id}")

    return {id: found(one(id)) for id in ids}


def _counts(alerts: Iterable[Document]) -> Content:
    """How many of each level are not closed."""
    waiting = [str(alert["level"]) for alert in alerts if alert["status"] != "closed"]
    parts: list[str | tuple[str, str]] = []
    for level in words.LEVELS_DOWN:
        count = waiting.count(level)
        style = words.LEVEL_STYLES[level] if count else "dim"
        parts += [(f"{words.word('level', level)} {count}", style), "   "]
    return Content.assemble(*parts[:-1])


def _lay_columns(table: Rows, width: int) -> None:
    is_wide = width >= WIDE
    table.row_height = 1 if is_wide else 2
    table.head(_wide_head(width) if is_wide else _narrow_head(width), height=table.row_height)


# Two lines an alert: time, level and title above; date, risk, entity, system and unit below.

_TIME, _LEVEL, _STATUS, _COUNT = 8, 10, 8, 5


def _narrow_places(width: int) -> tuple[int, int, int, int]:
    """Widths of the third column, and of entity, system and unit in its second line."""
    rest = width - _TIME - _LEVEL - 2
    entity = max(16, rest * 3 // 10)
    unit = (rest - entity - 2) * 9 // 20
    return rest, entity, rest - entity - unit - 2, unit


def _narrow_head(width: int) -> list[tuple[str, int]]:
    rest, entity, system, unit = _narrow_places(width)
    first = beside(t("ui.col.title"), _tail(t("ui.col.status"), t("ui.col.count")), rest)
    second = f"{fit(t('ui.col.entity'), entity)} {fit(t('ui.col.system'), system)} {fit(t('ui.col.unit'), unit)}"
    return [
        (f"{t('ui.col.time')}\n{t('ui.col.date')}", _TIME + 1),
        (f"{t('ui.col.level')}\n{t('ui.col.risk')}", _LEVEL + 1),
        (f"{first}\n{second}", rest),
    ]


def _tail(status: str, count: str) -> str:
    return f"{fit(status, _STATUS)} {count:>{_COUNT}}"


def _narrow(alert: Document, width: int) -> Row:
    rest, entity, system, unit = _narrow_places(width)
    at = when(alert["created_us"])
    status = _tail(words.word("status", str(alert["status"])), f"×{number(alert['count'])}")
    second = " ".join(
        (
            fit(words.entity(alert), entity),
            fit(words.system(alert, short=True), system),
            fit(words.unit(alert), unit),
        )
    )
    is_new = alert["status"] == "new"
    return str(alert["id"]), (
        _two(at[11:], at[5:10], "bold" if is_new else ""),
        _two(_level(alert), t("ui.risk", risk=alert["risk"]), words.LEVEL_STYLES.get(str(alert["level"]), "")),
        _two(beside(words.title(alert), status, rest), second, "bold" if is_new else ""),
    )


def _level(alert: Document) -> str:
    return words.word("level", str(alert["level"]))


def _two(first: str, second: str, style: str) -> Text:
    return Text.assemble((first, style), "\n", (second, "dim"), no_wrap=True, overflow="ellipsis")


# One line an alert, where there is room.


def _wide_places(width: int) -> list[int]:
    fixed = [14, _LEVEL, 6, 0, 0, 0, 0, _STATUS, 7]
    rest = width - sum(fixed) - len(fixed)
    shares = {3: 40, 4: 17, 5: 24, 6: 19}
    for place, share in shares.items():
        fixed[place] = rest * share // 100
    return fixed


def _wide_head(width: int) -> list[tuple[str, int]]:
    names = ("time", "level", "risk", "title", "entity", "system", "unit", "status", "count")
    return [(t(f"ui.col.{name}"), place + 1) for name, place in zip(names, _wide_places(width), strict=True)]


def _wide(alert: Document, width: int) -> Row:
    values = (
        when(alert["created_us"])[5:], _level(alert), str(alert["risk"]), words.title(alert), words.entity(alert),
        words.system(alert, short=True), words.unit(alert), words.word("status", str(alert["status"])),
        f"×{number(alert['count'])}",
    )  # fmt: skip
    style = "bold" if alert["status"] == "new" else ""
    styles = [words.LEVEL_STYLES.get(str(alert["level"]), "") if place == 1 else style for place in range(len(values))]
    cells = zip(values, _wide_places(width), styles, strict=True)
    return str(alert["id"]), [Text(fit(value, place), style=style, no_wrap=True) for value, place, style in cells]
