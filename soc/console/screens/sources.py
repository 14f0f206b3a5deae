"""The list of log sources: whose they are, how often they speak, their clocks, what was not understood or lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Static

from soc.console import words
from soc.console.i18n import number, t
from soc.console.screens.base import ConsoleScreen
from soc.console.screens.help import help_page
from soc.console.session import Service, Session
from soc.console.text import clean, when
from soc.console.widgets.bars import Bar
from soc.console.widgets.cells import beside, fit
from soc.console.widgets.table import Row, Rows

RELOAD_S = 5.0
SOURCES, UNKNOWN, POINTS = "sources", "unknown", "points"
VIEWS = (SOURCES, UNKNOWN, POINTS)
Document = Mapping[str, Any]


class SourcesScreen(ConsoleScreen):
    """All sources first; `u` those that nobody owns, `p` the monitoring points."""

    CSS = """
    #filter { padding: 0 1; color: $text-muted; }
    #empty { height: 1fr; content-align: center middle; text-align: center; padding: 1 4; display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("u", f"view('{UNKNOWN}')", show=False),
        Binding("p", f"view('{POINTS}')", show=False),
        Binding("f5", "refresh", show=False),
        Binding("question_mark", "help", show=False),
        Binding("escape,q", "back", show=False),
    ]
    KEYS = (("u", "ui.key.unknown"), ("p", "ui.key.points"), ("?", "ui.key.help"), ("Esc", "ui.key.back"))

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.sources: list[Document] = []
        self.points: list[Document] = []
        self._view = SOURCES
        self._is_loaded = False

    def body(self) -> ComposeResult:
        yield Bar(id="filter")
        yield Rows(id="sources", row_height=2)
        yield Static("", markup=False, id="empty")

    def heading(self) -> str:
        return t("ui.sources")

    def on_mount(self) -> None:
        """The rows take the keys; counts move without a notice, so they are fetched again and again."""
        self.query_one(Rows).focus()
        self.set_interval(RELOAD_S, self.load)

    def on_resize(self) -> None:
        """Columns go by the width."""
        self.call_after_refresh(self.draw)

    def load(self) -> None:
        """What is shown; the points only while they are."""

        def fetched(service: Service) -> tuple[list[Document], list[Document]]:
            if self._view == POINTS:
                return self.sources, list(service.get("/v1/sources/points").data)
            return list(service.get("/v1/sources").data["sources"]), self.points

        self.ask(fetched, self._hold)

    def _hold(self, found: tuple[list[Document], list[Document]]) -> None:
        (self.sources, self.points), self._is_loaded = found, True
        self.draw()

    def draw(self) -> None:
        """Filter line and rows."""
        shown = self.points if self._view == POINTS else [s for s in self.sources if self._view == SOURCES or _new(s)]
        width, now_us = max(self.size.width, 40) - 1, self.session.now_us()
        row = _point_row if self._view == POINTS else _source_row
        table = self.query_one(Rows)
        table.head(_head(width, points=self._view == POINTS), height=2)
        table.show([row(each, width, now_us) for each in shown])
        silent = sum(bool((s.get("silence") or {}).get("silent")) for s in self.sources)
        counts = {"shown": len(shown), "silent": silent, "unknown": sum(map(_new, self.sources))}
        self.query_one("#filter", Bar).update(Content(t(f"ui.sources.{self._view}", **counts)))
        empty = self.query_one("#empty", Static)
        empty.display = not shown
        table.styles.height = "1fr" if shown else 2
        empty.update(Content(t(f"ui.empty.{self._view}") if self._is_loaded else self.session.why or t("ui.loading")))

    def action_view(self, view: str) -> None:
        """Show this view, or all sources again."""
        self._view = SOURCES if self._view == view else view
        self.draw()
        self.load()

    def action_help(self) -> None:
        """All keys."""
        self.app.push_screen(help_page())


def _new(source: Document) -> bool:
    return not source.get("known", True)


_PEER, _HABIT = 24, 17


def _head(width: int, *, points: bool) -> list[tuple[str, int]]:
    rest = width - _PEER - _HABIT - 2
    last = beside(t("ui.col.systems" if points else "ui.col.system"), t("ui.col.received"), rest)
    return [
        (f"{t('ui.col.point' if points else 'ui.col.source')}\n{t('ui.col.place')}", _PEER + 1),
        (f"{t('ui.col.since' if points else 'ui.col.cadence')}\n{t('ui.col.heard')}", _HABIT + 1),
        (f"{last}\n{beside(t('ui.col.datasets'), t('ui.col.lost'), rest)}", rest),
    ]


def _source_row(source: Document, width: int, now_us: int) -> Row:
    rest = width - _PEER - _HABIT - 2
    habit = source.get("silence") or {}
    is_silent, is_new = bool(habit.get("silent")), _new(source)
    cadence = f"≤ {words.span(max(habit['cadence_us'] / 1e6, 1))}" if habit.get("cadence_us") else "-"
    guess = source.get("guess") or {}
    owner = t("ui.source.unknown", product=clean(guess.get("product") or "?")) if is_new else words.system(source)
    drift = source.get("drift_us")
    told = [clean(", ".join(source["datasets"])) or "-"]
    if drift is not None and abs(drift) >= 1_000_000:
        told.append(t("ui.source.drift", time=("+" if drift > 0 else "-") + words.span(abs(drift) / 1e6)))
    if source["unparsed_share"]:
        told.append(t("ui.source.unparsed", share=number(round(source["unparsed_share"] * 100, 1))))
    lines = (
        (fit(clean(source["peer"]), _PEER), fit(f"{clean(source['site'])}/{clean(source['listener'])}", _PEER), "bold"),
        (
            fit(t("ui.source.silent") if is_silent else cadence, _HABIT), fit(_heard(source, now_us), _HABIT),
            "bold red" if is_silent else "",
        ),
        (
            beside(owner, number(source["received"]), rest), beside("  ".join(told), _lost(source), rest),
            "yellow" if is_new else "",
        ),
    )  # fmt: skip
    return f"{source['site']}/{source['listener']}/{source['peer']}", _cells(lines)


def _point_row(point: Document, width: int, now_us: int) -> Row:
    rest = width - _PEER - _HABIT - 2
    is_edge = point["kind"] == "edge"
    name = point["unit"] if is_edge else point["listener"]
    since = when(point["since_us"])[:16] if point["since_us"] else t("ui.point.never")
    seen = t("ui.point.sees", sources=number(point["sources"]), systems=number(len(point["systems"])))
    where = t("ui.point.unit") if is_edge else clean(point["site"])
    lines = (
        (fit(clean(name), _PEER), fit(f"{where} {clean(point['protocol'])}", _PEER), "bold"),
        (fit(since, _HABIT), fit(_heard(point, now_us), _HABIT), "" if point["since_us"] else "yellow"),
        (
            beside(seen, number(point["received"]), rest),
            beside(clean(", ".join(point["datasets"])) or "-", _lost(point), rest), "",
        ),
    )  # fmt: skip
    return f"{point['kind']}/{point['site']}/{name}", _cells(lines)


def _heard(row: Document, now_us: int) -> str:
    if not row["last_seen_us"]:
        return "-"
    return t("ui.source.ago", time=words.span(max(now_us - row["last_seen_us"], 0) / 1e6))


def _lost(row: Document) -> str:
    lost = sum(row["dropped"].values())
    return t("ui.source.lost", n=number(lost)) if lost else ""


def _cells(lines: tuple[tuple[str, str, str], ...]) -> list[Text]:
    return [Text.assemble((top, style), "\n", (low, "dim"), no_wrap=True) for top, low, style in lines]
