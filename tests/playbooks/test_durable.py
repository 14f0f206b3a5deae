"""kill -9 at random points of 200 runs: nothing is lost, nothing is done twice; and a mutant that must fail."""

from __future__ import annotations

import os
import random
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from soc.model.clock import FixedClock
from soc.model.run import Run
from soc.model.ticket import Ticket
from soc.playbooks import Engine
from tests.fakes import T0_US, FakeCases, FakePerson, require
from tests.playbooks.test_engine import TICKET
from tests.playbooks.world import FileActuator, die

RUNS = 200
CRASH_SHARE = 0.12
MAX_STARTS = 60


class ForgetfulEngine(Engine):
    """The mutant: it goes on with an interrupted run without asking the world first."""

    def _resume(self, at, actor):  # type: ignore[no-untyped-def]
        return self._apply(at, actor) if at.run.state == "applying" else super()._resume(at, actor)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where the machine has it: a disk is waited for at each rename, and kill -9 is the same to both."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else tmp_path) as made:
        yield Path(made)


def _drive(folder: Path, ticket: Ticket, crash: Callable[[str], None], make: type[Engine]) -> None:
    """One life of the service: recover, then bring the one run to `reverted`, from wherever it stands."""
    cases = FakeCases(folder / "cases.json", crash)
    engine = make(cases, {"nftables": FileActuator(folder / "world", crash)}, FixedClock(T0_US * 1000), require=require)
    lan, minh = FakePerson("lan"), FakePerson("minh")
    engine.recover()
    with cases.begin("test") as tx:
        found = [Run.from_document(stored.document) for _, stored in tx.find("run")]
    run = found[0] if found else engine.plan(ticket, "block", {}, lan)
    if run.state == "planned":
        run = engine.approve(run.id, run.plan_hash, minh)
    if run.state == "approved":
        run = engine.advance(run.id)
    if run.state == "verified":
        engine.revert(run.id, lan)


def _killer(seed: float) -> Callable[[str], None]:
    dice = random.Random(seed)
    return lambda _where: die() if dice.random() < CRASH_SHARE else None


def _live_until_done(folder: Path, ticket: Ticket, chance: random.Random, make: type[Engine]) -> int:
    """Start the service again and again until one life ends by itself; how often it was killed."""
    for killed in range(MAX_STARTS):
        seed = chance.random()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                _drive(folder, ticket, _killer(seed), make)
                code = 0
            finally:
                os._exit(code)
        status = os.waitpid(child, 0)[1]
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0, "the service ended with an error"
            return killed
        assert os.WTERMSIG(status) == signal.SIGKILL
    raise AssertionError(f"not done after {MAX_STARTS} starts")


def _all_runs(home: Path, seed: int, make: type[Engine], runs: int = RUNS) -> tuple[int, int, int]:
    """(lost, doubled, kills) of so many runs."""
    chance = random.Random(seed)
    lost = doubled = kills = 0
    for n in range(runs):
        folder = home / str(n)
        folder.mkdir()
        kills += _live_until_done(folder, replace(TICKET, id=f"ticket-{n}"), chance, make)
        lines = FileActuator(folder / "world").lines()
        applied = [line for line in lines if line.startswith("apply ")]
        with FakeCases(folder / "cases.json").begin("test") as tx:
            states = [stored.document["state"] for _, stored in tx.find("run")]
        lost += states != ["reverted"] or len(applied) == 0 or len(lines) - len(applied) != 1
        doubled += len(applied) > 1
    return lost, doubled, kills


@pytest.mark.slow
def test_no_run_is_lost_or_doubled_by_kill_minus_nine(folder: Path) -> None:
    """Killed at random around every commit and every effect, each run ends reverted after exactly one effect."""
    lost, doubled, kills = _all_runs(folder, 20261120, Engine)
    assert kills > RUNS / 2, "the test did not kill enough to mean anything"
    assert (lost, doubled) == (0, 0)


@pytest.mark.slow
def test_the_mutant_without_the_idempotency_check_doubles(folder: Path) -> None:
    """The same seeds tell an engine that does not ask the world before it repeats."""
    _, doubled, _ = _all_runs(folder, 20261120, ForgetfulEngine, RUNS // 4)
    assert doubled > 0
