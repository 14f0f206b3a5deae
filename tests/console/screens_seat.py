"""Somebody at the console, for its tests."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from textual.pilot import Pilot

from soc.console.screens.app import ConsoleApp
from soc.console.session import Service, Session
from soc.console.widgets.table import Rows
from soc.model.clock import Clock


class Seat:
    """Somebody at the console: presses keys and reads the screen."""

    def __init__(self, app: ConsoleApp, pilot: Pilot[None]) -> None:
        self.app = app
        self.pilot = pilot

    async def press(self, *keys: str) -> None:
        """Press keys one after another."""
        await self.pilot.press(*keys)

    async def write(self, text: str) -> None:
        """Type a text and send it."""
        await self.pilot.press(*("space" if c == " " else c for c in text), "enter")

    def lines(self) -> list[str]:
        """What stands on the screen."""
        return [strip.text for strip in self.app.screen._compositor.render_strips()]

    def text(self) -> str:
        """The lines joined, runs of blanks as one: what a reader sees whatever the wrapping."""
        return " ".join(" ".join(line.strip(" │▊▎") for line in self.lines()).split())

    async def sees(self, *texts: str) -> None:
        """Wait until all the texts are on the screen."""
        await self.until(lambda: all(text in self.text() for text in texts), texts)

    async def until(self, holds: Callable[[], bool], what: object = "") -> None:
        """Wait for something."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            await self.pilot.pause(0.02)
            if holds():
                return
        raise AssertionError(f"{what} never came; on the screen:\n" + "\n".join(self.lines()))

    @property
    def rows(self) -> Rows:
        """The table that takes the keys."""
        table = self.app.focused
        assert isinstance(table, Rows)
        return table


@asynccontextmanager
async def seat(service: Service, clock: Clock, size: tuple[int, int] = (80, 24)) -> AsyncIterator[Seat]:
    """The console open on a service."""
    app = ConsoleApp(Session(service, clock, beat_s=0.05))
    async with app.run_test(size=size) as pilot:
        yield Seat(app, pilot)
