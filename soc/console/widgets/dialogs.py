"""Dialogs: read something, confirm a plan, write a line, judge an alert. Esc always leaves without doing anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.console import RenderableType
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from soc.console.i18n import t
from soc.console.widgets.cells import pairs
from soc.console.words import word
from soc.model.alert import VERDICTS

CSS = """
ModalScreen { align: center middle; background: $background 60%; }
.dialog {
    width: 90%; max-width: 110; height: auto; max-height: 95%; padding: 0 1;
    border: solid $primary; background: $surface;
}
.dialog .title { text-style: bold; height: auto; }
.dialog .foot { color: $text-muted; height: 1; margin-top: 1; }
.dialog VerticalScroll { height: auto; max-height: 16; scrollbar-size-vertical: 1; }
.dialog .tall { height: 1fr; max-height: 100%; }
.dialog Input { border: tall $primary; margin-top: 1; }
.dialog OptionList { height: auto; max-height: 8; border: none; background: $surface; }
.dialog OptionList:nocolor > .option-list--option-highlighted { text-style: reverse; }
.dialog .fault { color: $text-error; height: auto; display: none; }
#reading { height: 95%; }
"""
"""Part of the application's style: a screen's own would not reach the screen itself."""


def _title(text: str) -> Static:
    return Static(Content(text), markup=False, classes="title")


def _foot(id: str) -> Static:
    return Static(Content(t(id)), markup=False, classes="foot")


class Reading(ModalScreen[None]):
    """Something to read, as long as it may be."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,enter", "dismiss", show=False)]

    def __init__(self, title: str, *body: RenderableType) -> None:
        super().__init__()
        self._title = title
        self._body = body

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog", id="reading"):
            yield _title(self._title)
            with VerticalScroll(classes="tall"):
                for part in self._body:
                    yield Static(part, markup=False)
            yield _foot("ui.esc")

    def on_mount(self) -> None:
        """Arrow keys scroll."""
        self.query_one(VerticalScroll).focus()


class Confirm(ModalScreen[bool]):
    """A question with everything that is agreed to; only `y` agrees."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", show=False),
        Binding("escape,n,q", "answer(False)", show=False),
    ]

    def __init__(self, question: str, rows: Sequence[tuple[str, str]], remark: str = "") -> None:
        super().__init__()
        self._question = question
        self._rows = rows
        self._remark = remark

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog", id="confirm"):
            yield _title(self._question)
            with VerticalScroll():
                yield Static(pairs(self._rows), markup=False)
                if self._remark:
                    yield Static(Content(f"\n{self._remark}"), markup=False)
            yield _foot("ui.yes_no")

    def on_mount(self) -> None:
        """A plan longer than the screen can be scrolled."""
        self.query_one(VerticalScroll).focus()

    def action_answer(self, answer: bool) -> None:
        """Close with the answer."""
        self.dismiss(answer)


class Ask(ModalScreen[str | None]):
    """One line of text; None when it was left. `required` refuses an empty line."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", show=False)]

    def __init__(self, title: str, *, required: bool = True) -> None:
        super().__init__()
        self._title = title
        self._required = required

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog", id="ask"):
            yield _title(self._title)
            yield Input(id="text")
            yield Static("", markup=False, classes="fault")
            yield _foot("ui.enter_esc")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Give the line back."""
        text = event.value.strip()
        if text or not self._required:
            self.dismiss(text)
        else:
            _complain(self, t("ui.do.text.missing"))

    def action_leave(self) -> None:
        """Close without a line."""
        self.dismiss(None)


class Judge(ModalScreen[tuple[str, str] | None]):
    """Verdict and reason of an alert that is closed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", show=False),
        *(Binding(str(n), f"choose({n - 1})", show=False) for n in range(1, len(VERDICTS) + 1)),
    ]

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog", id="judge"):
            yield _title(f"{t('ui.do.close')}: {self._title}")
            yield Static(Content(t("ui.do.verdict")), markup=False)
            options = [Option(Content(f"{n}  {word('verdict', v)}"), id=v) for n, v in enumerate(VERDICTS, 1)]
            yield OptionList(*options, markup=False, compact=True)
            yield Input(placeholder=t("ui.do.reason"), id="reason")
            yield Static("", markup=False, classes="fault")
            yield _foot("ui.verdict_keys")

    def on_mount(self) -> None:
        """Begin with the verdict."""
        options = self.query_one(OptionList)
        options.focus()
        options.highlighted = 0

    def action_choose(self, index: int) -> None:
        """A digit chooses the verdict and goes on to the reason."""
        self.query_one(OptionList).highlighted = index
        self.query_one(Input).focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter on a verdict goes on to the reason."""
        event.stop()
        self.query_one(Input).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Give both back."""
        reason = event.value.strip()
        if reason:
            self.dismiss((VERDICTS[self.query_one(OptionList).highlighted or 0], reason))
        else:
            _complain(self, t("ui.do.reason.missing"))

    def action_leave(self) -> None:
        """Close without a judgement."""
        self.dismiss(None)


def _complain(dialog: ModalScreen[object] | Ask | Judge, text: str) -> None:
    fault = dialog.query_one(".fault", Static)
    fault.display = True
    fault.update(Content(text))
