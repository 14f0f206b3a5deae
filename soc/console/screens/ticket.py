"""One ticket: its state and legal deadlines, the steps of its playbook, and the actions with their exact plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from soc.console import words
from soc.console.i18n import pick, t
from soc.console.screens.help import help_page
from soc.console.screens.paged import PagedScreen
from soc.console.session import Session
from soc.console.text import clean, when
from soc.console.widgets.cells import fit, pairs, wrapped
from soc.console.widgets.dialogs import Ask, Confirm, Reading
from soc.console.widgets.pages import PageBar, Pages
from soc.console.widgets.table import Row, Rows
from soc.model.run import ACTIVE

LABEL = 15
Document = Mapping[str, Any]


class TicketScreen(PagedScreen):
    """Page 1 the steps with their guidance, page 2 the actions with their plans, page 3 deadlines and history."""

    CSS = """
    #head { height: auto; padding: 0 1; }
    #steps-table, #runs-table { height: auto; max-height: 60%; }
    .detail { height: 1fr; padding: 0 1; border-top: solid $primary; scrollbar-size-vertical: 1; }
    #past-scroll { padding: 0 1; scrollbar-size-vertical: 1; }
    """
    PAGES = (("steps", "steps-table"), ("runs", "runs-table"), ("past", "past-scroll"))
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d", "done", show=False),
        Binding("p", "plan", show=False),
        Binding("g", "approve", show=False),
        Binding("r", "run", show=False),
        Binding("v", "revert", show=False),
        Binding("n", "note", show=False),
        Binding("f5", "refresh", show=False),
        Binding("question_mark", "help", show=False),
        Binding("escape,q", "back", show=False),
    ]
    KEYS = (
        ("d", "ui.key.done"), ("p", "ui.key.plan"), ("g", "ui.key.approve"),
        ("r", "ui.key.run"), ("v", "ui.key.revert"), ("n", "ui.key.note"), ("?", "ui.key.help"), ("Esc", "ui.key.back"),
    )  # fmt: skip

    def __init__(self, session: Session, id: str, greeting: str = "") -> None:
        super().__init__(session)
        self.ticket_id = id
        self.ticket: Document | None = None
        self._greeting = greeting

    def body(self) -> ComposeResult:
        yield Static(Content(t("ui.loading")), markup=False, id="head")
        yield PageBar(id="tabs")
        with Pages(initial="steps"):
            with Vertical(id="steps"):
                yield Rows(id="steps-table", row_height=2)
                with VerticalScroll(classes="detail"):
                    yield Static("", markup=False, id="guidance")
            with Vertical(id="runs"):
                yield Rows(id="runs-table")
                with VerticalScroll(classes="detail"):
                    yield Static("", markup=False, id="plan")
            with Vertical(id="past"), VerticalScroll(id="past-scroll"):
                yield Static("", markup=False, id="past-text")

    def heading(self) -> str:
        return t("ui.ticket", number=clean(self.ticket["number"]) if self.ticket else "")

    def on_mount(self) -> None:
        """The steps take the keys."""
        self.query_one("#steps-table").focus()
        if self._greeting:
            self.say(self._greeting)

    def on_resize(self) -> None:
        """Columns go by the width."""
        self.call_after_refresh(self.draw)

    # Fetching

    def load(self) -> None:
        """The ticket with its runs."""
        self.ask(lambda service: service.get(f"/v1/tickets/{self.ticket_id}").data, self._hold)

    def concerns(self, change: Document) -> bool:
        return change.get("kind") == "run" or change.get("id") == self.ticket_id

    def _hold(self, ticket: Document) -> None:
        self.ticket = ticket
        self.draw()
        self.draw_bars()

    # Drawing

    def draw(self) -> None:
        """Everything of the ticket."""
        ticket = self.ticket
        if ticket is None:
            return
        now_us = self.session.now_us()
        self.query_one("#head", Static).update(_head(ticket, now_us, max(self.size.width, 40) - 2))
        self._draw_tabs(ticket)
        width = max(self.size.width, 40) - 1
        steps = [_step_row(task, width, now_us, _of_step(ticket, str(task["id"]))) for task in ticket["tasks"]]
        _fill(self.query_one("#steps-table", Rows), _step_head(width), steps)
        runs = [_run_row(run, width, ticket) for run in ticket["runs"]]
        _fill(self.query_one("#runs-table", Rows), _run_head(width), runs)
        self.query_one("#past-text", Static).update(Group(*_past(ticket, now_us)))
        self._draw_details()

    def _draw_tabs(self, ticket: Document) -> None:
        done = sum(task["done_us"] is not None for task in ticket["tasks"])
        labels = (
            t("ui.tab.steps", done=done, total=len(ticket["tasks"])),
            t("ui.tab.runs", count=len(ticket["runs"])),
            t("ui.tab.ticket_history"),
        )
        self.query_one("#tabs", PageBar).draw(labels, self.page)

    def _draw_details(self) -> None:
        ticket, task, run = self.ticket, self.step(), self._chosen("runs-table", "runs")
        if ticket is None:
            return
        guidance = _guidance(task, _of_step(ticket, str(task["id"]))) if task else [Text(t("ui.steps.none"))]
        self.query_one("#guidance", Static).update(Group(*guidance))
        plan = plan_parts(run) if run else [Text(t("ui.runs.none"))]
        self.query_one("#plan", Static).update(Group(*plan))

    def on_data_table_row_highlighted(self, event: Rows.RowHighlighted) -> None:
        """What stands below the table follows the cursor."""
        event.stop()
        self._draw_details()

    # What the keys are about

    def step(self) -> Document | None:
        """The step under the cursor."""
        return self._chosen("steps-table", "tasks")

    def run_here(self) -> Document | None:
        """On page 2 the run under the cursor, on page 1 the newest run of the step; says so when there is none."""
        run = self._chosen("runs-table", "runs") if self.page == 1 else None
        if run is None and self.page != 1 and self.ticket is not None and (step := self.step()) is not None:
            run = _of_step(self.ticket, str(step["id"]))
        if run is None:
            self.say(t("ui.run.none"), problem=True)
        return run

    def _chosen(self, table: str, items: str) -> Document | None:
        key = self.query_one(f"#{table}", Rows).key
        found: Sequence[Document] = self.ticket[items] if self.ticket is not None else ()
        return next((item for item in found if item["id"] == key), None)

    # Keys

    def on_data_table_row_selected(self, event: Rows.RowSelected) -> None:
        """Enter shows the guidance of a step, or the plan of a run, whole."""
        event.stop()
        if self.page == 1:
            if (run := self._chosen("runs-table", "runs")) is not None:
                self.app.push_screen(Reading(t("ui.plan"), *plan_parts(run)))
        elif self.ticket is not None and (task := self.step()) is not None:
            run = _of_step(self.ticket, str(task["id"]))
            self.app.push_screen(Reading(words.title(task), *_guidance(task, run)))

    def action_done(self) -> None:
        """Record the step as done."""
        task = self.step()
        if task is None or not self.may("ticket.note"):
            return
        if task["done_us"] is not None:
            self.say(t("ui.step.is_done"), problem=True)
            return

        def written(result: str | None) -> None:
            if result is not None:
                path = f"/v1/tickets/{self.ticket_id}/tasks/{task['id']}/done"
                self.post(path, {"result": result}, t("ui.did.step"), self._hold)

        self.app.push_screen(Ask(t("ui.do.done", step=words.title(task)), required=False), written)

    def action_plan(self) -> None:
        """Plan the step's action, after saying what that is."""
        task = self.step()
        if task is None or not self.may("playbook.plan"):
            return
        if not task.get("action"):
            self.say(t("ui.step.no_action"), problem=True)
            return

        def agreed(answer: bool | None) -> None:
            if answer:
                body = {"ticket": self.ticket_id, "step": task["id"], "params": {}}
                self.ask(lambda service: service.post("/v1/runs", body).data, self._planned)

        self.app.push_screen(Confirm(t("ui.do.plan"), self._intent(task), t("ui.do.plan.how")), agreed)

    def _intent(self, task: Document) -> list[tuple[str, str]]:
        action, observables = task["action"], self.ticket["observables"] if self.ticket else ()
        named = {
            name: [o["value"] for o in observables if o["field"] == field] for name, field in action["params"].items()
        }
        target = ", ".join(f"{clean(name)}={clean(values[0] if values else '?')}" for name, values in named.items())
        return [
            (t("ui.col.step"), words.title(task)),
            (t("ui.col.action"), f"{words.word('verb', str(action['verb']))} ({clean(action['actuator'])})"),
            (t("ui.run.target"), target),
            (t("ui.run.expiry"), t("ui.run.expiry.after", ttl=words.span(action["ttl_s"]))),
        ]

    def _planned(self, run: Document) -> None:
        self.say(t("ui.did.plan", state=words.word("run", str(run["state"]))))
        self.load()
        self.app.push_screen(Reading(t("ui.plan"), *plan_parts(run)))

    def action_approve(self) -> None:
        """Agree to the plan, bound to its hash."""
        run = self._run_in(("planned",), "playbook.approve")
        if run is not None:
            self._confirm(t("ui.do.approve"), run, f"/v1/runs/{run['id']}/approve", {"plan_hash": run["plan_hash"]})

    def action_run(self) -> None:
        """Carry the approved plan out, or record that somebody did by hand."""
        run = self._run_in(("approved", "manual"), "playbook.run")
        if run is None:
            return
        if run["state"] == "approved":
            self._confirm(t("ui.do.run"), run, f"/v1/runs/{run['id']}/run", {})
            return

        def written(note: str | None) -> None:
            if note is not None:
                path = f"/v1/runs/{run['id']}/done"
                self.ask(lambda service: service.post(path, {"note": note}).data, self._ran)

        self.app.push_screen(Ask(t("ui.do.by_hand")), written)

    def action_revert(self) -> None:
        """Undo what is in effect."""
        run = self._run_in(ACTIVE, "playbook.revert")
        if run is not None:
            self._confirm(t("ui.do.revert"), run, f"/v1/runs/{run['id']}/revert", {})

    def action_note(self) -> None:
        """Write a note."""
        self.write_note(f"/v1/tickets/{self.ticket_id}/note", "ticket.note", self._hold)

    def action_help(self) -> None:
        """All keys."""
        self.app.push_screen(help_page())

    def _run_in(self, states: Sequence[str], permission: str) -> Document | None:
        run = self.run_here()
        if run is None or not self.may(permission):
            return None
        if run["state"] not in states:
            self.say(t("ui.run.not_now", state=words.word("run", str(run["state"]))), problem=True)
            return None
        return run

    def _confirm(self, question: str, run: Document, path: str, body: Mapping[str, Any]) -> None:
        """Show the exact plan; only then send."""

        def agreed(answer: bool | None) -> None:
            if answer:
                self.ask(lambda service: service.post(path, body).data, self._ran)

        self.app.push_screen(Confirm(question, words.plan_rows(run)), agreed)

    def _ran(self, run: Document) -> None:
        state = words.word("run", str(run["state"]))
        is_bad = run["state"] in ("failed", "unknown")
        self.say(t("ui.did.run", state=state, why=clean(run.get("error"))).strip(), problem=is_bad)
        self.load()


def _fill(table: Rows, head: Sequence[tuple[str, int]], rows: Sequence[Row]) -> None:
    table.head(head)
    table.show(rows)


def _of_step(ticket: Document, step: str) -> Document | None:
    """The newest run of a step."""
    runs = [run for run in ticket["runs"] if run["step_id"] == step]
    return max(runs, key=lambda run: (run["created_us"], run["id"]), default=None)


def next_due(ticket: Document) -> int | None:
    """The earliest legal deadline that is not met, else the earliest step that is not done; µs UTC."""
    legal = [deadline["due_us"] for deadline in ticket["deadlines"] if deadline["met_us"] is None]
    steps = [task["due_us"] for task in ticket["tasks"] if task["done_us"] is None and task["due_us"] is not None]
    return min(legal or steps, default=None)


def _head(ticket: Document, now_us: int, width: int) -> Content:
    """Title; level, state and who has it; system and unit; the next legal deadline. Each line cut with an ellipsis."""
    level = words.word("level", str(ticket["level"]))
    state = words.word("state", str(ticket["state"]))
    assignee = clean(ticket["assignee"]) or t("ui.assignee.none")
    facts = f" · {t('ui.risk', risk=ticket['risk'])} · {state} · {t('ui.assignee')}: {assignee} · Tier {ticket['tier']}"
    place = " · ".join(part for part in (words.system(ticket), words.unit(ticket)) if part)
    return Content.assemble(
        (fit(words.title(ticket), width), "bold"), "\n",
        (level, words.LEVEL_STYLES.get(str(ticket["level"]), "")), fit(facts, width - cell_len(level)), "\n",
        "\n".join(fit(line, width) for line in (place, *_deadline_lines(ticket, now_us))),
    )  # fmt: skip


def _deadline_lines(ticket: Document, now_us: int) -> list[str]:
    """The next legal deadline and what it rests on."""
    label = t("ui.deadline")
    waiting = sorted((d for d in ticket["deadlines"] if d["met_us"] is None), key=lambda d: d["due_us"])
    if not waiting:
        return [f"{label}: {_no_deadline(ticket)}"]
    first, more = waiting[0], len(waiting) - 1
    others = t("ui.deadline.more", count=more) if more else ""
    due = f"{when(first['due_us'], seconds=False)}, {words.left(first['due_us'], now_us)}{others}"
    return [f"{label}: {due}", f"  {words.title(first)} · {clean(first['citation'])}"]


def _no_deadline(ticket: Document) -> str:
    return t("ui.deadline.none" if ticket["serious"] is None and not ticket["deadlines"] else "ui.deadline.not")


def _clock(deadline: Document) -> str:
    return f"{when(deadline['due_us'], seconds=False)} {words.title(deadline)}"


_MARK, _TIER, _DUE = 4, 5, 22


def _step_head(width: int) -> list[tuple[str, int]]:
    title = width - _MARK - _TIER - _DUE
    return [("", _MARK), (t("ui.col.tier"), _TIER), (t("ui.col.step"), title), (t("ui.col.step_due"), _DUE)]


def _step_row(task: Document, width: int, now_us: int, run: Document | None) -> Row:
    title = wrapped(words.title(task), width - _MARK - _TIER - _DUE - 1, 2)
    if run is not None and len(title) == 1:
        title.append(f"→ {words.word('run', str(run['state']))}")
    elif task.get("action") and len(title) == 1:
        title.append(f"→ {words.word('verb', str(task['action']['verb']))}")
    is_done = task["done_us"] is not None
    style = "dim" if is_done else "bold"
    late = "" if is_done or task["due_us"] is None or task["due_us"] >= now_us else "bold #ff8c42"
    return str(task["id"]), (
        Text("[x]" if is_done else "[ ]", style=style),
        Text(f"T{task['tier']}", style=style),
        Text("\n".join(title), style=style, no_wrap=True),
        Text("\n".join(fit(line, _DUE).rstrip() for line in _step_times(task, now_us)), style=late, no_wrap=True),
    )


def _step_times(task: Document, now_us: int) -> tuple[str, ...]:
    if task["done_us"] is not None:
        return t("ui.step.done", at=when(task["done_us"], seconds=False)), clean(task["done_by"])
    if task["due_us"] is None:
        return (t("ui.no_due"),)
    return t("ui.due", at=when(task["due_us"], seconds=False)), words.left(task["due_us"], now_us)


def _guidance(task: Document, run: Document | None) -> list[RenderableType]:
    text = clean(pick(str(task["guidance"]), str(task["guidance_vi"])))
    parts: list[RenderableType] = [Text(text)] if text else []
    action = task.get("action")
    if run is not None:
        parts += plan_parts(run)
    elif action and task["done_us"] is None:
        verb, actuator = words.word("verb", str(action["verb"])), clean(action["actuator"])
        parts.append(Text(t("ui.step.action", verb=verb, actuator=actuator, ttl=words.span(action["ttl_s"]))))
    if task["result"]:
        parts.append(pairs([(t("ui.step.result"), clean(task["result"]))], label=LABEL))
    return parts or [Text(t("ui.step.no_guidance"))]


def plan_parts(run: Document) -> list[RenderableType]:
    """The exact plan of a run, and what may be done with it next."""
    id = f"ui.run.next.{run['state']}"
    is_waiting = run["state"] in ("planned", "approved", "verified", "manual") and not run.get("done_by")
    parts: list[RenderableType] = [Text(t(id), style="bold")] if is_waiting else []
    return [*parts, pairs(words.plan_rows(run), label=LABEL)]


_RUN_STATE, _RUN_WHO = 18, 16


def _run_head(width: int) -> list[tuple[str, int]]:
    rest = width - _RUN_STATE - _RUN_WHO
    names = (t("ui.run.state"), t("ui.run.requested"), t("ui.run.what"))
    return list(zip(names, (_RUN_STATE, _RUN_WHO, rest), strict=True))


def _run_row(run: Document, width: int, ticket: Document) -> Row:
    values = (words.word("run", str(run["state"])), clean(run["requested_by"]), clean(run["plan"]["text"]))
    places = (_RUN_STATE - 1, _RUN_WHO - 1, width - _RUN_STATE - _RUN_WHO)
    return str(run["id"]), [Text(fit(value, place), no_wrap=True) for value, place in zip(values, places, strict=True)]


def _past(ticket: Document, now_us: int) -> list[RenderableType]:
    notes = [(when(note["at_us"]), f"{clean(note['person'])}: {clean(note['text'])}") for note in ticket["notes"]]
    moves = [(when(move["at_us"]), _move(move)) for move in ticket["moves"]]
    observables = " · ".join(clean(f"{o['field']}={o['value']}") for o in ticket["observables"])
    return [
        Text(t("ui.deadlines"), style="bold"),
        *(_deadlines(ticket, now_us) or [Text(_no_deadline(ticket))]),
        Text(f"\n{t('ui.notes')}", style="bold"),
        pairs(notes, label=20) if notes else Text(t("ui.notes.none")),
        Text(f"\n{t('ui.moves')}", style="bold"),
        pairs([(when(ticket["created_us"]), f"{clean(ticket['created_by'])}: {t('ui.state.new')}"), *moves], label=20),
        Text(f"\n{t('ui.observables')}", style="bold"),
        Text(observables),
        Text(f"\n{t('ui.alerts_of')}", style="bold"),
        Text(" ".join(clean(id) for id in ticket["alert_ids"])),
    ]


def _deadlines(ticket: Document, now_us: int) -> list[RenderableType]:
    rows: list[tuple[str, str]] = []
    for deadline in ticket["deadlines"]:
        met = deadline["met_us"]
        person = clean(deadline["met_by"])
        state = t("ui.deadline.met", at=when(met), person=person) if met else words.left(deadline["due_us"], now_us)
        rows += [
            (clean(deadline["id"]), f"{_clock(deadline)} ({state})"),
            (t("ui.recipient"), clean(deadline["recipient"])),
            (t("ui.citation"), f"{clean(deadline['citation'])} [{clean(deadline['evidence'])}]"),
        ]
    return [pairs(rows, label=20)] if rows else []


def _move(move: Document) -> str:
    states = f"{words.word('state', str(move['before']))} → {words.word('state', str(move['after']))}"
    reason = f" ({clean(move['reason'])})" if move["reason"] else ""
    return f"{clean(move['person'])}: {states}{reason}"
