"""Pure: which state of a ticket may follow which, and why another may not (NĐ 333 Đ9; TT 20 Đ11)."""

from __future__ import annotations

from collections.abc import Mapping

from soc.errors import Conflict, UsageError, nearest
from soc.model.ticket import RESOLUTIONS, STATES

NEXT: Mapping[str, tuple[str, ...]] = {
    "new": ("triage", "merged", "duplicate"),
    "triage": ("assigned", "closed", "merged", "duplicate"),
    "assigned": ("triage", "contained", "closed", "merged", "duplicate"),
    "contained": ("assigned", "eradicated", "merged"),
    "eradicated": ("contained", "recovered", "merged"),
    "recovered": ("eradicated", "closed", "merged"),
    "closed": ("reopened",),
    "reopened": ("triage", "assigned", "merged", "duplicate"),
    "merged": (),
    "duplicate": ("reopened",),
}
OPEN = tuple(state for state in STATES if state not in ("closed", "merged", "duplicate"))
_WHY = {
    ("new", "closed"): "nobody has looked at it yet; triage it first",
    ("contained", "closed"): "the cause is still there; eradicate it and recover first",
    ("eradicated", "closed"): "service is not confirmed as recovered yet",
    ("new", "contained"): "nobody is assigned who could have contained it",
    ("triage", "contained"): "nobody is assigned who could have contained it",
    ("assigned", "eradicated"): "it was not contained yet",
    ("assigned", "recovered"): "it was not contained and eradicated yet",
}


def reason_against(
    state: str, to: str, *, assignee: str = "", resolution: str = "", reason: str = "", target: str = ""
) -> str | None:
    """Why a ticket in `state` may not go to `to`; None when it may. Raises UsageError for an unknown state.

    Assigned needs an assignee; merged and duplicate another ticket; closed a resolution and a reason, and
    `resolved` only once it is recovered; reopened and every step back a reason.
    """
    if to not in STATES:
        raise UsageError(f"unknown state '{to}'; one of {', '.join(STATES)}{nearest(to, STATES)}")
    if to not in NEXT[state]:
        ways = ", ".join(NEXT[state]) or "nothing: take it out of the other ticket first (unmerge)"
        why = _WHY.get((state, to), "there is no such step")
        return f"a ticket that is {state} cannot become {to}: {why}; what may follow is {ways}"
    if to == "assigned" and not assignee:
        return "a ticket is assigned to somebody; say to whom"
    if to in ("merged", "duplicate") and not target:
        return f"say which ticket it is {'merged into' if to == 'merged' else 'a duplicate of'}"
    if to == "closed":
        return _against_closing(state, resolution, reason)
    if (to == "reopened" or _goes_back(state, to)) and not reason.strip():
        return f"going from {state} to {to} needs a reason"
    return None


def _against_closing(state: str, resolution: str, reason: str) -> str | None:
    if resolution not in RESOLUTIONS:
        return f"a ticket is closed with a resolution; one of {', '.join(RESOLUTIONS)}"
    if not reason.strip():
        return "a ticket is closed with a reason"
    if resolution == "resolved" and state != "recovered":
        return f"a ticket that is {state} cannot be closed as resolved: it was not contained, eradicated and recovered"
    return None


def _goes_back(state: str, to: str) -> bool:
    order = ("triage", "assigned", "contained", "eradicated", "recovered")
    return state in order and to in order and order.index(to) < order.index(state)


def check(state: str, to: str, *, assignee: str = "", resolution: str = "", reason: str = "", target: str = "") -> None:
    """Raises Conflict with the reason when the step may not be taken."""
    why = reason_against(state, to, assignee=assignee, resolution=resolution, reason=reason, target=target)
    if why is not None:
        raise Conflict(why)
