"""`ConsoleScreen`: the bars around every screen, and how it asks, tells and refuses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from textual.app import ComposeResult
from textual.screen import Screen

from soc.console import words
from soc.console.i18n import t
from soc.console.session import Service, Session
from soc.console.widgets.bars import HeaderBar, KeyBar, Keys, LostBar, MessageBar
from soc.console.widgets.dialogs import Ask
from soc.errors import SocError

SAID_S = 12.0
"""How long a message stays; what went wrong stays until the next message."""
SETTLE_S = 0.25
"""Changes that come within this time are fetched together."""
T = TypeVar("T")


class ConsoleScreen(Screen[None]):
    """A screen with header, message line and key line. `body` yields what lies between; `load` fetches it."""

    KEYS: ClassVar[Keys] = ()

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self._waits = False
        self._said = ""

    # For the screens

    def body(self) -> ComposeResult:
        """The widgets between header and message line."""
        yield from ()

    def heading(self) -> str:
        """What stands in the header."""
        return ""

    def load(self) -> None:
        """Fetch what is shown, without waiting for it."""

    def concerns(self, change: Mapping[str, Any]) -> bool:
        """Whether a change in the service is a reason to load again."""
        return False

    def say(self, text: str, *, problem: bool = False) -> None:
        """One sentence on the message line."""
        self.query_one(MessageBar).say(text, problem=problem)
        if not problem:
            self.set_timer(SAID_S, lambda: self._unsay(text))
        self._said = text

    @property
    def stands(self) -> bool:
        """Whether it can be drawn on: not still being built (then it loads by itself), not being taken away."""
        return self.is_mounted and self.is_attached and self.app.is_running

    def ask(self, call: Callable[[Service], T], then: Callable[[T], object]) -> None:
        """Ask the service; an error is one sentence, an answer that comes after the screen was left is dropped."""
        self.session.ask(call, lambda result: self.stands and then(result), self.fail)

    def fail(self, problem: SocError) -> None:
        """Say what went wrong."""
        if self.stands:
            self.say(words.error(problem), problem=True)

    def post(self, path: str, body: Mapping[str, Any], said: str, then: Callable[[Mapping[str, Any]], object]) -> None:
        """Change something, say so, and hand on the document as it is afterwards."""

        def done(document: Mapping[str, Any]) -> None:
            self.say(said)
            then(document)

        self.ask(lambda service: service.post(path, body).data, done)

    def write_note(self, path: str, permission: str, then: Callable[[Mapping[str, Any]], object]) -> None:
        """Ask for a note and send it."""

        def written(text: str | None) -> None:
            if text is not None:
                self.post(path, {"text": text}, t("ui.did.note"), then)

        if self.may(permission):
            self.app.push_screen(Ask(t("ui.do.note")), written)

    def may(self, permission: str) -> bool:
        """Whether the person may do it; when not, says why."""
        why = self.session.refusal(permission)
        if why is not None:
            self.say(why, problem=True)
        return why is None

    # What happens

    def compose(self) -> ComposeResult:
        yield HeaderBar(self.session, self.heading)
        yield LostBar(self.session)
        yield from self.body()
        yield MessageBar()
        yield KeyBar(self.KEYS)

    def on_mount(self) -> None:
        """Draw the bars each second and load."""
        self.set_interval(1.0, self.draw_bars)
        self.call_after_refresh(self.draw_bars)
        self.load()

    def on_resize(self) -> None:
        """The bars fill the new width."""
        self.call_after_refresh(self.draw_bars)

    def draw_bars(self) -> None:
        """Header and lost line show the session of now."""
        self.query_one(HeaderBar).draw()
        self.query_one(LostBar).draw()

    def changed(self, change: Mapping[str, Any]) -> None:
        """A change in the service: load again soon, once for all that come together."""
        if self.concerns(change) and not self._waits:
            self._waits = True
            self.set_timer(SETTLE_S, self._settle)

    def connected(self) -> None:
        """The service answers (again)."""
        self.draw_bars()
        self.load()

    def lost(self) -> None:
        """The service does not answer."""
        self.draw_bars()

    def action_refresh(self) -> None:
        """Load again."""
        self.load()

    def action_back(self) -> None:
        """To the screen before."""
        self.app.pop_screen()

    def _settle(self) -> None:
        self._waits = False
        self.load()

    def _unsay(self, text: str) -> None:
        if self._said == text:
            self.query_one(MessageBar).say("")
