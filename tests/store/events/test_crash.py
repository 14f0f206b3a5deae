"""What was acknowledged survives: kill -9, faults of every durable step, power loss; and nothing is doubled."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from soc.errors import DiskFull, StoreError
from soc.model.clock import FixedClock, SystemClock
from soc.model.query import MatchAll
from soc.store import files
from soc.store.events import EventStore
from soc.store.events import store as store_module
from soc.store.events.hot import HotWriter
from tests.store.events.samples import ALL, START_US, frame, partition, upto
from tests.store.events.worker import ROWS

REPOSITORY = Path(__file__).parents[3]
WORKER = [sys.executable, "-m", "tests.store.events.worker"]
STRACE = shutil.which("strace")


def stored(root: Path) -> Counter[str]:
    """How often each record is in the store."""
    store = EventStore(root, SystemClock())
    try:
        batches = store.scan(ALL, MatchAll(), ["event.original"])
        return Counter(text for b in batches for text in b.values("event.original"))
    finally:
        store.close()


def assert_exactly_once(root: Path, acknowledged: Iterable[int]) -> None:
    """Every row of an acknowledged frame is there, and no row is there twice."""
    found = stored(root)
    doubled = {text: n for text, n in found.items() if n > 1}
    lost = [f"record {seq} {i}" for seq in acknowledged for i in range(ROWS) if f"record {seq} {i}" not in found]
    assert not doubled, f"doubled: {doubled}"
    assert not lost, f"lost: {lost}"


def assert_a_replay_completes(root: Path, frames: int) -> None:
    """The next run goes on from the cursor, and then every record is there once."""
    subprocess.run([*WORKER, "append", str(root), str(frames)], cwd=REPOSITORY, check=True, capture_output=True)
    expected = {f"record {seq} {i}": 1 for seq in range(1, frames + 1) for i in range(ROWS)}
    assert stored(root) == expected


def acks(output: bytes) -> list[int]:
    return [int(line.split()[1]) for line in output.splitlines() if line.startswith(b"ack ") and len(line.split()) == 2]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_kill_9(tmp_path: Path, seed: int) -> None:
    """A killed writer loses no acknowledged row, and the replay doubles none."""
    process = subprocess.Popen(
        [*WORKER, "append", str(tmp_path), "1000000"], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    process.stdout.readline()
    first = process.stdout.readline()  # it is at work
    time.sleep(random.Random(seed).uniform(0.0, 0.4))
    process.send_signal(signal.SIGKILL)
    done = acks(first + process.stdout.read())
    process.wait()
    process.stdout.close()
    assert done
    assert_exactly_once(tmp_path, done)
    assert_a_replay_completes(tmp_path, max(done) + 3)


FAULTS = [
    *(("write", n) for n in (2, 3, 5, 8, 12, 15)), *(("fdatasync", n) for n in (1, 3, 5, 8, 11, 14)),
    *(("fsync", n) for n in (1, 3, 5, 7)), ("ftruncate", 1),
]  # fmt: skip


def run_with_fault(trace: Path, call: str, number: int, *arguments: str) -> bytes:
    """Run the worker with the n-th such call failing; its output. The fault must have been reached."""
    inject = f"inject={call}:error=EIO:when={number}"
    command = [str(STRACE), "-f", "--seccomp-bpf", "-o", str(trace), "-e", f"trace={call}", "-e", inject]
    done = subprocess.run([*command, *WORKER, *arguments], cwd=REPOSITORY, capture_output=True, check=False)
    assert "INJECTED" in trace.read_text(), f"no {call} number {number}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("call", "number"), FAULTS)
def test_a_fault_while_appending(tmp_path: Path, call: str, number: int) -> None:
    """Whichever call fails: what was acknowledged is there once, and a replay completes the rest."""
    root = tmp_path / "store"
    done = acks(run_with_fault(tmp_path / "trace", call, number, "append", str(root), "8"))
    assert_exactly_once(root, done)
    assert_a_replay_completes(root, 8)


@pytest.mark.slow
@pytest.mark.parametrize("back", [1, 2, 3])
def test_a_file_that_cannot_be_opened_while_appending(tmp_path: Path, back: int) -> None:
    """The last ones that the worker opens in its store; their numbers depend on what Python opens before."""
    trace = tmp_path / "trace"
    command = [
        str(STRACE),
        "-f",
        "-o",
        str(trace),
        "-e",
        "trace=openat",
        *WORKER,
        "append",
        str(tmp_path / "whole"),
        "8",
    ]
    subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True)
    lines = trace.read_text().splitlines()
    mine = [line for line in lines if line.split()[0] == lines[0].split()[0] and "openat(" in line]
    numbers = [n for n, line in enumerate(mine, 1) if str(tmp_path / "whole") in line]
    root = tmp_path / "store"
    done = acks(run_with_fault(trace, "openat", numbers[-back], "append", str(root), "8"))
    assert_exactly_once(root, done)
    assert_a_replay_completes(root, 8)


SEAL_FAULTS = [
    *(("write", n) for n in (2, 6, 12, 20, 30, 40)), *(("pwrite64", n) for n in (1, 8, 16, 24, 32, 38)),
    *(("fsync", n) for n in (1, 2, 3, 4)), *(("fdatasync", n) for n in (1, 2, 3, 4, 5)), ("rename", 1),
    *(("unlink", n) for n in (1, 2, 3, 5)), *(("mkdir", n) for n in (1, 2)),
]  # fmt: skip


@pytest.fixture(scope="module")
def hot_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hot")
    subprocess.run([*WORKER, "append", str(root), "12"], cwd=REPOSITORY, check=True, capture_output=True)
    return root


@pytest.mark.slow
@pytest.mark.parametrize(("call", "number"), SEAL_FAULTS)
def test_a_fault_while_sealing(tmp_path: Path, hot_only: Path, call: str, number: int) -> None:
    """Sealing that fails half-way loses and doubles nothing; the next run finishes it."""
    root = tmp_path / "store"
    shutil.copytree(hot_only, root)
    run_with_fault(tmp_path / "trace", call, number, "seal", str(root))
    assert_exactly_once(root, range(1, 13))
    store = EventStore(root, SystemClock())
    store.compact(grace_us=0)
    assert store.verify_segments(content=True) == []
    store.close()
    assert_exactly_once(root, range(1, 13))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_sealing_killed(tmp_path: Path, hot_only: Path, seed: int) -> None:
    """A killed compaction loses and doubles nothing, and leaves no unknown file behind."""
    root = tmp_path / "store"
    shutil.copytree(hot_only, root)
    process = subprocess.Popen([*WORKER, "seal", str(root)], cwd=REPOSITORY, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(random.Random(seed).uniform(0.0, 0.15))
    process.kill()
    process.wait()
    process.stdout.close()
    assert_exactly_once(root, range(1, 13))
    store = EventStore(root, SystemClock())
    store.compact(grace_us=0)
    assert store.verify_segments(content=True) == []
    assert not list(root.rglob("*.tmp"))


class Disk:
    """Remembers how long each hot file was when it was last synced: all that a power loss leaves for certain."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.synced: dict[str, int] = {}
        for name in ("fsync", "fdatasync"):
            monkeypatch.setattr(os, name, self._watched(getattr(os, name)))

    def _watched(self, real):
        def sync(fd: int) -> None:
            real(fd)
            self.synced[os.readlink(f"/proc/self/fd/{fd}")] = os.fstat(fd).st_size

        return sync

    def crash_image(self, root: Path, target: Path, rng: random.Random) -> None:
        """A copy as after a power loss: each hot file as synced, then perhaps a piece of what came behind."""
        shutil.copytree(root, target)
        for path in (root / "hot").glob("*.hot"):
            data, sure = path.read_bytes(), self.synced.get(str(path), 0)
            kept = sure + rng.randint(0, max(0, len(data) - sure - 1))
            (target / "hot" / path.name).write_bytes(data[:kept])


def power_loss(root: Path, image: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> list[int]:
    """Append, lose power, and say which frames had been acknowledged."""
    rng = random.Random(seed)
    disk = Disk(monkeypatch)
    store = EventStore(root, FixedClock(START_US * 1000), writer="w")
    done = list(range(1, rng.randint(3, 12)))
    for seq in done:
        store.append([frame(seq, ROWS)], upto(seq, ROWS - 1))
    disk.crash_image(root, image, rng)
    store.close()
    return done


@pytest.mark.parametrize("seed", range(5))
def test_power_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """With only the synced bytes left, every acknowledged row is there."""
    done = power_loss(tmp_path / "a", tmp_path / "b", monkeypatch, seed)
    assert_exactly_once(tmp_path / "b", done)


@pytest.mark.parametrize("seed", range(5))
def test_mutant_without_fsync_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """A store that leaves the fdatasync out fails `test_power_loss` with the same seeds."""
    monkeypatch.setattr(HotWriter, "_sync", lambda self: None)
    done = power_loss(tmp_path / "a", tmp_path / "b", monkeypatch, seed)
    with pytest.raises(AssertionError, match="lost"):
        assert_exactly_once(tmp_path / "b", done)


def replay(root: Path, seed: int) -> list[int]:
    """Append with pieces delivered again, as a consumer does that died before it knew the answer."""
    rng = random.Random(seed)
    store = EventStore(root, FixedClock(START_US * 1000), writer="w")
    for seq in range(1, 10):
        store.append([frame(seq, ROWS)], upto(seq, ROWS - 1))
        again = rng.randint(1, seq)
        store.append([frame(s, ROWS) for s in range(again, seq + 1)], upto(seq, ROWS - 1))
    store.close()
    return list(range(1, 10))


@pytest.mark.parametrize("seed", range(3))
def test_replay(tmp_path: Path, seed: int) -> None:
    """What is delivered again is stored once."""
    assert_exactly_once(tmp_path, replay(tmp_path, seed))


@pytest.mark.parametrize("seed", range(3))
def test_mutant_without_dedup_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """A store that does not skip by position fails `test_replay` with the same seeds."""
    monkeypatch.setattr(store_module, "fresh", lambda batch, marks: None)
    done = replay(tmp_path, seed)
    with pytest.raises(AssertionError, match="doubled"):
        assert_exactly_once(tmp_path, done)


@pytest.mark.parametrize(("code", "kind"), [(28, DiskFull), (5, StoreError)])
def test_a_failed_write_stores_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind) -> None:
    """A write that fails half-way is rolled back, the cursor stays, and the same frame is taken later."""
    store = EventStore(tmp_path, FixedClock(START_US * 1000), writer="w")
    store.append([frame(1, ROWS)], upto(1, ROWS - 1))

    def half(fd: int, data: bytes) -> None:
        os.write(fd, data[: len(data) // 2])
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_all", half)
        with pytest.raises(kind):
            store.append([frame(2, ROWS)], upto(2, ROWS - 1))
    assert store.cursors()[partition()].seq == 1
    assert store.append([frame(2, ROWS)], upto(2, ROWS - 1)) == ROWS
    assert_exactly_once(tmp_path, [1, 2])


def test_a_reader_forgets_what_was_rolled_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame that a reader saw before its sync failed is gone, and another stands in its place."""
    clock = FixedClock(START_US * 1000)
    store, reader = EventStore(tmp_path, clock, writer="w"), EventStore(tmp_path, clock)
    seen = []

    def fail(self: HotWriter) -> None:
        seen.append(reader.search(ALL, MatchAll()).total)
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(HotWriter, "_sync", fail)
        with pytest.raises(StoreError):
            store.append([frame(1, 3)], upto(1, 2))
    store.append([frame(2, 4)], upto(2, 3))
    assert (seen, reader.search(ALL, MatchAll()).total) == ([3], 4)


def test_a_torn_tail_is_cut(tmp_path: Path) -> None:
    """Half a frame at the end is cut when the file is opened, and the next frame follows the last whole one."""
    clock = FixedClock(START_US * 1000)
    store = EventStore(tmp_path, clock, writer="w")
    store.append([frame(1, ROWS)], upto(1, ROWS - 1))
    path = next((tmp_path / "hot").glob("*.hot"))
    whole = path.stat().st_size
    store.append([frame(2, ROWS)], upto(2, ROWS - 1))
    store.close()
    os.truncate(path, whole + 40)
    store = EventStore(tmp_path, clock, writer="w")
    assert path.stat().st_size == whole
    store.append([frame(2, ROWS)], upto(2, ROWS - 1))
    assert_exactly_once(tmp_path, [1, 2])


def test_damage_inside_costs_one_frame(tmp_path: Path) -> None:
    """A flipped byte loses its frame only; the file is kept aside when it is sealed."""
    clock = FixedClock(START_US * 1000)
    store = EventStore(tmp_path, clock, writer="w")
    path, ends = next((tmp_path / "hot").glob("*.hot")), []
    for seq in (1, 2, 3):
        store.append([frame(seq, ROWS)], upto(seq, ROWS - 1))
        ends.append(path.stat().st_size)
    store.close()
    data = bytearray(path.read_bytes())
    data[ends[0] + 100] ^= 0xFF
    path.write_bytes(data)
    assert_exactly_once(tmp_path, [1, 3])
    assert EventStore(tmp_path, clock).compact().damaged == 1
    assert [p.name for p in (tmp_path / "hot" / "damaged").iterdir()] == [path.name]
    assert_exactly_once(tmp_path, [1, 3])


@pytest.mark.slow
def test_another_process_sees_the_rows(tmp_path: Path) -> None:
    """A reader in this process sees what a writer in another has acknowledged, while both are open."""
    reader = EventStore(tmp_path, SystemClock())
    process = subprocess.Popen([*WORKER, "append", str(tmp_path), "40"], cwd=REPOSITORY, stdout=subprocess.PIPE)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(b"ack "):
            seq = int(line.split()[1])
            assert (reader.search(ALL, MatchAll(), limit=1, count=True).total or 0) >= seq * ROWS
    assert process.wait() == 0
    process.stdout.close()


@pytest.mark.slow
def test_a_reader_beside_compaction_never_miscounts(tmp_path: Path) -> None:
    """While files are sealed and merged under it, a reader's count never goes back and never doubles."""
    process = subprocess.Popen([*WORKER, "append", str(tmp_path), "60"], cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    reader, sealer = EventStore(tmp_path, SystemClock()), EventStore(tmp_path, SystemClock())
    counts = [0]
    while process.poll() is None:
        sealer.compact(max_files=2, grace_us=0)
        counts.append(reader.search(ALL, MatchAll(), limit=1, count=True).total or 0)
    sealer.compact(grace_us=0)
    assert counts == sorted(counts)
    assert_exactly_once(tmp_path, range(1, 61))
