"""One alert: why it fired, the system with its level and owner unit, the events behind it, what people did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from rich.console import Group, RenderableType
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from soc.console import words
from soc.console.i18n import t
from soc.console.screens import acts
from soc.console.screens.help import help_page
from soc.console.screens.paged import PagedScreen
from soc.console.session import Session
from soc.console.text import clean, when
from soc.console.widgets.bars import Bar
from soc.console.widgets.cells import columns, fit, pairs, wrapped
from soc.console.widgets.dialogs import Reading
from soc.console.widgets.pages import PageBar, Pages
from soc.console.widgets.table import Row, Rows

LABEL = 20
"""Width of the labels on the left."""
Document = Mapping[str, Any]


class AlertScreen(PagedScreen):
    """Begins with what the queue knew and completes itself."""

    CSS = """
    #title { text-style: bold; height: auto; max-height: 2; padding: 0 1; }
    #facts { padding: 0 1; }
    #overview-scroll, #history-scroll { padding: 0 1; scrollbar-size-vertical: 1; }
    #events-line { padding: 0 1; color: $text-muted; height: auto; }
    """
    PAGES = (("overview", "overview-scroll"), ("events", "events-table"), ("history", "history-scroll"))
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "acknowledge", show=False),
        Binding("e", "escalate", show=False),
        Binding("c", "close", show=False),
        Binding("n", "note", show=False),
        Binding("f5", "refresh", show=False),
        Binding("question_mark", "help", show=False),
        Binding("escape,q", "back", show=False),
    ]
    KEYS = (
        ("a", "ui.key.acknowledge"), ("e", "ui.key.escalate"), ("c", "ui.key.close"),
        ("n", "ui.key.note"), ("?", "ui.key.help"), ("Esc", "ui.key.back"),
    )  # fmt: skip

    def __init__(self, session: Session, alert: Document) -> None:
        super().__init__(session)
        self.alert = alert
        self.events: Sequence[Document] = ()
        self._are_events_known = False

    def body(self) -> ComposeResult:
        yield Static("", markup=False, id="title")
        yield Bar(id="facts")
        yield PageBar(id="tabs")
        with Pages(initial="overview"):
            with Vertical(id="overview"), VerticalScroll(id="overview-scroll"):
                yield Static("", markup=False, id="why")
            with Vertical(id="events"):
                yield Static("", markup=False, id="events-line")
                yield Rows(id="events-table")
            with Vertical(id="history"), VerticalScroll(id="history-scroll"):
                yield Static("", markup=False, id="past")

    def heading(self) -> str:
        return t("ui.alert")

    def on_mount(self) -> None:
        """What is known already is shown at once."""
        self.action_page(0)

    def on_resize(self) -> None:
        """The events' columns go by the width."""
        self.call_after_refresh(self.draw)

    # Fetching

    def load(self) -> None:
        """The alert with its system and playbook, then its events."""
        path = f"/v1/alerts/{self.alert['id']}"
        self.ask(lambda service: service.get(path).data, self._hold)
        if self.session.refusal("event.search") is None:
            self.ask(lambda service: service.get(f"{path}/events").data, self._hold_events)

    def concerns(self, change: Document) -> bool:
        return change.get("kind") == "alert" and change.get("id") == self.alert["id"]

    def _hold(self, alert: Document) -> None:
        # What came with the context keeps it: an answer to a key has none.
        context = {name: self.alert[name] for name in ("system", "suggested_playbook") if name in self.alert}
        self.alert = {**context, **alert}
        self.draw()

    def _hold_events(self, events: Sequence[Document]) -> None:
        self.events = sorted(events, key=lambda event: str(event.get("@timestamp", "")), reverse=True)
        self._are_events_known = True
        self.draw()

    # Drawing

    def draw(self) -> None:
        """Title, facts and all three pages."""
        alert = self.alert
        title = wrapped(words.title(alert), max(self.size.width, 40) - 2, 2)
        self.query_one("#title", Static).update(Content("\n".join(title)))
        self.query_one("#facts", Bar).update(_facts(alert))
        self._draw_tabs()
        self.query_one("#why", Static).update(Group(*overview(alert)))
        self.query_one("#past", Static).update(Group(*_history(alert)))
        self._draw_events()

    def _draw_tabs(self) -> None:
        alert = self.alert
        labels = (
            t("ui.tab.overview"),
            t("ui.tab.events", count=alert["events_total"]),
            t("ui.tab.history", count=len(alert["notes"])),
        )
        self.query_one("#tabs", PageBar).draw(labels, self.page)

    def _draw_events(self) -> None:
        table = self.query_one("#events-table", Rows)
        width = max(self.size.width, 40) - 1
        places = (19, 14, width - 19 - 14 - 3)
        heads = (t("ui.col.time"), t("ui.col.dataset"), t("ui.col.event"))
        table.head([(label, place + 1) for label, place in zip(heads, places, strict=True)])
        table.show([_event_row(number, event, places) for number, event in enumerate(self.events)])
        self.query_one("#events-line", Static).update(Content(self._events_line()))

    def _events_line(self) -> str:
        if (why := self.session.refusal("event.search")) is not None:
            return why
        if not self._are_events_known:
            return t("ui.loading")
        total = self.alert["events_total"]
        if not total:
            return t("ui.events.none")
        shown, query = t("ui.events.shown", shown=len(self.events), total=total), self.alert.get("rest_query")
        return f"{shown}\n{t('ui.events.rest', query=clean(query))}" if query else shown

    # Keys

    def on_data_table_row_selected(self, event: Rows.RowSelected) -> None:
        """Enter on an event shows it whole."""
        event.stop()
        key = self.query_one("#events-table", Rows).key
        if key is not None:
            self.app.push_screen(Reading(t("ui.event"), whole(self.events[int(key)])))

    def action_acknowledge(self) -> None:
        """Take it."""
        acts.acknowledge(self, self.alert, self._hold)

    def action_escalate(self) -> None:
        """Make a ticket of it, or open the one there is."""
        acts.escalate(self, self.alert)

    def action_close(self) -> None:
        """Judge it."""
        acts.close(self, self.alert, self._hold)

    def action_note(self) -> None:
        """Write a note."""
        self.write_note(f"/v1/alerts/{self.alert['id']}/note", "alert.note", self._hold)

    def action_help(self) -> None:
        """All keys."""
        self.app.push_screen(help_page())


def _facts(alert: Document) -> Content:
    level = str(alert["level"])
    rest = [
        t("ui.risk", risk=alert["risk"]), words.word("status", str(alert["status"])),
        t("ui.times", count=alert["count"]), when(alert["created_us"]),
    ]  # fmt: skip
    if alert.get("owner"):
        rest.insert(2, clean(alert["owner"]))
    return Content.assemble((words.word("level", level), words.LEVEL_STYLES.get(level, "")), " · " + " · ".join(rest))


def overview(alert: Document) -> list[RenderableType]:
    """Why it fired, then what it is about."""
    return [*_why(alert), Text(""), Text(t("ui.what"), style="bold"), pairs(_about(alert), label=LABEL)]


def _why(alert: Document) -> list[RenderableType]:
    kind = words.word("kind", str(alert["kind"]))
    about = t("ui.rule.kind", kind=kind, version=clean(alert["rule_version"], 12))
    rule = f"{words.title(alert)} ({about})\n{clean(alert['rule_id'])}"
    parts: list[RenderableType] = [Text(t("ui.why"), style="bold")]
    parts.append(pairs([(t("ui.rule"), rule), *facts(alert)], label=LABEL))
    heads = [t(f"ui.why.{name}") for name in ("selection", "field", "value", "pattern")]
    matched = [[clean(m[name]) for name in ("selection", "field", "value", "pattern")] for m in alert["why"]]
    if matched:
        parts += [Text(""), columns(heads, matched)]
    elif not alert["explain"]:
        parts.append(Text(t("ui.why.none")))
    return parts


def facts(alert: Document) -> list[tuple[str, str]]:
    """What a correlation or a model says: in a sentence, and as observed, expected and window."""
    explain = alert.get("explain") or {}
    if not explain:
        return []
    params = dict(explain.get("params") or {})
    if isinstance(params.get("seconds"), int):
        params["span"] = words.span(params["seconds"])
    rows = [(t("ui.fact.why"), _sentence(str(explain.get("why")), params)), _fact(str(alert["kind"]), explain, params)]
    return [(label, value) for label, value in rows if value]


def _fact(kind: str, explain: Document, params: Document) -> tuple[str, str]:
    is_window = kind == "correlation" and "span" in params
    values: dict[str, Any] = {name: _quantity(explain.get(name)) for name in ("observed", "expected")}
    values["span"] = str(params.get("span", ""))
    label = t("ui.fact.threshold" if kind == "correlation" else "ui.fact.expected")
    return label, t("ui.fact.window" if is_window else "ui.fact.pair", **values)


def _sentence(id: str, params: Document) -> str:
    """The explanation in the language of now; empty when we have no words for it, or not all of its parameters."""
    try:
        return clean(t(f"ui.why.{id}", **{name: value for name, value in params.items() if name != "id"}))
    except KeyError:
        return ""


def _quantity(value: Any) -> Any:
    """A number is left to the language; all else is plain text."""
    return value if isinstance(value, int | float) else _plain(value)


def _plain(value: Any) -> str:
    return ", ".join(clean(one) for one in value) if isinstance(value, list | tuple) else clean(value)


def _about(alert: Document) -> list[tuple[str, str]]:
    period = t("ui.until", first=when(alert["first_us"]), last=when(alert["last_us"]))
    raised = t("ui.lag", at=when(alert["created_us"]), lag=alert["lag_us"] / 1_000_000)
    rows = [
        (t("ui.system"), words.system(alert)),
        (t("ui.unit"), words.unit(alert)),
        (t("ui.contact"), clean((alert.get("system") or {}).get("contact"))),
        (t("ui.entity"), clean(alert["entity"])),
        (t("ui.observables"), " · ".join(shown for shown in _observables(alert) if shown != clean(alert["entity"]))),
        (t("ui.playbook.suggested"), _playbook(alert)),
        (t("ui.period"), period),
        (t("ui.raised"), f"{raised} · {t('ui.found_late')}" if alert.get("found_late") else raised),
        (t("ui.tags"), " ".join(clean(tag) for tag in alert["tags"])),
    ]
    return [(label, value) for label, value in rows if value]


def _observables(alert: Document) -> list[str]:
    return [clean(f"{o['field']}={o['value']}") for o in alert["observables"]]


def _playbook(alert: Document) -> str:
    if alert.get("ticket_id"):
        return f"{t('ui.status.escalated')}: {t('ui.ticket_of.how')}"
    if "suggested_playbook" not in alert:
        return t("ui.loading")
    playbook = alert["suggested_playbook"]
    if not playbook:
        return t("ui.playbook.none")
    steps = "\n".join(f"  {n}. {words.title(step)}" for n, step in enumerate(playbook.get("steps") or (), 1))
    return f"{words.title(playbook)} ({t('ui.playbook.how')})\n{steps}".rstrip()


def _history(alert: Document) -> list[RenderableType]:
    notes = [(when(note["at_us"]), f"{clean(note['person'])}: {clean(note['text'])}") for note in alert["notes"]]
    parts: list[RenderableType] = [Text(t("ui.notes"), style="bold")]
    parts.append(pairs(notes, label=20) if notes else Text(t("ui.notes.none")))
    return [*parts, Text(""), Text(t("ui.history"), style="bold"), pairs(_happened(alert), label=20)]


def _happened(alert: Document) -> list[tuple[str, str]]:
    owner = clean(alert.get("owner"))
    rows = [(when(alert["created_us"]), t("ui.history.raised"))]
    if alert.get("previous_id"):
        rows.append(("", t("ui.history.previous", other=clean(alert["previous_id"]))))
    if alert.get("acknowledged_us"):
        rows.append((when(alert["acknowledged_us"]), t("ui.history.taken", person=owner)))
    if alert.get("ticket_id"):
        rows.append(("", t("ui.history.ticket")))
    if alert.get("closed_us"):
        verdict = words.word("verdict", str(alert["verdict"]))
        rows.append((when(alert["closed_us"]), t("ui.history.closed", verdict=verdict, reason=clean(alert["reason"]))))
    return rows


def _event_row(number: int, event: Document, places: tuple[int, int, int]) -> Row:
    original = event.get("event.original") or event.get("message") or event.get("event.action") or ""
    values = (words.moment(event.get("@timestamp")), clean(event.get("event.dataset")), clean(original))
    return str(number), [Text(fit(value, place), no_wrap=True) for value, place in zip(values, places, strict=True)]


def whole(event: Document) -> RenderableType:
    """Every field of an event; the line as it was received and the time come first."""
    first = [name for name in ("@timestamp", "event.original") if name in event]
    names = [*first, *sorted(name for name in event if name not in first)]
    rows = [(name, words.moment(event[name]) if name == "@timestamp" else _plain(event[name])) for name in names]
    return pairs([(clean(name), value) for name, value in rows if value])
