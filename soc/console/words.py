"""Stored words to words for people: levels, states, roles, times and spans as the screens show them."""

from __future__ import annotations

import datetime as dt
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from soc.console.i18n import catalogue, pick, t
from soc.console.i18n import screens as _words  # noqa: F401  (registers the words)
from soc.console.i18n.errors import told
from soc.console.text import clean, when
from soc.errors import Conflict, PermissionRefused, SocError, TryAgain, UsageError
from soc.model.finding import LEVELS

LEVEL_STYLES = {
    "critical": "bold white on #b00020",
    "high": "bold #ff8c42",
    "medium": "bold #f2c14e",
    "low": "#8fb8de",
    "informational": "#9aa5b1",
}
"""Colour only repeats what the word says."""
LEVELS_DOWN = tuple(reversed(LEVELS))
Document = Mapping[str, Any]


def word(kind: str, value: str) -> str:
    """The word for a stored value (`level`, `high`); the value itself, made safe, when there is none."""
    id = f"ui.{kind}.{value}"
    return t(id) if id in catalogue() else clean(value)


def title(document: Document) -> str:
    """An alert's, ticket's or step's title in the language of now, made safe."""
    return clean(pick(str(document.get("title", "")), str(document.get("title_vi", ""))))


def error(problem: SocError) -> str:
    """One sentence for what went wrong, with the way out."""
    kinds = {PermissionRefused: "refused", Conflict: "conflict", UsageError: "conflict", TryAgain: "unreachable"}
    kind = next((kind for known, kind in kinds.items() if isinstance(problem, known)), "other")
    hint = f" ({told(problem.hint)})" if problem.hint else ""
    return t(f"ui.error.{kind}", why=clean(f"{told(str(problem))}{hint}"))


def system_level(document: Document, *, short: bool = False) -> str:
    """`cấp độ 3`, or `CĐ3` where there is little room; empty for a system without a level."""
    level = document.get("system_level")
    return "" if level is None else t("ui.system_level.short" if short else "ui.system_level", level=level)


def system(document: Document, *, short: bool = False) -> str:
    """`Cổng dịch vụ công (cấp độ 3)`."""
    name = clean(document.get("system_name") or document.get("system_id") or "")
    if not name:
        return t("ui.no_system")
    level = system_level(document, short=short)
    if short:
        return f"{level} {name}".strip()
    return f"{name} ({level})" if level else name


def unit(document: Document) -> str:
    """The owner unit's name."""
    return clean(document.get("organization_name") or document.get("organization_id") or "")


def entity(document: Document) -> str:
    """`203.0.113.9` of `source.ip=203.0.113.9`; several pairs stay whole. Spaces may be part of a value."""
    text = str(document.get("entity", ""))
    name, equals, value = text.partition("=")
    return clean(value if equals and "=" not in value and " " not in name else text)


def moment(value: Any) -> str:
    """Local time of µs since the epoch or of ISO 8601 text; other text as it stands."""
    if isinstance(value, int):
        return when(value)
    try:
        at = dt.datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError:
        return clean(value)
    return when(int(at.timestamp() * 1_000_000)) if at.tzinfo else clean(value)


def span(seconds: float) -> str:
    """`45 giây`, `15 phút`, `2 giờ 5 phút`, `3 ngày 4 giờ`; what is less than the last unit is left out."""
    if seconds < 60:
        return t("ui.span.seconds", s=int(seconds))
    minutes = int(seconds) // 60
    parts = [t("ui.span.days", d=minutes // 1440)] if minutes >= 48 * 60 else []
    hours = minutes % 1440 // 60 if parts else minutes // 60
    parts += [t("ui.span.hours", h=hours)] if hours else []
    # Minutes no longer matter when days are left.
    parts += [t("ui.span.minutes", m=minutes % 60)] if minutes % 60 and minutes < 48 * 60 else []
    return " ".join(parts)


def left(due_us: int, now_us: int) -> str:
    """`còn 15 phút` or `QUÁ HẠN 5 phút`."""
    id = "ui.left" if due_us >= now_us else "ui.late"
    return t(id, time=span(abs(due_us - now_us) / 1_000_000))


def commands(lines: Sequence[Sequence[str]]) -> list[str]:
    """Argument lists as they would be typed in a shell."""
    return [clean(shlex.join(line)) for line in lines]


def plan_rows(run: Document) -> list[tuple[str, str]]:
    """Everything that somebody who agrees to a run agrees to, and how far it is."""
    plan = run["plan"]
    ttl = span(plan.get("ttl_s") or 0)
    expires = plan.get("expires_us") or 0
    by_hand = f" ({t('ui.run.by_hand', person=clean(run['done_by']))})" if run.get("done_by") else ""
    rows = [
        (t("ui.run.state"), word("run", run["state"]) + by_hand),
        (t("ui.run.what"), clean(plan["text"])),
        (
            t("ui.run.command"),
            "\n".join(commands(plan["commands"])) or t("ui.run.command.none", text=clean(run["verb"])),
        ),
        (t("ui.run.target"), clean(plan["target"])),
        (t("ui.run.expiry"), when(expires) if expires else t("ui.run.expiry.after", ttl=ttl)),
        (t("ui.run.revert"), "\n".join(commands(plan["revert"])) or t("ui.run.revert.none")),
        (t("ui.run.requested"), f"{clean(run['requested_by'])} · {when(run['created_us'])}"),
    ]
    if run.get("approved_by"):
        rows.append((t("ui.run.approved_by"), f"{clean(run['approved_by'])} · {when(run.get('approved_us'))}"))
    if run.get("error"):
        rows.append((t("ui.run.error"), clean(run["error"])))
    rows.append((t("ui.run.hash"), clean(run["plan_hash"])))
    return rows
