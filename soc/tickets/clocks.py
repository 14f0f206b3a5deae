"""Legal deadlines as data: which clocks an incident starts, and when each is due (regulation.md, section 6)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from soc.content import Document, Faults, Node, documents
from soc.errors import ConfigError, nearest
from soc.model.ticket import Deadline

PROFILES = ("2026", "legacy-2017")
TRIGGERS = ("any", "serious", "anqg", "gian_doan", "vuot_kha_nang", "nguy_hiem", "du_lieu_ca_nhan", "luu_tru")
"""`any` incident, one judged `serious`, or one that carries the flag of that name (regulation.md, section 5)."""
HOUR_US = 3600 * 1_000_000


@dataclass(frozen=True)
class LegalClock:
    """One rule. `hours` are clock hours after detection (T0): weekends and holidays count; 0 is at once."""

    id: str
    profile: str
    when: tuple[str, ...]
    hours: int
    title: str
    title_vi: str
    recipient: str
    citation: str
    evidence: str


def load_clocks(folders: Sequence[Path]) -> tuple[LegalClock, ...]:
    """The clocks of every definition of kind `clocks`. Raises ContentError with all faults."""
    clocks: list[LegalClock] = []
    faults = Faults()
    for document in documents(folders).values():
        if document.data.get("kind") == "clocks":
            clocks.extend(_read(document, faults))
    faults.raise_if_any()
    return tuple(clocks)


def _read(document: Document, faults: Faults) -> list[LegalClock]:
    node = Node(document, faults)
    for key in ("id", "kind", "title", "description"):
        node.text(key)
    clocks = [_clock(child) for child in node.children("clocks", required=True)]
    node.finish()
    return clocks


def _clock(node: Node) -> LegalClock:
    when = node.texts("when", required=True)
    for word in when:
        if word not in TRIGGERS:
            node.fault(f"unknown trigger '{word}'; one of {', '.join(TRIGGERS)}{nearest(word, TRIGGERS)}", "when")
    hours = node.integer("hours", required=True)
    if hours < 0:
        node.fault("'hours' cannot be negative", "hours")
    translations = node.child("i18n", required=True)
    vietnamese = translations.child("vi", required=True) if translations else None
    clock = LegalClock(
        id=node.text("id", required=True), profile=node.choice("profile", PROFILES, required=True), when=when,
        hours=hours, title=node.text("title", required=True), 
        title_vi=vietnamese.text("title", required=True) if vietnamese else "",
        recipient=node.text("recipient", required=True), citation=node.text("citation", required=True),
        evidence=node.text("evidence", required=True),
    )  # fmt: skip
    node.finish()
    return clock


def deadlines(
    clocks: Sequence[LegalClock], profile: str, t0_us: int, *, serious: bool, flags: Collection[str] = ()
) -> tuple[Deadline, ...]:
    """The deadlines that an incident detected at `t0_us` (µs UTC) starts, earliest first. Raises ConfigError.

    T0 counts to the minute. One incident may start several clocks of the same length with different recipients.
    """
    if profile not in PROFILES:
        raise ConfigError(
            f"unknown legal profile '{profile}'; one of {', '.join(PROFILES)}{nearest(profile, PROFILES)}"
        )
    holds = {"any", *flags} | ({"serious"} if serious else set())
    minute_us = t0_us // 60_000_000 * 60_000_000
    started = [clock for clock in clocks if clock.profile == profile and holds.intersection(clock.when)]
    due = [
        Deadline(c.id, minute_us + c.hours * HOUR_US, c.title, c.title_vi, c.recipient, c.citation, c.evidence)
        for c in started
    ]
    return tuple(sorted(due, key=lambda deadline: (deadline.due_us, deadline.id)))
