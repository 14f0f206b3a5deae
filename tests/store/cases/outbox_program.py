"""Raises an alert with its message, sends it, has it acknowledged: once per fault, at each call in turn.

`strace -f -e inject=CALL:…:when=WHEN python -m tests.store.cases.outbox_program FOLDER CALL FAULT [mutant]`. strace
counts the calls of each process by itself, so a child that first makes WHEN - n idle calls has the fault at the n-th
call of its work. One child after the other has it one call later, until the fault lies behind the whole work; that
saves a start of Python and strace for each of some hundred faults.

A child appends what it did to `FOLDER/<n>/said` with writev, a call that no fault is injected into.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from soc.errors import SocError
from soc.model.clock import SystemClock
from soc.store.cases import Cases, Tx
from tests.store.cases.test_documents import message

WHEN = 130
"""More calls of one kind than the work makes."""
TRIES = 4
STATES = ("new", "sent", "acked")
FIRST, SECOND = "a1", "a2"
"""The alert that is in the database before the fault, and the one that meets it."""


def opened(folder: Path) -> Cases:
    return Cases(folder / "db" / "c.db", SystemClock(), head_path=folder / "head" / "h.json")


def raised(tx: Tx, id: str) -> None:
    """State change, ledger, message and change notice of a new alert."""
    if tx.get("alert", id) is None:
        tx.put("alert", id, {"state": "new"}, None, unit="u", keys={"state": "new"})
        tx.ledger("alert.raise", f"alert:{id}", None, {"state": "new"}, "")
        tx.outbox(message(id))
        tx.change("alert", id, "new")


def moved(tx: Tx, id: str, state: str) -> None:
    """The message's next state with the alert's own, its ledger entry and its notice."""
    stored = tx.get("alert", id)
    assert stored is not None
    if STATES.index(stored.document["state"]) < STATES.index(state):
        receipt = {"ref": f"r-{id}"} if state == "acked" else None
        tx.outbox_mark(id, state, receipt=receipt)
        tx.put("alert", id, {"state": state}, stored.version, keys={"state": state})
        tx.ledger(f"alert.{state}", f"alert:{id}", stored.document, {"state": state}, "")
        tx.change("alert", id, state)


def step(tx: Tx, id: str, state: str) -> None:
    """Take the alert to this state, unless it was there already."""
    if state == "new":
        raised(tx, id)
    else:
        moved(tx, id, state)


class Child:
    """The work that meets the fault, and what it says of it."""

    def __init__(self, folder: Path, *, is_mutant: bool) -> None:
        self.folder = folder
        self.is_mutant = is_mutant
        self._said = os.open(folder / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def say(self, text: str) -> None:
        os.writev(self._said, [text.encode() + b"\n"])

    def tried(self, work: Callable[[], Cases | None]) -> Cases | None:
        """Again after an error in our own words; anything else is a crash."""
        for _ in range(TRIES):
            try:
                return work()
            except SocError as error:
                self.say(f"refused {type(error).__name__} {error.exit_code} {error}")
        raise GaveUp

    def commit(self, cases: Cases, state: str) -> None:
        with cases.begin("an") as tx:
            step(tx, SECOND, state)
            if self.is_mutant:
                self.say(f"committed {state}")  # a promise that nothing keeps yet
        if not self.is_mutant:
            self.say(f"committed {state}")

    def run(self) -> None:
        cases = self.tried(lambda: opened(self.folder))
        assert cases is not None
        for state in STATES:
            self.tried(lambda state=state: self.commit(cases, state))  # type: ignore[misc]
        cases.close()


class GaveUp(Exception):
    """Every try was refused."""


def idle(call: str, folder: Path) -> Callable[[], object]:
    """The call, without effect."""
    fd = os.memfd_create("idle")
    if call == "rename":
        (folder / "idle").touch()
        return lambda: os.rename(folder / "idle", folder / "idle")
    if call == "write":
        return lambda: os.write(fd, b"x")
    if call == "pwrite64":
        return lambda: os.pwrite(fd, b"x", 0)
    return lambda: (os.fsync if call == "fsync" else os.fdatasync)(fd)


def live(folder: Path, call: str, n: int, fault: str, *, is_mutant: bool) -> None:
    """One child's life; ends with `unreached` when its work made fewer than n calls."""
    child, nothing = Child(folder, is_mutant=is_mutant), idle(call, folder)
    for _ in range(WHEN - n):
        nothing()
    try:
        child.run()
    except GaveUp:
        child.say("gave up")
    except BaseException as error:
        child.say(f"crashed {type(error).__name__}: {error}")
    worked = 0
    if fault == "KILL":
        child.say("unreached")
    for _ in range(n):  # as many as take it to WHEN, had the work made none
        try:
            nothing()
        except OSError:
            continue
        worked += 1
    # A fault that comes once and came in the work leaves every idle call alone; one that stays, none.
    is_reached = worked == n if fault != "FULL" else worked == 0
    child.say("reached" if is_reached else "unreached")


def main(folder: Path, call: str, fault: str, mutant: str = "") -> None:
    for n in range(1, WHEN):
        here = folder / str(n)
        shutil.copytree(folder / "base", here)
        pid = os.fork()
        if not pid:
            live(here, call, n, fault, is_mutant=bool(mutant))
            os._exit(0)
        os.waitpid(pid, 0)
        if "unreached" in (here / "said").read_text().split("\n"):
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
