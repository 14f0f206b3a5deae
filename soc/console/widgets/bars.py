"""The one-line bars: where one is and as whom, what was lost, what happened, which keys work."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.cells import cell_len
from textual.content import Content
from textual.widgets import Static

from soc.console.i18n import t
from soc.console.session import Session
from soc.console.text import when
from soc.console.widgets.cells import fit

Keys = Sequence[tuple[str, str]]
"""Key as it is written on the keyboard, and the message id of what it does."""


class Bar(Static):
    """A line of literal text."""

    DEFAULT_CSS = "Bar { height: 1; width: 100%; }"

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__("", markup=False, id=id, classes=classes)


class HeaderBar(Bar):
    """Title, the badges of simulated data and of gaps in what rules saw, the person, the link and the clock."""

    DEFAULT_CSS = """
    HeaderBar { background: $primary-darken-2; color: $text; text-style: bold; }
    HeaderBar:nocolor { text-style: bold reverse; }
    """

    def __init__(self, session: Session, title: Callable[[], str]) -> None:
        super().__init__(id="header")
        self._session = session
        self._title = title

    def draw(self) -> None:
        """Show the moment."""
        session = self._session
        right = f"{session.person()} · {session.state()} {when(session.now_us())[11:]} "
        badge = f"[{t('ui.simulated')}] " if session.is_simulated else ""
        badge += f"[{t('ui.gaps', count=session.gaps)}] " if session.gaps else ""
        room = max(self.size.width - cell_len(right) - cell_len(badge) - 1, 0)
        left = fit(f" {self._title()}", room)
        self.update(
            Content.assemble(
                left, " ", (badge, "bold" if self.app.no_color else "bold reverse"), right.removeprefix(" · ")
            )
        )


class LostBar(Static):
    """A line that is there only while the service does not answer."""

    DEFAULT_CSS = """
    LostBar { display: none; height: auto; max-height: 3; background: $error; color: $text; text-style: bold; }
    LostBar:nocolor { text-style: bold reverse; }
    """

    def __init__(self, session: Session) -> None:
        super().__init__("", markup=False, id="lost")
        self._session = session

    def draw(self) -> None:
        """Appear or go."""
        since = self._session.lost_us
        self.display = since is not None
        if since is not None:
            self.update(Content(" " + (self._session.why or t("ui.lost", at=when(since)[11:]))))


class MessageBar(Static):
    """What came of the last key, in one sentence."""

    DEFAULT_CSS = """
    MessageBar { display: none; height: auto; max-height: 3; background: $panel; }
    MessageBar.problem { color: $text-error; text-style: bold; }
    """

    def __init__(self) -> None:
        super().__init__("", markup=False, id="message")

    def say(self, text: str, *, problem: bool = False) -> None:
        """Show a sentence; an empty one hides the line."""
        self.display = bool(text)
        self.set_class(problem, "problem")
        self.update(Content(f" {text}"))


class KeyBar(Bar):
    """As many keys as fit; the last two (help and the way out) always do."""

    DEFAULT_CSS = "KeyBar { background: $panel; }"

    def __init__(self, keys: Keys) -> None:
        super().__init__(id="keys")
        self._keys = keys

    def on_resize(self) -> None:
        """Fill the new width."""
        self.draw()

    def draw(self) -> None:
        """Write the keys in the language of now."""
        words = [(key, t(id)) for key, id in self._keys]
        must = words[-2:]
        room = self.size.width - 1 - sum(_width(pair) for pair in must)
        shown = []
        for pair in words[:-2]:
            room -= _width(pair)
            if room < 0:
                break
            shown.append(pair)
        parts: list[str | tuple[str, str]] = [" "]
        for key, label in (*shown, *must):
            parts += [(key, "bold"), f" {label}  "]
        self.update(Content.assemble(*parts))


def _width(pair: tuple[str, str]) -> int:
    return cell_len(pair[0]) + cell_len(pair[1]) + 3
