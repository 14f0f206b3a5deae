"""A power cut at any moment: what the disk is sure to have holds every acknowledged record.

The disk image is built from what was synced: each file as long as at its last fdatasync, each name as of the last
fsync of its folder. The environment variable SOC_MUTANT breaks the log on purpose (`leave_out_fsync`,
`acknowledge_before_commit`), here and nowhere in the product, to show that these assertions see it.
"""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from soc.model.clock import FixedClock
from soc.model.record import RawBlock
from soc.store.queue import DiskLog, LogReader

TOP = Path(__file__).parents[3]
CLOCK = FixedClock(1_000_000_000)
SEEDS = range(6)


class LeaveOutFsync(DiskLog):
    """The mutant that trusts the page cache."""

    def _sync(self):
        pass


class AcknowledgeBeforeCommit(DiskLog):
    """The mutant that returns first and writes with the next call."""

    _held = ()

    def append(self, blocks):
        held, self._held = self._held, list(blocks)
        return super().append(held)


LOGS = {"": DiskLog, "leave_out_fsync": LeaveOutFsync, "acknowledge_before_commit": AcknowledgeBeforeCommit}
LOG = LOGS[os.environ.get("SOC_MUTANT", "")]


class Disk:
    """Notes what is durable under a folder, by watching the sync calls; gives images of it."""

    def __init__(self, root, monkeypatch):
        self.root = root
        self.lengths = {}
        self.names = set()
        self._datasync, self._fsync = os.fdatasync, os.fsync
        monkeypatch.setattr(os, "fdatasync", self.fdatasync)
        monkeypatch.setattr(os, "fsync", self.fsync)

    def fdatasync(self, fd):
        self._datasync(fd)
        self.lengths[os.readlink(f"/proc/self/fd/{fd}")] = os.fstat(fd).st_size

    def fsync(self, fd):
        self._fsync(fd)
        path = os.readlink(f"/proc/self/fd/{fd}")
        if os.path.isdir(path):
            self.names.update(os.path.join(path, name) for name in os.listdir(path))
        else:
            self.lengths[path] = os.fstat(fd).st_size

    def image(self, target, *, with_mark):
        """What a power cut now would leave; the mark is in the page cache only and may or may not have reached it."""
        for path in sorted(self.root.rglob("*")):
            copy = target / path.relative_to(self.root)
            if path.is_dir():
                copy.mkdir(parents=True, exist_ok=True)
            elif path.suffix == ".log" and str(path) in self.names:
                copy.write_bytes(path.read_bytes()[: self.lengths.get(str(path), 0)])
            elif path.name == "durable" and with_mark:
                copy.write_bytes(path.read_bytes())
        return target


def survivors(image):
    with DiskLog(image, "raw", "n1", CLOCK) as log:
        found = [r.decode() for b in LogReader(image, "raw").read({}, None, 10_000) for r in b.records()]
        log.append([RawBlock.of([b"and on"], receipt_ns=1)])
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_every_acknowledged_record_survives_a_power_cut(tmp_path, monkeypatch, seed):
    """After each acknowledgement the disk's sure state holds all acknowledged records exactly once, in order."""
    random_ = random.Random(seed)
    root = tmp_path / "log"
    disk = Disk(root, monkeypatch)
    acknowledged = []
    with LOG(root, "raw", "n1", CLOCK, segment_bytes=random_.choice([200, 1000, 10_000])) as log:
        for step in range(12):
            texts = [f"{step}.{i}" for i in range(random_.randint(1, 5))]
            log.append([RawBlock.of([text.encode()], receipt_ns=1, peer=str(random_.randint(0, 2))) for text in texts])
            acknowledged += texts
            image = disk.image(tmp_path / f"image{step}", with_mark=random_.random() < 0.5)
            assert survivors(image) == acknowledged, "an acknowledged record is lost"
            shutil.rmtree(image)


@pytest.mark.parametrize("mutant", ["leave_out_fsync", "acknowledge_before_commit"])
def test_the_assertion_sees_the_mutant(mutant):
    """With the log broken on purpose, the test above fails by its own assertion for the same seeds."""
    name = "test_every_acknowledged_record_survives_a_power_cut"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"{__file__}::{name}"],
        env={**os.environ, "SOC_MUTANT": mutant}, cwd=TOP, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout
    assert f"{len(SEEDS)} failed" in done.stdout
    assert "an acknowledged record is lost" in done.stdout
