"""What a person can do with an alert, the same from the queue and from the alert's own screen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from soc.console import words
from soc.console.i18n import t
from soc.console.screens.base import ConsoleScreen
from soc.console.screens.ticket import TicketScreen
from soc.console.widgets.dialogs import Judge

Document = Mapping[str, Any]
Then = Callable[[Document], object]


def acknowledge(screen: ConsoleScreen, alert: Document, then: Then) -> None:
    """Take the alert; `then` gets it as it is afterwards."""
    if screen.may("alert.acknowledge"):
        screen.post(f"/v1/alerts/{alert['id']}/acknowledge", {}, t("ui.did.acknowledge"), then)


def escalate(screen: ConsoleScreen, alert: Document) -> None:
    """Make a ticket with the matching playbook and open it, or open the one there is."""
    if alert.get("ticket_id"):
        screen.app.push_screen(TicketScreen(screen.session, str(alert["ticket_id"])))
    elif screen.may("ticket.create"):
        path = f"/v1/alerts/{alert['id']}/ticket"
        screen.ask(lambda service: service.post(path, {"playbook": None}).data, lambda ticket: _made(screen, ticket))


def _made(screen: ConsoleScreen, ticket: Document) -> None:
    screen.load()
    screen.app.push_screen(TicketScreen(screen.session, str(ticket["id"]), t("ui.did.ticket", number=ticket["number"])))


def close(screen: ConsoleScreen, alert: Document, then: Then) -> None:
    """Ask for verdict and reason, and close the alert."""
    if not screen.may("alert.close"):
        return

    def judged(judgement: tuple[str, str] | None) -> None:
        if judgement is not None:
            verdict, reason = judgement
            said = t("ui.did.close", verdict=words.word("verdict", verdict))
            screen.post(f"/v1/alerts/{alert['id']}/close", {"verdict": verdict, "reason": reason}, said, then)

    screen.app.push_screen(Judge(words.title(alert)), judged)
