"""The real logrotate against a writer that never stops, while the collector is killed again and again."""

import contextlib
import gzip
import random
import signal
import subprocess
import sys
import time

import pytest

from soc.store.queue import LogReader
from tests.collectors.running import until

WRITER = """
import os, signal, sys, time
path, is_reopened = sys.argv[1], []
signal.signal(signal.SIGHUP, lambda *_: is_reopened.append(1))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(print(n)))
fd, n = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), 0
while True:
    if is_reopened:
        os.close(fd)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        is_reopened.clear()
    for _ in range(5):
        os.write(fd, b"%08d a line of a program that never stops writing\\n" % n)
        n += 1
    time.sleep(0.002)
"""
ROTATE = {
    "create": "create\n  postrotate\n    kill -HUP {pid}\n  endscript",
    "create-dateext-compress": "create\n  compress\n  dateext\n  dateformat -%Y%m%d-%s\n"
    "  postrotate\n    kill -HUP {pid}\n  endscript",
    "create-compress-delayed-zstd": "create\n  compress\n  delaycompress\n  compresscmd /usr/bin/zstd\n"
    "  compressoptions -q --rm\n  compressext .zst\n  postrotate\n    kill -HUP {pid}\n  endscript",
    "copytruncate": "copytruncate",
    "copytruncate-compress": "copytruncate\n  compress",
}
PATTERNS = ("app.log", "app.log*", "app.log", "app.log*", "app.log")


class Collecting:
    """The collector's process, killed and started as often as wanted."""

    def __init__(self, root, pattern):
        self.command = [sys.executable, "-m", "tests.collectors.tail_program", str(root), str(pattern)]
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=60)
        return [int(word) for word in out.split()[:2]]


@pytest.fixture
def stack():
    """Ends what a test started."""
    with contextlib.ExitStack() as stack:
        yield stack


def queued(root):
    with contextlib.closing(LogReader(root, "raw")) as reader:
        return [record for block in reader.read({}, None, 10**6) for record in block.records()]


def on_disk(logs):
    """Lines in all the files that logrotate left."""
    found = set()
    for path in logs.iterdir():
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
        elif path.suffix == ".zst":
            data = subprocess.run(["zstd", "-dcq", path], capture_output=True, check=True).stdout
        found.update(data.splitlines())
    return found


@pytest.mark.parametrize(("how", "pattern"), list(zip(ROTATE, PATTERNS, strict=True)))
def test_logrotate(tmp_path, stack, how, pattern):
    """Nothing is lost that a file still has, nothing is doubled; with `create` nothing is lost at all.

    What copytruncate itself loses, between its copy and its cut, is in no file; we have some of it.
    """
    logs, root = tmp_path / "logs", tmp_path / "queue"
    logs.mkdir()
    chance = random.Random(how + pattern)
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(logs / "app.log")], stdout=subprocess.PIPE, text=True)
    stack.callback(writer.kill)
    assert until((logs / "app.log").exists)
    config = tmp_path / "logrotate.conf"
    config.write_text(f"{logs}/app.log {{\n  su root root\n  rotate 100\n  {ROTATE[how].format(pid=writer.pid)}\n}}\n")
    config.chmod(0o644)
    collecting = Collecting(root, logs / pattern)
    stack.callback(collecting.kill)
    for _ in range(2):
        last = (logs / "app.log").read_bytes().splitlines()[-2:][0]
        assert until(lambda last=last: last in queued(root)), "it is followed, and not two rotations behind"
        time.sleep(chance.uniform(1.0, 1.4))  # dateext wants another second for each
        is_down = chance.random() < 0.6
        if is_down:
            collecting.kill()
        subprocess.run(["logrotate", "-f", "-s", tmp_path / "status", config], check=True, timeout=60)
        if is_down:
            collecting.start()
    writer.send_signal(signal.SIGTERM)
    written = int(writer.communicate()[0])
    kept = on_disk(logs)
    assert until(lambda: kept <= set(queued(root))), len(kept - set(queued(root)))
    time.sleep(1.5)
    received, in_queue = collecting.stop()
    records = queued(root)
    assert len(records) == len(set(records))
    assert received == in_queue == len(records)
    if "copytruncate" not in how:
        assert len(records) == written
    print(f"{how} {pattern}: {written} written, {written - len(kept)} in no file any more, {len(records)} queued")
