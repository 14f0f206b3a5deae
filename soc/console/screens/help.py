"""The help page: every key of every screen."""

from __future__ import annotations

from rich.text import Text

from soc.console.i18n import t
from soc.console.widgets.cells import pairs
from soc.console.widgets.dialogs import Reading

KEYS = {
    "queue": (
        ("Enter", "open"), ("a", "acknowledge"), ("e", "escalate"), ("c", "close"), ("n", "note"), ("/", "search"),
        ("s", "status"), ("l", "level"), ("t", "tickets"), ("o", "sources"),
    ),
    "alert": (("1 2 3", "tabs"), ("Enter", "event"), ("a e c n", "same")),
    "ticket": (
        ("1 2 3", "tabs"), ("Enter", "guidance"), ("d", "done"), ("p", "plan"), ("g", "approve"), ("r", "run"),
        ("v", "revert"), ("n", "note"),
    ),
    "sources_list": (("u", "unknown"), ("p", "points")),
    "everywhere": (("?", "help"), ("Esc", "back"), ("q", "quit"), ("F5", "refresh")),
}  # fmt: skip


def help_page() -> Reading:
    """A dialog with all keys in the language of now."""
    parts: list[object] = []
    for place, keys in KEYS.items():
        parts.append(Text(t(f"ui.help.{place}"), style="bold"))
        parts.append(pairs([(key, t(f"ui.help.{id}")) for key, id in keys], label=9))
        parts.append(Text(""))
    return Reading(t("ui.help"), *parts[:-1])  # type: ignore[arg-type]
