"""`soc correlate` is killed and goes on: findings and state equal those of a run that nobody disturbed, bit for bit."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from soc.config import Settings
from soc.pipeline import Correlating, places
from soc.pipeline.states import read_states
from soc.store.queue import LogReader
from tests.pipeline.correlate_program import outcome
from tests.pipeline.world import World, failures

TOP = Path(__file__).parents[2]
RULES = """
title: failed
name: failed
logsource: {product: linux, service: sshd}
detection: {s: {event.outcome: failure}, condition: s}
---
title: many
name: many
correlation: {type: event_count, rules: [failed], group-by: [source.ip], timespan: 20s, condition: {gte: 4}}
---
title: some
name: some
correlation: {type: event_count, rules: [failed], group-by: [source.ip], timespan: 8s, condition: {gte: 2, lt: 4}}
---
title: spread
name: spread
correlation:
  type: value_count
  rules: [many]
  timespan: 30s
  condition: {field: source.ip, gte: 2}
  generate: true
---
title: ports
name: ports
correlation:
  type: value_avg
  rules: [failed]
  group-by: [source.ip]
  timespan: 15s
  condition: {field: source.port, gte: 4001}
---
title: seen
name: seen
logsource: {product: linux, service: sshd}
detection: {s: {event.outcome: failure}, condition: s}
anomaly: {entity: [source.ip], metric: user.name, model: first_seen}
"""


def world(home: Path, frames: int) -> World:
    """A home whose `matched` log holds so many frames of failed logins, late and out of order among them."""
    (home / "content" / "detections").mkdir(parents=True)
    (home / "content" / "detections" / "rules.yml").write_text(RULES)
    made = World.make(home, content_roots=(home / "content",))
    receive(made, frames)
    made.work()
    return made


def receive(made: World, frames: int, seed: int = 7, seconds: int = 6) -> None:
    """Frames of some sources, at most so many seconds apart."""
    chosen = random.Random(seed)
    for _ in range(frames):
        records = []
        for _ in range(chosen.randint(1, 5)):
            source = f"203.0.113.{chosen.randint(1, 6)}"
            at_ns = made.clock.now_ns() - chosen.choice((0, 0, 0, 5, 12, 50)) * 10**9
            records += failures(chosen.randint(1, 3), source=source, at_ns=at_ns)
        made.receive(records, peer=f"127.1.2.{chosen.randint(1, 3)}")
        made.clock.advance(chosen.randint(0, seconds))


def program(home: Path, *points: int, mutant: str = "", correlators: str = "1") -> list[dict[str, Any]]:
    """What came of a run that dies at each of these points and goes on, by one number of processes after the other."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.pipeline.correlate_program", str(home), *map(str, points)],
        cwd=TOP, capture_output=True, timeout=300, check=False, 
        env={**os.environ, "MUTANT": mutant, "CORRELATORS": correlators},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    return [orjson.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = world(tmp_path_factory.mktemp("kill") / "home", 40)
    made.raw.close()
    return made.settings.home


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(one[name] == other[name] for name in ("findings", "snapshot", "cursors", "counts"))


def test_a_kill_at_any_lasting_call_changes_nothing(home: Path) -> None:
    """Every finding is there and was told in one way only; state, offsets and counts are the same to the bit."""
    points = sorted(random.Random(3).sample(range(1, 100), 12))
    undisturbed, *others = program(home, 0, *points)
    assert undisturbed["status"] == 0
    assert {f["rule_id"] for texts in undisturbed["findings"].values() for f in map(orjson.loads, texts)} >= {
        "some", "spread", "ports", "many",
    }  # fmt: skip
    assert all(other["died"] for other in others)
    assert [other["point"] for other in others if not same(other, undisturbed)] == []


@pytest.mark.parametrize("mutant", ["early", "ahead"])
def test_a_broken_order_is_noticed(home: Path, mutant: str) -> None:
    """State before findings loses some of them; offsets ahead of the state lose what was not fed."""
    [undisturbed] = program(home, 0)
    others = program(home, 30, 50, 70, mutant=mutant)
    assert not all(same(other, undisturbed) for other in others)


def test_a_kill_at_random_moments_under_load_changes_nothing(tmp_path: Path) -> None:
    """The command itself, while the log grows under it."""
    made = world(tmp_path / "home", 0)
    settings = made.settings
    chosen = random.Random(time.time_ns())
    for seed in range(2):
        made.clock.set(time.time_ns())
        receive(made, 30, seed, seconds=0)
        made.work()
        process = started(settings)
        until((settings.home / "run" / "correlate.state").exists)
        made.clock.set(time.time_ns())
        receive(made, 30, seed, seconds=0)
        made.work()
        time.sleep(chosen.uniform(0.0, 1.5))
        process.kill()
        process.communicate(timeout=120)
    disturbed, undisturbed = run_out(settings, tmp_path)
    assert len(disturbed["findings"]) > 10
    assert same(disturbed, undisturbed)


def test_the_state_file_of_before_is_read_once(tmp_path: Path) -> None:
    """Version 1 was one JSON object with the snapshot as a text: counting goes on, and the new file takes its place."""
    made = world(tmp_path / "home", 0)
    made.receive(failures(3, source="203.0.113.99"))
    made.work()
    first = Correlating(made.settings, made.clock)
    first.step()
    snapshot = orjson.loads(first._correlator.snapshot())
    windows = snapshot["correlations"]["windows"]
    for id, stage in first._correlator.correlations.stages.items():
        windows[id] = windows[id][:2]
        if not stage.correlation.lasting:
            del windows[id]
    cursors = {str(k): str(v) for k, v in first._cursors.items()}
    correlator = orjson.dumps({**snapshot, "format": "soc.correlate/1"}).decode()
    state = {"version": 1, "cursors": cursors, "seen": first._seen.names(), "counts": {"frames": 7}}
    first._dirty = False
    first.close()
    (tmp_path / "home" / "run" / "correlate.state").unlink(missing_ok=True)
    (tmp_path / "home" / "run" / "correlate.json").write_bytes(orjson.dumps({**state, "correlator": correlator}))
    made.receive(failures(1, source="203.0.113.99"))
    made.work()
    made.correlate()
    found = outcome(made.settings.home)
    assert "many" in {orjson.loads(text)["rule_id"] for texts in found["findings"].values() for text in texts}
    assert not (tmp_path / "home" / "run" / "correlate.json").exists()


def test_damage_in_the_log_is_told(tmp_path: Path) -> None:
    """What cannot be read any more is passed over, and counted where people see it."""
    made = world(tmp_path / "home", 12)
    [path] = sorted((places.queue(made.settings) / places.MATCHED).rglob("*.log"))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(64)
    path.write_bytes(data)
    correlating = Correlating(made.settings, made.clock)
    while correlating.step():
        pass
    told = correlating.told()
    correlating.close()
    assert (told["damaged"], 0 < told["frames"] < 40) == (1, True)


def test_definitions_that_are_read_again_lose_nothing_of_the_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was fed since the last save is in the next one, though another correlator took over in between."""
    made = world(tmp_path / "home", 3)
    correlating = Correlating(made.settings, made.clock)
    correlating.step()
    correlating.save()
    made.receive(failures(9, source="203.0.113.99"))
    made.work()
    correlating.step()
    again = iter([places.load_detections(made.settings, places.load_parsers(made.settings))])
    monkeypatch.setattr(correlating._definitions, "again", lambda: next(again, None))
    correlating.step()
    state = correlating._correlator.snapshot()
    correlating.save()
    correlating.close()
    assert b"203.0.113.99" in orjson.dumps(orjson.loads(state)["models"])
    restarted = Correlating(made.settings, made.clock)
    assert restarted._correlator.snapshot() == state
    restarted.close()


def started(settings: Settings, index: int = 0, of: int = 1) -> subprocess.Popen[bytes]:
    """`soc correlate` over this home."""
    roots = str(settings.home / "content")
    environment = {**os.environ, "SOC_HOME": str(settings.home), "SOC_CONTENT_ROOTS": roots}
    environment["SOC_DETECTIONS_CORRELATORS"] = str(of)
    return subprocess.Popen(
        [sys.executable, "-m", "soc", "correlate", "--index", str(index)],
        cwd=TOP,
        env=environment,
        stderr=subprocess.DEVNULL,
    )


def run_out(settings: Settings, tmp_path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What came of everything once one process worked off the rest, and what comes of it in one undisturbed run."""
    wanted = sum(block.n for block in LogReader(places.queue(settings), places.MATCHED).read({}, None, 100_000))
    process = started(settings)
    until(lambda: documents(settings) == wanted)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    there = shutil.copytree(settings.home, tmp_path / "again")
    (there / "run" / "correlate.state").unlink()
    shutil.rmtree(there / "queue" / places.FINDINGS)
    [undisturbed] = program(there, 0)
    return outcome(settings.home), undisturbed


def documents(settings: Settings, name: str = "correlate") -> int:
    """How many a process says to have taken."""
    states = (state for state in read_states(settings) if state["name"] == name)
    return max((state["counts"].get("documents", 0) for state in states), default=0)


def until(holds: Callable[[], bool], seconds: float = 120) -> None:
    """Wait for it."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)
