"""`ConsoleApp`: the console for analysts, over SSH and in tmux; `run` opens it on a connected client."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar

from textual.app import App
from textual.binding import Binding, BindingType

from soc.console.screens.base import ConsoleScreen
from soc.console.screens.queue import QueueScreen
from soc.console.session import Service, Session
from soc.console.widgets import dialogs


class ConsoleApp(App[None]):
    """Begins with the alert queue. What happens on the link goes to every open screen."""

    ENABLE_COMMAND_PALETTE = False
    CSS = dialogs.CSS
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+c,ctrl+q", "quit", show=False, priority=True)]

    def __init__(self, session: Session) -> None:
        # With NO_COLOR nothing but the terminal's own two colours is sent, and the cursor is shown by reverse.
        super().__init__(ansi_color=bool(os.environ.get("NO_COLOR")))
        self.session = session

    async def on_mount(self) -> None:
        """Open the queue and, once it stands, begin to listen."""
        self.title = "soc console"
        await self.push_screen(QueueScreen(self.session))
        self.session.start(self.call_later, self)

    def on_unmount(self) -> None:
        """Let the threads end."""
        self.session.stop()

    def changed(self, change: Mapping[str, Any]) -> None:
        """Something changed in the service."""
        for screen in self._open():
            screen.changed(change)

    def connected(self) -> None:
        """The service answers (again)."""
        for screen in self._open():
            screen.connected()

    def lost(self) -> None:
        """The service does not answer."""
        for screen in self._open():
            screen.lost()

    def _open(self) -> list[ConsoleScreen]:
        return [screen for screen in self.screen_stack if isinstance(screen, ConsoleScreen) and screen.stands]


def run(client: Service) -> None:
    """Open the console and stay until the person leaves."""
    ConsoleApp(Session(client)).run()
